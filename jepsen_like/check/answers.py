"""Every answer to a write against what the agreed log says was done.

A write that was acknowledged is in the log exactly once with just this result; one that `failed` is
not there; one of unknown outcome is there at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.model import Change, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.check.agreed import AgreedLog, Result


def check_answers(operations: Iterable[Operation], agreed: AgreedLog) -> None:
    """Every answer against what the log says was done."""
    for operation in operations:
        if operation.request is None:
            continue
        found = agreed.by_tag.get(operation.tag, [])
        if len(found) > 1:
            places = [applied.entry.index for applied in found]
            raise Violation(f"applied {len(found)} times, at {places}: {operation.describe()}")
        outcome = operation.outcome
        if outcome is Outcome.FAILED and found:
            raise Violation(
                f"answered failed, yet applied at log index {found[0].entry.index}: "
                f"{operation.describe()}"
            )
        if outcome in (Outcome.OK, Outcome.REFUSED):
            if not found:
                raise Violation(f"answered, yet in no log: {operation.describe()}")
            check_answer(operation, found[0].result)


def check_answer(operation: Operation, result: Result) -> None:
    """What an answered operation was told, against what the model says it did."""
    if operation.outcome is Outcome.REFUSED:
        explained = (
            isinstance(result, Refused)
            and result.kind == operation.error
            and result.index == operation.index
        )
    else:
        explained = isinstance(result, Change) and _same_change(operation, result)
    if not explained:
        raise Violation(f"the model says {result}: {operation.describe()}")


def _same_change(operation: Operation, change: Change) -> bool:
    previous = change.previous
    told = operation.previous
    if (operation.index, operation.action) != (change.index, change.action):
        return False
    if operation.node_path != change.path:
        return False
    if change.node is not None and operation.node_value != change.node.value:
        return False
    if previous is None or change.action == "create":
        return told is None
    return told == (previous.value, previous.modified)
