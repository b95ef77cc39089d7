"""Which events a watch wants, whatever the server thinks.

Servers disagree on what they find in their history: etcd 2.3 and 3.4 return events of hidden keys,
and of keys that only begin with the same letters. A live watch shows neither, so a watch that is
resumed must not show them either. (keys-api, sections 9, 10 and 15.)
"""

from __future__ import annotations

from kvraft.client.model import WatchEvent

_REMOVALS = frozenset(("delete", "expire"))


class Scope:
    """The keys of one watch."""

    __slots__ = ("_below", "_key", "_recursive")

    def __init__(self, key: str, recursive: bool) -> None:
        """`key` is a clean one."""
        self._key = key.rstrip("/") or "/"
        self._below = "/" if self._key == "/" else f"{self._key}/"
        self._recursive = recursive

    def wants(self, event: WatchEvent) -> bool:
        """Whether an event is about the watched key, below it, or has removed it from above."""
        key = event.node.key
        if key == self._key:
            return True
        if self._recursive and key.startswith(self._below):
            return not any(part.startswith("_") for part in key[len(self._below) :].split("/"))
        above = key == "/" or self._key.startswith(f"{key}/")
        return above and event.action in _REMOVALS
