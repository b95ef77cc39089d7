"""A snapshot of etcd 0.4 as data: the JSON text in, directories and keys out.

The file is one JSON document whose `Root` is the tree: every node has a `Path`, a `Value`, an
`ExpireTime` and `Children`, which a file has as null. Names that begin with `_` are hidden: a walk
leaves them out below any directory, and finds them when it starts at one.
Source: etcdctl.md, section 9.

Pure, and without recursion: the depth of a tree is the user's.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

_NEVER: Final = "0001-01-01T00:00:00Z"
_EMPTY: Final[dict[str, Any]] = {"Path": "/", "Children": {}}

Node = dict[str, Any]


class Directory(NamedTuple):
    """A directory that a walk comes into; its keys follow."""

    path: str


class Key(NamedTuple):
    """A key, and how long it still has to live: zero is for ever, below zero it should be gone."""

    path: str
    value: str
    ttl_s: int


class LookupFailed(Exception):
    """Nothing is there; the text is for the user."""


class Snapshot:
    """The tree of one snapshot."""

    def __init__(self, text: bytes) -> None:
        """Read the file's content. What is not a snapshot counts as an empty one.

        Raises RecursionError for a document of hundreds of levels.
        """
        self._root = _EMPTY
        try:
            document = json.loads(text)
        except ValueError:
            return
        if isinstance(document, dict) and isinstance(document.get("Root"), dict):
            self._root = document["Root"]

    def find(self, path: str) -> Node:
        """The node at this path. Raises LookupFailed with the first part that is missing."""
        node = self._root
        at = "/"
        for name in posixpath.normpath("/" + path.lstrip("/")).split("/"):
            if not name:
                continue
            children = node.get("Children")
            if not isinstance(children, dict):
                raise LookupFailed(f"Not a directory ({at})")
            at = posixpath.join(at, name)
            if not isinstance(children.get(name), dict):
                raise LookupFailed(f"Key not found ({at})")
            node = children[name]
        return node

    def walk(self, path: str, now: datetime) -> Iterator[Directory | Key]:
        """Everything at and below a path, in the order of names, each directory before its keys.

        Raises LookupFailed before anything is given.
        """
        return _walk(self.find(path), now)


def _walk(start: Node, now: datetime) -> Iterator[Directory | Key]:
    waiting = [start]
    while waiting:
        node = waiting.pop()
        path = str(node.get("Path", ""))
        children = node.get("Children")
        if not isinstance(children, dict):
            yield Key(path, str(node.get("Value", "")), _ttl_s(node.get("ExpireTime"), now))
            continue
        yield Directory(path)
        shown = [
            (name, child)
            for name, child in children.items()
            if isinstance(child, dict) and not name.startswith("_")
        ]
        # the one that is wanted first comes off the end first
        waiting.extend(child for _, child in sorted(shown, key=lambda item: item[0], reverse=True))


def _ttl_s(expires: object, now: datetime) -> int:
    if not isinstance(expires, str) or expires == _NEVER:
        return 0
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return math.ceil((moment - now).total_seconds()) or -1
