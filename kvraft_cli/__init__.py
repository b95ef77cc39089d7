"""Command line programs. PYTEST_DONT_REWRITE: see `kvraft`."""
