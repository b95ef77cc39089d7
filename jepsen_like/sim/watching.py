"""The client's end of a watch: takes events off the production watcher, promptly or slowly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jepsen_like.check.history import Delivered, Watch

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member
    from kvraft.store.watch import Watcher


class WatchOwner:
    """What production knows as the owner of a watcher."""

    def __init__(self, member: Member, watch: Watch, slow_ns: int) -> None:
        self._member = member
        self._life = member.life
        self._slow_ns = slow_ns
        self._asked = False
        self.watch = watch
        self.watcher: Watcher | None = None

    def watch_ready(self, watcher: Watcher) -> None:
        """Called by production when the watcher has something new."""
        self.watcher = watcher
        if not self._slow_ns:
            self.drain()
        elif not self._asked:
            self._asked = True
            self._member.world.after(self._slow_ns, self._drain_later)

    def _drain_later(self) -> None:
        self._asked = False
        if self._member.up and self._member.life == self._life:
            self.drain()

    def drain(self) -> None:
        """Take all there is."""
        watcher, watch = self.watcher, self.watch
        if watcher is None or watch.ended:
            return
        watch.recalled_index = watcher.start_index
        while watcher.events:
            document = json.loads(watcher.events.popleft().body())
            node, previous = document["node"], document.get("prevNode", {})
            before = previous.get("value")
            watch.events.append(
                Delivered(
                    node["modifiedIndex"],
                    document["action"],
                    node["key"].encode(),
                    None if before is None else before.encode(),
                )
            )
        if watcher.overflowed:
            watch.ended = "overflow"
        elif watcher.closed and watch.stream:
            watch.ended = "closed"

    def member_ended(self) -> None:
        """The member's process is gone, and the connection with it."""
        if not self.watch.ended:
            self.watch.ended = "crash"
