"""Short names for what the tests of the key space do all the time."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from kvraft.store.codec import Restorer
from kvraft.store.errors import StoreError
from kvraft.store.event import Event
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from kvraft.store.view import View
from kvraft.store.watch import Watcher

NS: Final = 1_000_000_000
NOW: Final = 1_790_000_000 * NS  # in 2026


def at(store: Store, time_ns: int) -> None:
    """Let the log stamp a time."""
    assert store.apply(Request(Op.SYNC, b"", time_ns=time_ns)) is None


def started() -> Store:
    """An empty store whose log has a time."""
    store = Store()
    at(store, NOW)
    return store


def do(store: Store, op: Op, path: bytes, value: bytes = b"", **more: Any) -> Event:
    event = store.apply(Request(op, path, value, **more))
    assert event is not None
    return event


def put(store: Store, path: bytes, value: bytes = b"v", **more: Any) -> Event:
    return do(store, Op.SET, path, value, **more)


def remove(store: Store, path: bytes, **more: Any) -> Event:
    return do(store, Op.DELETE, path, **more)


def refused(
    store: Store, op: Op, path: bytes, value: bytes = b"", **more: Any
) -> tuple[str, bytes]:
    """The kind and cause of a refusal, which must have changed nothing."""
    index = store.index
    with pytest.raises(StoreError) as caught:
        store.apply(Request(op, path, value, **more))
    assert caught.value.index == index == store.index
    return caught.value.kind.name, caught.value.cause


def get_refused(store: Store, path: bytes) -> tuple[str, bytes]:
    with pytest.raises(StoreError) as caught:
        store.get_body(path, False, False, NOW)
    assert caught.value.index == store.index
    return caught.value.kind.name, caught.value.cause


def text(
    store: Store,
    path: bytes,
    *,
    recursive: bool = False,
    sorted_: bool = False,
    now_ns: int = NOW,
) -> bytes:
    """The whole document of a get."""
    body = store.get_body(path, recursive, sorted_, now_ns)
    return b"".join(body.json_chunks(100)) if isinstance(body, View) else body


def shown(store: Store, path: bytes, **how: Any) -> dict[str, Any]:
    """The node of a get."""
    document = json.loads(text(store, path, **how))
    assert document["action"] == "get"
    node: dict[str, Any] = document["node"]
    return node


def keys_of(node: dict[str, Any]) -> list[str]:
    return [child["key"] for child in node.get("nodes", [])]


def taken(watcher: Watcher) -> list[tuple[str, str, int]]:
    """Take what a watcher has got: action, key, index."""
    events = [(e.action.decode(), e.path.decode(), e.index) for e in watcher.events]
    watcher.events.clear()
    return events


def chunks_of(store: Store, max_nodes: int = 7) -> list[bytes]:
    return list(store.snapshot().chunks(max_nodes))


def copy_of(store: Store) -> Store:
    """The store, by way of a snapshot."""
    restorer = Restorer()
    for chunk in chunks_of(store):
        restorer.feed(chunk)
    return restorer.finish()
