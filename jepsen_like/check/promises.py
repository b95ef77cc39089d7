"""The verdict over a finished run: every answer and every delivered event must be explained.

`check_answers`: each write that was acknowledged is in the agreed log exactly once with just this
result; one that `failed` is not there; one of unknown outcome is there at most once.
`check_order`: answers carry indexes, so linearizability is index order against real time.
`check_reads`: what a read returned is the state at the index it named.
`check_watches`: every matching event once, in order, up to a declared end.
`check_ttls`: nothing expires early. All raise `Violation` and change nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.check.history import Operation, Outcome, Watch
from jepsen_like.check.model import ROOT, Change, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jepsen_like.check.agreed import AgreedLog, Applied
    from jepsen_like.check.model import Model

HISTORY_EVENTS = 1000  # the promise of the watch API, not the store's constant
TTL_DRIFT = 0.011  # two clocks, each off by up to MAX_DRIFT_PPM, and rounding
TTL_SLACK_NS = 450_000_000  # wall clocks are that far apart when a whole cluster starts again


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
            _check_answer(operation, found[0])


def _check_answer(operation: Operation, applied: Applied) -> None:
    result = applied.result
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


def check_reads(operations: Iterable[Operation], model: Model) -> None:
    """Each read returned the state at the index in its header."""
    for operation in operations:
        if operation.request is not None or operation.outcome is not Outcome.OK:
            if operation.request is None and operation.outcome is Outcome.REFUSED:
                if model.at(operation.node_path, operation.index) is not None:
                    raise Violation(f"the key exists at that index: {operation.describe()}")
            continue
        node = model.at(operation.node_path, operation.index)
        if node is None:
            raise Violation(f"no such key at that index: {operation.describe()}")
        if operation.listing is not None:
            expected = model.listing(operation.node_path, operation.index)
            if operation.listing != expected:
                raise Violation(f"listing {operation.listing}, model {expected}")
        elif (node.value, node.modified) != (operation.node_value, operation.node_modified):
            raise Violation(
                f"returned {operation.node_value!r}, modified {operation.node_modified}, "
                f"the model has {node}: {operation.describe()}"
            )


# --- watches ---------------------------------------------------------------------------


def _matches(watch: Watch, change: Change) -> str:
    """`must`, `may` or `no`: whether the watch is owed this event."""
    path = watch.path
    if change.path == path:
        return "must"
    prefix = path if path == ROOT else path + b"/"
    if watch.recursive and change.path.startswith(prefix):
        below = change.path[len(prefix) - 1 :]
        if b"/_" not in below:
            return "must"
        # Hidden. A look into the history passes over the hidden children of the watched key only;
        # after a received snapshot it may have taken the place of what would have come live.
        if below.startswith(b"/_") or change.index > watch.recalled_index:
            return "no"
        return "must" if change.index <= watch.registered_index else "may"
    if change.action in ("delete", "expire") and path.startswith(change.path + b"/"):
        # The history cannot know whether the watched key existed; live watchers are told if so.
        return "must" if path in change.removed else "may"
    return "no"


def owed(watch: Watch, changes: Sequence[Change], upto: int) -> list[tuple[Change, bool]]:
    """The events from the watch's first index to `upto`, each with whether it must come."""
    found = []
    start = bisect_left(changes, watch.first_index, key=lambda change: change.index)
    for change in changes[start:]:
        if change.index > upto:
            break
        verdict = "no" if change.silent else _matches(watch, change)
        if verdict != "no":
            found.append((change, verdict == "must"))
    return found


def check_watch(watch: Watch, model: Model) -> None:
    """Order, uniqueness, no gap, right previous value, right filter, no premature silence."""
    if watch.refused_cause is not None:
        oldest = watch.registered_index - HISTORY_EVENTS + 1
        if watch.first_index >= oldest:
            raise Violation(f"history refused although recent enough: {watch.describe()}")
        return
    events = owed(watch, model.changes, max(watch.reached_index, _last(watch)))
    place = 0
    for seen in watch.events:
        while place < len(events) and events[place][0].index < seen.index and not events[place][1]:
            place += 1
        if place == len(events) or events[place][0].index != seen.index:
            expected = events[place][0] if place < len(events) else "nothing more"
            raise Violation(
                f"delivered index {seen.index} {seen.action} {seen.path!r}, owed is {expected}: "
                f"{watch.describe()}"
            )
        _same_event(watch, events[place][0], seen.action, seen.path, seen.previous)
        place += 1
    if not watch.stream and len(watch.events) > 1:
        raise Violation(f"more than one event for one-shot {watch.describe()}")
    finished = bool(watch.ended) or (not watch.stream and bool(watch.events))
    missing = [change for change, must in events[place:] if must]
    if missing and not finished:
        raise Violation(f"event {missing[0]} was never delivered: {watch.describe()}")


def _last(watch: Watch) -> int:
    return watch.events[-1].index if watch.events else 0


def _same_event(
    watch: Watch, change: Change, action: str, path: bytes, previous: bytes | None
) -> None:
    before = change.previous.value if change.previous is not None else None
    if change.action == "create":
        before = None
    if (action, path, previous) != (change.action, change.path, before):
        raise Violation(
            f"delivered {action} {path!r} previous {previous!r}, the model has {change}: "
            f"{watch.describe()}"
        )


def check_watches(watches: Iterable[Watch], model: Model) -> None:
    """All watches of the run."""
    for watch in watches:
        check_watch(watch, model)


# --- time ------------------------------------------------------------------------------


def check_ttls(
    operations: Iterable[Operation], agreed: AgreedLog, healthy_ns: int = -1, late_ns: int = 0
) -> None:
    """No key went before its ttl had passed since the client asked for it.

    Nor, from `healthy_ns` on and under one leader, more than `late_ns` after its time.
    """
    asked: dict[int, tuple[Operation, int, Applied]] = {}
    for operation in operations:
        for applied in agreed.by_tag.get(operation.tag, []) if operation.tag else []:
            request = operation.request
            if request is not None and request.ttl_seconds is not None:
                for change in applied.changes:
                    asked[change.index] = operation, request.ttl_seconds * SECOND_NS, applied
    for applied in agreed.entries:
        for change in applied.changes:
            if change.action != "expire" or change.previous is None:
                continue
            found = asked.get(change.previous.modified)
            if found is None:
                continue
            operation, ttl_ns, written = found
            lived_ns = applied.at_ns - operation.invoked_ns
            if lived_ns < ttl_ns * (1 - TTL_DRIFT) - TTL_SLACK_NS:
                raise Violation(
                    f"expired after {lived_ns / SECOND_NS:.3f} s: {operation.describe()}"
                )
            healthy = 0 <= healthy_ns <= operation.invoked_ns
            if healthy and written.entry.term == applied.entry.term:
                overdue_ns = applied.at_ns - written.at_ns - ttl_ns
                if overdue_ns > ttl_ns * TTL_DRIFT + late_ns:
                    raise Violation(
                        f"expired {overdue_ns / SECOND_NS:.3f} s late: {operation.describe()}"
                    )


def check_expired(agreed: AgreedLog, paths: Iterable[bytes]) -> None:
    """Keys whose time is up must be gone when the cluster has been healthy for long enough."""
    for path in paths:
        node = agreed.model.nodes.get(path)
        if node is not None and node.expiration_ns:
            raise Violation(f"{path!r} is still there although the cluster is healthy: {node}")
