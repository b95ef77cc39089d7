"""Answers carry indexes, so linearizability is index order against real time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_order(operations: Iterable[Operation]) -> None:
    """An operation that begins after another ended may not come before it."""
    _check_sweep(
        [
            operation
            for operation in operations
            if operation.outcome in (Outcome.OK, Outcome.REFUSED)
            and (operation.request is not None or operation.quorum)
        ]
    )


def check_local_reads(operations: Iterable[Operation]) -> None:
    """On one member, while it runs, nothing goes back: plain reads neither, though they may lag.

    Operations carry the member's life in `member` as member * 1000 + number of starts.
    """
    lives: dict[int, list[Operation]] = {}
    for operation in operations:
        if operation.outcome in (Outcome.OK, Outcome.REFUSED):
            lives.setdefault(operation.member, []).append(operation)
    for answered in lives.values():
        _check_sweep(answered)


def _check_sweep(done: list[Operation]) -> None:
    """Index order against real time: sort by beginning and by end, and go through both."""
    by_end = sorted(done, key=lambda operation: (operation.ended_ns, operation.number))
    by_start = sorted(done, key=lambda operation: (operation.invoked_ns, operation.number))
    latest: Operation | None = None
    place = 0
    for operation in by_start:
        while by_end[place].ended_ns < operation.invoked_ns:
            if latest is None or by_end[place].index > latest.index:
                latest = by_end[place]
            place += 1
        if latest is None:
            continue
        changed = operation.request is not None and operation.outcome is Outcome.OK
        if operation.index < latest.index + (1 if changed else 0):
            raise Violation(
                f"began after another had ended, yet comes before it: {operation.describe()}; "
                f"the other: {latest.describe()}"
            )
