"""Tests of what operators install: units, image, dashboards, alerts, and the manual."""
