"""Which keys of a history were used as plain registers, and what the search is told of them.

A key that expires, is a directory, may vanish with a directory above it, or was named by the
server is none: its changes are not all among the operations on it. Conditions on indexes are told
as what is known of values.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.linear import (
    BUDGET_STEPS,
    KEEP,
    Call,
    Keep,
    Needs,
    Result,
    Verdict,
    search,
)
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

PLAIN_REFUSALS: Final = frozenset({"KEY_NOT_FOUND", "COMPARE_FAILED", "KEY_EXISTS"})
CLIENTS_MAX: Final = 6  # five at work, and one that reads in the end
CALLS_MAX: Final = 250  # the search is exponential in those of unknown outcome
REMOVING: Final = (Op.DELETE, Op.COMPARE_AND_DELETE)


def judge_registers(
    operations: Iterable[Operation],
    *,
    local: bool = False,
    budget_steps: int = BUDGET_STEPS,
    clients_max: int = CLIENTS_MAX,
    calls_max: int = CALLS_MAX,
) -> dict[bytes, Result]:
    """Search the registers of the history. `local`: plain reads, too, as if they promised it.

    Those that more clients used, or more often, than a search can cope with are left to the
    checkers that go by the index.
    """
    done = list(operations)
    found = registers_of(done, local=local)
    clients: dict[bytes, set[int]] = defaultdict(set)
    for operation in done:
        request = operation.request
        path = request.path if request is not None else operation.node_path
        clients[path].add(operation.client)
    return {
        path: search(calls, budget_steps)
        for path, calls in found.items()
        if len(clients[path]) <= clients_max and len(calls) <= calls_max
    }


def check_registers(operations: Iterable[Operation]) -> None:
    """No register of the history may be without an order that explains it."""
    for path, result in judge_registers(operations).items():
        if result.verdict is not Verdict.LINEARIZABLE:
            raise Violation(f"{path.decode()} is no register: {result.explanation}")


def registers_of(
    operations: Iterable[Operation], *, local: bool = False
) -> dict[bytes, list[Call]]:
    """The calls on each register."""
    by_path: dict[bytes, list[Operation]] = defaultdict(list)
    unfit: set[bytes] = set()
    others: set[bytes] = set()
    for operation in operations:
        request = operation.request
        path = request.path if request is not None else operation.node_path
        by_path[path].append(operation)
        if not _is_plain(operation):
            unfit.add(path)
        if request is not None and _reaches_below(request):
            others.add(path)
    return {
        path: [call for o in done if (call := _call(o, local=local)) is not None]
        for path, done in by_path.items()
        if path not in unfit and not any(above in others for above in _parents(path))
    }


def _reaches_below(request: Request) -> bool:
    """Whether keys below the path may come or go by it."""
    in_order = request.op == Op.CREATE_IN_ORDER
    return request.recursive or request.ttl_seconds is not None or in_order


def _parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(2, len(parts))]


def _is_plain(operation: Operation) -> bool:
    request = operation.request
    if operation.outcome is Outcome.REFUSED and operation.error not in PLAIN_REFUSALS:
        return False
    if request is None:
        directory = operation.outcome is Outcome.OK and operation.node_value is None
        return not directory and operation.listing is None and operation.tree is None
    special = request.directory or request.recursive or request.refresh
    return not special and request.ttl_seconds is None and request.op != Op.CREATE_IN_ORDER


def _call(operation: Operation, *, local: bool) -> Call | None:
    """One call, or None for what the search need not know."""
    outcome, request = operation.outcome, operation.request
    if outcome in (Outcome.FAILED, Outcome.PENDING):
        return None
    if request is None and (outcome is Outcome.UNKNOWN or not (operation.quorum or local)):
        return None
    leaves: bytes | None | Keep = KEEP
    if outcome is Outcome.REFUSED or request is None:
        needs, value = _of_answer(operation)
    elif outcome is Outcome.OK:
        needs = Needs.EQUAL
        value = None if operation.previous is None else operation.previous[0]
        leaves = None if request.op in REMOVING else operation.node_value
    else:
        needs, value = _of_condition(request)
        leaves = None if request.op in REMOVING else request.value
    ended_ns = None if outcome is Outcome.UNKNOWN else operation.ended_ns
    return Call(_text(operation), operation.invoked_ns, ended_ns, needs, value, leaves)


def _of_answer(operation: Operation) -> tuple[Needs, bytes | None]:
    """What a read, or a refusal, says of the state."""
    if operation.outcome is Outcome.OK:
        return Needs.EQUAL, operation.node_value
    if operation.error == "KEY_NOT_FOUND":
        return Needs.EQUAL, None
    request = operation.request
    compared = operation.error == "COMPARE_FAILED" and request is not None
    if compared and request is not None and request.prev_value and not request.prev_index:
        return Needs.OTHER, request.prev_value
    return Needs.OTHER, None


def _of_condition(request: Request) -> tuple[Needs, bytes | None]:
    """What the state must be for a request to be carried out."""
    if request.op == Op.SET:
        return Needs.ANYTHING, None
    if request.op == Op.CREATE:
        return Needs.EQUAL, None
    if request.prev_value:
        return Needs.EQUAL, request.prev_value
    return Needs.OTHER, None


def _text(operation: Operation) -> str:
    request, outcome = operation.request, operation.outcome
    told = operation.error if outcome is Outcome.REFUSED else outcome.value
    if request is None:
        what = "quorum read" if operation.quorum else "read"
        told = repr(operation.node_value) if outcome is Outcome.OK else told
    else:
        what = Op(request.op).name.lower()
        if request.op not in REMOVING:
            what += f" {request.value!r}"
        if request.prev_value:
            what += f" if {request.prev_value!r}"
        if request.prev_index:
            what += f" if version {request.prev_index}"
    start, end = operation.invoked_ns / 1e6, operation.ended_ns / 1e6
    until = f"{end:.1f}" if outcome is not Outcome.UNKNOWN else "..."
    return f"[{start:.1f} .. {until} ms] client {operation.client}: {what}: {told}"
