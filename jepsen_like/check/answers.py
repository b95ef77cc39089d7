"""Every answer to a write against what the agreed log says was done.

A write that was acknowledged is in the log exactly once with just this result; one that `failed` is
not there; one of unknown outcome is there at most once. A request may be sent again after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.model import Change, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.check.agreed import AgreedLog, Applied, Result


def check_answers(operations: Iterable[Operation], agreed: AgreedLog) -> None:
    """Every answer against what the log says was done.

    Operations with the same tag are one request that was sent more than once.
    """
    sent: dict[bytes, list[Operation]] = {}
    for operation in operations:
        if operation.request is not None:
            sent.setdefault(operation.tag, []).append(operation)
    for tag, attempts in sent.items():
        _check_attempts(attempts, list(agreed.by_tag.get(tag, [])))


def _check_attempts(attempts: list[Operation], found: list[Applied]) -> None:
    """Each answer has an entry of its own; what is left is of attempts that may have been made."""
    places = [applied.entry.index for applied in found]
    if len(found) > len(attempts):
        raise Violation(f"applied {len(found)} times, at {places}: {attempts[-1].describe()}")
    for operation in attempts:
        if operation.outcome in (Outcome.OK, Outcome.REFUSED):
            if not found:
                raise Violation(f"answered, yet in no log: {operation.describe()}")
            explained = next((one for one in found if _explains(one.result, operation)), None)
            if explained is None:
                results = ", ".join(str(one.result) for one in found)
                raise Violation(f"the model says {results}: {operation.describe()}")
            found.remove(explained)
    uncertain = sum(one.outcome in (Outcome.UNKNOWN, Outcome.PENDING) for one in attempts)
    if len(found) > uncertain:
        raise Violation(
            f"answered failed, yet applied at log index {places}: {attempts[-1].describe()}"
        )


def check_answer(operation: Operation, result: Result) -> None:
    """What an answered operation was told, against what the model says it did."""
    if not _explains(result, operation):
        raise Violation(f"the model says {result}: {operation.describe()}")


def _explains(result: Result, operation: Operation) -> bool:
    if operation.outcome is Outcome.REFUSED:
        return (
            isinstance(result, Refused)
            and result.kind == operation.error
            and result.index == operation.index
        )
    return isinstance(result, Change) and _same_change(operation, result)


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
