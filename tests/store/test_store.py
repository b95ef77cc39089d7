"""The operations: what each does, answers and refuses, and what it counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvraft.limits import EXPIRE_BATCH, MAX_PATH_DEPTH
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from tests.store.drive import (
    NOW,
    NS,
    at,
    copy_of,
    do,
    get_refused,
    keys_of,
    put,
    refused,
    remove,
    shown,
    started,
    text,
)

SIX = (Op.SET, Op.CREATE, Op.UPDATE, Op.COMPARE_AND_SWAP, Op.DELETE, Op.COMPARE_AND_DELETE)


def counted(store: Store) -> dict[str, int]:
    """The counters that are not zero."""
    counters: dict[str, int] = json.loads(store.stats_body())
    return {name: count for name, count in counters.items() if count}


# --- get --------------------------------------------------------------------------------


def test_an_empty_store() -> None:
    store = Store()
    assert text(store, b"/") == b'{"action":"get","node":{"dir":true}}\n'
    assert store.index == 0
    assert not store.has_ttls()


def test_a_file() -> None:
    store = Store()
    put(store, b"/a/b", b"<1>")
    document = (
        b'{"action":"get","node":{"key":"/a/b","value":"\\u003c1\\u003e",'
        b'"modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert text(store, b"/a/b") == text(store, b"/a/b/", recursive=True) == document


def test_a_directory_lists_its_children() -> None:
    store = Store()
    put(store, b"/d/z")
    put(store, b"/d/a/x", b"")
    put(store, b"/d/_h")
    assert text(store, b"/d", sorted_=True) == (
        b'{"action":"get","node":{"key":"/d","dir":true,"nodes":['
        b'{"key":"/d/a","dir":true,"modifiedIndex":2,"createdIndex":2},'
        b'{"key":"/d/z","value":"v","modifiedIndex":1,"createdIndex":1}],'
        b'"modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert keys_of(shown(store, b"/d")) == ["/d/z", "/d/a"]
    nested = shown(store, b"/d", recursive=True)["nodes"][1]
    assert nested["nodes"][0] == {
        "key": "/d/a/x",
        "value": "",
        "modifiedIndex": 2,
        "createdIndex": 2,
    }


def test_what_is_missing_is_named_by_its_first_component() -> None:
    store = Store()
    put(store, b"/a/f")
    assert get_refused(store, b"/x/y/z") == ("KEY_NOT_FOUND", b"/x")
    assert get_refused(store, b"/a/y/z") == ("KEY_NOT_FOUND", b"/a/y")
    assert get_refused(store, b"/a/f/z/w") == ("NOT_A_DIRECTORY", b"/a/f")
    assert counted(store)["getsFail"] == 3


def test_a_path_that_is_not_clean_means_the_clean_one() -> None:
    store = Store()
    assert put(store, b"/a//b/").path == b"/a/b"
    assert do(store, Op.UPDATE, b"//a/b/", b"w").path == b"/a/b"
    assert shown(store, b"a/./b/../b")["value"] == "w"
    assert shown(store, b"//a/b")["key"] == "/a/b"
    assert remove(store, b"/a/b/").path == b"/a/b"


# --- set --------------------------------------------------------------------------------


def test_set_replaces_a_file() -> None:
    store = started()
    first = put(store, b"/k", b"1", ttl_seconds=100)
    assert first.created
    second = put(store, b"/k", b"2")
    assert not second.created
    assert second.body() == (
        b'{"action":"set","node":{"key":"/k","value":"2","modifiedIndex":2,"createdIndex":2},'
        b'"prevNode":{"key":"/k","value":"1","expiration":"2026-09-21T14:15:00Z","ttl":100,'
        b'"modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert second.no_value_body() == b'{"action":"set"}\n'
    assert not store.has_ttls()
    assert counted(store) == {"setsSuccess": 2}


def test_missing_parents_get_the_index_of_the_write() -> None:
    store = started()
    put(store, b"/x")
    put(store, b"/a/b/c", ttl_seconds=5)
    node = shown(store, b"/a/b")
    assert (node["modifiedIndex"], node["createdIndex"]) == (2, 2)
    assert "ttl" not in node
    put(store, b"/a/b/d")
    assert shown(store, b"/a")["modifiedIndex"] == 2


def test_set_makes_directories() -> None:
    store = Store()
    event = put(store, b"/d", b"dropped", directory=True)
    assert event.created
    assert event.body() == (
        b'{"action":"set","node":{"key":"/d","dir":true,"modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert refused(store, Op.SET, b"/d", directory=True) == ("NOT_A_FILE", b"/d")
    put(store, b"/f")
    over_file = put(store, b"/f", directory=True)
    assert not over_file.created
    assert json.loads(over_file.body())["prevNode"]["value"] == "v"
    put(store, b"/f/below")


def test_set_refusals() -> None:
    store = Store()
    put(store, b"/f")
    assert refused(store, Op.SET, b"/") == ("ROOT_READ_ONLY", b"/")
    assert refused(store, Op.SET, b"/f/x/y") == ("NOT_A_DIRECTORY", b"/f")
    assert refused(store, Op.SET, b"/x", refresh=True) == ("KEY_NOT_FOUND", b"/x")
    assert refused(store, Op.SET, b"/f/x", refresh=True) == ("NOT_A_DIRECTORY", b"/f")
    assert text(store, b"/", recursive=True).count(b"key") == 1
    assert counted(store) == {"setsSuccess": 1, "setsFail": 4, "getsSuccess": 1}


# --- create -----------------------------------------------------------------------------


def test_create() -> None:
    store = Store()
    event = do(store, Op.CREATE, b"/a/b", b"1", refresh=True)
    assert event.created
    assert not event.refresh
    assert event.action == b"create"
    assert refused(store, Op.CREATE, b"/a/b", b"2") == ("KEY_EXISTS", b"/a/b")
    assert refused(store, Op.CREATE, b"/a") == ("KEY_EXISTS", b"/a")
    assert refused(store, Op.CREATE, b"/") == ("ROOT_READ_ONLY", b"/")
    assert counted(store) == {"createSuccess": 1, "createFail": 3}
    assert refused(store, Op.CREATE, b"/a/b/c") == ("NOT_A_DIRECTORY", b"/a/b")
    assert counted(store) == {"createSuccess": 1, "createFail": 4, "setsFail": 1}


def test_in_order_keys_are_named_by_the_next_index() -> None:
    store = Store()
    put(store, b"/f")
    assert do(store, Op.CREATE_IN_ORDER, b"/q", b"1").path == b"/q/00000000000000000002"
    assert do(store, Op.CREATE_IN_ORDER, b"/", b"1").path == b"/00000000000000000003"
    event = do(store, Op.CREATE_IN_ORDER, b"/q/", directory=True)
    assert event.path == b"/q/00000000000000000004"
    assert b'"dir":true' in event.body()
    assert refused(store, Op.CREATE_IN_ORDER, b"/f") == ("NOT_A_DIRECTORY", b"/f")
    put(store, b"/q/00000000000000000006")
    assert refused(store, Op.CREATE_IN_ORDER, b"/q") == ("KEY_EXISTS", b"/q/" + b"%020d" % 6)


# --- update, compare-and-swap -----------------------------------------------------------


def test_update_keeps_the_creation() -> None:
    store = started()
    put(store, b"/k", b"1", ttl_seconds=9)
    event = do(store, Op.UPDATE, b"/k", b"2")
    assert not event.created
    node = shown(store, b"/k")
    assert node == {"key": "/k", "value": "2", "modifiedIndex": 2, "createdIndex": 1}
    do(store, Op.UPDATE, b"/k")
    assert shown(store, b"/k")["value"] == ""
    assert refused(store, Op.UPDATE, b"/x") == ("KEY_NOT_FOUND", b"/x")
    assert refused(store, Op.UPDATE, b"/k/x") == ("NOT_A_DIRECTORY", b"/k")
    assert counted(store) == {
        "setsSuccess": 1,
        "updateSuccess": 2,
        "updateFail": 2,
        "getsSuccess": 2,
    }


def test_update_of_a_directory_changes_its_ttl_only() -> None:
    store = started()
    put(store, b"/d/k")
    event = do(store, Op.UPDATE, b"/d", ttl_seconds=60)
    node = json.loads(event.body())["node"]
    assert (node["modifiedIndex"], node["createdIndex"], node["ttl"]) == (2, 1, 60)
    assert "nodes" not in node
    assert shown(store, b"/d")["modifiedIndex"] == 1
    assert shown(store, b"/d")["ttl"] == 60
    assert refused(store, Op.UPDATE, b"/d", b"v") == ("NOT_A_FILE", b"/d")
    refresh = do(store, Op.UPDATE, b"/d", ttl_seconds=90, refresh=True)
    assert json.loads(refresh.body())["prevNode"]["ttl"] == 60
    do(store, Op.UPDATE, b"/d")
    assert "ttl" not in shown(store, b"/d")
    assert not store.has_ttls()
    assert counted(store)["updateSuccess"] == 4  # the refused one counts


@pytest.mark.parametrize(
    ("conditions", "cause"),
    [
        ({"prev_value": b"x"}, b"[x != v]"),
        ({"prev_index": 7}, b"[7 != 1]"),
        ({"prev_value": b"x", "prev_index": 7}, b"[x != v] [7 != 1]"),
        ({"prev_value": b"v", "prev_index": 7}, b"[7 != 1]"),
        ({"prev_value": b"x", "prev_index": 1}, b"[x != v]"),
    ],
)
def test_failed_comparisons(conditions: dict[str, Any], cause: bytes) -> None:
    store = Store()
    put(store, b"/k")
    assert refused(store, Op.COMPARE_AND_SWAP, b"/k", b"w", **conditions) == (
        "COMPARE_FAILED",
        cause,
    )
    assert refused(store, Op.COMPARE_AND_DELETE, b"/k", **conditions) == ("COMPARE_FAILED", cause)
    assert counted(store) == {
        "setsSuccess": 1,
        "compareAndSwapFail": 1,
        "compareAndDeleteSuccess": 1,  # the original's oddity
    }


def test_compare_and_swap() -> None:
    store = started()
    put(store, b"/k", b"1", ttl_seconds=50)
    event = do(store, Op.COMPARE_AND_SWAP, b"/k", b"2", prev_value=b"1", prev_index=1)
    assert (event.index, event.action, event.created) == (2, b"compareAndSwap", False)
    assert shown(store, b"/k") == {
        "key": "/k",
        "value": "2",
        "modifiedIndex": 2,
        "createdIndex": 1,
    }
    do(store, Op.COMPARE_AND_SWAP, b"/k", prev_index=2, refresh=True, ttl_seconds=70)
    assert shown(store, b"/k")["value"] == "2"
    assert shown(store, b"/k")["ttl"] == 70


def test_compare_and_swap_refusals() -> None:
    store = Store()
    put(store, b"/d/k")

    def cas(path: bytes) -> tuple[str, bytes]:
        return refused(store, Op.COMPARE_AND_SWAP, path, b"x", prev_value=b"no")

    assert cas(b"/") == ("ROOT_READ_ONLY", b"/")
    assert cas(b"/x/y") == ("KEY_NOT_FOUND", b"/x")
    assert cas(b"/d/k/y") == ("NOT_A_DIRECTORY", b"/d/k")
    assert cas(b"/d") == ("NOT_A_FILE", b"/d")
    assert cas(b"/d/k") == ("COMPARE_FAILED", b"[no != v]")
    assert counted(store) == {
        "setsSuccess": 1,
        "compareAndSwapSuccess": 1,  # the root: the original's oddity
        "compareAndSwapFail": 4,
    }


# --- delete, compare-and-delete ---------------------------------------------------------


def test_delete_of_a_file() -> None:
    store = Store()
    put(store, b"/d/k")
    event = remove(store, b"/d/k", recursive=True, directory=True)
    assert event.body() == (
        b'{"action":"delete","node":{"key":"/d/k","modifiedIndex":2,"createdIndex":1},'
        b'"prevNode":{"key":"/d/k","value":"v","modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert not event.created
    assert shown(store, b"/d")["dir"]


def test_delete_of_a_directory() -> None:
    store = Store()
    put(store, b"/d/_hidden")
    assert refused(store, Op.DELETE, b"/d") == ("NOT_A_FILE", b"/d")
    assert refused(store, Op.DELETE, b"/d", directory=True) == ("DIRECTORY_NOT_EMPTY", b"/d")
    event = remove(store, b"/d", recursive=True)
    assert event.index == 2
    assert event.body() == (
        b'{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":2,"createdIndex":1},'
        b'"prevNode":{"key":"/d","dir":true,"modifiedIndex":1,"createdIndex":1}}\n'
    )
    put(store, b"/e", directory=True)
    remove(store, b"/e", directory=True)
    assert text(store, b"/") == b'{"action":"get","node":{"dir":true}}\n'


def test_delete_refusals() -> None:
    store = Store()
    put(store, b"/f")
    assert refused(store, Op.DELETE, b"/", recursive=True) == ("ROOT_READ_ONLY", b"/")
    assert refused(store, Op.DELETE, b"/x") == ("KEY_NOT_FOUND", b"/x")
    assert refused(store, Op.DELETE, b"/f/x") == ("NOT_A_DIRECTORY", b"/f")
    assert counted(store) == {"setsSuccess": 1, "deleteSuccess": 1, "deleteFail": 2}


def test_compare_and_delete() -> None:
    store = Store()
    put(store, b"/d/k")

    def cad(path: bytes) -> tuple[str, bytes]:
        return refused(store, Op.COMPARE_AND_DELETE, path, prev_index=1, recursive=True)

    assert cad(b"/") == ("NOT_A_FILE", b"")
    assert cad(b"/d") == ("NOT_A_FILE", b"/d")
    assert cad(b"/x") == ("KEY_NOT_FOUND", b"/x")
    assert cad(b"/d/k/x") == ("NOT_A_DIRECTORY", b"/d/k")
    event = do(store, Op.COMPARE_AND_DELETE, b"/d/k", prev_value=b"v", prev_index=1)
    assert event.body() == (
        b'{"action":"compareAndDelete","node":{"key":"/d/k","modifiedIndex":2,"createdIndex":1},'
        b'"prevNode":{"key":"/d/k","value":"v","modifiedIndex":1,"createdIndex":1}}\n'
    )
    assert counted(store) == {
        "setsSuccess": 1,
        "compareAndDeleteSuccess": 3,
        "compareAndDeleteFail": 2,
    }


# --- refresh ----------------------------------------------------------------------------


def test_refresh_keeps_the_value() -> None:
    store = started()
    put(store, b"/k", b"keep", ttl_seconds=5)
    event = put(store, b"/k", refresh=True, ttl_seconds=500)
    assert event.refresh
    assert b"refresh" not in event.body()
    node = shown(store, b"/k")
    assert (node["value"], node["ttl"], node["createdIndex"]) == ("keep", 500, 2)
    event = do(store, Op.UPDATE, b"/k", refresh=True, ttl_seconds=600)
    assert event.refresh
    node = shown(store, b"/k")
    assert (node["value"], node["ttl"], node["createdIndex"]) == ("keep", 600, 2)
    at(store, NOW + 599 * NS)
    assert shown(store, b"/k")["value"] == "keep"
    put(store, b"/d", directory=True)
    assert refused(store, Op.SET, b"/d", refresh=True, ttl_seconds=1) == ("NOT_A_FILE", b"/d")


# --- time -------------------------------------------------------------------------------


def test_expiry() -> None:
    store = started()
    put(store, b"/b", ttl_seconds=2)
    put(store, b"/a", ttl_seconds=2)
    put(store, b"/c", ttl_seconds=1)
    put(store, b"/stays", ttl_seconds=3)
    watcher = store.watch(b"/", True, True, 0)
    at(store, NOW + 2 * NS - 1)
    at(store, NOW + 2 * NS)
    events = [(e.action, e.path, e.index) for e in watcher.events]
    assert events == [(b"expire", b"/c", 5), (b"expire", b"/a", 6), (b"expire", b"/b", 7)]
    assert watcher.events[0].body() == (
        b'{"action":"expire","node":{"key":"/c","modifiedIndex":5,"createdIndex":3},'
        b'"prevNode":{"key":"/c","value":"v","expiration":"2026-09-21T14:13:21Z",'
        b'"modifiedIndex":3,"createdIndex":3}}\n'
    )
    assert counted(store)["expireCount"] == 3
    assert store.has_ttls()


def test_time_does_not_go_back() -> None:
    store = started()
    at(store, NOW - NS)
    assert store.now_ns == NOW


def test_an_expiring_directory_takes_everything_along() -> None:
    store = started()
    put(store, b"/d", directory=True, ttl_seconds=2)
    put(store, b"/d/k", ttl_seconds=1_000)
    put(store, b"/d/l", ttl_seconds=2)
    watcher = store.watch(b"/d", True, True, 0)
    at(store, NOW + 2 * NS)
    assert [(e.path, e.index) for e in watcher.events] == [(b"/d", 4)]
    assert b"dir" not in watcher.events[0].body().partition(b"prevNode")[0]
    assert counted(store)["expireCount"] == 1
    put(store, b"/d/k")
    at(store, NOW + 2_000 * NS)
    assert shown(store, b"/d/k")


def test_replacing_a_node_cancels_its_ttl() -> None:
    store = started()
    for op in (Op.SET, Op.UPDATE, Op.COMPARE_AND_SWAP):
        put(store, b"/k", ttl_seconds=1)
        do(store, op, b"/k", prev_value=b"v" if op is Op.COMPARE_AND_SWAP else b"")
        assert not store.has_ttls()
    put(store, b"/k", ttl_seconds=1)
    remove(store, b"/k")
    assert not store.has_ttls()


@pytest.mark.parametrize("ttl", [8_000_000_000, 9_223_372_036])
def test_a_ttl_that_wraps_means_permanent_in_set_and_expired_in_update(ttl: int) -> None:
    store = started()
    for op in (Op.SET, Op.CREATE_IN_ORDER):
        assert (
            b"ttl" not in do(store, op, b"/k/x" if op is Op.SET else b"/q", ttl_seconds=ttl).body()
        )
    assert not store.has_ttls()
    assert b'"ttl":-' in do(store, Op.UPDATE, b"/k/x", b"w", ttl_seconds=ttl).body()
    at(store, NOW + 1)
    assert get_refused(store, b"/k/x") == ("KEY_NOT_FOUND", b"/k/x")


def test_odd_ttls() -> None:
    store = started()
    zero = put(store, b"/zero", ttl_seconds=0)
    assert b"expiration" in zero.body()
    assert b"ttl" not in zero.body()
    put(store, b"/minus-one", ttl_seconds=(1 << 64) - 1)
    assert shown(store, b"/minus-one", now_ns=NOW + 5 * NS)["ttl"] == -6
    put(store, b"/long", ttl_seconds=7_000_000_000)
    assert shown(store, b"/long", now_ns=NOW + NS // 2)["ttl"] == 7_000_000_000
    at(store, NOW)
    assert keys_of(shown(store, b"/")) == ["/long"]


def test_an_expiration_before_the_year_2000_means_permanent_in_set() -> None:
    store = Store()
    assert b"expiration" not in put(store, b"/k", ttl_seconds=5).body()
    at(store, 946_684_800 * NS - 5 * NS)
    assert b"expiration" not in put(store, b"/k", ttl_seconds=4).body()
    assert b"2000-01-01T00:00:00Z" in put(store, b"/k", ttl_seconds=5).body()
    assert b"1999-12-31T23:59:59Z" in do(store, Op.UPDATE, b"/k", ttl_seconds=4).body()


def test_an_expiration_of_exactly_zero_is_none() -> None:
    store = Store()
    at(store, 1 << 63)  # no clock shows it, but then the sum wraps to a round number
    wraps = ((1 << 63) // (1 << 9)) * pow(5**9, -1, 1 << 55) % (1 << 55)
    put(store, b"/k")
    event = do(store, Op.UPDATE, b"/k", ttl_seconds=wraps)
    assert (store.now_ns + wraps * NS) % (1 << 64) == 0
    assert b"expiration" not in event.body()
    assert not store.has_ttls()


def test_one_sync_expires_a_bounded_number() -> None:
    store = started()
    for number in range(EXPIRE_BATCH + 10):
        put(store, b"/k%05d" % number, ttl_seconds=1)
    at(store, NOW + NS)
    assert counted(store)["expireCount"] == EXPIRE_BATCH
    assert store.expiry_due()
    assert keys_of(shown(store, b"/"))[0] == f"/k{EXPIRE_BATCH:05}"
    at(store, NOW + NS)
    assert counted(store)["expireCount"] == EXPIRE_BATCH + 10
    assert not store.expiry_due()


# --- depth ------------------------------------------------------------------------------


def test_the_depth_is_bounded() -> None:
    store = Store()
    deepest = b"/d" * MAX_PATH_DEPTH
    put(store, deepest)
    assert shown(store, deepest)["value"] == "v"
    assert text(store, b"/", recursive=True).count(b'"key"') == MAX_PATH_DEPTH
    too_deep = ("PATH_TOO_DEEP", b"a key may have at most 128 components")
    for op in SIX:
        assert refused(store, op, deepest + b"/x") == too_deep
        assert refused(store, op, b"/new" + deepest) == too_deep
    assert refused(store, Op.CREATE_IN_ORDER, deepest) == too_deep
    assert get_refused(store, deepest + b"/x") == too_deep
    remove(store, b"/d" * (MAX_PATH_DEPTH - 1), directory=True, recursive=True)
    assert refused(store, Op.SET, b"/d" * (MAX_PATH_DEPTH + 1)) == too_deep


# --- names ------------------------------------------------------------------------------


def test_names_are_bytes() -> None:
    store = Store()
    for name in (b"/a\xff", "/a\ufffd".encode(), b"/a\x00", b"/A", b"/a b#?"):
        assert put(store, name).created
    assert len(shown(store, b"/")["nodes"]) == 5
    assert b'"/a\\ufffd"' in text(store, b"/a\xff")


def test_hidden_keys() -> None:
    store = Store()
    put(store, b"/d/_h/x")
    put(store, b"/d/_h/_y")
    put(store, b"/d/h_")
    assert keys_of(shown(store, b"/d", recursive=True)) == ["/d/h_"]
    assert keys_of(shown(store, b"/d/_h")) == ["/d/_h/x"]
    assert do(store, Op.CREATE_IN_ORDER, b"/d/_h").path == b"/d/_h/00000000000000000004"
    remove(store, b"/d/h_")
    assert "nodes" not in shown(store, b"/d")


# --- the server's own records -----------------------------------------------------------


def test_records_take_indices_and_are_no_keys() -> None:
    store = Store()
    do(store, Op.PUT_RECORD, b"/0/members/1", b"one", directory=True)
    do(store, Op.PUT_RECORD, b"/0/members/1", b"two")
    do(store, Op.PUT_RECORD, b"/0/version", b"2.3.0")
    assert (store.index, store.get_record(b"/0/members/1")) == (3, b"two")
    assert counted(store) == {"createSuccess": 1, "setsSuccess": 2}
    assert refused(store, Op.PUT_RECORD, b"/0/version", directory=True) == (
        "KEY_EXISTS",
        b"/0/version",
    )
    assert refused(store, Op.DELETE_RECORD, b"/0/x") == ("KEY_NOT_FOUND", b"/0/x")
    do(store, Op.DELETE_RECORD, b"/0/members/1")
    assert store.records() == {b"/0/version": b"2.3.0"}
    assert store.get_record(b"/0/members/1") is None
    assert text(store, b"/") == b'{"action":"get","node":{"dir":true}}\n'
    watcher = store.watch(b"/", True, True, 1)
    assert not watcher.events


def test_records_change_only_if_they_hold_what_is_expected() -> None:
    store = Store()
    do(store, Op.PUT_RECORD, b"/2/users/a", b"one", directory=True)
    do(store, Op.PUT_RECORD, b"/2/users/a", b"two", prev_value=b"one")
    late = refused(store, Op.PUT_RECORD, b"/2/users/a", b"three", prev_value=b"one")
    assert late == ("COMPARE_FAILED", b"/2/users/a")
    gone = refused(store, Op.PUT_RECORD, b"/2/users/b", b"x", prev_value=b"y")
    assert gone == ("KEY_NOT_FOUND", b"/2/users/b")
    assert refused(store, Op.DELETE_RECORD, b"/2/users/a", prev_value=b"one") == late
    assert store.get_record(b"/2/users/a") == b"two"
    do(store, Op.DELETE_RECORD, b"/2/users/a", prev_value=b"two")
    assert store.records() == {}
    counters = {"createSuccess": 1, "updateSuccess": 1, "updateFail": 2}
    assert counted(store) == {**counters, "deleteSuccess": 1, "deleteFail": 1}


def test_listeners_are_told_which_record_changed() -> None:
    store = Store()
    told: list[bytes | None] = []
    store.on_record_change(told.append)
    do(store, Op.PUT_RECORD, b"/0/version", b"2.3.0")
    put(store, b"/key")
    refused(store, Op.PUT_RECORD, b"/0/version", directory=True)
    do(store, Op.PUT_RECORD, b"/0/members/1/attributes", b"{}")
    do(store, Op.DELETE_RECORD, b"/0/members/1", recursive=True)
    do(store, Op.DELETE_RECORD, b"/0/version")
    assert told == [b"/0/version", b"/0/members/1/attributes", None, b"/0/version"]
    told.clear()
    successor = copy_of(store)
    successor.succeed(store)
    do(successor, Op.PUT_RECORD, b"/0/version", b"2.3.0")
    assert told == [None, b"/0/version"], "whatever was known about the old store is void"


def test_the_auth_switch_is_looked_up_for_every_request() -> None:
    store = Store()
    store.count_auth_lookup()
    assert counted(store) == {"getsFail": 1}
    do(store, Op.PUT_RECORD, b"/2/enabled", b"false")
    store.count_auth_lookup()
    assert counted(store) == {"getsFail": 1, "getsSuccess": 1, "setsSuccess": 1}


def test_the_counters_come_in_a_fixed_order() -> None:
    store = Store()
    store.watch(b"/", False, False, 0)
    assert store.stats_body() == (
        b'{"getsSuccess":0,"getsFail":0,"setsSuccess":0,"setsFail":0,"deleteSuccess":0,'
        b'"deleteFail":0,"updateSuccess":0,"updateFail":0,"createSuccess":0,"createFail":0,'
        b'"compareAndSwapSuccess":0,"compareAndSwapFail":0,"compareAndDeleteSuccess":0,'
        b'"compareAndDeleteFail":0,"expireCount":0,"watchers":1}'
    )


def test_every_operation_has_a_handler() -> None:
    store = Store()
    for op in set(Op) - {Op.COMMAND}:  # that one is for the machine, see `Store.command`
        assert op in store._handlers
    assert isinstance(Request(Op.SET, b"/"), tuple)


def test_nodes_are_counted_until_they_are_freed() -> None:
    store = started()
    put(store, b"/a/b/c")
    put(store, b"/a/b/d")
    put(store, b"/a/b/d", b"again")
    assert store.count_nodes() == 4
    successor = copy_of(store)
    assert successor.count_nodes() == 4
    remove(store, b"/a/b/c")
    assert store.count_nodes() == 3
    remove(store, b"/a", recursive=True)
    assert store.count_nodes() == 2, "what lies below is still there"
    while store.reclaim(1):
        pass
    assert store.count_nodes() == 0
    put(store, b"/x")
    successor.succeed(store)
    assert successor.count_nodes() == 5
    while successor.reclaim(1):
        pass
    assert successor.count_nodes() == 4


def test_it_is_counted_how_late_keys_expire() -> None:
    store = started()
    put(store, b"/a", ttl_seconds=1)
    due_ns = store.get(b"/a").expiration_ns
    at(store, due_ns - 1)
    assert store.lateness.count == 0
    at(store, due_ns + 300_000_000)
    assert store.lateness.count == 1
    assert store.lateness.total == pytest.approx(0.3)
