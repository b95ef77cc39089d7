"""Mistakes in the key space and in what watchers get."""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.mutants.mutant import Case, Mutant, Patch, Simulated, Staged
from jepsen_like.mutants.shapes import ROUGH
from kvraft.limits import HISTORY_EVENTS, WATCH_QUEUE
from kvraft.store.store import Restorer, Store
from kvraft.store.watch import Hub


def _drop_on_overflow() -> list[Patch]:
    def deliver(hub: Hub, watcher: Any, event: Any) -> None:
        if event.index < watcher.since_index:
            return
        if len(watcher.events) < WATCH_QUEUE:
            watcher.events.append(event)
            if not watcher.stream:
                hub.remove(watcher)
        hub.wake(watcher)

    return [(Hub, "_deliver", deliver)]


def _future_index_ignored() -> list[Patch]:
    original = Hub._deliver

    def deliver(hub: Hub, watcher: Any, event: Any) -> None:
        watcher.since_index = 0
        original(hub, watcher, event)

    return [(Hub, "_deliver", deliver)]


def _quiet_watch_cleared() -> list[Patch]:
    """A watch counts as out of date once the history does not reach back to its beginning."""
    original = Hub._deliver

    def deliver(hub: Hub, watcher: Any, event: Any) -> None:
        if event.index - watcher.start_index > HISTORY_EVENTS:
            watcher.overflowed = True
            hub.remove(watcher)
            hub.wake(watcher)
        else:
            original(hub, watcher, event)

    return [(Hub, "_deliver", deliver)]


def _compare_ignored() -> list[Patch]:
    return [(Store, "_compare", lambda store, node, request: None)]


def _snapshot_without_history() -> list[Patch]:
    original = Restorer.finish

    def finish(restorer: Restorer) -> Any:
        store = original(restorer)
        store._history.places.clear()
        return store

    return [(Restorer, "finish", finish)]


MUTANTS: Final = (
    Mutant(
        "drop an event on overflow", "A full watch queue loses events in silence.", "section 5",
        _drop_on_overflow,
        (
            Simulated(
                ROUGH._replace(
                    faults=(), slow_watch_share=0.5, watch_share=0.2, think_ms=10, clients=5,
                    safety_ms=3_000,
                ),
                "delivered index .* owed is|was never delivered",
            ),
            Staged("pause one", 3, "left out|was never delivered|owed is"),
        ),
    ),
    Mutant(
        "future index ignored", "A watch on an index to come gets the next event there is.",
        "section 7: watch on a future index", _future_index_ignored,
        (Case("tests/store/test_watch.py::test_an_index_to_come", "assert"),),
    ),
    Mutant(
        "quiet watch cleared", "A watch ends when the history no longer reaches its beginning.",
        "section 7: quiet key watched past 1000 foreign events", _quiet_watch_cleared,
        (
            Case(
                "tests/regressions/test_bugs_of_others.py::"
                "test_quiet_key_watched_past_1000_foreign_events",
                "_indices",
            ),
        ),
    ),
    Mutant(
        "compare ignored", "A compare-and-swap always swaps.", "", _compare_ignored,
        (Simulated(ROUGH, "store index|the model says"),),
    ),
    Mutant(
        "snapshot without history", "Watchers miss events after a restore.", "",
        _snapshot_without_history,
        (
            Simulated(
                ROUGH._replace(digest_every=1 << 30),
                "stores of members|history refused|never delivered|owed is",
            ),
        ),
    ),
)  # fmt: skip
