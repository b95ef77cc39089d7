"""Every event that a watch is owed, once, in order, up to a declared end."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from jepsen_like.base import Violation
from jepsen_like.check.history import Watch
from jepsen_like.check.model import ROOT, Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jepsen_like.check.model import Model

HISTORY_EVENTS: Final = 1000  # the promise of the watch API, not the store's constant


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


class ChangeIndex:
    """Changes by key, so that a watch need not be compared with all of them."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._of: dict[bytes, list[Change]] = defaultdict(list)
        self._below: dict[bytes, list[Change]] = defaultdict(list)
        for change in changes:
            if not change.silent:
                self._of[change.path].append(change)
                for above in _above(change.path):
                    self._below[above].append(change)

    def owed(self, watch: Watch, upto: int) -> list[tuple[Change, bool]]:
        """The events from the watch's first index to `upto`, each with whether it must come."""
        lists = [self._of.get(path, []) for path in (watch.path, *_above(watch.path))]
        if watch.recursive:
            lists.append(self._below.get(watch.path, []))
        found = []
        for changes in lists:
            start = bisect_left(changes, watch.first_index, key=_index)
            stop = bisect_right(changes, upto, key=_index)
            for change in changes[start:stop]:
                verdict = _matches(watch, change)
                if verdict != "no":
                    found.append((change, verdict == "must"))
        found.sort(key=lambda pair: pair[0].index)
        return found


def _index(change: Change) -> int:
    return change.index


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that a key lies in."""
    while path != ROOT:
        path = path.rpartition(b"/")[0] or ROOT
        yield path


def owed(watch: Watch, changes: Iterable[Change], upto: int) -> list[tuple[Change, bool]]:
    """The same for a single watch."""
    return ChangeIndex(changes).owed(watch, upto)


def check_watch(watch: Watch, model: Model, index: ChangeIndex | None = None) -> None:
    """Order, uniqueness, no gap, right previous value, right filter, no premature silence.

    `index` is that of the model's changes, where many watches are checked.
    """
    if watch.refused_cause is not None:
        oldest = watch.registered_index - HISTORY_EVENTS + 1
        if watch.first_index >= oldest:
            raise Violation(f"history refused although recent enough: {watch.describe()}")
        return
    index = index or ChangeIndex(model.changes)
    events = index.owed(watch, max(watch.reached_index, _last(watch)))
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
    index = ChangeIndex(model.changes)
    for watch in watches:
        check_watch(watch, model, index)
