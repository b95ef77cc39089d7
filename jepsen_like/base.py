"""What every part of the harness uses: the verdict that a promise was broken, and units of time."""

from __future__ import annotations

from typing import Final

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000


class Violation(Exception):
    """A promise was broken; the text says which one and how."""
