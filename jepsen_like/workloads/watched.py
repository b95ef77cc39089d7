"""What watchers were shown, compared: order, uniqueness, gaps, filter, previous node.

Knows no model. All events that anybody was shown make up the list of changes; whoever vouches for
a range of indexes must have been shown all of them there that concern his key.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from jepsen_like.check.history import Watch
from jepsen_like.check.watches import HISTORY_EVENTS
from jepsen_like.workloads.followers import Told


def judge(watches: Iterable[Watch], events: Mapping[int, Told]) -> list[str]:
    """What is wrong with what the watchers were shown."""
    order = sorted(events)
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for index in order:
        by_key[events[index].key].append(index)
    problems = _judge_previous(events, by_key)
    for watch in watches:
        problem = _judge_shown(watch) or _judge_gaps(watch, events, order, by_key)
        if problem:
            problems.append(f"{problem}: {watch.describe()}")
    return problems


def concerns(watch: Watch, key: bytes, action: str) -> str:
    """Whether a change of `key` is to be shown: `must`, `may` or `no`."""
    if key == watch.path or (watch.recursive and key.startswith(watch.path + b"/")):
        return "must"
    if action in ("delete", "expire") and watch.path.startswith(key + b"/"):
        return "may"  # if the watched key was there when the directory went
    return "no"


def _judge_shown(watch: Watch) -> str:
    if watch.refused_cause is not None:
        kept = watch.registered_index - HISTORY_EVENTS + 1
        return "refused although not forgotten" if watch.first_index >= kept else ""
    last = watch.first_index - 1
    for event in watch.events:
        if event.index <= last:
            return f"was shown index {event.index} after {last}"
        if concerns(watch, event.path, event.action) == "no":
            return f"was shown {event.path!r}"
        last = event.index
    if len(watch.events) > 1 and not watch.stream:
        return f"asked for one event, was shown {len(watch.events)}"
    return ""


def _judge_gaps(
    watch: Watch,
    events: Mapping[int, Told],
    order: list[int],
    by_key: Mapping[bytes, list[int]],
) -> str:
    if not watch.events:
        return ""
    candidates = order if watch.recursive else by_key.get(watch.path, [])
    first = bisect_left(candidates, watch.first_index)
    stop = bisect_right(candidates, watch.events[-1].index)
    shown = {event.index for event in watch.events}
    missed = [
        index
        for index in candidates[first:stop]
        if index not in shown and concerns(watch, events[index].key, events[index].action) == "must"
    ]
    return f"was not shown {missed[:10]}" if missed else ""


def _judge_previous(events: Mapping[int, Told], by_key: Mapping[bytes, list[int]]) -> list[str]:
    """Whether the node before each change is the one that the change before had left."""
    problems = []
    for key, indexes in by_key.items():
        for before, index in zip([0, *indexes], indexes, strict=False):
            told = events[index]
            if told.previous is None:
                continue
            value, modified = told.previous
            known = events.get(modified)
            # a directory may have come with the first key in it
            wrong = False
            if known is not None and value is not None:
                wrong = (known.key, known.value) != (key, value)
            if modified < before or modified >= index or wrong:
                problems.append(
                    f"index {index} shows {told.previous} as the node before, "
                    f"the change before was {before}: {events.get(before)}"
                )
    return problems
