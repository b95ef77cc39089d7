"""The writes of this member's clients that have not been answered yet.

A proposal waits in the queue until a leader is known, is then given to it and tagged with its term,
and is answered when its entry is applied here. It goes back to the queue only when it is certain
that no entry of it exists. Every proposal is answered exactly once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from kvraft import limits
from kvraft.api.service import Unavailable
from kvraft.histogram import Histogram, doubling
from kvraft.store.errors import StoreError
from kvraft.store.event import Event
from kvraft.store.machine import Applied

Outcome = Event | StoreError | Applied | Unavailable
Done = Callable[[Event | StoreError | Unavailable], None]
CommandDone = Callable[[Applied | Unavailable], None]

DURATION_BOUNDS_S = doubling(0.001, 14)

NOT_SENT = 0
"""The term of a proposal that no leader has been given, or that is certainly lost."""


class Pending:
    """One unanswered write."""

    __slots__ = ("answered", "created_ns", "done", "payload", "term", "timed")

    def __init__(
        self, payload: bytes, timed: bool, done: Done | CommandDone, created_ns: int
    ) -> None:
        self.payload = payload
        self.timed = timed
        # What is applied decides the kind of outcome: a command's is Applied, a write's is not.
        self.done: Callable[[Any], None] = done
        self.created_ns = created_ns
        self.term = NOT_SENT
        self.answered = False


class ProposalTable:
    """All unanswered writes by request id, and the queue of those to be proposed next."""

    def __init__(self) -> None:
        self._pending: dict[int, Pending] = {}
        self._bytes = 0
        self.queue: deque[Pending] = deque()
        self.durations = Histogram(DURATION_BOUNDS_S)  # of those that were applied
        self.failed = 0  # answered without having been seen in the log
        self.now_ns = 0  # of the batch being applied: precise enough, and read once

    def __len__(self) -> int:
        return len(self._pending)

    def is_full(self) -> bool:
        """Whether further writes have to be refused."""
        return (
            len(self._pending) >= limits.MAX_PENDING_PROPOSALS
            or self._bytes >= limits.MAX_PENDING_BYTES
        )

    def add(self, request_id: int, pending: Pending) -> None:
        """Take in a new write."""
        self._pending[request_id] = pending
        self._bytes += len(pending.payload)
        self.queue.append(pending)

    def take_batch(self, max_entries: int, max_bytes: int) -> tuple[list[Pending], bool]:
        """The next writes to propose together, and whether one of them has a TTL."""
        batch: list[Pending] = []
        size = 0
        timed = False
        queue = self.queue
        while queue and len(batch) < max_entries and size < max_bytes:
            pending = queue.popleft()
            if pending.answered:
                continue
            batch.append(pending)
            size += len(pending.payload)
            timed = timed or pending.timed
        return batch, timed

    def put_back(self, batch: list[Pending]) -> None:
        """Return writes that were certainly not appended to the head of the queue."""
        for pending in reversed(batch):
            if not pending.answered:
                pending.term = NOT_SENT
                self.queue.appendleft(pending)

    def answer(self, request_id: int, outcome: Outcome, entry: bytes | None = None) -> None:
        """Answer a write if it is one of ours that still waits.

        `entry` is what was applied under this id, if anything was: what differs from what was asked
        for here comes from another member, and says nothing about ours.
        """
        pending = self._pending.get(request_id)
        if pending is not None and (entry is None or entry == pending.payload):
            del self._pending[request_id]
            pending.answered = True
            self._bytes -= len(pending.payload)
            if type(outcome) is Unavailable:
                self.failed += 1
            else:
                took_s = (self.now_ns - pending.created_ns) / 1e9
                durations = self.durations  # as its `observe`, without the call
                durations.counts[bisect_left(DURATION_BOUNDS_S, took_s)] += 1
                durations.total += took_s
            pending.done(outcome)

    def requeue_lost(self, applied_term: int) -> None:
        """An entry of `applied_term` was applied: nothing tagged lower can follow any more."""
        lost = [p for p in self._pending.values() if NOT_SENT < p.term < applied_term]
        self.put_back(lost)

    def fail_uncertain(self, snapshot_term: int, outcome: Unavailable) -> None:
        """A snapshot replaced entries unseen: what was given to a leader may be among them."""
        uncertain = [i for i, p in self._pending.items() if NOT_SENT < p.term <= snapshot_term]
        for request_id in uncertain:
            self.answer(request_id, outcome)

    def overdue(self, created_before_ns: int) -> Iterator[tuple[int, Pending]]:
        """Writes older than this, oldest first."""
        for request_id, pending in list(self._pending.items()):
            if pending.created_ns > created_before_ns:
                return
            yield request_id, pending

    def give_up(self, cause: str) -> None:
        """Answer everything that still waits; what no leader was given has certainly no effect."""
        for request_id, pending in list(self._pending.items()):
            self.answer(request_id, Unavailable(cause, definite=pending.term == NOT_SENT))

    def fail_all(self, outcome: Unavailable) -> None:
        """Answer everything that still waits, at the end of the process."""
        for request_id in list(self._pending):
            self.answer(request_id, outcome)
