"""`python -m jepsen_like.mutants`."""

from __future__ import annotations

import sys

from jepsen_like.mutants.command import main

if __name__ == "__main__":
    sys.exit(main())
