"""What a client gets back: nodes, results of operations, events of watches.

Plain values, the same from a server, from an embedded member and from a test cluster. The names are
those of the v2 documents in Python's spelling. (keys-api, section 5.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class KeyNode:
    """A file or a directory as it was at one index.

    `value` is None for a directory and for what has been removed; `ttl` are the seconds left when
    the answer was made, `expiration` the moment as the server writes it (RFC 3339, UTC); both None
    for a node that stays. `nodes` are the children that were asked for.
    """

    key: str
    value: str | None = None
    dir: bool = False
    created_index: int = 0
    modified_index: int = 0
    ttl: int | None = None
    expiration: str | None = None
    nodes: tuple[KeyNode, ...] = ()

    def walk(self) -> Iterator[KeyNode]:
        """This node and all below it, each directory before its content."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.nodes))


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one operation.

    `etcd_index` is the store's index when the answer was made: a watch from `etcd_index + 1` on
    misses nothing that came after a read. The raft figures are 0 where they are not known.
    """

    action: str
    node: KeyNode
    prev_node: KeyNode | None = None
    etcd_index: int = 0
    raft_index: int = 0
    raft_term: int = 0
    created: bool = False

    @property
    def value(self) -> str | None:
        """The node's value."""
        return self.node.value

    @property
    def key(self) -> str:
        """The node's key."""
        return self.node.key


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change under a watch; `index` orders all changes of the store, without repetition."""

    action: str
    node: KeyNode
    prev_node: KeyNode | None
    index: int

    @property
    def key(self) -> str:
        """The key that was changed."""
        return self.node.key

    @property
    def value(self) -> str | None:
        """The new value; None if the key was removed or is a directory."""
        return self.node.value


@dataclass(frozen=True, slots=True)
class Resync:
    """Events were lost for good; this is the state that replaces them.

    `node` is the watched key as a linearizable read found it, with everything below it if the
    watch is recursive, or None if it does not exist. The next event's index is above `index`.
    """

    node: KeyNode | None
    index: int
    reason: str


class MemberRecord(NamedTuple):
    """A member of the cluster as the members routes show it; `id` in hexadecimal."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
