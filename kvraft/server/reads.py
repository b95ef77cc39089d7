"""Linearizable reads: callers wait here until the local store is fresh enough for them.

One ReadIndex round is under way at a time; callers that arrive meanwhile share the next one, so
batches form by themselves under load. A failed round is repeated: asking twice is harmless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvraft import limits
from kvraft.api.service import Unavailable

if TYPE_CHECKING:
    from kvraft.raft.core import RaftCore

Barrier = Callable[[Unavailable | None], None]
_Waiting = list[tuple[int, Barrier]]


class ReadQueue:
    """Quorum reads of this member's clients."""

    def __init__(self) -> None:
        self._waiting: _Waiting = []
        self._round: _Waiting = []
        self._round_ctx = 0
        self._next_ctx = 1
        self._hold = False
        self._confirmed: deque[tuple[int, _Waiting]] = deque()

    def add(self, now_ns: int, done: Barrier) -> None:
        """Call `done` once everything committed before now is applied here."""
        if len(self._waiting) >= limits.MAX_PENDING_READS:
            done(Unavailable("etcdserver: too many requests", definite=True))
            return
        self._waiting.append((now_ns, done))

    def wants_round(self) -> bool:
        """Whether a round should be started now."""
        return bool(self._waiting) and not self._round and not self._hold

    def start_round(self, core: RaftCore) -> None:
        """Ask the core to confirm the leadership for everyone waiting."""
        self._round, self._waiting = self._waiting, []
        self._round_ctx = self._next_ctx
        self._next_ctx += 1
        core.read_index(self._round_ctx)

    def confirmed(self, ctx: int, index: int) -> None:
        """The round's answer: readable once `index` is applied."""
        if ctx == self._round_ctx and self._round:
            self._confirmed.append((index, self._round))
            self._round = []

    def failed(self, ctx: int) -> None:
        """The leader was lost during the round: try again after the next tick."""
        if ctx == self._round_ctx and self._round:
            self._waiting[:0] = self._round
            self._round = []
            self._hold = True

    def release(self, applied: int) -> None:
        """Let those go on whose index has been applied."""
        while self._confirmed and self._confirmed[0][0] <= applied:
            for _, done in self._confirmed.popleft()[1]:
                done(None)

    def tick(self, created_before_ns: int, outcome: Unavailable) -> None:
        """Allow another round, and give up on reads older than this."""
        self._hold = False
        self._waiting = _drop_overdue(self._waiting, created_before_ns, outcome)
        self._round = _drop_overdue(self._round, created_before_ns, outcome)
        while self._confirmed and _all_overdue(self._confirmed[0][1], created_before_ns):
            for _, done in self._confirmed.popleft()[1]:
                done(outcome)

    def fail_all(self, outcome: Unavailable) -> None:
        """Answer everything that still waits, at the end of the process."""
        groups = [self._waiting, self._round, *(group for _, group in self._confirmed)]
        self._waiting, self._round = [], []
        self._confirmed.clear()
        for group in groups:
            for _, done in group:
                done(outcome)


def _all_overdue(waiting: _Waiting, created_before_ns: int) -> bool:
    return not waiting or waiting[-1][0] <= created_before_ns


def _drop_overdue(waiting: _Waiting, created_before_ns: int, outcome: Unavailable) -> _Waiting:
    if not waiting or waiting[0][0] > created_before_ns:
        return waiting
    for created_ns, done in waiting:
        if created_ns <= created_before_ns:
            done(outcome)
    return [item for item in waiting if item[0] > created_before_ns]
