"""Recording clients: what they asked for and what they were told, whatever happens meanwhile.

Each write that has a value carries one that no other write of the run has, so that it can be
recognised in events and answers whatever became of its own. An operation is `failed` only where
nothing was sent; every other way of not getting an answer makes it `unknown`, and so does an
answer that says that the server does not know.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from jepsen_like.base import Violation
from jepsen_like.check.explain import previous_of, value_of
from jepsen_like.check.history import History, Operation, Outcome
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import (
    CONNECT_TIMEOUT_S,
    Answer,
    BrokenError,
    Connection,
    NotSentError,
)
from kvraft.store.request import Op, Request

ROOT: Final = b"/c"
TIMEOUT_S: Final = 2.0
REFUSED_PAUSE_S: Final = 0.02  # between attempts while nobody listens
MOST_PATIENCE: Final = 16.0  # times its timeout that a client waits after many without an answer
MOST_WAIT_S: Final = 3.0  # but no longer than this, or its timeout
LAST_ANSWER_S: Final = 10.0  # an answer after all faults may be long, and the machine busy
LAST_LIMIT_S: Final = 60.0  # until one of a series of attempts must have been answered

REFUSALS: Final = {
    100: "KEY_NOT_FOUND",
    101: "COMPARE_FAILED",
    102: "NOT_A_FILE",
    104: "NOT_A_DIRECTORY",
    105: "KEY_EXISTS",
    108: "DIRECTORY_NOT_EMPTY",
}


class Recorder:
    """The history of the run, and how much of it has succeeded so far."""

    def __init__(self) -> None:
        self.history = History()
        self.acknowledged = 0
        self.highest_index = 0
        self._clients: list[Client] = []

    def enrol(self, client: Client) -> int:
        """A number that no other client of the run has."""
        self._clients.append(client)
        return len(self._clients) - 1

    def dismiss(self) -> None:
        """Close the connections of all clients: the run is over."""
        for client in self._clients:
            client.hang_up()

    def begin(self, client: int) -> Operation:
        """A new operation, invoked now."""
        operations = self.history.operations
        operation = Operation(len(operations), client, 0, time.monotonic_ns())
        operations.append(operation)
        return operation

    def end(self, operation: Operation, outcome: Outcome) -> None:
        """The operation is over for its client."""
        operation.ended_ns = time.monotonic_ns()
        operation.outcome = outcome
        if outcome in (Outcome.OK, Outcome.REFUSED):
            self.highest_index = max(self.highest_index, operation.index)
        if outcome is Outcome.OK and operation.request is not None:
            self.acknowledged += 1


class Client:
    """One client: one operation at a time, at one member as long as that answers."""

    def __init__(
        self, fleet: Fleet, recorder: Recorder, rng: random.Random, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.number = recorder.enrol(self)
        self._fleet = fleet
        self._recorder = recorder
        self._rng = rng
        self._timeout_s = timeout_s
        self._patience = 1.0  # times the timeout
        self._connection: Connection | None = None
        self._member = fleet.pick(rng)
        self._life = 0
        self._count = 0

    def value(self) -> bytes:
        """A value that nobody else has written or will write."""
        self._count += 1
        return b"c%d-%d" % (self.number, self._count)

    def go_to(self, member: int) -> None:
        """Ask this member from now on, as long as it answers."""
        self.leave()
        self._member = member

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def leave(self) -> None:
        """Go to another member, or back to the same one."""
        self.hang_up()
        self._member = self._fleet.pick(self._rng)

    async def write(self, request: Request) -> Operation:
        """Carry out a change, and record it."""
        operation, _ = await self._carry_out(request, request.path, _http(request))
        return operation

    async def read(self, path: bytes, *, quorum: bool = False) -> Operation:
        """Look at one key, and record what was seen."""
        operation, _ = await self._carry_out(None, path, _http_of_read(path, quorum, {}), quorum)
        return operation

    async def look_into(
        self, path: bytes, *, quorum: bool = True, recursive: bool = False
    ) -> Operation:
        """Read a directory: into `listing` what is in it, or into `tree` all that is below it."""
        query = {"sorted": "true"} | ({"recursive": "true"} if recursive else {})
        http = _http_of_read(path, quorum, query)
        operation, document = await self._carry_out(None, path, http, quorum)
        if operation.outcome is Outcome.OK and "value" not in document["node"]:
            nodes: list[dict[str, Any]] = document["node"].get("nodes", [])
            if recursive:
                operation.tree = flat(nodes)
            else:
                operation.listing = [node["key"].encode() for node in nodes]
        return operation

    async def last_read(self, path: bytes) -> Operation:
        """A quorum read after all faults. Raises Violation if nobody answers it."""
        return await self._insist(partial(self.read, path, quorum=True))

    async def last_look(self, path: bytes) -> dict[bytes, tuple[bytes | None, int]]:
        """All below a directory after all faults, as `Operation.tree` has it.

        Empty if there is no such directory. Raises Violation if nobody answers.
        """
        operation = await self._insist(partial(self.look_into, path, recursive=True))
        return operation.tree or {}

    async def last_write(self, make: Callable[[], Request]) -> Operation:
        """Change until it is certain that it was done, or refused. Raises Violation.

        Each attempt is a request of its own, with a value of its own.
        """
        return await self._insist(lambda: self.write(make()))

    async def _insist(self, attempt: Callable[[], Awaitable[Operation]]) -> Operation:
        """Try until there is an answer: all faults are over."""
        usual_s, self._timeout_s = self._timeout_s, LAST_ANSWER_S
        deadline_s = time.monotonic() + LAST_LIMIT_S
        try:
            while True:
                operation = await attempt()
                if operation.outcome in (Outcome.OK, Outcome.REFUSED):
                    return operation
                if time.monotonic() > deadline_s:
                    raise Violation(f"no answer though all faults are over: {operation.describe()}")
        finally:
            self._timeout_s = usual_s
            self.leave()

    async def _carry_out(
        self,
        request: Request | None,
        path: bytes,
        http: tuple[str, str, dict[str, str] | None],
        quorum: bool = False,
    ) -> tuple[Operation, dict[str, Any]]:
        """One operation, and the document that it was answered with."""
        operation = self._recorder.begin(self.number)
        operation.request, operation.node_path, operation.quorum = request, path, quorum
        if request is not None:
            operation.tag = request.value or b"%d" % operation.number
        document: dict[str, Any] = {}
        try:
            connection = await self._connected()
            operation.member = self._life
            wait_s = min(self._timeout_s * self._patience, max(self._timeout_s, MOST_WAIT_S))
            answer = await connection.ask(*http, wait_s)
            document = answer.document()
            outcome = read_answer(operation, answer, document)
        except NotSentError:
            self._recorder.end(operation, Outcome.FAILED)
            self.leave()
            await asyncio.sleep(REFUSED_PAUSE_S)
            return operation, document
        except (BrokenError, ValueError):  # what is no JSON is no answer of a member
            outcome = Outcome.UNKNOWN
        self._recorder.end(operation, outcome)
        if outcome is Outcome.UNKNOWN:
            # else a machine that is slow for a while works for clients only that have gone
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            self.leave()
        else:
            self._patience = max(self._patience / 2, 1.0)
        return operation, document

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._life = self._fleet.life(self._member)
            address = self._fleet.address(self._member)
            connection = await Connection.open(address, min(CONNECT_TIMEOUT_S, self._timeout_s))
            if self._life != self._fleet.life(self._member):
                connection.close()
                raise NotSentError("the member was started again just now")
            self._connection = connection
        return self._connection


def _http_of_read(
    path: bytes, quorum: bool, query: dict[str, str]
) -> tuple[str, str, dict[str, str] | None]:
    """Method, target and form of a read."""
    if quorum:
        query = query | {"quorum": "true"}
    return "GET", _target(path, query), None


def _http(request: Request) -> tuple[str, str, dict[str, str] | None]:
    """Method, target and form of a change."""
    op = Op(request.op)
    conditions = {}
    if request.prev_value:
        conditions["prevValue"] = request.prev_value.decode()
    if request.prev_index:
        conditions["prevIndex"] = str(request.prev_index)
    if request.directory:
        conditions["dir"] = "true"
    if op in (Op.DELETE, Op.COMPARE_AND_DELETE):
        if request.recursive:
            conditions["recursive"] = "true"
        return "DELETE", _target(request.path, conditions), None
    form = {} if request.directory or request.refresh else {"value": request.value.decode()}
    if request.ttl_seconds is not None:
        form["ttl"] = str(request.ttl_seconds)
    if request.refresh:
        form["refresh"] = "true"
    if op in (Op.CREATE, Op.UPDATE):
        conditions["prevExist"] = "false" if op is Op.CREATE else "true"
    method = "POST" if op is Op.CREATE_IN_ORDER else "PUT"
    return method, _target(request.path, {}), form | conditions


def _target(path: bytes, query: dict[str, str]) -> str:
    text = "&".join(f"{name}={value.replace(' ', '%20')}" for name, value in query.items())
    return f"/v2/keys{path.decode()}" + (f"?{text}" if text else "")


def read_answer(operation: Operation, answer: Answer, document: dict[str, Any]) -> Outcome:
    """Take an answer into the operation; what it means for the client."""
    if answer.status in (200, 201):
        node = document["node"]
        operation.action = document["action"]
        operation.node_path = node["key"].encode()
        operation.node_value = value_of(node)
        operation.node_modified = node["modifiedIndex"]
        operation.previous = previous_of(document)
        if operation.request is None:
            operation.index = int(answer.headers["x-etcd-index"])
        else:
            operation.index = operation.node_modified
        return Outcome.OK
    code = document.get("errorCode", 0)
    if code in REFUSALS:
        operation.error = REFUSALS[code]
        operation.index = document["index"]
        return Outcome.REFUSED
    operation.error = answer.body.decode(errors="replace")
    return Outcome.UNKNOWN


def flat(nodes: list[dict[str, Any]]) -> dict[bytes, tuple[bytes | None, int]]:
    """All nodes of a recursive answer: path -> value, None for a directory, and version."""
    found = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        found[node["key"].encode()] = value_of(node), node["modifiedIndex"]
        waiting += node.get("nodes", ())
    return found
