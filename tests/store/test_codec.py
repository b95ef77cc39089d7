"""Snapshots: equal stores give equal bytes, and a restored store goes on as the old one."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgpack import packb, unpackb

from kvraft.limits import HISTORY_EVENTS, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_NODES
from kvraft.store.codec import Restorer, with_records
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from tests.store.drive import (
    NOW,
    NS,
    at,
    chunks_of,
    copy_of,
    do,
    put,
    remove,
    shown,
    started,
    taken,
    text,
)
from tests.store.test_view import random_change


def busy() -> Store:
    """A store with something of everything."""
    store = started()
    do(store, Op.PUT_RECORD, b"/0/version", b"2.3.0", directory=True)
    put(store, b"/z", b"\xff\x00")
    put(store, b"/d/e/f", ttl_seconds=10)
    put(store, b"/d/e/a", ttl_seconds=10)
    put(store, b"/d/empty", directory=True, ttl_seconds=99)
    put(store, b"/_h/x")
    put(store, b"/z", b"2")
    do(store, Op.UPDATE, b"/z", refresh=True, ttl_seconds=20)
    do(store, Op.UPDATE, b"/d", ttl_seconds=50)
    remove(store, b"/_h", recursive=True)
    put(store, b"/k", ttl_seconds=1)
    at(store, NOW + NS)
    return store


def test_a_restored_store_gives_the_same_snapshot() -> None:
    store = busy()
    copy = copy_of(store)
    assert chunks_of(copy) == chunks_of(store)
    assert copy.digest() == store.digest()
    assert (copy.index, copy.now_ns) == (store.index, store.now_ns)
    assert text(copy, b"/", recursive=True) == text(store, b"/", recursive=True)
    assert copy.records() == store.records()


def test_a_restored_store_goes_on_alike() -> None:
    store = busy()
    copy = copy_of(store)
    for each in (store, copy):
        watcher = each.watch(b"/", True, True, 1)
        at(each, NOW + 30 * NS)
        put(each, b"/d/new")
        at(each, NOW + 100 * NS)
        assert not each.has_ttls() or each.reclaim(100) or not each.has_ttls()
        events = [(event.index, event.body()) for event in watcher.events]
        assert len(events) > 10
        if each is store:
            expected = events
    assert events == expected
    assert chunks_of(copy) == chunks_of(store)


def test_the_order_of_insertion_survives() -> None:
    store = Store()
    for name in (b"c", b"a", b"b"):
        put(store, b"/" + name)
    remove(store, b"/c")
    put(store, b"/c")
    put(store, b"/a")
    names = [node["key"] for node in shown(copy_of(store), b"/")["nodes"]]
    assert names == ["/a", "/b", "/c"]


def test_counters_of_reads_stay_with_the_member() -> None:
    store = busy()
    before = store.digest()
    shown(store, b"/z")
    store.count_auth_lookup()
    assert store.digest() == before
    assert b'"expireCount":1' in copy_of(store).stats_body()


def test_a_full_history_survives() -> None:
    store = Store()
    for number in range(HISTORY_EVENTS + 5):
        put(store, b"/k", b"%d" % number)
    copy = copy_of(store)
    assert len(taken(copy.watch(b"/k", False, True, 6))) == HISTORY_EVENTS
    assert chunks_of(copy) == chunks_of(store)


def test_large_values_end_a_chunk() -> None:
    store = Store()
    for number in range(6):
        put(store, b"/%d" % number, b"v" * (SNAPSHOT_CHUNK_BYTES // 2))
    assert max(map(len, chunks_of(store, 1000))) < 2 * SNAPSHOT_CHUNK_BYTES
    assert copy_of(store).digest() == store.digest()


def test_chunks_are_bounded_and_deep_trees_need_no_recursion() -> None:
    store = Store()
    put(store, b"/d" * 128)
    for number in range(100):
        put(store, b"/w/%d" % number)
    chunks = chunks_of(store, 10)
    assert max(len(unpackb(chunk)[1]) for chunk in chunks if unpackb(chunk)[0] == 3) == 10
    assert copy_of(store).digest() == store.digest()


@pytest.mark.parametrize("seed", range(15))
def test_stores_fed_the_same_log_stay_equal(seed: int) -> None:
    """One of them is restored from a snapshot of itself now and then, one reclaims eagerly."""
    rng = Random(seed)
    steady, restored = started(), started()
    for _ in range(8):
        step_seed = rng.random()
        for store in (steady, restored):
            steps = Random(step_seed)
            for _ in range(150):
                random_change(store, steps)
        if rng.random() < 0.5:
            while steady.reclaim(10):
                pass
        restored = copy_of(restored)
        assert chunks_of(steady) == chunks_of(restored), f"seed {seed}"
        assert steady.now_ns == restored.now_ns


# --- damage -----------------------------------------------------------------------------


def restore(chunks: list[bytes]) -> Store:
    restorer = Restorer()
    for chunk in chunks:
        restorer.feed(chunk)
    return restorer.finish()


@pytest.mark.parametrize("missing", range(5))
def test_no_chunk_may_be_missing_but_those_of_optional_parts(missing: int) -> None:
    chunks = chunks_of(busy(), 1000)
    assert [unpackb(chunk)[0] for chunk in chunks] == [0, 1, 2, 3, 4]
    del chunks[missing]
    if missing in (1, 2):
        restore(chunks)  # a store may have no records or no history
        return
    with pytest.raises(CorruptSnapshot):
        restore(chunks)


def test_chunks_out_of_order_or_after_the_end() -> None:
    chunks = chunks_of(busy(), 1000)
    for wrong in (
        [chunks[0], *chunks],
        [chunks[0], chunks[3], chunks[2], chunks[4]],
        [*chunks, chunks[4]],
        [*chunks, chunks[3]],
        [chunks[0], chunks[3], chunks[3], chunks[4]],
    ):
        with pytest.raises(CorruptSnapshot):
            restore(wrong)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        [5],
        [-1],
        ["x"],
        [0],
        [0, 2, 1, 1, [0] * 13],
        [0, 1, -1, 1, [0] * 13],
        [0, 1, 1, 1, [0] * 12],
        [0, 1, 1, 1, None],
    ],
)
def test_wrong_headers(document: Any) -> None:
    with pytest.raises(CorruptSnapshot):
        Restorer().feed(packb(document))


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        [b"a"],
        [b"", b"v", 1, 1, 0],
        [b"a/b", b"v", 1, 1, 0],
        ["a", b"v", 1, 1, 0],
        [b"a", "v", 1, 1, 0],
        [b"a", b"v", -1, 1, 0],
        [b"a", b"v", 1, None, 0],
        [b"a", b"v", 1, 1, None],
        [b"a", 1, 1, "0"],
        [b"a", b"v", 1, 1, 0, 0],
        7,
    ],
)
def test_wrong_nodes(row: Any) -> None:
    header, *_, end = chunks_of(Store(), 10)
    with pytest.raises(CorruptSnapshot):
        restore([header, packb([3, [row]]), packb([4, 1])])
    with pytest.raises(CorruptSnapshot):
        restore([header, packb([3, [[b"d", 1, 1, 0]]]), packb([4, 1])])
    with pytest.raises(CorruptSnapshot):
        restore([header, packb([3, [[b"k", b"", 1, 1, 0]] * 2]), packb([4, 2])])
    restore([header, end])


@pytest.mark.parametrize("seed", range(300))
def test_flipped_bits_never_break_anything_else(seed: int) -> None:
    rng = Random(seed)
    chunks = chunks_of(busy(), 1000)
    place = rng.randrange(len(chunks))
    damaged = bytearray(chunks[place])
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    chunks[place] = bytes(damaged)
    try:
        store = restore(chunks)
    except CorruptSnapshot:
        return
    store.apply(Request(Op.SET, b"/after"))
    assert text(store, b"/", recursive=True)


@pytest.mark.parametrize("seed", range(20))
def test_records_can_be_exchanged_without_a_trace_elsewhere(seed: int) -> None:
    rng = Random(seed)
    store = busy()
    for number in range(rng.randrange(200)):
        name = b"/0/members/%x" % number
        store.apply(Request(Op.PUT_RECORD, name, rng.randbytes(rng.choice((3, 20_000)))))
    chunks = chunks_of(store, SNAPSHOT_CHUNK_NODES)
    assert list(with_records(chunks, lambda records: records)) == chunks

    def edit(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
        assert records == store.records()
        return {b"/1": b"only"} if seed % 2 else {}

    other = restore(list(with_records(chunks, edit)))
    assert other.records() == edit(store.records())
    assert (other.index, other.now_ns) == (store.index, store.now_ns)
    assert text(other, b"/", recursive=True) == text(store, b"/", recursive=True)
    assert chunks_of(other, SNAPSHOT_CHUNK_NODES) == list(with_records(chunks, edit))


@pytest.mark.parametrize("chunk", [b"", b"\xc1", packb(7), packb([1, 5])])
def test_records_cannot_be_exchanged_in_what_is_no_snapshot(chunk: bytes) -> None:
    with pytest.raises(CorruptSnapshot):
        list(with_records([chunk], lambda records: records))
