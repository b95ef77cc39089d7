"""Clusters for test suites, and the pytest plugin that hands them out."""
