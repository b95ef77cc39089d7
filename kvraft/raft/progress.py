"""What a leader knows about one other member, and how much it may send to it.

A bookkeeping object without rules of its own: the replication module decides, this one keeps
the marks consistent. It does not know the log.

States: PROBE (the agreement is not known: one append at a time, then silence until an answer or
a heartbeat's answer), REPLICATE (appends are sent ahead, within a window), SNAPSHOT (nothing
until the snapshot has arrived).

Invariants: `match < next`; `match` never falls while one leader leads; the window holds the
last indexes of unanswered appends, ascending, and `inflight_bytes` is the sum of its sizes.

Thesis: 10.2.1 (pipelining).
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final


class ProgressState(IntEnum):
    """How a leader sends to a member."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


PROBE: Final = ProgressState.PROBE
REPLICATE: Final = ProgressState.REPLICATE
SNAPSHOT: Final = ProgressState.SNAPSHOT


class Progress:
    """The marks of one other member."""

    __slots__ = (
        "active_tick",
        "commit_sent",
        "heard",
        "inflight",
        "inflight_bytes",
        "match",
        "max_bytes",
        "max_count",
        "member",
        "next",
        "nudge_tick",
        "paused",
        "read_round",
        "snapshot_index",
        "state",
    )

    def __init__(
        self, member: int, next_index: int, now_tick: int, max_count: int, max_bytes: int
    ) -> None:
        self.member = member
        self.match = 0
        self.next = next_index
        self.state = PROBE
        self.paused = False  # PROBE: an unanswered append is out
        self.snapshot_index = 0  # SNAPSHOT: which one was sent
        self.commit_sent = 0  # the highest commit index told by an append
        self.read_round = 0  # the last read round confirmed
        self.active_tick = now_tick  # when it was last heard, or its leader began to lead
        self.heard = False  # whether it has answered this leader at all
        self.nudge_tick = now_tick - 1  # when a heartbeat's answer last made it go on
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.inflight: deque[tuple[int, int]] = deque()
        self.inflight_bytes = 0

    def may_send(self) -> bool:
        """Whether an append may be sent now."""
        if self.state is REPLICATE:
            return len(self.inflight) < self.max_count and self.inflight_bytes < self.max_bytes
        return self.state is PROBE and not self.paused

    def sent(self, last: int, size: int) -> None:
        """Entries up to `last` were sent ahead (REPLICATE)."""
        self.next = last + 1
        self.inflight.append((last, size))
        self.inflight_bytes += size

    def acknowledged(self, index: int) -> None:
        """The member has everything up to `index`."""
        if index > self.match:
            self.match = index
            if self.next <= index:
                self.next = index + 1
        inflight = self.inflight
        while inflight and inflight[0][0] <= index:
            self.inflight_bytes -= inflight.popleft()[1]

    def free_one(self) -> None:
        """Forget the oldest unanswered append if the window is full: its answer may be lost."""
        if self.inflight and not self.may_send():
            self.inflight_bytes -= self.inflight.popleft()[1]

    def probe(self, next_index: int, *, paused: bool = False) -> None:
        """Look for the agreement from `next_index` down."""
        self._forget_window()
        self.state = PROBE
        self.paused = paused
        self.next = max(next_index, self.match + 1)

    def replicate(self) -> None:
        """The agreement is known: send ahead."""
        self._forget_window()
        self.state = REPLICATE
        self.paused = False
        self.next = self.match + 1

    def wait_for_snapshot(self, index: int) -> None:
        """A snapshot is on its way."""
        self._forget_window()
        self.state = SNAPSHOT
        self.snapshot_index = index

    def _forget_window(self) -> None:
        self.inflight.clear()
        self.inflight_bytes = 0
