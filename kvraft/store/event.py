"""What has happened to one key, and the JSON document that tells a client.

One event serves the answer to the write, every watcher and the history; its document is made
when the first of them asks, and kept. The ttl in it counts from the time of the log at the
write, so the document is the same on every member and after a restore.

Must not know: who reads it. Invariant: after the constructor nothing changes but the cached
document. The documents follow the keys API, section 5.
"""

from __future__ import annotations

from typing import Final

from kvraft.store.jsontext import escape, remaining_seconds, rfc3339
from kvraft.store.node import File, ShownNode

__all__ = [
    "COMPARE_AND_DELETE",
    "COMPARE_AND_SWAP",
    "CREATE",
    "DELETE",
    "EXPIRE",
    "SET",
    "UPDATE",
    "Event",
    "lifetime_json",
]

SET: Final = b"set"
CREATE: Final = b"create"
UPDATE: Final = b"update"
COMPARE_AND_SWAP: Final = b"compareAndSwap"
DELETE: Final = b"delete"
COMPARE_AND_DELETE: Final = b"compareAndDelete"
EXPIRE: Final = b"expire"


class Event:
    """One successful change of one key."""

    __slots__ = ("_body", "action", "index", "node", "path", "prev", "refresh", "time_ns")

    def __init__(
        self,
        action: bytes,
        path: bytes,
        node: ShownNode | None,
        prev: ShownNode | None,
        index: int,
        refresh: bool,
        time_ns: int,
    ) -> None:
        self.action = action
        self.path = path
        self.node = node  # as it is now; None: it has been removed
        self.prev = prev  # as it was; None: there was nothing, or the action does not show it
        self.index = index  # the store index that this change has got
        self.refresh = refresh  # only the ttl was renewed: no watcher is told
        self.time_ns = time_ns  # the time of the log at the change
        self._body: bytes | None = None

    @property
    def created(self) -> bool:
        """Whether the key did not exist before: the answer to the write is a 201."""
        return self.node is not None and self.prev is None

    @property
    def removed_directory(self) -> bool:
        """Whether this is the end of a directory, and with it of all that was below."""
        return self.node is None and type(self.prev) is not File

    def body(self) -> bytes:
        """The JSON document, newline included."""
        body = self._body
        if body is None:
            key = escape(self.path)
            prev = self.prev
            now_ns = self.time_ns
            body = b'{"action":"%b","node":%b' % (self.action, self._node_json(key))
            if prev is None:
                body += b"}\n"
            else:
                body += b',"prevNode":%b}\n' % _shown_json(key, prev, now_ns)
            self._body = body
        return body

    def no_value_body(self) -> bytes:
        """The document for a client that asked not to be told the value."""
        return b'{"action":"%b"}\n' % self.action

    def _node_json(self, key: bytes) -> bytes:
        if self.node is not None:
            return _shown_json(key, self.node, self.time_ns)
        removed = self.prev
        assert removed is not None, "a removal without what was removed"
        # A directory that expires does not say that it was one; that is the original's way.
        kind = b',"dir":true' if type(removed) is not File and self.action != EXPIRE else b""
        return b'{"key":"%b"%b,"modifiedIndex":%d,"createdIndex":%d}' % (
            key,
            kind,
            self.index,
            removed.created,
        )


def _shown_json(key: bytes, node: ShownNode, now_ns: int) -> bytes:
    content = b'"value":"%b"' % escape(node.value) if type(node) is File else b'"dir":true'
    expiration_ns = node.expiration_ns
    return b'{"key":"%b",%b%b,"modifiedIndex":%d,"createdIndex":%d}' % (
        key,
        content,
        lifetime_json(expiration_ns, now_ns) if expiration_ns else b"",
        node.modified,
        node.created,
    )


def lifetime_json(expiration_ns: int, now_ns: int) -> bytes:
    """The fields `expiration` and `ttl` of a node that has them, each after a comma."""
    left = remaining_seconds(expiration_ns, now_ns)
    ttl = b',"ttl":%d' % left if left else b""
    return b',"expiration":"%b"%b' % (rfc3339(expiration_ns), ttl)
