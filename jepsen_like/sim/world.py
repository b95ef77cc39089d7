"""Virtual time: a heap of actions ordered by time, then by the order they were asked for.

Nothing here or above reads a real clock or an unseeded random number. Streams of
random numbers are named, so that a new consumer does not shift the draws of the others.
Invariants: time never goes back; two runs of one seed execute the same actions in the same
order (`fingerprint` condenses them for comparison).
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jepsen_like.base import SECOND_NS

if TYPE_CHECKING:
    from jepsen_like.sim.trace import Observer

TRACE_EVENTS: Final = 100  # what a failure report shows
FIRST_PLAN: Final = 1 << 60  # plans have negative numbers, so they come first in their moment


class World:
    """The scheduler of one run, its sources of chance and its record of what happened."""

    __slots__ = (
        "_heap", "_plans", "_sequence", "events", "faults", "fingerprint", "now_ns", "observer",
        "seed", "trace",
    )  # fmt: skip

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ns = 0
        self.trace: deque[tuple[int, tuple[object, ...]]] = deque(maxlen=TRACE_EVENTS)
        self.faults: Counter[str] = Counter()
        self.events = 0
        self.fingerprint = 0
        self.observer: Observer | None = None  # set before the run begins, or never
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._plans = -FIRST_PLAN

    def rng(self, name: str) -> random.Random:
        """A stream of its own; seeding by text does not depend on the hash seed."""
        return random.Random(f"{self.seed}/{name}")

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Run `action` when `delay_ns` have passed."""
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_ns + delay_ns, self._sequence, action))

    def plan(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Run `action` when `delay_ns` have passed, before all else of that moment.

        For what is done to the cluster from outside: no event of it, and not in the fingerprint, so
        that a run whose faults were drawn and one that repeats them from a script are the same.
        """
        self._plans += 1
        heapq.heappush(self._heap, (self.now_ns + delay_ns, self._plans, action))

    def note(self, *parts: object) -> None:
        """Remember an event for the failure report; rendered only if there is one."""
        self.trace.append((self.now_ns, parts))
        if self.observer is not None:
            self.observer.note(parts)

    def fault(self, name: str, *parts: object) -> None:
        """An injected fault: counted for the summary and noted."""
        self.faults[name] += 1
        self.trace.append((self.now_ns, ("FAULT", name, *parts)))
        if self.observer is not None:
            self.observer.fault(name, parts)

    def run_until(self, time_ns: int, stop: Callable[[], bool] | None = None) -> bool:
        """Execute actions up to `time_ns`; True if `stop` ended it sooner."""
        heap = self._heap
        while heap and heap[0][0] <= time_ns:
            at_ns, sequence, action = heapq.heappop(heap)
            self.now_ns = at_ns
            if sequence > 0:
                self.events += 1
                self.fingerprint = zlib.crc32(b"%d %d" % (at_ns, sequence), self.fingerprint)
            action()
            if stop is not None and stop():
                return True
        self.now_ns = max(self.now_ns, time_ns)
        return False

    def render_trace(self) -> list[str]:
        """The last events, oldest first."""
        return [
            f"{at_ns / SECOND_NS:10.6f}  " + " ".join(map(_show, parts))
            for at_ns, parts in self.trace
        ]


def _show(part: object) -> str:
    text = part if isinstance(part, str) else repr(part)
    return text if len(text) <= 200 else text[:200] + "..."
