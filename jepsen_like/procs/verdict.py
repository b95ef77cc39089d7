"""Whether one order of changes explains every answer, every event and the final state.

The order is put together from what clients and watchers were told: an acknowledged write stands at
the index it was given, a write of unknown outcome where a watcher saw it happen. The
independent model then carries out that order, and the simulator's checkers compare each answer
with it. An index that nobody was told of must be the server's own bookkeeping, which is no event:
within the reach of the watchers nothing else can hide there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

from jepsen_like.base import Violation
from jepsen_like.check import promises
from jepsen_like.check.agreed import AgreedLog, Applied, TagOf, execute
from jepsen_like.check.coverage import Coverage, Seen
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.model import Change, Model, Node, Refused
from jepsen_like.procs.clients import ROOT, previous_of
from kvraft.raft.entry import Entry
from kvraft.store.request import Op, Request

ACTIONS: Final = {
    Op.SET: "set",
    Op.CREATE: "create",
    Op.UPDATE: "update",
    Op.COMPARE_AND_SWAP: "compareAndSwap",
    Op.DELETE: "delete",
    Op.COMPARE_AND_DELETE: "compareAndDelete",
    Op.CREATE_IN_ORDER: "create",
}
NEVER_NS: Final = 1 << 62  # when an operation of unknown outcome ends


class Explanation:
    """Which operation was carried out at which index."""

    def __init__(self, operations: list[Operation], coverage: Coverage) -> None:
        self.operations = operations
        self.coverage = coverage
        self.by_index: dict[int, Operation] = {}
        self._place_acknowledged()
        self._place_seen()

    def _place_acknowledged(self) -> None:
        for operation in self.operations:
            if operation.outcome is not Outcome.OK or operation.request is None:
                continue
            other = self.by_index.setdefault(operation.index, operation)
            if other is not operation:
                raise Violation(
                    f"two writes with one index: {operation.describe()}; {other.describe()}"
                )
            if self.coverage.covers(operation.index):
                if operation.index not in self.coverage.events:
                    raise Violation(f"no watcher was shown {operation.describe()}")

    def _place_seen(self) -> None:
        """Find the writes behind events that nobody was acknowledged for."""
        candidates: dict[object, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            if operation.outcome is Outcome.UNKNOWN and operation.request is not None:
                candidates[_key_of_request(operation.request)].append(operation)
        for index, seen in sorted(self.coverage.events.items()):
            if index in self.by_index:
                continue
            found = candidates.get(_key_of_event(seen), [])
            if not found:
                raise Violation(
                    f"nobody asked for this change, or it was done twice: {seen.text!r}"
                )
            self.by_index[index] = found.pop(0)

    def unknown_but_done(self) -> int:
        """How many writes of unknown outcome were carried out."""
        return sum(o.outcome is Outcome.UNKNOWN for o in self.by_index.values())


def _key_of_request(request: Request) -> object:
    """What the event of this request would be recognised by."""
    op = Op(request.op)
    path = b"" if op is Op.CREATE_IN_ORDER else request.path
    return ACTIONS[op], path, request.value, request.prev_value * (op is Op.COMPARE_AND_DELETE)


def _key_of_event(seen: Seen) -> object:
    document = seen.document
    action, node = document["action"], document["node"]
    path = node["key"].encode()
    if action == "create" and path.rpartition(b"/")[2].isdigit():
        path = b""
    previous = b""
    if action == "compareAndDelete":
        previous = document["prevNode"]["value"].encode()
    return action, path, node.get("value", "").encode(), previous


def replay(explanation: Explanation) -> Model:
    """Carry out the order on the model, compare it with all answers and events."""
    agreed = AgreedLog(TagOf())
    model = agreed.model
    refused: dict[int, list[Operation]] = defaultdict(list)
    for operation in explanation.operations:
        if operation.outcome is Outcome.REFUSED and operation.request is not None:
            refused[operation.index].append(operation)
    for index in sorted(explanation.by_index.keys() | refused.keys()):
        operation_or_none = explanation.by_index.get(index)
        if operation_or_none is not None:
            model.index = index - 1  # what lies between is bookkeeping, or was seen by nobody
            change = _carry_out(agreed, operation_or_none, index)
            if index in explanation.coverage.events:
                _check_event(explanation.coverage.events[index], change)
        model.index = index
        for operation in refused[index]:
            _carry_out(agreed, operation, index)
    promises.check_answers(explanation.operations, agreed)
    return model


def _carry_out(agreed: AgreedLog, operation: Operation, index: int) -> Change | None:
    assert operation.request is not None
    applied = Applied(Entry(0, index, 0, b""), 0)
    applied.request = operation.request
    result = execute(agreed.model, operation.request)
    assert not isinstance(result, list), "the workload has no such request"
    applied.result = result
    agreed.by_tag.setdefault(operation.tag, []).append(applied)
    promises.check_answers([operation], agreed)
    if operation.outcome is Outcome.UNKNOWN and isinstance(result, Refused):
        raise Violation(f"done at index {index}, the model says {result}: {operation.describe()}")
    return result if isinstance(result, Change) else None


def _check_event(seen: Seen, change: Change | None) -> None:
    document = seen.document
    node = document["node"]
    if change is None:
        raise Violation(f"the model refuses what watchers saw: {seen.text!r}")
    value = change.node.value if change.node is not None else None
    created = change.node.created if change.node is not None else node["createdIndex"]
    previous = change.previous
    told = (document["action"], node["key"].encode(), node.get("value"), node["createdIndex"])
    expected = (change.action, change.path, None if value is None else value.decode(), created)
    before = None if previous is None else (previous.value, previous.modified)
    if told != expected or (change.action != "create" and previous_of(document) != before):
        raise Violation(f"watchers saw {seen.text!r}, the model has {change}")


def check_real_time(explanation: Explanation) -> None:
    """Index order agrees with real time; unknown writes have begun, but never ended."""
    operations = [o for o in explanation.operations if o.outcome is not Outcome.UNKNOWN]
    for index, operation in explanation.by_index.items():
        if operation.outcome is Outcome.UNKNOWN:
            twin = Operation(operation.number, operation.client, 0, operation.invoked_ns)
            twin.request, twin.outcome = operation.request, Outcome.OK
            twin.index, twin.ended_ns = index, NEVER_NS
            operations.append(twin)
    promises.check_order(operations)
    promises.check_local_reads(
        o for o in explanation.operations if o.outcome is not Outcome.UNKNOWN
    )


def check_final_state(model: Model, document: dict[str, Any]) -> None:
    """The state that all members show is the one the model has arrived at."""
    found: dict[bytes, Node] = {}
    waiting = [document["node"]]
    while waiting:
        node = waiting.pop()
        value = None if node.get("dir") else node["value"].encode()
        found[node["key"].encode()] = Node(value, node["createdIndex"], node["modifiedIndex"], 0)
        waiting += node.get("nodes", ())
    expected = {path: node for path, node in model.nodes.items() if path.startswith(ROOT)}
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise Violation(
                f"{path!r} is {found.get(path)} on the members, the model has {expected.get(path)}"
            )


def silent_indexes(explanation: Explanation, final_index: int) -> Counter[str]:
    """Indexes without a write: bookkeeping, or out of everybody's sight."""
    counts: Counter[str] = Counter(bookkeeping=0, unseen=0)
    for index in range(1, final_index + 1):
        if index not in explanation.by_index:
            counts["bookkeeping" if explanation.coverage.covers(index) else "unseen"] += 1
    return counts


def check_all(
    operations: Iterable[Operation], coverage: Coverage, final: dict[str, Any]
) -> Explanation:
    """The whole verdict. Raises Violation."""
    explanation = Explanation(list(operations), coverage)
    model = replay(explanation)
    check_real_time(explanation)
    promises.check_reads(
        [o for o in explanation.operations if o.outcome is not Outcome.UNKNOWN], model
    )
    check_final_state(model, final)
    return explanation
