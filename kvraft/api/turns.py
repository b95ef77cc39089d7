"""Sharing the event loop: expensive work beyond what one turn has room for waits for the next.

A loop serves every connection that is readable before it looks at its timers again. Two hundred
clients that ask for a megabyte each at the same moment would so delay heartbeats by a second, and
cost the member its leadership. So expensive work is counted, in bytes handled or what costs as
much, and once a turn is full the rest is put off. Small requests are not counted, but
wait with the others.

Must not know what the work is. Invariant: while jobs wait, a turn is scheduled that runs them, in
order.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

from kvraft.limits import TURN_BYTES


class Turns:
    """The present turn of one loop."""

    __slots__ = ("_jobs", "_loop", "_scheduled", "_spent", "full")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: deque[Callable[[], None]] = deque()
        self._spent = 0
        self._scheduled = False
        self.full = False  # read by everybody who is about to do something

    def spend(self, cost: int) -> None:
        """So many bytes have been handled, or the like."""
        self._spent += cost
        if self._spent > TURN_BYTES:
            self.full = True
        self._schedule()

    def later(self, job: Callable[[], None]) -> None:
        """Run this in one of the next turns."""
        self._jobs.append(job)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        self._spent = 0
        self.full = False
        jobs = self._jobs
        try:
            # The other half is for those who come now: they may want little.
            while jobs and self._spent <= TURN_BYTES // 2:
                jobs.popleft()()
        finally:
            if jobs:
                self._schedule()
