"""What the store holds, as the values of a client: without JSON in between, and yet the same.

Keys and values are bytes in the store and text in the values: each byte that is not part of valid
UTF-8 becomes U+FFFD, as it does in the documents of the API. Trees are read from a frozen picture,
a slice at a time. (keys-api, sections 5, 8 and 9.)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from kvraft.client.model import KeyNode, WatchEvent
from kvraft.limits import GET_INLINE_NODES, VIEW_SLICE_NODES
from kvraft.store.event import EXPIRE, Event
from kvraft.store.jsontext import remaining_seconds, rfc3339
from kvraft.store.node import Directory, File, Node, ShownNode

if TYPE_CHECKING:
    from kvraft.store.store import Store
    from kvraft.store.view import Picture

_STRAY: Final = re.compile("[\udc80-\udcff]")
_UNDERSCORE: Final = ord("_")


def text(data: bytes) -> str:
    """Bytes of the store as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _STRAY.sub("\ufffd", data.decode(errors="surrogateescape"))


def key_node(
    key: str, node: ShownNode | Directory, expiration_ns: int, now_ns: int, nodes: list[KeyNode]
) -> KeyNode:
    """A node as it is shown."""
    ttl = expiration = None
    if expiration_ns:
        ttl = remaining_seconds(expiration_ns, now_ns) or None
        expiration = rfc3339(expiration_ns).decode("ascii")
    value = text(node.value) if type(node) is File else None
    return KeyNode(
        key, value, value is None, node.created, node.modified, ttl, expiration, tuple(nodes)
    )


# --- events -----------------------------------------------------------------------------


def nodes_of(event: Event) -> tuple[KeyNode, KeyNode | None]:
    """What an event shows: the node as it is now, and as it was."""
    key, now_ns, previous = text(event.path), event.time_ns, event.prev
    before = None
    if previous is not None:
        before = key_node(key, previous, previous.expiration_ns, now_ns, [])
    node = event.node
    if node is not None:
        return key_node(key, node, node.expiration_ns, now_ns, []), before
    assert previous is not None, "a removal without what was removed"
    # A directory that expires does not say that it was one; that is the original's way.
    directory = type(previous) is not File and event.action != EXPIRE
    return KeyNode(key, None, directory, previous.created, event.index), before


def watch_event(event: Event) -> WatchEvent:
    """An event as a watch tells it."""
    node, previous = nodes_of(event)
    return WatchEvent(event.action.decode(), node, previous, event.index)


# --- trees ------------------------------------------------------------------------------


async def read_tree(
    store: Store, path: bytes, recursive: bool, sorted_: bool, now_ns: int
) -> KeyNode:
    """What a get of this path shows. Raises StoreError.

    It is read at once if it is small, and does not change while it is read if it is not.
    """
    node, picture = store.picture(path)
    if type(node) is File:
        return key_node(text(path), node, node.expiration_ns, now_ns, [])
    assert type(node) is Directory
    slices = _tree(picture, node, recursive, sorted_, now_ns)
    try:
        next(slices)
    except StopIteration as end:
        tree: KeyNode = end.value
        return tree
    picture.open()
    try:
        while True:
            await asyncio.sleep(0)
            next(slices)
    except StopIteration as end:
        tree = end.value
        return tree
    finally:
        picture.close()


class _Level:
    """A directory that is being read."""

    __slots__ = ("directory", "entries", "key", "nodes", "prefix")

    def __init__(self, key: str, directory: Directory, entries: Iterator[Node | None]) -> None:
        self.key = key
        self.prefix = "/" if key == "/" else key + "/"
        self.directory = directory
        self.entries = entries
        self.nodes: list[KeyNode] = []


def _tree(
    picture: Picture, root: Directory, recursive: bool, sorted_: bool, now_ns: int
) -> Generator[None, None, KeyNode]:
    """Read a tree depth first; yields when it is time to pause."""

    def level(key: str, directory: Directory) -> _Level:
        entries: Iterator[Node | None]
        entries = picture.sorted_entries(directory) if sorted_ else picture.entries(directory)
        return _Level(key, directory, entries)

    def closed(done: _Level) -> KeyNode:
        expiration_ns = picture.expiration_ns(done.directory)
        return key_node(done.key, done.directory, expiration_ns, now_ns, done.nodes)

    stack = [level(text(picture.path), root)]
    budget = GET_INLINE_NODES
    while True:
        current = stack[-1]
        for node in current.entries:
            if node is None or budget <= 0:
                yield
                budget = VIEW_SLICE_NODES
                if node is None:
                    continue
            budget -= 1
            if node.name[0] == _UNDERSCORE:
                continue
            key = current.prefix + text(node.name)
            if type(node) is File:
                shown = key_node(key, node, node.expiration_ns, now_ns, [])
                current.nodes.append(shown)
            elif type(node) is Directory and recursive:
                stack.append(level(key, node))
                break
            elif type(node) is Directory:
                expiration_ns = picture.expiration_ns(node)
                current.nodes.append(key_node(key, node, expiration_ns, now_ns, []))
        else:
            stack.pop()
            whole = closed(current)
            if not stack:
                return whole
            stack[-1].nodes.append(whole)
