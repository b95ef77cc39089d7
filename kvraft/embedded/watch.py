"""A watch on a node of this process: what `client/watcher.py` is to servers, without polls.

A watcher of the store collects events as they are applied. If more come than it may hold, it is
closed, and the watch goes on from the index behind the last event that it got, out of the store's
history; if that does not reach back so far, it reads the present state and says so, with a
`Resync`. So nothing is lost in silence.

Invariants: `_seen` is the index up to which everything has been yielded; an event is taken from the
watcher only when it is yielded.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from kvraft.client import requests
from kvraft.client.errors import KeyNotFound, NotADirectory
from kvraft.client.model import KeyNode, Resync, WatchEvent
from kvraft.client.scope import Scope
from kvraft.embedded.values import text, watch_event
from kvraft.store.errors import ErrorKind, StoreError
from kvraft.store.path import clean

if TYPE_CHECKING:
    from kvraft.embedded.keys import DirectKeys
    from kvraft.embedded.running import Life
    from kvraft.store.watch import Watcher

INITIAL = "initial"


class NodeWatch:
    """See `Node.watch`, which makes it; for one task at a time."""

    def __init__(
        self,
        node: DirectKeys,
        key: str,
        *,
        recursive: bool,
        after_index: int | None,
        initial: bool,
    ) -> None:
        if after_index is not None and (after_index < 0 or isinstance(after_index, bool)):
            raise ValueError(f"after_index is a store's index, not {after_index!r}")
        if initial and after_index is not None:
            raise ValueError("give either initial or after_index: the tree has an index of its own")
        self._node = node
        self._key = requests.clean_key(key)
        self._path = clean(self._key.encode("utf-8", "surrogateescape"))
        self._recursive = recursive
        self._scope = Scope(self._key, recursive)
        self._seen = after_index or 0
        self._begun = after_index is not None
        self._resync = INITIAL if initial else ""  # why the state has to be read first
        self._life: Life | None = None
        self._watcher: Watcher | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def index(self) -> int:
        """Every change up to this index has been yielded; 0 before the watch has begun."""
        return self._seen

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        if not self._begun and not self._resync and not self._closed:
            self._begin()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the watch; a pending `__anext__` raises StopAsyncIteration."""
        self._closed = True
        self._leave()
        self._wake()

    async def __anext__(self) -> WatchEvent | Resync:
        while not self._closed:
            if self._resync:
                return await self._read_state()
            event = self._event_at_hand()
            if event is not None:
                return event
            if self._watcher is None:
                self._register()
            else:
                await self._wait()
        raise StopAsyncIteration

    # --- what the node and the store call -----------------------------------------------

    def watch_ready(self, watcher: Watcher) -> None:
        """Events have come, or the watcher was closed."""
        self._wake()

    def node_ended(self) -> None:
        """The node is stopped: what was applied until now is still yielded."""
        self._wake()

    # --- one step after the other -------------------------------------------------------

    def _begin(self) -> None:
        """Begin at the store's index now."""
        self._seen = self._node.life.member.store.index
        self._begun = True
        self._register()

    def _register(self) -> None:
        """Let the store collect events from behind the last one. Raises NodeStopped."""
        if not self._begun:
            self._begin()
            return
        life = self._node.life
        try:
            watcher = life.member.store.watch(self._path, self._recursive, True, self._seen + 1)
        except StoreError as error:
            if error.kind is not ErrorKind.HISTORY_CLEARED:
                raise
            self._resync = text(error.cause)
            return
        watcher.owner = self
        self._life, self._watcher = life, watcher
        self._node.follow(self)

    def _event_at_hand(self) -> WatchEvent | None:
        """The next event that has come already."""
        watcher = self._watcher
        if watcher is None:
            return None
        while watcher.events:
            event = watch_event(watcher.events.popleft())
            if event.index > self._seen:
                self._seen = event.index
                if self._scope.wants(event):
                    return event
        assert self._life is not None
        if not self._life.ended:
            if watcher.closed:  # it was over-full: the rest is in the history
                self._leave()
            return None
        # All that this life has applied has been looked at: nothing else was for this watch.
        if not watcher.closed:
            self._seen = max(self._seen, self._life.member.store.index)
        self._leave()
        return None

    async def _wait(self) -> None:
        if self._waiting is not None:
            raise RuntimeError("this watch is being waited for already")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    async def _read_state(self) -> Resync:
        """What the watch is about, as it is now; the events go on behind it."""
        node: KeyNode | None = None
        try:
            result = await self._node.get(self._key, recursive=self._recursive, quorum=True)
            node, index = result.node, result.etcd_index
        except (KeyNotFound, NotADirectory) as error:
            index = error.index
        reason, self._resync = self._resync, ""
        self._seen = index
        self._begun = True
        return Resync(node, index, reason)

    def _leave(self) -> None:
        watcher, life = self._watcher, self._life
        if watcher is not None and life is not None:
            watcher.owner = None
            life.member.store.unwatch(watcher)
            self._node.unfollow(self)
        self._watcher = self._life = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
