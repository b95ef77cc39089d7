"""Linearizable reads without the log: who waits for what.

LeaderReads batches requests into rounds: a round carries the commit index of its start and is
confirmed once a majority answered a heartbeat of that round or a later one; so every request
of the round saw a leader that was still one *after* the request came in. ForwardedReads keeps
what a follower asked of its leader, one request for all reads that came in together, until
it is answered or the leader changes. Neither sends anything nor knows terms.

The number of a forwarded request starts at random: an answer that was on its way when a member
restarted must not answer a request of the restarted one.

Thesis: 6.4 (steps 1-5), 6.4 last paragraph (followers).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from kvraft.limits import MAX_WAITING_READS


class ReadRequester(NamedTuple):
    """Who asked (0: this member's driver) and under which number."""

    member: int
    ctx: int


class ReadRound(NamedTuple):
    """Requests that one confirmation answers with one index."""

    number: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants
    requests: list[ReadRequester]


class LeaderReads:
    """The read requests on a leader; made anew for each time of leadership."""

    __slots__ = ("number", "rounds", "waiting", "_remote")

    def __init__(self) -> None:
        self.number = 0
        self.waiting: list[ReadRequester] = []
        self.rounds: deque[ReadRound] = deque()
        self._remote: set[ReadRequester] = set()

    def add(self, member: int, ctx: int) -> None:
        """A request for the next round. A follower's repeated or excessive one is ignored."""
        request = ReadRequester(member, ctx)
        if member:
            if request in self._remote or len(self._remote) >= MAX_WAITING_READS:
                return
            self._remote.add(request)
        self.waiting.append(request)

    def start_round(self, commit: int) -> int:
        """Put everything that waits into a new round and return its number."""
        self.number += 1
        self.rounds.append(ReadRound(self.number, commit, self.waiting))
        self.waiting = []
        return self.number

    def confirmed(self, number: int) -> list[ReadRound]:
        """A majority answered round `number`: that round and all before it are done."""
        done: list[ReadRound] = []
        rounds = self.rounds
        while rounds and rounds[0].number <= number:
            done.append(rounds.popleft())
        if self._remote:
            for finished in done:
                self._remote.difference_update(finished.requests)
        return done

    def own(self) -> list[int]:
        """The numbers of all unanswered requests of this member's driver."""
        unanswered = [request for round_ in self.rounds for request in round_.requests]
        unanswered += self.waiting
        return [request.ctx for request in unanswered if not request.member]


class ForwardedReads:
    """The reads that a follower's driver waits for."""

    __slots__ = ("sent", "waiting", "_number")

    def __init__(self, first_number: int) -> None:
        self.waiting: list[int] = []
        self.sent: dict[int, list[int]] = {}
        self._number = first_number

    def batch(self) -> int:
        """The number of a new request that stands for everything that waits."""
        self._number += 1
        self.sent[self._number] = self.waiting
        self.waiting = []
        return self._number

    def answered(self, number: int) -> list[int]:
        """The reads that an answer to request `number` answers; none if it was given up."""
        return self.sent.pop(number, [])

    def give_up(self) -> list[int]:
        """All unanswered reads, which are forgotten."""
        unanswered = [ctx for batch in self.sent.values() for ctx in batch]
        unanswered += self.waiting
        self.sent.clear()
        self.waiting = []
        return unanswered
