"""An election: of those who campaign, one leads at a time, and everybody can see who.

The same queue as a lock's (see `kvraft.client.lock`, also for what a TTL does not promise): the
candidate whose key was created first leads until its key goes. The value of a key is the
candidate's id (32 hexadecimal digits), a blank, and the value that it campaigns with, so that
everybody may read it: `/_elections/NAME/<index>`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Self

from kvraft.client.errors import KeyNotFound
from kvraft.client.holding import Held
from kvraft.client.keeping import Clock, boot_time
from kvraft.client.model import KeyNode, Resync, WatchEvent
from kvraft.client.operations import KeyOperations
from kvraft.client.queueing import Place, in_line, index_of, queue_directory

ELECTIONS: Final = "/_elections"
ID_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads. `fencing_index` is greater for each leader than for those before."""

    value: str
    key: str
    fencing_index: int


class Election(Held):
    """One candidate, or an observer; made by `client.election(name, value, ttl=30)`.

        async with client.election("scheduler", "host-7") as leadership:
            ...  # leading; interrupted, with LockLost, if the leadership is lost

        async for leader in client.election("scheduler").observe():
            print(leader.value if leader else "nobody leads")

    One object belongs to one task, except that `leader()` and `observe()` may be called anywhere.
    """

    _what = "leadership"

    def __init__(
        self,
        operations: KeyOperations,
        name: str,
        value: str = "",
        *,
        ttl: int = 30,
        directory: str = ELECTIONS,
        clock: Clock = boot_time,
    ) -> None:
        path = queue_directory(directory, name)
        mark = f"{uuid.uuid4().hex} {value}"
        super().__init__(Place(operations, path, mark, ttl, clock), path)
        self._operations = operations

    async def campaign(self, *, timeout_s: float | None = None) -> Self:
        """Wait until this candidate leads. Raises as `Lock.acquire` does."""
        await self._acquire(timeout_s)
        return self

    async def resign(self) -> None:
        """Lead no more, or give up campaigning: the next candidate leads."""
        await self._release()

    async def leader(self) -> Leader | None:
        """Who leads now, by a linearizable read; None if nobody does."""
        try:
            result = await self._operations.get(self.directory, quorum=True)
        except KeyNotFound:
            return None
        return _first(result.node)

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Who leads: at once, and whenever that changes.

        A change that was undone while nobody could be asked is not shown; the last one always is.
        """
        places: dict[str, KeyNode] = {}
        known = False
        shown: Leader | None = None
        async with self._operations.watch(self.directory, recursive=True, initial=True) as changes:
            async for change in changes:
                self._follow(places, change)
                leader = _leader(places[min(places)]) if places else None
                if not known or leader != shown:
                    known, shown = True, leader
                    yield leader

    def _follow(self, places: dict[str, KeyNode], change: WatchEvent | Resync) -> None:
        """Bring the picture of the queue up to a change."""
        if isinstance(change, Resync):
            places.clear()
            places.update((node.key, node) for node in in_line(change.node))
            return
        key = change.key
        if key == self.directory or self.directory.startswith(f"{key.rstrip('/')}/"):
            places.clear()  # the directory itself is gone, or is new
        elif key.rpartition("/")[0] != self.directory or index_of(key) is None:
            return
        elif change.value is None:
            places.pop(key, None)
        else:
            places[key] = change.node

    async def __aenter__(self) -> Self:
        await self.campaign()
        self._guard()
        return self


def _first(directory: KeyNode) -> Leader | None:
    places = in_line(directory)
    return _leader(places[0]) if places else None


def _leader(node: KeyNode) -> Leader:
    """A key that somebody else put there by hand has no id: then all of it is the value."""
    text = node.value or ""
    marked = len(text) > ID_LENGTH and text[ID_LENGTH] == " "
    index = index_of(node.key)
    assert index is not None
    return Leader(text[ID_LENGTH + 1 :] if marked else text, node.key, index)
