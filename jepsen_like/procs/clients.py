"""Writers that go on whatever happens, and record what they asked for and what they were told.

Each write carries a value that no other write of the run has, so that it can be recognised in
events and answers whatever became of its own. An operation is `failed` only where the
connection was refused; every other way of not getting an answer makes it `unknown`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

from jepsen_like.check.history import History, Operation, Outcome
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import Answer, BrokenError, Connection, NotSentError
from kvraft.store.request import Op, Request

ROOT: Final = b"/c"
KEYS: Final = [b"%b/k%d" % (ROOT, number) for number in range(10)]
QUEUE: Final = b"%b/queue" % ROOT
TIMEOUT_S: Final = 2.0
REFUSED_PAUSE_S: Final = 0.02  # between attempts while nobody listens

REFUSALS: Final = {
    100: "KEY_NOT_FOUND",
    101: "COMPARE_FAILED",
    102: "NOT_A_FILE",
    104: "NOT_A_DIRECTORY",
    105: "KEY_EXISTS",
    108: "DIRECTORY_NOT_EMPTY",
}
# operation, or None for a read -> how often
MIX: Final[dict[Op | None, int]] = {
    Op.SET: 30,
    Op.COMPARE_AND_SWAP: 20,
    Op.CREATE: 6,
    Op.UPDATE: 6,
    Op.CREATE_IN_ORDER: 10,
    Op.DELETE: 7,
    Op.COMPARE_AND_DELETE: 5,
    None: 16,
}


class Recorder:
    """The history of the run, and how much of it has succeeded so far."""

    def __init__(self) -> None:
        self.history = History()
        self.acknowledged = 0
        self.highest_index = 0

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
        self,
        number: int,
        fleet: Fleet,
        recorder: Recorder,
        rng: random.Random,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._number = number
        self._fleet = fleet
        self._recorder = recorder
        self._rng = rng
        self._may_go_on = may_go_on
        self._connection: Connection | None = None
        self._member = fleet.pick(rng)
        self._life = 0
        self._count = 0
        self._seen: dict[bytes, tuple[bytes, int]] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until `stopped` is set."""
        while not stopped.is_set():
            if not self._may_go_on():
                await asyncio.sleep(REFUSED_PAUSE_S)
                continue
            await self.once(self._draw())
            if self._rng.random() < 0.01:
                self._leave()
        self._leave()

    async def write(self, path: bytes, member: int) -> Operation:
        """One write through this very member."""
        self._leave()
        self._member = member
        try:
            return await self.once((Request(Op.SET, path, self._value()), path, False))
        finally:
            self._leave()

    async def once(self, task: tuple[Request | None, bytes, bool]) -> Operation:
        """Carry out one operation and record it."""
        request, path, quorum = task
        operation = self._recorder.begin(self._number)
        operation.request, operation.node_path, operation.quorum = request, path, quorum
        if request is not None:
            operation.tag = request.value or b"%d" % operation.number
        method, target, form = _http(request, path, quorum)
        try:
            connection = await self._connected()
            operation.member = self._life
            answer = await connection.ask(method, target, form, TIMEOUT_S)
        except NotSentError:
            self._recorder.end(operation, Outcome.FAILED)
            self._leave()
            await asyncio.sleep(REFUSED_PAUSE_S)
            return operation
        except BrokenError:
            self._recorder.end(operation, Outcome.UNKNOWN)
            self._leave()
            return operation
        outcome = read_answer(operation, answer)
        self._recorder.end(operation, outcome)
        if outcome is Outcome.UNKNOWN:
            self._leave()
        elif operation.node_value is not None:
            self._seen[operation.node_path] = (operation.node_value, operation.node_modified)
        return operation

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._life = self._fleet.life(self._member)
            connection = await Connection.open(self._fleet.address(self._member))
            if self._life != self._fleet.life(self._member):
                connection.close()
                raise NotSentError("the member was started again just now")
            self._connection = connection
        return self._connection

    def _leave(self) -> None:
        """Go to another member, or back to the same one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._member = self._fleet.pick(self._rng)

    def _value(self) -> bytes:
        self._count += 1
        return b"c%d-%d" % (self._number, self._count)

    def _draw(self) -> tuple[Request | None, bytes, bool]:
        rng = self._rng
        path = rng.choice(KEYS)
        op = rng.choices(list(MIX), list(MIX.values()))[0]
        if op is None:
            return None, path, rng.random() < 0.5
        if op is Op.CREATE_IN_ORDER:
            return Request(op, QUEUE, self._value()), QUEUE, False
        if op is Op.DELETE:
            return Request(op, path), path, False
        value, modified = self._seen.get(path, (b"nobody wrote this", 1))
        if op is Op.COMPARE_AND_DELETE:
            return Request(op, path, prev_value=value), path, False
        request = Request(op, path, self._value())
        if op is Op.COMPARE_AND_SWAP:
            by_index = rng.random() < 0.5
            expected = {"prev_index": modified} if by_index else {"prev_value": value}
            request = request._replace(**expected)
        return request, path, False


def _http(
    request: Request | None, path: bytes, quorum: bool
) -> tuple[str, str, dict[str, str] | None]:
    """Method, target and form of an operation."""
    target = "/v2/keys" + path.decode()
    if request is None:
        return "GET", target + ("?quorum=true" if quorum else ""), None
    form = {"value": request.value.decode()}
    conditions = {}
    if request.prev_value:
        conditions["prevValue"] = request.prev_value.decode()
    if request.prev_index:
        conditions["prevIndex"] = str(request.prev_index)
    if request.op in (Op.DELETE, Op.COMPARE_AND_DELETE):
        query = "".join(f"?{name}={value}" for name, value in conditions.items())
        return "DELETE", target + query.replace(" ", "%20"), None
    if request.op == Op.CREATE_IN_ORDER:
        return "POST", target, form
    if request.op in (Op.CREATE, Op.UPDATE):
        conditions["prevExist"] = "false" if request.op == Op.CREATE else "true"
    return "PUT", target, form | conditions


def read_answer(operation: Operation, answer: Answer) -> Outcome:
    """Take an answer into the operation; what it means for the client."""
    document = answer.document()
    if answer.status in (200, 201):
        node = document["node"]
        operation.action = document["action"]
        operation.node_path = node["key"].encode()
        operation.node_value = _value_of(node)
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


def previous_of(document: dict[str, Any]) -> tuple[bytes | None, int] | None:
    """Value and version of the node before the change, as an answer or an event shows them."""
    previous = document.get("prevNode")
    return None if previous is None else (_value_of(previous), previous["modifiedIndex"])


def _value_of(node: dict[str, Any]) -> bytes | None:
    return node["value"].encode() if "value" in node else None
