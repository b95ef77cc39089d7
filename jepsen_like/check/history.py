"""What the clients did and were told: the only thing the checkers believe about the outside.

An answer is `ok`, `failed` (certainly not done) or `unknown`. Every write carries a tag that
no other write of the run has; the tag travels through the log inside the request, so that a write
can be found there whatever became of its answer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvraft.store.request import Request


class Outcome(Enum):
    """What a client knows about its operation."""

    PENDING = "pending"
    OK = "ok"
    REFUSED = "refused"  # an answer of the key space: evaluated in order, changed nothing
    FAILED = "failed"  # certainly not done
    UNKNOWN = "unknown"


class Operation:
    """One request of one client."""

    __slots__ = (
        "action", "client", "ended_ns", "error", "index", "invoked_ns", "member", "node_path",
        "node_modified", "node_value", "number", "outcome", "previous", "quorum", "request", "tag",
        "listing", "tree",
    )  # fmt: skip

    def __init__(self, number: int, client: int, member: int, invoked_ns: int) -> None:
        self.number = number
        self.client = client
        self.member = member
        self.invoked_ns = invoked_ns
        self.ended_ns = -1
        self.outcome = Outcome.PENDING
        self.request: Request | None = None  # None for a read
        self.tag = b""
        self.quorum = False
        self.index = 0
        self.error = ""
        self.action = ""
        self.node_path = b""
        self.node_value: bytes | None = None
        self.node_modified = 0
        self.previous: tuple[bytes | None, int] | None = None  # value, modified
        self.listing: list[bytes] | None = None  # the visible children of a directory, sorted
        # of a recursive read: everything visible below, each with its value and version
        self.tree: dict[bytes, tuple[bytes | None, int]] | None = None

    def describe(self) -> str:
        """One line for a report."""
        what = repr(self.request) if self.request is not None else f"get {self.node_path!r}"
        return (
            f"op {self.number} client {self.client} at member {self.member}: {what} -> "
            f"{self.outcome.value} {self.error} index {self.index}"
        )


class Delivered:
    """One event as a watching client saw it."""

    __slots__ = ("action", "index", "path", "previous")

    def __init__(self, index: int, action: str, path: bytes, previous: bytes | None) -> None:
        self.index = index
        self.action = action
        self.path = path
        self.previous = previous


class Watch:
    """One watch of one client at one life of one member."""

    __slots__ = (
        "ended", "events", "first_index", "member", "number", "path", "reached_index",
        "recalled_index", "recursive", "registered_index", "refused_cause", "stream",
    )  # fmt: skip

    def __init__(self, number: int, member: int, path: bytes) -> None:
        self.number = number
        self.member = member
        self.path = path
        self.recursive = False
        self.stream = False
        self.first_index = 0
        self.registered_index = 0
        self.recalled_index = 0  # up to here events came out of the history
        self.refused_cause: bytes | None = None
        self.events: list[Delivered] = []
        self.ended = ""  # "" while it lives; else overflow, closed or crash
        self.reached_index = 0  # store index of the member when last looked at

    def describe(self) -> str:
        """One line for a report."""
        kind = "stream" if self.stream else "one-shot"
        reach = "recursive " if self.recursive else ""
        return (
            f"watch {self.number} ({reach}{kind}) on {self.path!r} at member {self.member} from "
            f"index {self.first_index} (registered at {self.registered_index}), "
            f"{len(self.events)} events, ended {self.ended or 'not'}"
        )


class History:
    """Everything the clients of one run did."""

    __slots__ = ("commands", "operations", "watches")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.commands: list[Operation] = []  # to a machine beside the keys
        self.watches: list[Watch] = []
