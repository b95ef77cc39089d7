"""Tests of the campaign on real processes."""
