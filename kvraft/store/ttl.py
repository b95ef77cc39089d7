"""Which keys expire when.

Keys with the same expiration share a bucket, and a heap orders the expirations. Requests of one
batch see the same time of the log, so buckets are few and heap entries are plain numbers. A key
that is replaced or deleted leaves its bucket at once; the keys below a removed directory leave
when the directory is taken apart, so an entry may be stale and whoever expires it has to check.

Must not know: how a node is removed, nor any clock. Invariant: every node of the tree with
an expiration is in exactly the bucket of that expiration (keys API, section 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from kvraft.store.node import Node

__all__ = ["Expirations"]


class Expirations:
    """The nodes that have an expiration, earliest first."""

    __slots__ = ("_buckets", "_heap")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[bytes, Node]] = {}
        self._heap: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def add(self, path: bytes, node: Node) -> None:
        """Enter a node that has an expiration."""
        expiration_ns = node.expiration_ns
        bucket = self._buckets.get(expiration_ns)
        if bucket is not None:
            bucket[path] = node
            return
        self._buckets[expiration_ns] = {path: node}
        heappush(self._heap, expiration_ns)
        # A key renewed over and over leaves one number behind each time, until it is due.
        if len(self._heap) > 2 * len(self._buckets) + 1024:
            self._heap = list(self._buckets)
            heapify(self._heap)

    def cancel(self, path: bytes, node: Node) -> None:
        """Forget a node that is leaving the tree, or is about to get another expiration."""
        bucket = self._buckets.get(node.expiration_ns)
        if bucket is not None and bucket.get(path) is node:
            del bucket[path]
            if not bucket:
                del self._buckets[node.expiration_ns]

    def earliest_ns(self) -> int | None:
        """The first expiration that is still entered."""
        heap = self._heap
        while heap and heap[0] not in self._buckets:
            heappop(heap)
        return heap[0] if heap else None

    def due(self, now_ns: int) -> Iterator[tuple[bytes, Node]]:
        """Take out, one by one, what is due: ordered by expiration, then by path."""
        while (first_ns := self.earliest_ns()) is not None and first_ns <= now_ns:
            bucket = self._buckets[first_ns]
            for path in sorted(bucket):
                # Removing an earlier one of the same bucket may have cancelled this one.
                if (node := bucket.get(path)) is not None:
                    self.cancel(path, node)
                    yield path, node
