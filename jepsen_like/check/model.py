"""A small key space of its own: what the requests of the log must have done.

Written from the API's description and sharing no code with `kvraft.store`: a flat table of
paths where the real store has a tree of nodes. Plain, and therefore a witness. It keeps every
version of every key, so that an answer given at any index can be compared with the state at that
index.

Covers what the workload sends: no cause texts, no statistics, no ttl beyond int64.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

ROOT = b"/"
SECOND_NS = 1_000_000_000


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or ROOT


def _visible(path: bytes) -> bool:
    return not path.rpartition(b"/")[2].startswith(b"_")


class Node(NamedTuple):
    """One version of one key; `value` None is a directory."""

    value: bytes | None
    created: int
    modified: int
    expiration_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """One successful change: the event that watchers are owed."""

    index: int
    action: str
    path: bytes
    node: Node | None
    previous: Node | None
    removed: frozenset[bytes]  # every path that went away with it
    silent: bool  # bookkeeping, or a refresh: takes an index, is no event


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that changed nothing, and why."""

    kind: str
    index: int


class Model:
    """The state after a prefix of the log, and all that led to it."""

    def __init__(self) -> None:
        self.index = 0
        self.now_ns = 0
        self.nodes: dict[bytes, Node] = {ROOT: Node(None, 0, 0, 0)}
        self.records: dict[bytes, bytes] = {}
        self.changes: list[Change] = []
        self.versions: dict[bytes, tuple[list[int], list[Node | None]]] = {}
        self._names: dict[bytes, set[bytes]] = {}  # directory -> all that ever lay in it
        self._present: dict[bytes, set[bytes]] = {}  # directory -> what lies in it now
        self._expiring: set[bytes] = set()

    # --- reading -----------------------------------------------------------------------

    def at(self, path: bytes, index: int) -> Node | None:
        """The node at `path` right after change `index`."""
        if path == ROOT:
            return self.nodes[ROOT]
        entry = self.versions.get(path)
        if entry is None:
            return None
        place = bisect_right(entry[0], index)
        return entry[1][place - 1] if place else None

    def listing(self, path: bytes, index: int) -> list[bytes]:
        """The visible children of a directory right after change `index`, sorted."""
        names = self._names.get(path, ())
        return sorted(key for key in names if _visible(key) and self.at(key, index) is not None)

    def tree(self, path: bytes, index: int) -> dict[bytes, Node]:
        """Everything visible below a directory right after change `index`."""
        found: dict[bytes, Node] = {}
        waiting = [path]
        while waiting:
            for key in self.listing(waiting.pop(), index):
                node = self.at(key, index)
                assert node is not None
                found[key] = node
                if node.value is None:
                    waiting.append(key)
        return found

    # --- writing -----------------------------------------------------------------------

    def _store(self, path: bytes, node: Node | None) -> None:
        if node is None:
            self.nodes.pop(path, None)
            self._present[_parent(path)].discard(path)
            self._expiring.discard(path)
        else:
            if path not in self.nodes:
                self._present.setdefault(_parent(path), set()).add(path)
            self.nodes[path] = node
            (self._expiring.add if node.expiration_ns else self._expiring.discard)(path)
        if path != ROOT:
            entry = self.versions.get(path)
            if entry is None:
                entry = self.versions[path] = ([], [])
                self._names.setdefault(_parent(path), set()).add(path)
            indexes, nodes = entry
            indexes.append(self.index)
            nodes.append(node)

    def _changed(
        self, action: str, path: bytes, node: Node | None, previous: Node | None, *,
        removed: frozenset[bytes] = frozenset(), silent: bool = False,
    ) -> Change:  # fmt: skip
        change = Change(self.index, action, path, node, previous, removed, silent)
        self.changes.append(change)
        return change

    def _refuse(self, kind: str) -> Refused:
        return Refused(kind, self.index)

    def _obstacle(self, path: bytes) -> str | None:
        """What lies between the root and `path`: a file in the way, or nothing at all."""
        parts = path.split(b"/")[1:-1]
        walked = b""
        for part in parts:
            walked += b"/" + part
            node = self.nodes.get(walked)
            if node is None:
                return "missing"
            if node.value is not None:
                return "file"
        return None

    def _put(self, path: bytes, node: Node) -> None:
        walked = b""
        for part in path.split(b"/")[1:-1]:
            walked += b"/" + part
            if walked not in self.nodes:
                self._store(walked, Node(None, self.index, self.index, 0))
        self._store(path, node)

    def _remove(self, path: bytes) -> frozenset[bytes]:
        gone = [path]
        for key in gone:  # grows as it goes down
            gone += self._present.get(key, ())
        for key in gone:
            self._store(key, None)
        return frozenset(gone)

    def expiration(self, ttl_seconds: int | None) -> int:
        """The log time at which a key written now goes away; 0 for never."""
        return 0 if ttl_seconds is None else self.now_ns + ttl_seconds * SECOND_NS

    def set(
        self, path: bytes, value: bytes | None, ttl: int | None, refresh: bool
    ) -> Change | Refused:
        """Replace or create; `value` None makes a directory."""
        if self._obstacle(path) == "file":
            return self._refuse("NOT_A_DIRECTORY")
        old = self.nodes.get(path)
        if old is None and refresh:
            return self._refuse("KEY_NOT_FOUND")
        if old is not None and old.value is None:
            return self._refuse("NOT_A_FILE")
        if refresh and old is not None:
            value = old.value
        self.index += 1
        node = Node(value, self.index, self.index, self.expiration(ttl))
        self._put(path, node)
        return self._changed("set", path, node, old, silent=refresh)

    def create(self, path: bytes, value: bytes | None, ttl: int | None) -> Change | Refused:
        """Make a key that must not exist."""
        if self._obstacle(path) == "file":
            return self._refuse("NOT_A_DIRECTORY")
        if path in self.nodes:
            return self._refuse("KEY_EXISTS")
        self.index += 1
        node = Node(value, self.index, self.index, self.expiration(ttl))
        self._put(path, node)
        return self._changed("create", path, node, None)

    def in_order(self, path: bytes, value: bytes | None, ttl: int | None) -> Change | Refused:
        """Make a key named after the next index below `path`."""
        prefix = b"" if path == ROOT else path
        return self.create(prefix + b"/%020d" % (self.index + 1), value, ttl)

    def _existing(self, path: bytes) -> Node | Refused:
        if self._obstacle(path) == "file":
            return self._refuse("NOT_A_DIRECTORY")
        node = self.nodes.get(path)
        return self._refuse("KEY_NOT_FOUND") if node is None else node

    def update(self, path: bytes, value: bytes, ttl: int | None, refresh: bool) -> Change | Refused:
        """Change a key that must exist."""
        old = self._existing(path)
        if isinstance(old, Refused):
            return old
        if old.value is None and value:
            return self._refuse("NOT_A_FILE")
        self.index += 1
        if old.value is None:
            kept = old._replace(expiration_ns=self.expiration(ttl))
            self._store(path, kept)
            return self._changed(
                "update", path, kept._replace(modified=self.index), old, silent=refresh
            )
        text = old.value if refresh else value
        node = Node(text, old.created, self.index, self.expiration(ttl))
        self._store(path, node)
        return self._changed("update", path, node, old, silent=refresh)

    def _compare(self, path: bytes, value: bytes, index: int) -> Node | Refused:
        old = self._existing(path)
        if isinstance(old, Refused):
            return old
        if old.value is None:
            return self._refuse("NOT_A_FILE")
        if (value and value != old.value) or (index and index != old.modified):
            return self._refuse("COMPARE_FAILED")
        return old

    def compare_and_swap(
        self, path: bytes, value: bytes, ttl: int | None, prev_value: bytes, prev_index: int
    ) -> Change | Refused:
        """Change a key whose present version is the expected one."""
        old = self._compare(path, prev_value, prev_index)
        if isinstance(old, Refused):
            return old
        self.index += 1
        node = Node(value, old.created, self.index, self.expiration(ttl))
        self._store(path, node)
        return self._changed("compareAndSwap", path, node, old)

    def compare_and_delete(
        self, path: bytes, prev_value: bytes, prev_index: int
    ) -> Change | Refused:
        """Remove a key whose present version is the expected one."""
        old = self._compare(path, prev_value, prev_index)
        if isinstance(old, Refused):
            return old
        self.index += 1
        gone = self._remove(path)
        return self._changed("compareAndDelete", path, None, old, removed=gone)

    def delete(self, path: bytes, directory: bool, recursive: bool) -> Change | Refused:
        """Remove a key, or a directory and all below it."""
        old = self._existing(path)
        if isinstance(old, Refused):
            return old
        if old.value is None:
            if not (directory or recursive):
                return self._refuse("NOT_A_FILE")
            if not recursive and self._present.get(path):
                return self._refuse("DIRECTORY_NOT_EMPTY")
        self.index += 1
        gone = self._remove(path)
        return self._changed("delete", path, None, old, removed=gone)

    def sync(self, time_ns: int) -> list[Change]:
        """Advance log time and remove what is due, earliest first."""
        self.now_ns = max(self.now_ns, time_ns)
        due = sorted(
            (node.expiration_ns, path)
            for path, node in ((path, self.nodes[path]) for path in self._expiring)
            if node.expiration_ns <= self.now_ns
        )
        done = []
        for _, path in due:
            if path in self.nodes:  # else it went with the directory above it
                change = self.expire(path)
                assert isinstance(change, Change)
                done.append(change)
        return done

    def expire(self, path: bytes) -> Change | Refused:
        """Remove a key that has a ttl; whether its time has come is for the caller to know."""
        old = self._existing(path)
        if isinstance(old, Refused):
            return old
        if not old.expiration_ns:
            return self._refuse("NO_TTL")
        self.index += 1
        gone = self._remove(path)
        return self._changed("expire", path, None, old, removed=gone)

    def put_record(self, name: bytes, value: bytes, create: bool) -> Change | Refused:
        """The server's own bookkeeping: takes an index, is no event."""
        if create and name in self.records:
            return self._refuse("KEY_EXISTS")
        self.index += 1
        self.records[name] = value
        return self._changed("record", name, None, None, silent=True)

    def delete_record(self, name: bytes, below: bool = False) -> Change | Refused:
        """Remove a record, or all below a name."""
        names = [
            one for one in self.records if one == name or below and one.startswith(name + b"/")
        ]
        if not names:
            return self._refuse("KEY_NOT_FOUND")
        self.index += 1
        for one in names:
            del self.records[one]
        return self._changed("record", name, None, None, silent=True)
