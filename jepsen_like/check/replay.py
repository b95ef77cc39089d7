"""An explained order, carried out on the independent model: does every account agree with it?

The model's clock is the moment at which a client asked: `expiration_ns` of a node is then the
earliest moment at which it may go.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from jepsen_like.base import Violation
from jepsen_like.check import promises
from jepsen_like.check.agreed import execute
from jepsen_like.check.answers import check_answer
from jepsen_like.check.coverage import EVERYTHING, below
from jepsen_like.check.explain import previous_of
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.model import Change, Model, Node, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.check.coverage import Seen
    from jepsen_like.check.explain import Explanation

NEVER_NS: Final = 1 << 62  # when an operation of unknown outcome ends


def replay(explanation: Explanation) -> Model:
    """Carry out the order, compare it with all answers to writes and all events."""
    model = Model()
    refused: dict[int, list[Operation]] = defaultdict(list)
    for operation in explanation.operations:
        if operation.outcome is Outcome.REFUSED and operation.request is not None:
            refused[operation.index].append(operation)
    events = explanation.coverage.events
    for index in sorted(explanation.by_index | explanation.expiries | refused):
        model.index = index - 1  # what lies between is bookkeeping, or was seen by nobody
        done = explanation.by_index.get(index)
        if done is not None:
            change = _carry_out(model, done)
            if index in events:
                _check_event(events[index], change)
        elif index in explanation.expiries:
            seen = explanation.expiries[index]
            _check_event(seen, model.expire(seen.key))
        model.index = index
        for operation in refused.get(index, ()):
            _carry_out(model, operation)
    return model


def _carry_out(model: Model, operation: Operation) -> Change | Refused:
    assert operation.request is not None
    model.now_ns = operation.invoked_ns
    result = execute(model, operation.request)
    assert not isinstance(result, list), "no client has such a request"
    if operation.outcome is not Outcome.UNKNOWN:
        check_answer(operation, result)
    elif isinstance(result, Refused):
        raise Violation(f"done, yet the model says {result}: {operation.describe()}")
    return result


def _check_event(seen: Seen, change: Change | Refused) -> None:
    document = seen.document
    node = document["node"]
    if isinstance(change, Refused):
        raise Violation(f"the model refuses what watchers saw, {change}: {seen.text!r}")
    value = change.node.value if change.node is not None else None
    created = change.node.created if change.node is not None else node["createdIndex"]
    lasting = change.node is None or not change.node.expiration_ns
    previous = change.previous
    told = (
        *(document["action"], seen.key, node.get("value"), node["createdIndex"]),
        "expiration" not in node,
    )
    expected = (
        *(change.action, change.path, None if value is None else value.decode(), created),
        lasting,
    )
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


def check_final_state(model: Model, document: dict[str, Any], roots: Iterable[bytes]) -> None:
    """The state that members show in the end is the one the model has arrived at."""
    roots = list(roots) or [EVERYTHING]
    found = {path: node for path, node in nodes_of(document).items() if _among(roots, path)}
    expected = {
        path: node._replace(expiration_ns=0)
        for path, node in model.nodes.items()
        if _among(roots, path) and path != EVERYTHING
    }
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise Violation(
                f"{path!r} is {found.get(path)} on the members, the model has {expected.get(path)}"
            )


def _among(roots: Iterable[bytes], path: bytes) -> bool:
    return any(below(root, path) for root in roots) and b"/_" not in path


def nodes_of(document: dict[str, Any]) -> dict[bytes, Node]:
    """All nodes of a recursive read, without their ttl; the root of the key space left out."""
    found: dict[bytes, Node] = {}
    waiting = [document["node"]]
    while waiting:
        node = waiting.pop()
        value = None if node.get("dir") else node["value"].encode()
        if "key" in node:
            created, modified = node["createdIndex"], node["modifiedIndex"]
            found[node["key"].encode()] = Node(value, created, modified, 0)
        waiting += node.get("nodes", ())
    return found
