"""One order of changes that explains a history: which operation was carried out at which index.

An acknowledged write stands at the index it was given, a write of unknown outcome where a
watcher saw it happen, an expiry where a watcher saw it. A refresh is shown to nobody: one of
unknown outcome is found by the version that it left behind. An index that nobody was told of must
be the server's own bookkeeping: within the reach of the watchers nothing else can hide there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jepsen_like.check.coverage import Coverage, Seen

ACTIONS: Final = {
    Op.SET: "set",
    Op.CREATE: "create",
    Op.UPDATE: "update",
    Op.COMPARE_AND_SWAP: "compareAndSwap",
    Op.DELETE: "delete",
    Op.COMPARE_AND_DELETE: "compareAndDelete",
    Op.CREATE_IN_ORDER: "create",
}
IN_ORDER_DIGITS: Final = 20
EXPIRE: Final = "expire"

Key = tuple[str, bytes, bytes]
"""What an operation and its event have in common: action, path, value."""


class Explanation:
    """See the module's description. Raises Violation where two accounts contradict each other."""

    def __init__(self, operations: list[Operation], coverage: Coverage) -> None:
        self.operations = operations
        self.coverage = coverage
        self.by_index: dict[int, Operation] = {}
        self.expiries: dict[int, Seen] = {}
        self._place_acknowledged()
        self._place_seen()
        self._place_silent()

    def unknown_but_done(self) -> int:
        """How many writes of unknown outcome were carried out."""
        return sum(o.outcome is Outcome.UNKNOWN for o in self.by_index.values())

    def _place_acknowledged(self) -> None:
        for operation in self.operations:
            if operation.outcome is not Outcome.OK or operation.request is None:
                continue
            other = self.by_index.setdefault(operation.index, operation)
            if other is not operation:
                raise Violation(
                    f"two writes with one index: {operation.describe()}; {other.describe()}"
                )
            if not self.coverage.covers(operation.index):
                continue
            owed = not is_silent(operation.request) and self.coverage.shows(operation.node_path)
            if owed != (operation.index in self.coverage.events):
                crowd = "no watcher was" if owed else "watchers were"
                raise Violation(f"{crowd} shown {operation.describe()}")

    def _place_seen(self) -> None:
        """Find the writes behind events that nobody was acknowledged for."""
        candidates = self._unanswered(Outcome.UNKNOWN)
        for index, seen in sorted(self.coverage.events.items()):
            if index in self.by_index:
                continue
            if seen.document["action"] == EXPIRE:
                self.expiries[index] = seen
                continue
            found = _take(candidates, seen)
            if found is None:
                denied = _take(self._unanswered(Outcome.FAILED), seen)
                if denied is not None:
                    raise Violation(f"answered failed, yet done: {denied.describe()}")
                raise Violation(
                    f"nobody asked for this change, or it was done twice: {seen.text!r}"
                )
            self.by_index[index] = found

    def _unanswered(self, outcome: Outcome) -> dict[Key, list[Operation]]:
        found: dict[Key, list[Operation]] = defaultdict(list)
        for operation in sorted(self.operations, key=lambda one: one.invoked_ns):
            if operation.outcome is outcome and operation.request is not None:
                if not is_silent(operation.request):
                    found[_key_of_request(operation.request)].append(operation)
        return found

    def _place_silent(self) -> None:
        """Find the refreshes of unknown outcome whose versions somebody met later."""
        waiting: dict[bytes, list[Operation]] = defaultdict(list)
        for operation in sorted(self.operations, key=lambda one: one.invoked_ns):
            if operation.outcome is Outcome.UNKNOWN and operation.request is not None:
                if is_silent(operation.request):
                    waiting[operation.request.path].append(operation)
        if not waiting:
            return
        for path, index in sorted(set(self._versions()), key=lambda pair: pair[1]):
            placed = index in self.by_index or index in self.coverage.events
            if not placed and waiting.get(path):
                self.by_index[index] = waiting[path].pop(0)

    def _versions(self) -> Iterator[tuple[bytes, int]]:
        """Every version of a key that an answer or an event names."""
        for operation in self.operations:
            if operation.outcome is Outcome.OK:
                yield operation.node_path, operation.node_modified
                if operation.previous is not None:
                    yield operation.node_path, operation.previous[1]
                for path, (_, modified) in (operation.tree or {}).items():
                    yield path, modified
        for seen in self.coverage.events.values():
            before = previous_of(seen.document)
            if before is not None:
                yield seen.key, before[1]


def is_silent(request: Request) -> bool:
    """Whether watchers are not told of it."""
    return bool(request.refresh)


def silent_indexes(explanation: Explanation, final_index: int) -> Counter[str]:
    """Indexes without a write: bookkeeping, or out of everybody's sight."""
    counts: Counter[str] = Counter(bookkeeping=0, unseen=0)
    for index in range(1, final_index + 1):
        if index not in explanation.by_index and index not in explanation.expiries:
            counts["bookkeeping" if explanation.coverage.covers(index) else "unseen"] += 1
    return counts


def previous_of(document: dict[str, Any]) -> tuple[bytes | None, int] | None:
    """Value and version of the node before the change, as an answer or an event shows them."""
    previous = document.get("prevNode")
    return None if previous is None else (value_of(previous), previous["modifiedIndex"])


def value_of(node: dict[str, Any]) -> bytes | None:
    """The value of a node as the API shows it; None for a directory, or where it is left out."""
    return node["value"].encode() if "value" in node else None


def _key_of_request(request: Request) -> Key:
    op = Op(request.op)
    path = request.path + b"/" if op is Op.CREATE_IN_ORDER else request.path
    deletes = op in (Op.DELETE, Op.COMPARE_AND_DELETE)
    return ACTIONS[op], path, b"" if deletes or request.directory else request.value


def _take(candidates: dict[Key, list[Operation]], seen: Seen) -> Operation | None:
    """Find the operation behind an event, the earliest if there are several, and use it up."""
    action, path = seen.document["action"], seen.key
    value = value_of(seen.document["node"]) or b""
    parent, _, name = path.rpartition(b"/")
    in_order = action == "create" and name.isdigit() and len(name) == IN_ORDER_DIGITS
    found = candidates.get((action, parent + b"/" if in_order else path, value), [])
    for place, operation in enumerate(found):
        assert operation.request is not None
        if _could_cause(operation.request, seen.document):
            return found.pop(place)
    return None


def _could_cause(request: Request, document: dict[str, Any]) -> bool:
    """Whether the event shows the ttl and the condition of this very request."""
    before = previous_of(document)
    if request.prev_value and (before is None or before[0] != request.prev_value):
        return False
    if request.prev_index and (before is None or before[1] != request.prev_index):
        return False
    removed = Op(request.op) in (Op.DELETE, Op.COMPARE_AND_DELETE)
    return removed or (request.ttl_seconds is not None) == ("expiration" in document["node"])
