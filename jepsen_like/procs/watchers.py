"""One endless watch per member: together they see every change, also those nobody acknowledged.

A watch is resumed at the member after it broke, from the event behind the last one seen. Each
connection is a session of its own with the range of indexes that it vouches for, so that an event
which one session shows and another one leaves out is found.
"""

from __future__ import annotations

import asyncio
import time

from jepsen_like.base import Violation
from jepsen_like.check.coverage import Seen, Session
from jepsen_like.procs.clients import ROOT
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import Answer, BrokenError, Connection, NotSentError

HEAD_TIMEOUT_S = 5.0
RETRY_S = 0.05


class Watcher:
    """Watches all keys below a directory through one member.

    With `poll` by one-shot watches, each from behind the event of the one before: the streams of
    a real etcd are silent after the first event that lies in the past.
    """

    def __init__(
        self, fleet: Fleet, member: int, root: bytes = ROOT, *, poll: bool = False
    ) -> None:
        self._fleet = fleet
        self.member = member
        self.next_index = 1
        self.sessions: list[Session] = []
        self.cleared = 0
        self._root = root
        self._poll = poll

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except (NotSentError, BrokenError):
                pass
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        connection = await Connection.open(self._fleet.address(self.member))
        session = Session(self.member, self.next_index, self._root)
        self.sessions.append(session)
        try:
            while await self._follow(connection, session) and self._poll:
                pass
        finally:
            connection.close()

    async def _follow(self, connection: Connection, session: Session) -> bool:
        """One request; whether it brought an event, and another one may follow."""
        kind = "" if self._poll else "&stream=true"
        query = f"?wait=true&recursive=true{kind}&waitIndex={self.next_index}"
        seen = False
        async for answer in connection.follow(
            f"/v2/keys{self._root.decode()}{query}", HEAD_TIMEOUT_S
        ):
            if not answer.body:
                continue
            if answer.status != 200:
                self._refused(answer)
                return False
            document = answer.document()
            index = document["node"]["modifiedIndex"]
            if index < self.next_index:
                raise Violation(f"a watch from {self.next_index} was shown index {index}")
            session.events.append(Seen(index, answer.body, document, time.monotonic_ns()))
            self.next_index = index + 1
            seen = True
        return seen

    def _refused(self, answer: Answer) -> None:
        """Too far behind: what lies between stays unseen through this member."""
        document = answer.document()
        if document.get("errorCode") == 401:
            self.cleared += 1
            self.next_index = document["index"] + 1
