"""Taking removed directories apart."""

from __future__ import annotations

import pytest

from kvraft.limits import RECLAIM_BACKLOG
from kvraft.store.node import Directory
from kvraft.store.reclaim import Reclaimer
from kvraft.store.store import Store
from kvraft.store.ttl import Expirations
from kvraft.store.view import Pictures
from tests.store.drive import chunks_of, put, remove, started


class Value(bytes):
    """A value whose end can be counted."""

    alive = 0

    def __init__(self, _: bytes) -> None:
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


def fill(store: Store, count: int) -> None:
    for number in range(count):
        put(store, b"/d/%d/%d" % (number % 10, number), Value(b"v"))
    store._history.places.clear()


def steps(store: Store, budget: int) -> int:
    count = 1
    while store.reclaim(budget):
        count += 1
    return count


def test_a_removed_tree_is_freed_piece_by_piece() -> None:
    store = Store()
    fill(store, 500)
    remove(store, b"/d", recursive=True)
    assert Value.alive == 500
    assert store.reclaim(100)
    assert 390 <= Value.alive <= 410
    assert steps(store, 100) in (5, 6)
    assert Value.alive == 0
    assert not store.reclaim(100)


def test_expirations_below_a_removed_directory_are_cancelled() -> None:
    store = started()
    put(store, b"/d/e/k", ttl_seconds=1_000_000)
    remove(store, b"/d", recursive=True)
    put(store, b"/d/e/k", ttl_seconds=1_000_000)  # the same path and moment
    steps(store, 1)
    assert store.has_ttls()
    remove(store, b"/d/e/k")
    assert not store.has_ttls()


def test_nothing_is_freed_that_a_picture_may_show() -> None:
    store = Store()
    fill(store, 50)
    expected = chunks_of(store, 1000)
    snapshot = store.snapshot()
    remove(store, b"/d", recursive=True)
    later = store.snapshot()
    assert not store.reclaim(1000)
    assert Value.alive == 50
    assert list(snapshot.chunks(1000)) == expected
    steps(store, 1000)
    assert Value.alive == 0  # the later picture was opened when the directory had gone already
    later.close()


def test_lists_that_pictures_share_go_with_the_last_of_them() -> None:
    store = Store()
    fill(store, 50)
    first, second = store.snapshot(), store.snapshot()
    expected = chunks_of(store, 1000)
    put(store, b"/d/1/new")
    first.close()
    steps(store, 1000)
    assert list(second.chunks(1000)) == expected
    assert store.reclaim(1)
    remove(store, b"/d", recursive=True)
    steps(store, 1000)
    assert Value.alive == 0


def test_writers_help_when_too_many_directories_wait() -> None:
    expirations = Expirations()
    reclaimer = Reclaimer(Pictures(), expirations)
    for _ in range(5 * RECLAIM_BACKLOG):
        reclaimer.add(b"/d", Directory(b"d", 1, 1, 0, 0))
    assert len(reclaimer._removed) <= RECLAIM_BACKLOG


@pytest.mark.parametrize("budget", [1, 2, 3, 1000])
def test_deep_trees_need_no_recursion(budget: int) -> None:
    store = Store()
    put(store, b"/d" * 128)
    remove(store, b"/d", recursive=True)
    assert steps(store, budget) >= 128 // budget
