"""What the core hands to its driver after a step, and the role it plays.

Plain values: the core fills them, the driver carries them out. `messages` may leave at once;
`persist.after` only once the rest of that persist is durable; `committed` is durable here and
committed in the cluster, in order, each entry once.

Thesis: 10.2.1 (writing to the leader's disk in parallel).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kvraft.raft.entry import Entry, HardState, SnapshotMeta
    from kvraft.raft.message import Message


class Role(IntEnum):
    """The part a member plays in its term."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class Persist(NamedTuple):
    """One write to stable storage: the snapshot first, then hard state and entries together.

    An entry whose index exists already replaces it and everything after it.
    """

    hard_state: HardState | None
    entries: list[Entry]
    snapshot: SnapshotMeta | None
    after: list[Message]
    sync: bool


class ReadState(NamedTuple):
    """Once `index` is applied, the local state answers the reads of `ctx`."""

    ctx: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants


class Ready(NamedTuple):
    """Everything there is to do now."""

    messages: list[Message]
    persist: Persist | None
    committed: list[Entry]
    reads: list[ReadState]
    reads_failed: list[int]
    leader_changed: bool
