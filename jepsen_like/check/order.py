"""Answers carry indexes, so linearizability is index order against real time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Done = TypeVar("Done")


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


def sweep(
    done: Sequence[Done], began_ns: Callable[[Done], int], ended_ns: Callable[[Done], int]
) -> Iterator[tuple[Done, list[Done]]]:
    """Go through time: each as it begins, with those that have ended since the last one began.

    What had ended before another began came before it, for certain.
    """
    by_end = sorted(done, key=ended_ns)
    place = 0
    for one in sorted(done, key=began_ns):
        first = place
        while ended_ns(by_end[place]) < began_ns(one):
            place += 1
        yield one, by_end[first:place]


def _check_sweep(done: list[Operation]) -> None:
    """Index order against real time."""
    latest: Operation | None = None
    by_number = sorted(done, key=lambda operation: operation.number)
    for operation, ended in sweep(by_number, lambda o: o.invoked_ns, lambda o: o.ended_ns):
        for other in ended:
            if latest is None or other.index > latest.index:
                latest = other
        if latest is None:
            continue
        changed = operation.request is not None and operation.outcome is Outcome.OK
        if operation.index < latest.index + (1 if changed else 0):
            raise Violation(
                f"began after another had ended, yet comes before it: {operation.describe()}; "
                f"the other: {latest.describe()}"
            )
