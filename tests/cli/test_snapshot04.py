"""Snapshots of etcd 0.4: which keys are in them, in which order, and for how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kvraft_cli.snapshot04 import Directory, Key, LookupFailed, Snapshot

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"


def file(path: str, value: str, expires: str = NEVER) -> dict[str, Any]:
    return {"Path": path, "Value": value, "ExpireTime": expires, "ACL": "", "Children": None}


def directory(path: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    children = {node["Path"].rpartition("/")[2]: node for node in nodes}
    return {"Path": path, "Value": "", "ExpireTime": NEVER, "Children": children}


def snapshot(*nodes: dict[str, Any]) -> Snapshot:
    document = {"Root": directory("/", *nodes), "CurrentIndex": 5, "CurrentVersion": 2}
    return Snapshot(json.dumps(document).encode())


def test_directories_come_before_their_keys_in_the_order_of_names() -> None:
    tree = snapshot(
        file("/z", "last"),
        directory("/b", file("/b/2", "two"), file("/b/1", "one"), directory("/b/0")),
        file("/a", ""),
    )
    assert list(tree.walk("/", NOW)) == [
        Directory("/"),
        Key("/a", "", 0),
        Directory("/b"),
        Directory("/b/0"),
        Key("/b/1", "one", 0),
        Key("/b/2", "two", 0),
        Key("/z", "last", 0),
    ]


def test_hidden_names_are_found_only_from_themselves_on() -> None:
    inner = directory("/d/_h", file("/d/_h/k", "v"), file("/d/_h/_deep", "w"))
    tree = snapshot(directory("/d", inner, file("/d/_x", "y")))
    assert list(tree.walk("/", NOW)) == [Directory("/"), Directory("/d")]
    assert list(tree.walk("d//_h/", NOW)) == [Directory("/d/_h"), Key("/d/_h/k", "v", 0)]
    assert list(tree.walk("/d/_x", NOW)) == [Key("/d/_x", "y", 0)]
    assert list(tree.walk("/d/_h/_deep", NOW)) == [Key("/d/_h/_deep", "w", 0)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/none", "Key not found (/none)"),
        ("/d/none/below", "Key not found (/d/none)"),
        ("/d/f/below", "Not a directory (/d/f)"),
    ],
)
def test_what_is_not_there(path: str, text: str) -> None:
    tree = snapshot(directory("/d", file("/d/f", "v")))
    with pytest.raises(LookupFailed) as failed:
        tree.walk(path, NOW)
    assert str(failed.value) == text


@pytest.mark.parametrize(
    ("expires", "ttl_s"),
    [
        (NEVER, 0),
        ("2026-11-21T12:10:00Z", 600),
        ("2026-11-21T12:00:00.000000001Z", -1),
        ("2026-11-21T12:00:10.123456789Z", 11),
        ("2026-11-21T14:00:30+02:00", 30),
        ("2026-11-21T12:00:00Z", -1),
        ("2026-11-20T12:00:00Z", -86400),
        ("soon", 0),
    ],
)
def test_time_left(expires: str, ttl_s: int) -> None:
    tree = snapshot(file("/k", "v", expires))
    assert list(tree.walk("/k", NOW)) == [Key("/k", "v", ttl_s)]


@pytest.mark.parametrize("text", ["garbage", "", "[]", "{}", '{"Root": null}', '{"Root": []}'])
def test_anything_else_counts_as_empty(text: str) -> None:
    assert list(Snapshot(text.encode()).walk("/", NOW)) == [Directory("/")]
    assert list(Snapshot(b"\xff\x00").walk("/", NOW)) == [Directory("/")]


def test_a_deep_tree_needs_no_deep_stack() -> None:
    path = "/" + "/".join("d" * 150)
    node = file(path, "v")
    while path.count("/") > 1:
        path = path.rpartition("/")[0]
        node = directory(path, node)
    found = list(snapshot(node).walk("/", NOW))
    assert len(found) == 151
    assert isinstance(found[-1], Key)
