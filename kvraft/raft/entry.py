"""The durable vocabulary of consensus: entries, the hard state, membership and its changes.

These values are written to disk and sent to peers, so their shape is a format. Nothing here
knows how they are stored or sent, and an entry's payload is opaque.

Invariants: indexes start at 1 and have no gaps; terms never decrease along a log; the two
tuples of a membership are sorted and disjoint.

Paper: figure 2 (state), section 7 (snapshots). Thesis: 4.1 (single-server changes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgpack

MAX_ID: Final = (1 << 64) - 1


class CorruptEntry(Exception):
    """The payload of a stored or received entry is not what its kind promises."""


class EntryKind(IntEnum):
    """What the payload of an entry is."""

    NORMAL = 0
    CONFIG = 1


class Entry(NamedTuple):
    """One position of the log. A NORMAL entry without data is a leader's first entry."""

    term: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants
    kind: int
    data: bytes


class HardState(NamedTuple):
    """What must survive a crash besides the log. `vote` 0 means none given in `term`."""

    term: int
    vote: int
    commit: int


class Membership(NamedTuple):
    """Who takes part: voters count for elections and commits, learners only receive."""

    voters: tuple[int, ...]
    learners: tuple[int, ...]


class SnapshotMeta(NamedTuple):
    """The last entry a snapshot covers, and the membership as of that entry."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants
    term: int
    membership: Membership


class ConfChangeKind(IntEnum):
    """A change of one member. UPDATE alters addresses only, which the core does not know."""

    ADD_VOTER = 0
    ADD_LEARNER = 1
    PROMOTE = 2
    REMOVE = 3
    UPDATE = 4


class ConfChange(NamedTuple):
    """The payload of a CONFIG entry; `context` is the proposer's and opaque."""

    kind: int
    member: int
    context: bytes


EMPTY_MEMBERSHIP: Final = Membership((), ())
NO_STATE: Final = HardState(0, 0, 0)


def encode_conf_change(change: ConfChange) -> bytes:
    """The payload of the CONFIG entry that carries this change."""
    data: bytes = msgpack.packb((int(change.kind), change.member, change.context))
    return data


def decode_conf_change(data: bytes) -> ConfChange:
    """The change in a CONFIG entry's payload; raises CorruptEntry on anything unexpected."""
    try:
        fields = msgpack.unpackb(data, use_list=False, max_ext_len=0)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise CorruptEntry(f"membership change is not readable: {error}") from error
    if type(fields) is not tuple or len(fields) != 3:
        raise CorruptEntry("membership change does not have three fields")
    kind, member, context = fields
    if type(kind) is not int or not 0 <= kind <= ConfChangeKind.UPDATE:
        raise CorruptEntry(f"membership change of unknown kind {kind!r}")
    if type(member) is not int or not 0 < member <= MAX_ID:
        raise CorruptEntry(f"membership change of impossible member {member!r}")
    if type(context) is not bytes:
        raise CorruptEntry("membership change with a context that is not bytes")
    return ConfChange(kind, member, context)
