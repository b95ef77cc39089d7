"""The command `kvraftctl`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command; ends the process."""
    sys.exit("kvraftctl: no command yet")
