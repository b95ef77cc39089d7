"""A histogram as plain numbers: cheap to feed on a hot path, read when somebody asks.

Knows nothing of names, labels or formats. Invariant: the counts of the buckets add up to the
number of observations.
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["Histogram", "doubling"]


def doubling(first: float, count: int) -> tuple[float, ...]:
    """Bounds of which each is twice the one before."""
    return tuple(first * 2**power for power in range(count))


class Histogram:
    """Observations counted by size; the hot paths may count into `counts` themselves."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # by the first bound that is not exceeded; the rest
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many observations there have been."""
        return sum(self.counts)
