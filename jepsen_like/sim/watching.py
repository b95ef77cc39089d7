"""The clients' watches: read promptly, slowly or never, and begun again where they ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS, Violation
from jepsen_like.check.history import Delivered, Watch
from jepsen_like.sim.requests import WATCHED
from kvraft import limits
from kvraft.store.errors import ErrorKind, StoreError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from jepsen_like.check.history import History
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member
    from kvraft.store.watch import Watcher

MAX_WATCHES = 300  # of one run
STUCK_NS = 500 * MILLISECOND_NS  # until a client that is cut off looks again
RESUME_NS = 50 * MILLISECOND_NS
NEVER = -1
MOST_EVENTS = limits.HISTORY_EVENTS + limits.WATCH_QUEUE  # may wait for one client


class Watching:
    """One client's watches."""

    def __init__(self, cluster: Cluster, history: History, rng: random.Random) -> None:
        self._cluster = cluster
        self._watches = history.watches
        self._rng = rng
        self.stopped: Callable[[], bool] = lambda: False

    def begin(self, member: Member) -> None:
        """A watch on anything, from now or from some changes ago."""
        rng, shape = self._rng, self._cluster.shape
        watch = self._new(member, rng.choice(WATCHED))
        if watch is None:
            return
        watch.recursive = rng.random() < 0.6
        watch.stream = rng.random() < 0.7
        back = rng.choice((0, 0, 1, 10, 100, 1100))
        slow_ns = 0
        if rng.random() < shape.slow_watch_share:
            slow_ns = rng.choice((500, 3000)) * MILLISECOND_NS
        if rng.random() < shape.abandoned_watch_share:
            slow_ns = NEVER

        def since() -> int:
            return max(1, member.replica.store.index - back) if back else 0

        self._register(member, watch, since, slow_ns)

    def _new(self, member: Member, path: bytes) -> Watch | None:
        cut_off = member.number in self._cluster.without_clients
        if cut_off or not member.up or not member.replica.accepting():
            return None
        if len(self._watches) >= MAX_WATCHES:
            return None
        return Watch(len(self._watches), member.number, path)

    def _register(
        self, member: Member, watch: Watch, since: Callable[[], int], slow_ns: int
    ) -> None:
        def register() -> None:
            store = member.replica.store
            first = since()
            watch.number = len(self._watches)
            watch.registered_index = store.index
            watch.first_index = first or store.index + 1
            self._watches.append(watch)
            try:
                watcher = store.watch(watch.path, watch.recursive, watch.stream, first)
            except StoreError as error:
                assert error.kind is ErrorKind.HISTORY_CLEARED
                watch.refused_cause = error.cause
                self._go_on(watch, error.index + 1)
                return
            owner = WatchOwner(member, watch, slow_ns, self._ended)
            watcher.owner = owner
            self._cluster.own(member, owner)
            owner.watch_ready(watcher)

        member.soon(member.life, register)

    # --- beginning again ------------------------------------------------------------------

    def _ended(self, watch: Watch) -> None:
        """The stream has ended, and says so: go on behind the last event."""
        last = watch.events[-1].index + 1 if watch.events else watch.first_index
        self._go_on(watch, last)

    def _go_on(self, old: Watch, index: int) -> None:
        """From this index, at any member; after an error 401 that of its answer, read anew."""
        world, shape = self._cluster.world, self._cluster.shape
        if self._rng.random() >= shape.resumed_watch_share:
            return

        def again() -> None:
            running = self._cluster.running()
            if self.stopped() or not running:
                return
            member = self._rng.choice(running)
            watch = self._new(member, old.path)
            if watch is not None:
                world.faults["watch resumed"] += 1
                watch.recursive, watch.stream = old.recursive, old.stream
                self._register(member, watch, lambda: index, 0)

        world.after(RESUME_NS, again)


class WatchOwner:
    """What production knows as the owner of a watcher."""

    def __init__(
        self, member: Member, watch: Watch, slow_ns: int, ended: Callable[[Watch], None]
    ) -> None:
        self._member = member
        self._life = member.life
        self._slow_ns = slow_ns
        self._asked = False
        self._ended = ended
        self.watch = watch
        self.watcher: Watcher | None = None

    def watch_ready(self, watcher: Watcher) -> None:
        """Called by production when the watcher has something new."""
        self.watcher = watcher
        if len(watcher.events) > MOST_EVENTS:
            raise Violation(f"{len(watcher.events)} events wait: {self.watch.describe()}")
        if self._slow_ns == NEVER:
            return
        if self._slow_ns or self._stuck():
            self._drain_in(self._slow_ns or STUCK_NS)
        else:
            self.drain()

    def _stuck(self) -> bool:
        return self._member.number in self._member.cluster.without_clients

    def _drain_in(self, delay_ns: int) -> None:
        if not self._asked:
            self._asked = True
            self._member.world.after(delay_ns, self._drain_later)

    def _drain_later(self) -> None:
        self._asked = False
        if not self._member.up or self._member.life != self._life:
            return
        if self._stuck():
            self._drain_in(STUCK_NS)
        else:
            self.drain()

    def drain(self) -> None:
        """Take all there is."""
        watcher, watch = self.watcher, self.watch
        if watcher is None or watch.ended:
            return
        watch.recalled_index = watcher.start_index
        while watcher.events:
            watch.events.append(_delivered(watcher.events.popleft().body()))
        if watcher.overflowed:
            watch.ended = "overflow"
        elif watcher.closed and watch.stream:
            watch.ended = "closed"
        if watch.ended:
            self._ended(watch)

    def member_ended(self) -> None:
        """The member's process is gone, and the connection with it."""
        if not self.watch.ended:
            self.watch.ended = "crash"
            self._ended(self.watch)


def _delivered(body: bytes) -> Delivered:
    document = json.loads(body)
    node, previous = document["node"], document.get("prevNode", {})
    before = previous.get("value")
    return Delivered(
        node["modifiedIndex"],
        document["action"],
        node["key"].encode(),
        None if before is None else before.encode(),
    )
