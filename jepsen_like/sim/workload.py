"""The clients: a mix of writes, reads and watches, with unique values, on few keys.

Each client waits for its answer or gives up after its timeout, thinks, and goes on. What it was
told is written down in the history exactly as it arrived; a refusal by a member that is down is
`failed`, since nothing was sent. A timeout is `unknown`, and so is all that production marks as
indefinite.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.check.history import History, Operation, Outcome, Watch
from jepsen_like.sim.watching import WatchOwner
from kvraft.api.service import Unavailable
from kvraft.store.errors import ErrorKind, StoreError
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member
    from kvraft.store.event import Event

REGISTERS = tuple(b"/r/k%d" % number for number in range(6))
TREE = (b"/d/a", b"/d/b", b"/d/s/a", b"/d/s/b", b"/d/_h", b"/_x/y")
TIMED = (b"/t/a", b"/t/b", b"/t/c")
QUEUE = b"/q"
WATCHED = (b"/", b"/r", b"/r/k0", b"/d", b"/d/s", b"/d/s/a", b"/t", b"/t/a", b"/q", b"/_x")
MAX_TAG = b"%06d"
RETRY_MS = 20  # between looks at a member that does not accept clients yet


class Workload:
    """All clients of one run."""

    def __init__(self, cluster: Cluster, history: History) -> None:
        self.cluster = cluster
        self.history = history
        self.world = cluster.world
        self.stopped = False
        self.written = 0  # acknowledged changes
        self._tags = 0

    def start(self) -> None:
        """Let the clients begin."""
        for number in range(self.cluster.shape.clients):
            Client(self, number).start()

    def tag(self) -> bytes:
        """A value that nobody has written before."""
        self._tags += 1
        return b"v%06d" % self._tags


class Client:
    """One client, one operation at a time."""

    def __init__(self, workload: Workload, number: int) -> None:
        self._workload = workload
        self._cluster = workload.cluster
        self._world = workload.world
        self._number = number
        self._rng: random.Random = workload.world.rng(f"client {number}")
        self._seen: dict[bytes, tuple[bytes, int]] = {}  # path -> value, modified

    def start(self) -> None:
        """Think, then act, for ever."""
        self._think()

    def _think(self) -> None:
        if self._workload.stopped:
            return
        mean_ns = self._cluster.shape.think_ms * MILLISECOND_NS
        self._world.after(self._rng.randint(mean_ns // 10, 2 * mean_ns), self._act)

    def _act(self) -> None:
        if self._workload.stopped:
            return
        rng = self._rng
        members = self._cluster.staying() or list(self._cluster.members.values())
        member = members[rng.randint(1, len(members)) - 1]
        if not member.up and rng.random() < 0.8 and self._cluster.running():
            member = rng.choice(self._cluster.running())
        draw = rng.random()
        if draw < self._cluster.shape.watch_share:
            self._watch(member)
            self._think()
        elif draw < 0.45:
            self._read(member)
        else:
            self._write(member)

    # --- sending and answering ------------------------------------------------------------

    def _begin(self, member: Member) -> Operation:
        operations = self._workload.history.operations
        life = member.number * 1_000_000 + member.life
        operation = Operation(len(operations), self._number, life, self._world.now_ns)
        operations.append(operation)
        return operation

    def _send(self, member: Member, operation: Operation, action: Callable[[], None]) -> None:
        """Carry a request to the member; it is held there until clients are accepted."""
        timeout_ns = self._cluster.shape.client_timeout_ms * MILLISECOND_NS
        life = member.life

        def arrive() -> None:
            if operation.outcome is not Outcome.PENDING:
                return
            if not member.up or member.life != life:
                # Nobody listens there: the request was never sent.
                self._answer(operation, lambda: _outcome(operation, Outcome.FAILED))
            elif not member.replica.accepting():
                self._world.after(RETRY_MS * MILLISECOND_NS, arrive)
            else:
                member.soon(life, action)

        def give_up() -> None:
            self._ended(operation, lambda: _outcome(operation, Outcome.UNKNOWN))

        self._world.after(self._delay_ns(), arrive)
        self._world.after(timeout_ns, give_up)

    def _answer(self, operation: Operation, fill: Callable[[], None]) -> None:
        """Carry an answer back."""
        self._world.after(self._delay_ns(), lambda: self._ended(operation, fill))

    def _ended(self, operation: Operation, fill: Callable[[], None]) -> None:
        if operation.outcome is not Outcome.PENDING:
            return
        fill()
        operation.ended_ns = self._world.now_ns
        self._world.note("client", self._number, "op", operation.number, operation.outcome.value)
        self._think()

    def _delay_ns(self) -> int:
        return self._rng.randint(MILLISECOND_NS // 20, MILLISECOND_NS)

    # --- writes -------------------------------------------------------------------------

    def _write(self, member: Member) -> None:
        tag = self._workload.tag()
        operation = self._begin(member)
        operation.tag = tag
        request = operation.request = self._draw_request(tag)
        self._world.note("client", self._number, "op", operation.number, member.number, request)

        def done(outcome: Event | StoreError | Unavailable) -> None:
            if isinstance(outcome, Unavailable):
                known = Outcome.FAILED if outcome.definite else Outcome.UNKNOWN
                self._answer(operation, lambda: _outcome(operation, known))
            elif isinstance(outcome, StoreError):
                error = outcome
                self._answer(operation, lambda: _refused(operation, error))
            else:
                document = json.loads(outcome.body())
                self._answer(operation, lambda: self._written(operation, document))

        self._send(member, operation, lambda: member.replica.propose(request, done))

    def _written(self, operation: Operation, document: Any) -> None:
        node, previous = document["node"], document.get("prevNode")
        operation.outcome = Outcome.OK
        self._workload.written += 1
        operation.action = document["action"]
        operation.index = operation.node_modified = node["modifiedIndex"]
        operation.node_path = node["key"].encode()
        operation.node_value = node["value"].encode() if "value" in node else None
        if previous is not None:
            value = previous["value"].encode() if "value" in previous else None
            operation.previous = (value, previous["modifiedIndex"])
        if operation.node_value is not None:
            self._seen[operation.node_path] = (operation.node_value, operation.index)

    def _draw_request(self, tag: bytes) -> Request:
        rng = self._rng
        kind = rng.random()
        path = rng.choice(REGISTERS)
        if kind < 0.30:
            return Request(Op.SET, path, tag)
        if kind < 0.36:
            return Request(Op.CREATE, path, tag)
        if kind < 0.42:
            return Request(Op.UPDATE, path, tag)
        if kind < 0.60:
            return self._draw_compare(path, tag)
        if kind < 0.66:
            return Request(Op.DELETE, path, tag)
        if kind < 0.74:
            return Request(Op.CREATE_IN_ORDER, QUEUE, tag)
        if kind < 0.88:
            return self._draw_tree(tag)
        path = rng.choice(TIMED)
        ttl = rng.choice((1, 2, 5))
        if rng.random() < 0.2:
            return Request(Op.SET, path, tag, refresh=True, ttl_seconds=ttl)
        return Request(Op.SET, path, tag, ttl_seconds=ttl)

    def _draw_compare(self, path: bytes, tag: bytes) -> Request:
        rng = self._rng
        value, modified = self._seen.get(path, (b"nothing", 0))
        by_index = modified if rng.random() < 0.5 else 0
        by_value = b"" if by_index else value
        if rng.random() < 0.25:
            return Request(
                Op.COMPARE_AND_DELETE, path, tag, prev_value=by_value, prev_index=by_index
            )
        return Request(Op.COMPARE_AND_SWAP, path, tag, prev_value=by_value, prev_index=by_index)

    def _draw_tree(self, tag: bytes) -> Request:
        rng = self._rng
        path = rng.choice(TREE)
        kind = rng.random()
        if kind < 0.6:
            return Request(Op.SET, path, tag)
        if kind < 0.75:
            return Request(Op.DELETE, rng.choice((b"/d/s", b"/d", b"/q")), tag, recursive=True)
        if kind < 0.85:
            return Request(Op.DELETE, path.rpartition(b"/")[0], tag, directory=True)
        if kind < 0.95:
            return Request(Op.SET, b"/d/s", tag, directory=True, ttl_seconds=rng.choice((1, 3)))
        return Request(Op.SET, path + b"/below", tag)

    # --- reads --------------------------------------------------------------------------

    def _read(self, member: Member) -> None:
        rng = self._rng
        operation = self._begin(member)
        path = rng.choice(REGISTERS + REGISTERS + TREE + TIMED + (b"/d", b"/r"))
        operation.node_path = path
        operation.quorum = rng.random() < 0.6
        replica_life = member.life

        def look() -> None:
            member.serve()
            answer = _looked_up(member, path)
            self._answer(operation, lambda: self._read_done(operation, answer))

        def ready(failure: Unavailable | None) -> None:
            if failure is not None:
                self._answer(operation, lambda: _outcome(operation, Outcome.FAILED))
            elif member.up and member.life == replica_life:
                look()

        def ask() -> None:
            if operation.quorum:
                member.replica.read_barrier(ready)
            else:
                look()

        self._send(member, operation, ask)

    def _read_done(self, operation: Operation, answer: tuple[int, Any]) -> None:
        index, document = answer
        operation.index = index
        if document is None:
            operation.outcome = Outcome.REFUSED
            return
        node = document["node"]
        operation.outcome = Outcome.OK
        operation.node_modified = node.get("modifiedIndex", 0)
        if node.get("dir"):
            operation.listing = sorted(child["key"].encode() for child in node.get("nodes", ()))
        else:
            operation.node_value = node["value"].encode()
            self._seen[operation.node_path] = (operation.node_value, operation.node_modified)

    # --- watches ------------------------------------------------------------------------

    def _watch(self, member: Member) -> None:
        rng = self._rng
        watches = self._workload.history.watches
        if not member.up or not member.replica.accepting() or len(watches) > 300:
            return
        watch = Watch(len(watches), member.number, rng.choice(WATCHED))
        watch.recursive = rng.random() < 0.6
        watch.stream = rng.random() < 0.7
        back = rng.choice((0, 0, 1, 10, 100, 1100))
        slow = rng.random() < self._cluster.shape.slow_watch_share
        slow_ns = rng.choice((500, 3000)) * MILLISECOND_NS if slow else 0
        life = member.life

        def register() -> None:
            store = member.replica.store
            since = max(1, store.index - back) if back else 0
            watch.registered_index = store.index
            watch.first_index = since or store.index + 1
            watches.append(watch)
            try:
                watcher = store.watch(watch.path, watch.recursive, watch.stream, since)
            except StoreError as error:
                assert error.kind is ErrorKind.HISTORY_CLEARED
                watch.refused_cause = error.cause
                return
            owner = WatchOwner(member, watch, slow_ns)
            watcher.owner = owner
            self._cluster.own(member, owner)
            owner.watch_ready(watcher)

        member.soon(life, register)


def _looked_up(member: Member, path: bytes) -> tuple[int, Any]:
    store = member.replica.store
    try:
        body = store.get_body(path, False, False, member.replica.now_ns())
    except StoreError as error:
        return error.index, None
    assert isinstance(body, bytes)
    return store.index, json.loads(body)


def _outcome(operation: Operation, outcome: Outcome) -> None:
    operation.outcome = outcome


def _refused(operation: Operation, error: StoreError) -> None:
    operation.outcome = Outcome.REFUSED
    operation.error = error.kind.name
    operation.index = error.index
