"""One endless watch per member: together they see every change, also those nobody acknowledged.

A watch is resumed at the member after it broke, from the event behind the last one seen. Each
connection is a session of its own with the range of indexes that it vouches for, so that an event
which one session shows and another one leaves out is found.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from jepsen_like.base import Violation
from jepsen_like.procs.clients import ROOT
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import Answer, BrokenError, Connection, NotSentError

HEAD_TIMEOUT_S = 5.0
RETRY_S = 0.05


class Seen(NamedTuple):
    """One event as a watcher was told it."""

    place: int
    """The index of the change."""
    text: bytes
    document: dict[str, Any]


class Session:
    """What one connection has delivered."""

    __slots__ = ("events", "first_index", "member")

    def __init__(self, member: int, first_index: int) -> None:
        self.member = member
        self.first_index = first_index
        self.events: list[Seen] = []

    @property
    def last_index(self) -> int:
        """Up to here the session vouches for having shown everything."""
        return self.events[-1].place if self.events else self.first_index - 1


class Watcher:
    """Watches all keys of the workload through one member."""

    def __init__(self, fleet: Fleet, member: int) -> None:
        self._fleet = fleet
        self.member = member
        self.next_index = 1
        self.sessions: list[Session] = []
        self.cleared = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except (NotSentError, BrokenError):
                pass
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        connection = await Connection.open(self._fleet.ports[self.member])
        session = Session(self.member, self.next_index)
        self.sessions.append(session)
        query = f"?wait=true&recursive=true&stream=true&waitIndex={self.next_index}"
        target = f"/v2/keys{ROOT.decode()}{query}"
        try:
            async for answer in connection.follow(target, HEAD_TIMEOUT_S):
                if not answer.body:
                    continue
                if answer.status != 200:
                    self._refused(answer)
                    return
                document = answer.document()
                index = document["node"]["modifiedIndex"]
                if index < self.next_index:
                    raise Violation(f"a watch from {self.next_index} was shown index {index}")
                session.events.append(Seen(index, answer.body, document))
                self.next_index = index + 1
        finally:
            connection.close()

    def _refused(self, answer: Answer) -> None:
        """Too far behind: what lies between stays unseen through this member."""
        document = answer.document()
        if document.get("errorCode") == 401:
            self.cleared += 1
            self.next_index = document["index"] + 1


class Coverage(NamedTuple):
    """All that was seen by anybody."""

    events: dict[int, Seen]
    ranges: list[tuple[int, int]]
    """Disjoint and ascending: within them nothing was missed."""

    def covers(self, index: int) -> bool:
        """Whether a change with this index would have been seen."""
        return any(first <= index <= last for first, last in self.ranges)


def merge(sessions: Sequence[Session]) -> Coverage:
    """Put the sessions together. Raises Violation where two of them disagree."""
    events: dict[int, Seen] = {}
    for session in sessions:
        for seen in session.events:
            known = events.setdefault(seen.place, seen)
            if known.text != seen.text:
                raise Violation(f"two events at one index: {known.text!r} and {seen.text!r}")
    order = sorted(events)
    for session in sessions:
        delivered = {seen.place for seen in session.events}
        start = bisect_left(order, session.first_index)
        stop = bisect_right(order, session.last_index)
        missing = [index for index in order[start:stop] if index not in delivered]
        if missing:
            raise Violation(
                f"a watch at member {session.member} from {session.first_index} to "
                f"{session.last_index} left out {missing[:10]}"
            )
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((s.first_index, s.last_index) for s in sessions if s.events):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return Coverage(events, ranges)
