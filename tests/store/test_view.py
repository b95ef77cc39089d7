"""Frozen pictures: what they show does not change, however slowly they are read."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from kvraft.limits import GET_INLINE_NODES, SORT_RUN_NODES
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from kvraft.store.view import View
from tests.store.drive import NOW, NS, at, chunks_of, keys_of, put, remove, shown, started


def wide(count: int, parent: bytes = b"/w") -> Store:
    store = Store()
    for number in range(count):
        put(store, b"%b/%06d" % (parent, (number * 7919) % count))
    return store


def view_of(
    store: Store, path: bytes, *, recursive: bool = False, sorted_: bool = False, now_ns: int = 0
) -> View:
    view = store.get_body(path, recursive, sorted_, now_ns)
    assert isinstance(view, View)
    return view


def tree(document: bytes) -> dict[str, Any]:
    node: dict[str, Any] = json.loads(document)["node"]
    return node


def test_a_small_answer_is_no_view() -> None:
    store = wide(GET_INLINE_NODES)
    assert isinstance(store.get_body(b"/w", False, True, 0), bytes)
    put(store, b"/w/one-more")
    view = view_of(store, b"/w")
    view.close()
    view.close()
    assert isinstance(store.get_body(b"/", False, False, 0), bytes)
    view_of(store, b"/", recursive=True).close()


def test_large_values_make_a_view() -> None:
    store = Store()
    for number in range(10):
        put(store, b"/w/%d" % number, b"v" * 100_000)
    chunks = list(view_of(store, b"/w").json_chunks(1000))
    assert len(chunks) > 2
    assert max(map(len, chunks)) < 400_000
    assert len(keys_of(tree(b"".join(chunks)))) == 10


@pytest.mark.parametrize("sorted_", [False, True])
@pytest.mark.parametrize("count", [GET_INLINE_NODES + 1, 3 * SORT_RUN_NODES, 9000])
def test_a_wide_directory_in_slices(count: int, sorted_: bool) -> None:
    store = wide(count)
    expected = [f"/w/{number * 7919 % count:06}" for number in range(count)]
    chunks = list(view_of(store, b"/w", sorted_=sorted_).json_chunks(500))
    assert max(chunk.count(b'"key"') for chunk in chunks[1:]) <= 501
    keys = keys_of(tree(b"".join(chunks)))
    assert keys == (sorted(expected) if sorted_ else expected)


def test_hidden_nodes_count_as_work() -> None:
    store = wide(GET_INLINE_NODES + 1, b"/w/_h")
    for name in list(store.get(b"/w/_h").children):
        put(store, b"/w/_" + name)
    chunks = list(view_of(store, b"/w").json_chunks(100))
    assert len(chunks) > 1
    assert b"".join(chunks) == (
        b'{"action":"get","node":{"key":"/w","dir":true,"modifiedIndex":1,"createdIndex":1}}\n'
    )


def test_a_view_shows_the_moment_it_was_opened() -> None:
    store = started()
    for number in range(GET_INLINE_NODES):
        put(store, b"/w/%04d" % number, b"old")
    put(store, b"/w/dir/below/x", b"old", ttl_seconds=50)
    store.apply(Request(Op.UPDATE, b"/w/dir", ttl_seconds=100))
    expected = shown(store, b"/w", recursive=True, sorted_=True)
    view = view_of(store, b"/w", recursive=True, sorted_=True, now_ns=NOW)
    store.apply(Request(Op.UPDATE, b"/w/dir", ttl_seconds=900))
    put(store, b"/w/dir/below/x", b"new")
    put(store, b"/w/dir/below/y", b"new")
    put(store, b"/w/0000", b"new")
    remove(store, b"/w/1999")
    remove(store, b"/w", recursive=True)
    put(store, b"/w/0000", b"newer")
    while store.reclaim(100):
        pass
    assert tree(b"".join(view.json_chunks(100))) == expected
    assert keys_of(shown(store, b"/w")) == ["/w/0000"]


def test_changes_elsewhere_are_not_saved() -> None:
    store = wide(GET_INLINE_NODES + 1)
    put(store, b"/ww/x")
    view = view_of(store, b"/w")
    put(store, b"/ww/y")
    put(store, b"/z")
    assert not view.saved
    put(store, b"/w/y")
    assert len(view.saved) == 1
    view.close()


def test_a_closed_view_lets_go() -> None:
    store = wide(GET_INLINE_NODES + 1)
    view = view_of(store, b"/w", sorted_=True)
    put(store, b"/w/new")
    view.close()
    assert not view.saved
    while store.reclaim(1000):
        pass
    put(store, b"/w/newer")
    assert not view.saved


def test_chunks_that_are_not_taken_to_the_end_close_the_view_too() -> None:
    store = wide(GET_INLINE_NODES + 1)
    view = view_of(store, b"/w")
    chunks = view.json_chunks(10)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    put(store, b"/w/new")
    assert not view.saved


def random_change(store: Store, rng: Random) -> None:
    """Any operation on a small set of paths; refusals are as good as successes."""
    above = b"".join(b"/" + rng.choice([b"a", b"b", b"c", b"_h"]) for _ in range(rng.randint(1, 3)))
    path = above if rng.random() < 0.1 else b"%b/%03d" % (above, rng.randrange(300))
    op = rng.choice([Op.SET, Op.SET, Op.SET, Op.CREATE, Op.UPDATE, Op.DELETE, Op.CREATE_IN_ORDER])
    request = Request(
        op,
        path,
        b"%d" % rng.randrange(1000) if op is not Op.UPDATE or rng.random() < 0.5 else b"",
        directory=rng.random() < 0.2,
        recursive=rng.random() < 0.3,
        ttl_seconds=rng.choice([None, None, 1, 5, 50]),
    )
    if rng.random() < 0.03:
        request = Request(Op.DELETE, above, recursive=True)
    try:
        store.apply(request)
    except StoreError:
        pass
    if rng.random() < 0.05:
        at(store, store.now_ns + rng.randrange(2 * NS))
    if rng.random() < 0.1:
        store.reclaim(rng.randrange(50))


@pytest.mark.parametrize("seed", range(12))
def test_pictures_read_in_slices_under_random_changes(seed: int) -> None:
    """Several listings and snapshots at once, opened, read and dropped at any time."""
    rng = Random(seed)
    store = started()
    for _ in range(3000):
        random_change(store, rng)
    open_: list[tuple[Any, list[bytes], bytes]] = []
    finished = 0
    for _ in range(400):
        random_change(store, rng)
        if len(open_) < 4 and rng.random() < 0.2:
            if rng.random() < 0.5:
                expected = b"".join(chunks_of(store))
                open_.append((store.snapshot().chunks(7), [], expected))
            else:
                order = rng.random() < 0.5
                node = store.get(b"/")
                now_ns = store.now_ns
                views = [
                    View(store._pictures, node, b"/", True, order, now_ns)  # type: ignore[arg-type]
                    for _ in range(2)
                ]
                for view in views:
                    assert view.open_unless_small(3) is None
                expected = b"".join(views[0].json_chunks(1000))
                open_.append((views[1].json_chunks(9), [], expected))
        for place in range(len(open_) - 1, -1, -1):
            chunks, parts, expected = open_[place]
            if rng.random() < 0.1:
                parts += [part for part in [next(chunks, None)] if part is not None]
            if sum(map(len, parts)) == len(expected):
                assert b"".join(parts) == expected, f"seed {seed}"
                del open_[place]
                finished += 1
            elif rng.random() < 0.01:
                chunks.close()
                del open_[place]
    for chunks, parts, expected in open_:
        assert b"".join([*parts, *chunks]) == expected, f"seed {seed}"
        finished += 1
    assert finished
    while store.reclaim(100):
        pass
