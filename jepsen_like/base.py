"""What every part of the harness uses: the verdict that a promise was broken, units of time."""

from __future__ import annotations

from typing import Final, Self

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000


class Violation(Exception):
    """A promise was broken; the text says which one and how."""


class Closing:
    """What ends with the block that it is used in, by its `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        raise NotImplementedError
