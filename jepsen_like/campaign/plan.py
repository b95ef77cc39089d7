"""Which stages there are, in which order, and how long each may take.

The time for all of them is given. What stages cost beside their load (starting, settling,
judging) is measured as they go, and what is left is shared out anew before each.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from jepsen_like.faults.fault import Fault
from jepsen_like.faults.registry import BY_NAME, FAULTS

SIZES: Final = (1, 3, 5)
ALONE_ROWS: Final = frozenset((1, 3, 6))
"""What can lose an acknowledged write of a cluster of one; elsewhere others are needed."""
MIN_LOAD_S: Final = 5.0  # shorter proves little, however many stages there are
MAX_LOAD_S: Final = 90.0  # rather another round with other seeds
FIRST_OVERHEAD_S: Final = 4.0  # before anything has been measured


class Planned(NamedTuple):
    """A stage to come."""

    fault: Fault
    members: int
    seed: int


class UnknownFaultError(ValueError):
    """No fault has this name."""


def chosen(names: Iterable[str]) -> list[Fault]:
    """The faults of these names, all of them if there are none. Raises UnknownFaultError."""
    found = []
    for name in names:
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise UnknownFaultError(f"no fault is called {name!r}{hint}")
        found.append(BY_NAME[name])
    return found or list(FAULTS)


def stages(
    faults: Sequence[Fault], sizes: Sequence[int], seed: int, seconds: float
) -> list[Planned]:
    """Every fault on clusters of every size in which it makes sense, shuffled.

    In as many rounds as the time has room for; each round has a seed of its own.
    """
    pairs = [
        (fault, size)
        for fault in faults
        for size in sizes
        if size >= fault.smallest and (size > 1 or fault.row in ALONE_ROWS)
    ]
    rounds = max(1, round(seconds / (max(1, len(pairs)) * (MAX_LOAD_S + FIRST_OVERHEAD_S))))
    found = []
    for number in range(rounds):
        mixed = [Planned(fault, size, seed + number) for fault, size in pairs]
        random.Random(f"{seed + number}/order").shuffle(mixed)
        found += mixed
    return found


class Budget:
    """How long the load of the next stage may last."""

    def __init__(self, seconds: float, count: int) -> None:
        self._ends_s = time.monotonic() + seconds
        self._left = count
        self._overheads_s = [FIRST_OVERHEAD_S]

    def next_s(self) -> float:
        """Seconds of load for the next stage, if all that are left take as long."""
        left_s = max(0.0, self._ends_s - time.monotonic())
        overhead_s = sum(self._overheads_s) / len(self._overheads_s)
        return min(MAX_LOAD_S, max(MIN_LOAD_S, left_s / max(1, self._left) - overhead_s))

    def done(self, load_s: float, seconds: float) -> None:
        """A stage with so much load has taken so long."""
        self._left -= 1
        self._overheads_s.append(max(0.0, seconds - load_s))

    def skipped(self) -> None:
        """A stage cannot run: its time goes to the others."""
        self._left -= 1
