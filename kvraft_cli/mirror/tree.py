"""A part of a server's key space as plain values, and how two of them differ.

A tree is a dict from key to `Entry`, each directory before its content. The root itself is no
entry: every server has it. Times are seconds on a clock of the caller's; servers tell how many
seconds a key has left, rounded up, so `expires_at` is never early and at most a second late.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from kvraft.client.model import KeyNode

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what a server shows for a byte that is no UTF-8


class Entry(NamedTuple):
    """A file (`value` is text) or a directory (`value` is None).

    `expires_at` is None for what stays; `modified` is the node's modifiedIndex, 0 if unknown.
    """

    value: str | None
    expires_at: float | None = None
    modified: int = 0

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.value is None

    def ttl_s(self, now: float) -> int | None:
        """Whole seconds left, rounded up and at least 1; None for what stays."""
        if self.expires_at is None:
            return None
        return max(1, math.ceil(self.expires_at - now))


Tree: TypeAlias = dict[str, Entry]


class Kind(StrEnum):
    """In what an entry of the target differs from the source's."""

    MISSING = "missing"  # only the source has it
    EXTRA = "extra"  # only the target has it
    CHANGED = "changed"  # another value
    TYPE = "type"  # a file here, a directory there
    TTL = "ttl"  # the same, but it expires at another time, or only on one side


class Difference(NamedTuple):
    """One key that is not the same on both sides."""

    key: str
    kind: Kind
    source: Entry | None
    target: Entry | None


def clean_key(key: str) -> str:
    """The key as servers write it: one leading slash, none at the end, none doubled."""
    return "/" + "/".join(part for part in key.split("/") if part not in ("", "."))


def parent_of(key: str) -> str:
    """The directory that holds the key; "/" for what stands in the root."""
    return key[: key.rindex("/")] or "/"


def parents_of(key: str) -> Iterator[str]:
    """The directories above the key from the nearest up, without the root."""
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)


def is_within(key: str, root: str) -> bool:
    """Whether the key is the root or stands below it."""
    return root == "/" or key == root or key.startswith(root + "/")


def is_hidden(key: str, root: str) -> bool:
    """Whether listings of the root leave the key out: a component below it begins with `_`."""
    below = key if root == "/" else key[len(root) :]
    return "/_" in below


def entry_of(node: KeyNode, now: float) -> Entry:
    """What a node is; one whose time is over, but whom nobody has removed yet, expires now."""
    expires_at = None
    if node.ttl is not None:
        expires_at = now + max(0, node.ttl)
    elif node.expiration is not None:
        expires_at = now
    return Entry(None if node.dir else node.value or "", expires_at, node.modified_index)


def flatten(node: KeyNode | None, now: float) -> Tree:
    """The tree of a recursive answer that arrived at `now`."""
    if node is None:
        return {}
    return {each.key: entry_of(each, now) for each in node.walk() if each.key not in ("", "/")}


def compare(
    source: Mapping[str, Entry], target: Mapping[str, Entry], tolerance_s: float
) -> Iterator[Difference]:
    """Differences, those of the source's keys first, in its order; then what is extra.

    Both trees are on the same clock. TTLs are the same if they end within the tolerance.
    """
    for key, wanted in source.items():
        found = target.get(key)
        if found is None:
            yield Difference(key, Kind.MISSING, wanted, None)
        elif wanted.is_dir != found.is_dir:
            yield Difference(key, Kind.TYPE, wanted, found)
        elif wanted.value != found.value:
            yield Difference(key, Kind.CHANGED, wanted, found)
        elif not same_time(wanted.expires_at, found.expires_at, tolerance_s):
            yield Difference(key, Kind.TTL, wanted, found)
    for key, found in target.items():
        if key not in source:
            yield Difference(key, Kind.EXTRA, None, found)


def same_time(one: float | None, other: float | None, tolerance_s: float) -> bool:
    """Whether two expirations are the same, as far as anybody can tell."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance_s


def tops(keys: Iterable[str]) -> list[str]:
    """Of these keys those that no other one of them holds: removing these removes all."""
    found: list[str] = []
    chosen: set[str] = set()
    for key in sorted(keys, key=lambda key: key.count("/")):
        if not any(parent in chosen for parent in parents_of(key)):
            chosen.add(key)
            found.append(key)
    return found


def has_replaced_bytes(tree: Mapping[str, Entry]) -> list[str]:
    """Keys that show U+FFFD in their name or value.

    The API writes it for bytes that are no UTF-8, which it cannot show: such a copy is not exact.
    """
    return [
        key
        for key, entry in tree.items()
        if REPLACEMENT in key or REPLACEMENT in (entry.value or "")
    ]
