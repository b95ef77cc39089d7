"""Tests of jepsen_like/workloads."""
