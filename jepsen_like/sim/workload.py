"""The clients: a mix of writes, reads and watches, with unique values, on few keys.

Each client waits for its answer or gives up after its timeout, thinks, and goes on. What it was
told is written down in the history exactly as it arrived; a refusal by a member that is down is
`failed`, since nothing was sent. A timeout is `unknown`, and so is all that production marks as
indefinite; some clients send the very same request once more then.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.check.history import History, Operation, Outcome
from jepsen_like.sim.requests import READ, Seen, draw_request
from jepsen_like.sim.watching import Watching
from kvraft.api.service import Unavailable
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member
    from kvraft.store.event import Event
    from kvraft.store.machine import Applied

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
        self._seen: Seen = {}
        self._watching = Watching(
            workload.cluster, workload.history, workload.world.rng(f"watches {number}")
        )
        self._watching.stopped = lambda: workload.stopped

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
        member, shape = self._any_member(), self._cluster.shape
        if self._rng.random() < shape.command_share:
            self._command(member)
            return
        draw = self._rng.random()
        if draw < shape.watch_share:
            self._watching.begin(member)
            self._think()
        elif draw < 0.45:
            self._read(member)
        else:
            self._write(member)

    def _any_member(self) -> Member:
        rng = self._rng
        members = self._cluster.staying() or list(self._cluster.members.values())
        member = rng.choice(members)
        if not member.up and rng.random() < 0.8 and self._cluster.running():
            member = rng.choice(self._cluster.running())
        return member

    # --- sending and answering ------------------------------------------------------------

    def _begin(self, member: Member, operations: list[Operation]) -> Operation:
        life = member.number * 1_000_000 + member.life
        operation = Operation(len(operations), self._number, life, self._world.now_ns)
        operations.append(operation)
        return operation

    def _send(self, member: Member, operation: Operation, action: Callable[[], None]) -> None:
        """Carry a request to the member; it is held there until clients are accepted."""
        timeout_ns = self._cluster.shape.client_timeout_ms * MILLISECOND_NS
        life = member.life

        def arrive() -> None:
            if operation.outcome is not Outcome.PENDING or self._cut_off(member):
                return
            if not member.up or member.life != life:
                # Nobody listens there: the request was never sent.
                self._answer(member, operation, lambda: _outcome(operation, Outcome.FAILED))
            elif not member.replica.accepting():
                self._world.after(RETRY_MS * MILLISECOND_NS, arrive)
            else:
                member.soon(life, action)

        def give_up() -> None:
            self._ended(operation, lambda: _outcome(operation, Outcome.UNKNOWN))

        self._world.after(self._delay_ns(), arrive)
        self._world.after(timeout_ns, give_up)

    def _answer(self, member: Member, operation: Operation, fill: Callable[[], None]) -> None:
        """Carry an answer back."""

        def arrive() -> None:
            if not self._cut_off(member):
                self._ended(operation, fill)

        self._world.after(self._delay_ns(), arrive)

    def _cut_off(self, member: Member) -> bool:
        return member.number in self._cluster.without_clients

    def _ended(self, operation: Operation, fill: Callable[[], None]) -> None:
        if operation.ended_ns >= 0:
            return
        fill()
        operation.ended_ns = self._world.now_ns
        self._world.note("client", self._number, "op", operation.number, operation.outcome.value)
        request = operation.request
        if (
            operation.outcome is Outcome.UNKNOWN
            and request is not None
            and self._may_repeat(request)
        ):
            self._world.faults["same request sent again"] += 1
            self._ask_for(self._any_member(), request, operation.tag)
        else:
            self._think()

    def _may_repeat(self, request: Request) -> bool:
        """Times are judged from the first request on, so one with a ttl is not repeated."""
        if self._workload.stopped or request.op == Op.COMMAND or request.ttl_seconds is not None:
            return False
        return self._rng.random() < self._cluster.shape.repeat_share

    def _delay_ns(self) -> int:
        return self._rng.randint(MILLISECOND_NS // 20, MILLISECOND_NS)

    # --- writes -------------------------------------------------------------------------

    def _write(self, member: Member) -> None:
        tag = self._workload.tag()
        self._ask_for(member, draw_request(self._rng, self._seen, tag), tag)

    def _ask_for(self, member: Member, request: Request, tag: bytes) -> None:
        operation = self._begin(member, self._workload.history.operations)
        operation.tag = tag
        operation.request = request
        self._world.note("client", self._number, "op", operation.number, member.number, request)

        def done(outcome: Event | StoreError | Unavailable) -> None:
            if isinstance(outcome, Unavailable):
                known = _known(outcome)
                self._answer(member, operation, lambda: _outcome(operation, known))
            elif isinstance(outcome, StoreError):
                error = outcome
                self._answer(member, operation, lambda: _refused(operation, error))
            else:
                document = json.loads(outcome.body())
                self._answer(member, operation, lambda: self._written(operation, document))

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

    # --- commands to the machine beside the keys --------------------------------------------

    def _command(self, member: Member) -> None:
        operation = self._begin(member, self._workload.history.commands)
        operation.tag = self._workload.tag()
        operation.request = Request(Op.COMMAND, b"", operation.tag)

        def done(outcome: Applied | Unavailable) -> None:
            if isinstance(outcome, Unavailable):
                known = _known(outcome)
                self._answer(member, operation, lambda: _outcome(operation, known))
            else:
                applied = outcome
                self._answer(member, operation, lambda: _carried_out(operation, applied))

        self._send(member, operation, lambda: member.replica.submit(operation.tag, done))

    # --- reads --------------------------------------------------------------------------

    def _read(self, member: Member) -> None:
        rng = self._rng
        operation = self._begin(member, self._workload.history.operations)
        path = rng.choice(READ)
        operation.node_path = path
        operation.quorum = rng.random() < 0.6
        replica_life = member.life

        def look() -> None:
            member.serve()
            answer = _looked_up(member, path)
            self._answer(member, operation, lambda: self._read_done(operation, answer))

        def ready(failure: Unavailable | None) -> None:
            if failure is not None:
                self._answer(member, operation, lambda: _outcome(operation, Outcome.FAILED))
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


def _known(outcome: Unavailable) -> Outcome:
    return Outcome.FAILED if outcome.definite else Outcome.UNKNOWN


def _carried_out(operation: Operation, applied: Applied) -> None:
    assert applied.error is None, applied
    operation.outcome = Outcome.OK
    operation.index = applied.log_index
    operation.action = repr(applied.result)


def _refused(operation: Operation, error: StoreError) -> None:
    operation.outcome = Outcome.REFUSED
    operation.error = error.kind.name
    operation.index = error.index
