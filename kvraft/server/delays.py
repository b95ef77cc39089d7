"""What held requests up lately, so that a slow one can be told why it was slow.

A request carries no time stamps of its own way. Instead the few things that can hold everybody up
are noted while they last: no leader, a slow sync, a busy event loop, entries that are committed
but not applied yet, the catching up after a start. A slow request is then explained by the one
that covers most of its time; if none does, a write or a linearizable read was waiting for others.

Must not know: requests, the loop. Times are seconds of one monotonic clock. Invariant: at most
DELAYS_KEPT intervals are kept, the newest.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, NamedTuple

from kvraft.limits import DELAY_NOTED_S, DELAYS_KEPT

_ENOUGH: Final = 0.3  # of a request's time, to be called its reason


class Cause(Enum):
    """What can hold requests up; the value reads on from "slow request: ... took 1s: "."""

    START = "held at the start, until everything committed before was applied"
    LEADER = "waited for a leader"
    DISK = "waited for the disk"
    DISK_FULL = "the disk is full"
    APPLY = "waited until earlier entries were applied"
    LOOP = "the process was busy"


_LOCAL: Final = frozenset((Cause.START, Cause.LOOP))
"""What can hold up a read of the local store."""


class _Interval(NamedTuple):
    cause: Cause
    began_s: float
    ended_s: float


class Delays:
    """The intervals of one member."""

    def __init__(self) -> None:
        self._past: deque[_Interval] = deque(maxlen=DELAYS_KEPT)
        self._open: dict[Cause, float] = {}

    def note(self, cause: Cause, began_s: float, ended_s: float) -> None:
        """Something has held requests up between these moments; what is short is not kept."""
        if ended_s - began_s >= DELAY_NOTED_S:
            self._past.append(_Interval(cause, began_s, ended_s))

    def set(self, cause: Cause, lasts: bool, now_s: float) -> None:
        """Something that holds requests up begins, ends, or goes on as it was."""
        if lasts:
            self._open.setdefault(cause, now_s)
            return
        began_s = self._open.pop(cause, None)
        if began_s is not None:
            self.note(cause, began_s, now_s)

    def longest(self, began_s: float, ended_s: float, local: bool) -> tuple[Cause, float] | None:
        """What covers most of this time, and how much of it; None if nothing covers enough."""
        covered: dict[Cause, float] = {}
        running = [_Interval(cause, since_s, ended_s) for cause, since_s in self._open.items()]
        for cause, first_s, last_s in (*self._past, *running):
            shared_s = min(last_s, ended_s) - max(first_s, began_s)
            if shared_s > 0 and (not local or cause in _LOCAL):
                covered[cause] = covered.get(cause, 0.0) + shared_s
        if not covered:
            return None
        cause = max(covered, key=covered.__getitem__)
        share_s = covered[cause]
        return (cause, share_s) if share_s >= _ENOUGH * (ended_s - began_s) else None
