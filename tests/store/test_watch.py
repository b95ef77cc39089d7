"""Who is told of what, live and from the history."""

from __future__ import annotations

import pytest

from kvraft.limits import HISTORY_EVENTS, WATCH_QUEUE
from kvraft.store.errors import ErrorKind, StoreError
from kvraft.store.request import Op
from kvraft.store.store import Store
from kvraft.store.watch import Watcher
from tests.store.drive import NOW, NS, at, chunks_of, copy_of, do, put, remove, started, taken


def watch(store: Store, path: bytes, since: int = 0) -> Watcher:
    return store.watch(path, False, True, since)


def watch_below(store: Store, path: bytes, since: int = 0) -> Watcher:
    return store.watch(path, True, True, since)


def paths(watcher: Watcher) -> list[str]:
    return [path for _, path, _ in taken(watcher)]


# --- live -------------------------------------------------------------------------------


def test_one_event_ends_a_watch() -> None:
    store = Store()
    watcher = store.watch(b"/k/", False, False, 0)
    assert (watcher.path, watcher.start_index, store.hub.count) == (b"/k", 0, 1)
    put(store, b"/k")
    put(store, b"/k")
    assert taken(watcher) == [("set", "/k", 1)]
    assert watcher.closed
    assert not watcher.overflowed
    assert store.hub.count == 0


def test_watchers_share_the_event() -> None:
    store = Store()
    watchers = [watch(store, b"/k") for _ in range(3)]
    event = put(store, b"/k")
    assert all(watcher.events[0] is event for watcher in watchers)


def test_exactly_or_below() -> None:
    store = Store()
    exact, below, root, root_below = (
        watch(store, b"/d"),
        watch_below(store, b"/d"),
        watch(store, b"/"),
        watch_below(store, b"/"),
    )
    for path in (b"/d/x", b"/dd", b"/d/y/z"):
        put(store, path)
    do(store, Op.UPDATE, b"/d", ttl_seconds=0)
    assert paths(exact) == ["/d"]
    assert paths(below) == ["/d/x", "/d/y/z", "/d"]
    assert paths(root) == []
    assert paths(root_below) == ["/d/x", "/dd", "/d/y/z", "/d"]


def test_hidden_components_below_the_watched_key() -> None:
    store = Store()
    root, above, own, inside = (
        watch_below(store, b"/"),
        watch_below(store, b"/d"),
        watch(store, b"/d/_h"),
        watch_below(store, b"/d/_h"),
    )
    for path in (b"/d/_h", b"/d/x/_h/y", b"/d/x_"):
        put(store, path)
    remove(store, b"/d/_h")
    for path in (b"/d/_h/y", b"/d/_h/_z", b"/d/_h/z/_w"):
        put(store, path)
    assert paths(root) == paths(above) == ["/d/x_"]
    assert paths(own) == ["/d/_h", "/d/_h"]
    assert paths(inside) == ["/d/_h", "/d/_h", "/d/_h/y"]


@pytest.mark.parametrize("expires", [False, True])
def test_the_end_of_a_directory_above(expires: bool) -> None:
    store = started()
    put(store, b"/d/x/_h")
    put(store, b"/dd/x")
    put(store, b"/d/f")
    existing = [watch(store, b"/d/x"), watch_below(store, b"/d/x/_h"), watch(store, b"/d/f")]
    others = [watch(store, b"/d/y"), watch_below(store, b"/d/f/y"), watch(store, b"/dd/x")]
    gone = watch_below(store, b"/d")
    if expires:
        do(store, Op.UPDATE, b"/d", ttl_seconds=1)
        at(store, NOW + NS)
    else:
        put(store, b"/unrelated")
        remove(store, b"/d", recursive=True)
    action = "expire" if expires else "delete"
    assert all(taken(watcher) == [(action, "/d", 5)] for watcher in existing)
    assert all(taken(watcher) == [] for watcher in others)
    assert taken(gone)[-1] == (action, "/d", 5)


def test_a_removed_key_is_told_once() -> None:
    store = started()
    put(store, b"/k")
    watcher = watch_below(store, b"/k")
    remove(store, b"/k")
    put(store, b"/k", ttl_seconds=1)
    at(store, NOW + NS)
    put(store, b"/k")
    do(store, Op.COMPARE_AND_DELETE, b"/k", prev_value=b"v")
    actions = [action for action, _, _ in taken(watcher)]
    assert actions == ["delete", "set", "expire", "set", "compareAndDelete"]


def test_refusals_and_refreshes_wake_nobody() -> None:
    store = started()
    put(store, b"/k", ttl_seconds=5)
    watcher = watch(store, b"/k")
    with pytest.raises(StoreError):
        do(store, Op.CREATE, b"/k")
    put(store, b"/k", refresh=True, ttl_seconds=9)
    assert not watcher.events
    assert store.take_woken() == []


def test_an_index_to_come() -> None:
    store = Store()
    watcher = watch(store, b"/k", since=3)
    for _ in range(4):
        put(store, b"/k")
    assert [index for _, _, index in taken(watcher)] == [3, 4]


def test_unwatch() -> None:
    store = Store()
    watcher = watch(store, b"/k")
    store.unwatch(watcher)
    store.unwatch(watcher)
    put(store, b"/k")
    assert watcher.closed
    assert not watcher.events
    assert store.hub.count == 0


def test_woken_watchers_are_listed_once() -> None:
    store = Store()
    first, second = watch(store, b"/k"), watch_below(store, b"/")
    watch(store, b"/other")
    put(store, b"/k")
    put(store, b"/k")
    assert store.take_woken() == [first, second]
    assert store.take_woken() == []
    put(store, b"/x")
    assert store.take_woken() == [second]


def test_a_full_queue_closes_the_watch() -> None:
    store = Store()
    watcher = watch(store, b"/k")
    for _ in range(WATCH_QUEUE):
        put(store, b"/k")
    assert not watcher.closed
    store.take_woken()
    put(store, b"/k")
    assert (watcher.closed, watcher.overflowed) == (True, True)
    assert store.take_woken() == [watcher]
    put(store, b"/k")
    assert [index for _, _, index in taken(watcher)] == list(range(1, WATCH_QUEUE + 1))
    assert store.take_woken() == []


def test_a_queue_that_is_read_never_fills() -> None:
    store = Store()
    watcher = watch(store, b"/k")
    for number in range(3 * WATCH_QUEUE):
        put(store, b"/k")
        if number % WATCH_QUEUE == WATCH_QUEUE - 1:
            taken(watcher)
    assert not watcher.closed


def test_what_was_past_already_does_not_fill_the_queue() -> None:
    store = Store()
    for _ in range(5 * WATCH_QUEUE):
        put(store, b"/k")
    watcher = watch(store, b"/k", since=1)
    for _ in range(WATCH_QUEUE):
        put(store, b"/k")
    assert not watcher.closed
    put(store, b"/k")
    assert watcher.overflowed
    assert len(watcher.events) == 6 * WATCH_QUEUE


# --- the history ------------------------------------------------------------------------


def test_a_past_event_is_there_at_once() -> None:
    store = Store()
    put(store, b"/k", b"1")
    put(store, b"/x")
    put(store, b"/k", b"2")
    one = store.watch(b"/k", False, False, 1)
    assert (taken(one), one.closed, one.start_index) == ([("set", "/k", 1)], True, 3)
    later = store.watch(b"/k", False, False, 2)
    assert taken(later) == [("set", "/k", 3)]
    assert store.hub.count == 0
    assert store.take_woken() == []


def test_a_stream_goes_from_the_past_into_the_present() -> None:
    store = Store()
    for _ in range(3):
        put(store, b"/k")
    watcher = watch(store, b"/k", since=2)
    assert store.hub.count == 1
    put(store, b"/k")
    assert [index for _, _, index in taken(watcher)] == [2, 3, 4]


def test_nothing_in_the_past_means_waiting() -> None:
    store = Store()
    put(store, b"/x")
    watcher = store.watch(b"/k", False, False, 1)
    assert store.hub.count == 1
    put(store, b"/k")
    assert taken(watcher) == [("set", "/k", 2)]


def test_refreshes_are_not_recalled() -> None:
    store = started()
    put(store, b"/k", ttl_seconds=9)
    put(store, b"/k", refresh=True, ttl_seconds=9)
    put(store, b"/k")
    assert [index for _, _, index in taken(watch(store, b"/k", since=1))] == [1, 3]


def test_the_history_hides_children_of_the_watched_directory() -> None:
    store = Store()
    for path in (b"/d/_h/x", b"/d/x/_y", b"/_d", b"/d/z"):
        put(store, path)
    assert paths(watch_below(store, b"/d", since=1)) == ["/d/x/_y", "/d/z"]
    assert paths(watch_below(store, b"/", since=1)) == ["/d/_h/x", "/d/x/_y", "/d/z"]
    assert paths(watch(store, b"/d/_h/x", since=1)) == ["/d/_h/x"]
    assert paths(watch_below(store, b"/d/_h", since=1)) == ["/d/_h/x"]


def test_a_removed_directory_matches_what_lies_below_it() -> None:
    store = started()
    put(store, b"/pre/x")
    remove(store, b"/pre", recursive=True)
    put(store, b"/pre/x")
    do(store, Op.UPDATE, b"/pre", ttl_seconds=1)
    at(store, NOW + NS)
    for recursive in (False, True):
        watcher = store.watch(b"/pre/never/was", recursive, True, 1)
        assert taken(watcher) == [("delete", "/pre", 2), ("expire", "/pre", 5)]
        assert taken(store.watch(b"/prefix", recursive, True, 1)) == []
    put(store, b"/f")
    remove(store, b"/f")
    assert taken(watch(store, b"/f/x", since=6)) == []


def test_the_oldest_index() -> None:
    store = Store()
    for _ in range(HISTORY_EVENTS):
        put(store, b"/k")
    assert taken(store.watch(b"/k", False, False, 1))
    put(store, b"/k")
    do(store, Op.PUT_RECORD, b"/0/version", b"")
    for stream in (False, True):
        with pytest.raises(StoreError) as caught:
            store.watch(b"/k", False, stream, 2)
        assert caught.value.kind is ErrorKind.HISTORY_CLEARED
        assert caught.value.cause == b"the requested history has been cleared [3/2]"
        assert caught.value.index == HISTORY_EVENTS + 2
    assert len(watch(store, b"/k", since=3).events) == HISTORY_EVENTS - 1


def test_a_watch_on_a_key_too_deep() -> None:
    with pytest.raises(StoreError) as caught:
        watch(Store(), b"/d" * 129)
    assert caught.value.kind is ErrorKind.PATH_TOO_DEEP


# --- a store that replaces another one --------------------------------------------------


def test_watchers_move_to_the_succeeding_store_without_a_gap() -> None:
    old = Store()
    put(old, b"/k")
    stream, one_shot, waiting, later = (
        watch(old, b"/k"),
        old.watch(b"/k", False, False, 0),
        old.watch(b"/x", False, False, 0),
        watch(old, b"/k", since=4),
    )
    new = copy_of(old)
    for _ in range(3):
        put(new, b"/k")
    new.succeed(old)
    assert [index for _, _, index in taken(stream)] == [2, 3, 4]
    assert [index for _, _, index in taken(one_shot)] == [2]
    assert [index for _, _, index in taken(later)] == [4]
    assert one_shot.closed
    assert set(new.take_woken()) == {stream, one_shot, later}
    assert (old.hub.count, new.hub.count) == (0, 3)
    put(new, b"/k")
    assert [index for _, _, index in taken(stream)] == [5]
    old.unwatch(stream)
    new.unwatch(waiting)
    assert new.hub.count == 1


def test_a_listing_of_the_old_store_is_read_to_its_end() -> None:
    old = Store()
    put(old, b"/d/k")
    snapshot = old.snapshot()
    expected = chunks_of(old)
    new = copy_of(old)
    new.succeed(old)
    while new.reclaim(1):
        pass
    assert list(snapshot.chunks(7)) == expected
    idle = copy_of(new)
    idle.succeed(new)
    assert idle.reclaim(1)


def test_watchers_that_missed_too_much_are_closed() -> None:
    old = Store()
    put(old, b"/k")
    watcher = watch(old, b"/k")
    new = copy_of(old)
    for _ in range(HISTORY_EVENTS + 1):
        put(new, b"/k")
    new.succeed(old)
    assert watcher.closed
    assert watcher.overflowed
    assert new.take_woken() == [watcher]
    assert new.hub.count == 0
    new.unwatch(watcher)
