"""What the client port counts of the requests it serves: plain numbers, read when somebody asks.

A request costs a few additions and no look-up of names. As in etcd 2.3, only requests on keys
count, those refused before they reached the key space do not, and watches are not timed.
(admin-api, section 3.)

Must not know: how figures are shown, what a request is.
"""

from __future__ import annotations

from typing import Final

from kvraft.histogram import Histogram, doubling

GET, QGET, PUT, POST, DELETE, HEAD, OTHER, WATCH = range(8)
"""What a request counts as. OTHER stands for everything that is not about keys."""

COUNTED: Final = ("GET", "QGET", "PUT", "POST", "DELETE", "HEAD")
KINDS: Final = {name.encode(): kind for kind, name in enumerate(COUNTED)}
BOUNDS_S: Final = doubling(0.0005, 13)
QUICK_S: Final = BOUNDS_S[0]


class HttpFigures:
    """The counters of one client port."""

    __slots__ = ("connections", "durations", "failed", "received", "recursive_reads", "slow")

    def __init__(self) -> None:
        self.received = [0] * (WATCH + 1)
        # Also of what is not shown, so that nobody has to ask what it is first.
        self.durations = [Histogram(BOUNDS_S) for _ in self.received]
        self.failed: dict[tuple[int, int], int] = {}  # by kind and status
        self.slow = 0  # requests beyond the limit, whether they were logged or not
        # Brought up to date when somebody asks.
        self.connections = 0
        self.recursive_reads = 0

    @property
    def watch_requests(self) -> int:
        """How many watches have been asked for."""
        return self.received[WATCH]

    def fail(self, kind: int, status: int) -> None:
        """Count a request on keys that was answered with an error."""
        self.failed[kind, status] = self.failed.get((kind, status), 0) + 1
