"""A history without a fault: clients, watchers and a store that does everything right.

Time is virtual. Requests take effect at a moment between their beginning and their end, or after
their client has given up, or never; members lag behind, watches break off and go on, keys
expire.
"""

from __future__ import annotations

import json
import random
from typing import Any

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.check.agreed import execute
from jepsen_like.check.coverage import Seen, Session
from jepsen_like.check.evidence import Evidence, LastLook
from jepsen_like.check.explain import ACTIONS
from jepsen_like.check.history import Delivered, Operation, Outcome, Watch
from jepsen_like.check.model import Change, Model, Node, Refused
from jepsen_like.check.watches import owed
from kvraft.store.request import Op, Request

ROOT = b"/c"
KEYS = [b"/c/a", b"/c/b", b"/c/d"]
FLEETING = [b"/c/x", b"/c/y"]
TREE = [b"/c/t", b"/c/t/u", b"/c/t/u/v", b"/c/t/w"]
QUEUE = b"/c/q"
MEMBERS = 3


class PerfectRun:
    """See the module's description. `evidence` is complete after `finish`."""

    def __init__(self, rng: random.Random, clients: int = 4) -> None:
        self.rng = rng
        self.now_ns = 1_000
        self.model = Model()
        self.evidence = Evidence(server="perfect", writes_expected=0)
        self.reached = [0] * MEMBERS
        self.busy: dict[int, Operation] = {}
        self.given_up: list[Operation] = []
        self.done: set[int] = set()
        self.clients = clients
        self.expired_ns: dict[int, int] = {}
        for _ in range(3):
            self.model.put_record(b"member%d" % self.model.index, b"", create=False)

    def step(self) -> None:
        """Something happens somewhere."""
        rng = self.rng
        self.now_ns += rng.randrange(1, 40) * MILLISECOND_NS
        self.expire()
        if rng.random() < 0.02:
            self.model.put_record(b"version", b"%d" % self.model.index, create=False)
        if self.given_up and rng.random() < 0.05:
            late = self.given_up.pop(rng.randrange(len(self.given_up)))
            self.carry_out(late)
        lagging = rng.randrange(MEMBERS)
        self.reached[lagging] = rng.randint(self.reached[lagging], self.model.index)
        client = rng.randrange(self.clients)
        operation = self.busy.get(client)
        if operation is None:
            self.begin(client)
        elif rng.random() < 0.08:
            self.give_up(operation)
        elif operation.number in self.done:
            self.end(operation)
        else:
            self.carry_out(operation)

    def expire(self) -> None:
        """What is due goes."""
        for change in self.model.sync(self.now_ns):
            self.expired_ns[change.index] = self.now_ns

    def begin(self, client: int) -> None:
        """A client asks for something."""
        operation = Operation(
            len(self.evidence.operations), client, self.rng.randrange(MEMBERS), self.now_ns
        )
        self.evidence.operations.append(operation)
        self.busy[client] = operation
        request = self.draw(b"v%d" % operation.number)
        if isinstance(request, Request):
            operation.request, operation.node_path = request, request.path
            operation.tag = request.value or b"#%d" % operation.number
        else:
            operation.node_path = request
            operation.quorum = self.rng.random() < 0.5

    def draw(self, value: bytes) -> Request | bytes:
        """A request, or the path of a read."""
        rng = self.rng
        path = rng.choice(KEYS)
        node = self.model.nodes.get(path)
        present = node.value if node is not None and node.value is not None else b"nobody's"
        version = node.modified if node is not None else 1
        fleeting, branch = rng.choice(FLEETING), rng.choice(TREE)
        reads: list[Request | bytes] = [path, fleeting, branch, b"/c/t", QUEUE, ROOT]
        return rng.choice(
            [
                *reads,
                Request(Op.SET, path, value),
                Request(Op.CREATE, path, value),
                Request(Op.UPDATE, path, value),
                Request(Op.COMPARE_AND_SWAP, path, value, prev_value=present),
                Request(Op.COMPARE_AND_SWAP, path, value, prev_index=version),
                Request(Op.DELETE, path),
                Request(Op.COMPARE_AND_DELETE, path, prev_value=present),
                Request(Op.CREATE_IN_ORDER, QUEUE, value),
                Request(Op.SET, fleeting, value, ttl_seconds=rng.randint(1, 3)),
                Request(Op.UPDATE, fleeting, refresh=True, ttl_seconds=rng.randint(1, 3)),
                Request(Op.CREATE, branch, directory=True, ttl_seconds=rng.choice([None, 1])),
                Request(Op.SET, branch + b"/leaf", value),
                Request(Op.DELETE, branch, directory=True, recursive=True),
            ]
        )

    def carry_out(self, operation: Operation) -> None:
        """The request takes effect now."""
        self.done.add(operation.number)
        if operation.request is None:
            self.look(operation)
            return
        result = execute(self.model, operation.request)
        assert isinstance(result, Change | Refused)
        operation.index = result.index
        if isinstance(result, Refused):
            operation.error = result.kind
            return
        operation.action = ACTIONS[Op(operation.request.op)]
        operation.node_path = result.path
        operation.node_modified = result.index
        operation.node_value = result.node.value if result.node is not None else None
        if result.previous is not None:
            operation.previous = (result.previous.value, result.previous.modified)

    def look(self, operation: Operation) -> None:
        """A read, of the present or of what a member knows."""
        model, path = self.model, operation.node_path
        index = model.index if operation.quorum else self.reached[operation.member]
        operation.index = index
        node = model.at(path, index)
        if node is None:
            operation.error = "KEY_NOT_FOUND"
            return
        operation.node_value, operation.node_modified = node.value, node.modified
        if node.value is None:
            below = model.tree(path, index)
            if operation.number % 2:
                operation.tree = {key: (one.value, one.modified) for key, one in below.items()}
            else:
                operation.listing = model.listing(path, index)

    def end(self, operation: Operation) -> None:
        """The client is told."""
        operation.ended_ns = self.now_ns
        operation.outcome = Outcome.REFUSED if operation.error else Outcome.OK
        member = operation.member
        if operation.request is not None or operation.quorum:
            self.reached[member] = max(self.reached[member], operation.index)
        if operation.index < self.reached[member]:  # a local read that was on its way for long
            operation.outcome = Outcome.UNKNOWN
        del self.busy[operation.client]

    def give_up(self, operation: Operation) -> None:
        """The client hears nothing; the request may still take effect, or was never sent."""
        operation.ended_ns = self.now_ns
        operation.outcome = Outcome.UNKNOWN
        del self.busy[operation.client]
        if operation.number in self.done or operation.request is None:
            return
        if self.rng.random() < 0.3:
            operation.outcome = Outcome.FAILED
        elif self.rng.random() < 0.5:
            self.given_up.append(operation)

    # --- the end ------------------------------------------------------------------------

    def finish(self) -> Evidence:
        """Everybody hears the rest; a last write marks the end, and all look."""
        for operation in list(self.busy.values()):
            self.give_up(operation)
        for _ in range(50):
            self.now_ns += 100 * MILLISECOND_NS
            self.expire()
        self.reached = [self.model.index] * MEMBERS
        self.begin(self.clients)
        last = self.busy[self.clients]
        last.request = Request(Op.SET, b"/c/last", b"last")
        last.node_path, last.tag, last.quorum = b"/c/last", b"last", False
        self.carry_out(last)
        self.now_ns += 1
        self.end(last)
        self.watch()
        for member in range(MEMBERS):
            self.evidence.sessions += self.sessions_of(member)
            look = document(self.model, ROOT)
            self.evidence.finals.append(
                LastLook(member, ROOT, self.model.index, self.now_ns, {"node": look})
            )
        return self.evidence

    def sessions_of(self, member: int) -> list[Session]:
        """Connections that break off now and then."""
        session = Session(member, 1, ROOT)
        found = [session]
        for change in self.model.changes:
            if change.silent or not change.path.startswith(ROOT):
                continue
            if self.rng.random() < 0.05:
                session = Session(member, session.last_index + 1, ROOT)
                found.append(session)
            session.events.append(event(change, self.expired_ns.get(change.index, -1)))
        return found

    def watch(self) -> None:
        """Watches of single keys and of trees, from anywhere to the end or to the first event."""
        for number in range(4):
            path = self.rng.choice([*KEYS, *TREE, *FLEETING, ROOT])
            watch = Watch(number, self.rng.randrange(MEMBERS), path)
            watch.recursive = self.rng.random() < 0.5
            watch.stream = self.rng.random() < 0.7
            watch.first_index = watch.registered_index = self.rng.randint(1, self.model.index)
            watch.reached_index = self.model.index
            events = owed(watch, self.model.changes, self.model.index)
            for change, must in events if watch.stream else events[:1]:
                if must or self.rng.random() < 0.5 or not watch.stream:
                    before = change.previous.value if change.previous is not None else None
                    told = Delivered(change.index, change.action, change.path, before)
                    watch.events.append(told)
            self.evidence.watches.append(watch)


def perfect(seed: int, steps: int = 400) -> Evidence:
    """A finished run."""
    run = PerfectRun(random.Random(seed))
    for _ in range(steps):
        run.step()
    return run.finish()


def event(change: Change, at_ns: int) -> Seen:
    """As a watcher is told of it."""
    node: dict[str, Any] = {"key": change.path.decode(), "modifiedIndex": change.index}
    if change.node is not None:
        node |= shown(change.node) | {"modifiedIndex": change.index}
    else:
        assert change.previous is not None
        node |= {"createdIndex": change.previous.created}
    told: dict[str, Any] = {"action": change.action, "node": node}
    if change.previous is not None and change.action != "create":
        told["prevNode"] = shown(change.previous) | {"key": change.path.decode()}
    return Seen(change.index, json.dumps(told).encode(), told, at_ns)


def shown(node: Node) -> dict[str, Any]:
    """A node as the API shows it."""
    found: dict[str, Any] = {"createdIndex": node.created, "modifiedIndex": node.modified}
    found |= {"dir": True} if node.value is None else {"value": node.value.decode()}
    if node.expiration_ns:
        found["expiration"] = str(node.expiration_ns)
    return found


def document(model: Model, path: bytes) -> dict[str, Any]:
    """A recursive read."""
    node = model.nodes[path]
    found = shown(node) | {"key": path.decode()}
    if node.value is None:
        found["nodes"] = [document(model, key) for key in model.listing(path, model.index)]
    return found
