"""What members say to each other, and the check of what a peer sent.

One named tuple per kind, flat and made of numbers, truth values, bytes and sequences of these,
so that a transport can pack any of them without knowing what it means. Nothing here knows
what a member does with a message.

Every message starts with (to, sender, term). The term is the sender's current one, except in
a PreVote and a granted PreVoteReply, where it is the term the sender of the PreVote would
campaign in. The messages of elections tell the sender's commit index and the term of that
entry, because a commit may be news to the receiver while there is no leader.

Invariant: what `from_wire` returns has the right types, numbers within 64 bits, and entries
that follow each other and `prev_index` without a gap and with rising terms.

Paper: figure 2. Thesis: 9.6 (pre-vote), 6.4 (reads), 3.10 (leadership transfer).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from kvraft.raft.entry import MAX_ID, Entry, Membership, SnapshotMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

make_entry: Final[Callable[[tuple[int, int, int, bytes]], Entry]] = partial(tuple.__new__, Entry)
"""An entry from its four fields; the class's own constructor costs twice as much."""


class MalformedMessage(Exception):
    """A peer sent something that no member of this version would send."""


class PreVote(NamedTuple):
    """Would you vote for me in `term`? Changes nothing at the receiver."""

    to: int
    sender: int
    term: int
    last_index: int
    last_term: int
    commit: int
    commit_term: int


class PreVoteReply(NamedTuple):
    """Granted: `term` is the one asked about. Refused: the term of the one who refuses."""

    to: int
    sender: int
    term: int
    granted: bool
    commit: int
    commit_term: int


class Vote(NamedTuple):
    """A candidate asks for a vote. `forced`: the leader asked for this election itself."""

    to: int
    sender: int
    term: int
    last_index: int
    last_term: int
    forced: bool
    commit: int
    commit_term: int


class VoteReply(NamedTuple):
    """The answer to a Vote."""

    to: int
    sender: int
    term: int
    granted: bool
    commit: int
    commit_term: int


class Append(NamedTuple):
    """Entries that follow `prev_index`; none to probe or to tell the commit index."""

    to: int
    sender: int
    term: int
    prev_index: int
    prev_term: int
    commit: int
    entries: list[Entry]
    read_round: int


class AppendReply(NamedTuple):
    """Accepted: everything up to `index` is durable here and equal to the leader's log.

    Refused: `index` is the refused prev_index; the leader's log may agree with this one up
    to `hint_index`, whose term here is `hint_term`.
    """

    to: int
    sender: int
    term: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants
    ok: bool
    hint_index: int
    hint_term: int


class Heartbeat(NamedTuple):
    """The leader is there. `commit` never exceeds what the receiver has acknowledged.

    `context` is what the leader's driver wants all followers to hear again and again.
    """

    to: int
    sender: int
    term: int
    commit: int
    read_round: int
    context: int


class HeartbeatReply(NamedTuple):
    """The sender followed this leader when it received `read_round`."""

    to: int
    sender: int
    term: int
    read_round: int


class InstallSnapshot(NamedTuple):
    """The log no longer reaches back to what the receiver needs. The content travels apart."""

    to: int
    sender: int
    term: int
    meta: SnapshotMeta


class SnapshotReport(NamedTuple):
    """The receiver of a snapshot tells whether the transfer of its content worked."""

    to: int
    sender: int
    term: int
    ok: bool


class ReadRequest(NamedTuple):
    """A follower asks for an index at which its local state answers a linearizable read."""

    to: int
    sender: int
    term: int
    ctx: int


class ReadReply(NamedTuple):
    """The answer to the ReadRequest with the same `ctx`."""

    to: int
    sender: int
    term: int
    ctx: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants


class TimeoutNow(NamedTuple):
    """The leader hands over: start an election at once."""

    to: int
    sender: int
    term: int


Message: TypeAlias = (
    PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | SnapshotReport
    | ReadRequest
    | ReadReply
    | TimeoutNow
)

MESSAGE_KINDS: Final[tuple[type[Any], ...]] = (
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotReport,
    ReadRequest,
    ReadReply,
    TimeoutNow,
)
"""The position of a class is its number on the wire: only ever add at the end."""

_APPEND: Final = MESSAGE_KINDS.index(Append)
_SNAPSHOT: Final = MESSAGE_KINDS.index(InstallSnapshot)
_FIELDS: Final = tuple(len(kind._fields) for kind in MESSAGE_KINDS)
_FLAGS: Final = tuple(
    frozenset(
        position
        for position, name in enumerate(kind._fields)
        if name in ("granted", "forced", "ok")
    )
    for kind in MESSAGE_KINDS
)
_ENTRIES_FIELD: Final = Append._fields.index("entries")
_META_FIELD: Final = InstallSnapshot._fields.index("meta")


def from_wire(number: int, fields: Sequence[Any]) -> Message:
    """The message of kind `number` with these fields; raises MalformedMessage."""
    if type(number) is not int or not 0 <= number < len(MESSAGE_KINDS):
        raise MalformedMessage(f"unknown kind of message {number!r}")
    if type(fields) not in (list, tuple) or len(fields) != _FIELDS[number]:
        raise MalformedMessage(f"kind {number} has the wrong number of fields")
    values = list(fields)
    flags = _FLAGS[number]
    for position, value in enumerate(values):
        if type(value) is int:
            if 0 <= value <= MAX_ID and position not in flags:
                continue
        elif type(value) is bool and position in flags:
            continue
        if number == _APPEND and position == _ENTRIES_FIELD:
            continue
        if number == _SNAPSHOT and position == _META_FIELD:
            continue
        raise MalformedMessage(f"field {position} of kind {number} is not acceptable")
    if values[0] == 0 or values[1] == 0:
        raise MalformedMessage("a message needs a receiver and a sender")
    if number == _APPEND:
        values[_ENTRIES_FIELD] = _entries(values[_ENTRIES_FIELD], values[3], values[4], values[2])
    elif number == _SNAPSHOT:
        values[_META_FIELD] = _snapshot_meta(values[_META_FIELD], values[2])
    message: Message = tuple.__new__(MESSAGE_KINDS[number], values)
    return message


def _entries(raw: Any, index: int, term: int, newest: int) -> list[Entry]:
    """Entries after (index, term), none of a term later than the message's."""
    if type(raw) not in (list, tuple):
        raise MalformedMessage("entries are not a sequence")
    if term > newest:
        raise MalformedMessage("an append from an earlier term than what it follows")
    entries: list[Entry] = []
    add = entries.append
    for item in raw:
        if type(item) not in (list, tuple) or len(item) != 4:
            raise MalformedMessage("an entry does not have four fields")
        entry_term, entry_index, kind, data = item
        index += 1
        if (
            type(entry_term) is not int
            or type(kind) is not int
            or type(data) is not bytes
            or entry_index != index
            or not term <= entry_term <= newest
            or not 0 <= kind <= 1
        ):
            raise MalformedMessage(f"entry {index} is not acceptable")
        term = entry_term
        add(make_entry((term, index, kind, data)))
    return entries


def _snapshot_meta(raw: Any, newest: int) -> SnapshotMeta:
    if type(raw) not in (list, tuple) or len(raw) != 3:
        raise MalformedMessage("a snapshot's description does not have three fields")
    index, term, membership = raw
    if type(index) is not int or not 0 < index <= MAX_ID:
        raise MalformedMessage("a snapshot of an impossible index")
    if type(term) is not int or not 0 < term <= newest:
        raise MalformedMessage("a snapshot of an impossible term")
    if type(membership) not in (list, tuple) or len(membership) != 2:
        raise MalformedMessage("a membership does not have two parts")
    voters, learners = (_members(part) for part in membership)
    if not voters or not set(voters).isdisjoint(learners):
        raise MalformedMessage("an impossible membership")
    return SnapshotMeta(index, term, Membership(voters, learners))


def _members(raw: Any) -> tuple[int, ...]:
    if type(raw) not in (list, tuple):
        raise MalformedMessage("members are not a sequence")
    previous = 0
    for member in raw:
        if type(member) is not int or not previous < member <= MAX_ID:
            raise MalformedMessage("members are not distinct sorted ids")
        previous = member
    return tuple(raw)
