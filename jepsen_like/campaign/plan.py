"""Which stages there are, in which order, and how long each may take.

The time for all of them is given. What stages cost beside their load (starting, settling,
judging) is measured as they go, and what is left is shared out anew before each.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from jepsen_like.faults.fault import Fault
from jepsen_like.faults.mix import mixed, parts_of
from jepsen_like.faults.registry import BY_NAME, FAULTS

SIZES: Final = (1, 3, 5)
ALONE_ROWS: Final = frozenset((1, 3, 6))
"""What can lose an acknowledged write of a cluster of one; elsewhere others are needed."""
MIN_LOAD_S: Final = 5.0  # shorter proves little, however many stages there are
MAX_STRIKE_S: Final = 30.0  # for each kind of strike; rather another round with other seeds
FIRST_OVERHEAD_S: Final = 4.0  # before anything has been measured


class Planned(NamedTuple):
    """A stage to come."""

    fault: Fault
    members: int
    seed: int


class UnknownNameError(ValueError):
    """Nothing has this name; the text says what may have been meant."""


def chosen(names: Iterable[str]) -> list[Fault]:
    """The faults of these names, all of them if there are none. Raises UnknownNameError."""
    found = []
    for name in names:
        known("fault", name, BY_NAME)
        found.append(BY_NAME[name])
    return found or list(FAULTS)


def known(what: str, name: str, names: Collection[str]) -> None:
    """Raises UnknownNameError if it is not one of these, with what may have been meant."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownNameError(f"no {what} is called {name!r}{hint}")


def stages(
    faults: Sequence[Fault], sizes: Sequence[int], seed: int, seconds: float, *, mix: bool = False
) -> list[Planned]:
    """Every fault on clusters of every size in which it makes sense, shuffled.

    With `mix`, faults that go together share a stage. In as many rounds as the time has room
    for; each round has a seed of its own.
    """
    pairs = [
        (fault, size)
        for size in sizes
        for fault in (mixed(faults, size) if mix else faults)
        if size >= fault.smallest and (size > 1 or fault.row in ALONE_ROWS)
    ]
    strikes = sum(_weight(fault) for fault, _ in pairs)
    longest_s = strikes * MAX_STRIKE_S + len(pairs) * FIRST_OVERHEAD_S
    rounds = max(1, round(seconds / max(1.0, longest_s)))
    found = []
    for number in range(rounds):
        order = [Planned(fault, size, seed + number) for fault, size in pairs]
        random.Random(f"{seed + number}/order").shuffle(order)
        found += order
    return found


def _weight(fault: Fault) -> int:
    """How much of the time a stage needs: a strike of each of its kinds, and one more."""
    return len(parts_of(fault)) + 1


class Budget:
    """How long the load of the next stage may last."""

    def __init__(self, seconds: float, planned: Iterable[Planned]) -> None:
        self._ends_s = time.monotonic() + seconds
        self._weights = [_weight(one.fault) for one in planned]
        self._overheads_s = [FIRST_OVERHEAD_S]

    def next_s(self) -> float:
        """Seconds of load for the next stage, so that there is enough left for all behind it."""
        if not self._weights:
            return MIN_LOAD_S
        left_s = max(0.0, self._ends_s - time.monotonic())
        overhead_s = sum(self._overheads_s) / len(self._overheads_s)
        load_s = max(0.0, left_s - overhead_s * len(self._weights))
        share = self._weights[0] / sum(self._weights)
        return max(MIN_LOAD_S, min(load_s * share, MAX_STRIKE_S * self._weights[0]))

    def done(self, load_s: float, seconds: float) -> None:
        """The next stage was given so much load and has taken so long."""
        del self._weights[0]
        self._overheads_s.append(max(0.0, seconds - load_s))
