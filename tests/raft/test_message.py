"""What peers send is checked completely."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft.entry import Entry, Membership, SnapshotMeta
from kvraft.raft.message import (
    MESSAGE_KINDS,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    MalformedMessage,
    Message,
    PreVote,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    SnapshotReport,
    TimeoutNow,
    Vote,
    VoteReply,
    from_wire,
)

BIG = 2**64 - 1
EXAMPLES: list[Message] = [
    PreVote(1, 2, 3, 4, 5, 6, 7),
    PreVoteReply(1, 2, 3, True, 4, 5),
    Vote(1, 2, 3, BIG, BIG, False, 4, 5),
    VoteReply(1, BIG, 3, False, 0, 0),
    Append(1, 2, 3, 4, 2, 9, [Entry(2, 5, 0, b"a"), Entry(3, 6, 1, b"")], 7),
    Append(1, 2, 3, 4, 2, 9, [], 0),
    AppendReply(1, 2, 3, 4, True, 5, 6),
    Heartbeat(1, 2, 3, 4, 5, 9),
    HeartbeatReply(1, 2, 3, 4),
    InstallSnapshot(1, 2, 3, SnapshotMeta(9, 3, Membership((1, 2), (7,)))),
    SnapshotReport(1, 2, 3, False),
    ReadRequest(1, 2, 3, BIG),
    ReadReply(1, 2, 3, 4, 5),
    TimeoutNow(1, 2, 3),
]


def wire(message: Message) -> tuple[int, list[Any]]:
    number = MESSAGE_KINDS.index(type(message))
    fields: list[Any] = msgpack.unpackb(msgpack.packb(message))
    return number, fields


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(message) for message in EXAMPLES} == set(MESSAGE_KINDS)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_round_trip(message: Message) -> None:
    got = from_wire(*wire(message))
    assert got == message
    assert type(got) is type(message)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_field_is_checked(message: Message) -> None:
    number, fields = wire(message)
    impossible: list[Any] = [None, -1, 2**64, 1.0, "x", b"x", {}, [[]], [0]]
    for position in range(len(fields)):
        for wrong in impossible:
            with pytest.raises(MalformedMessage):
                from_wire(number, [*fields[:position], wrong, *fields[position + 1 :]])
    for count in (fields[:-1], [*fields, 0]):
        with pytest.raises(MalformedMessage):
            from_wire(number, count)


@pytest.mark.parametrize("number", [-1, len(MESSAGE_KINDS), "0", None, True])
def test_unknown_kinds(number: Any) -> None:
    with pytest.raises(MalformedMessage):
        from_wire(number, [1, 2, 3])


@pytest.mark.parametrize(
    "entries",
    [
        [[2, 6, 0, b""]],  # a gap
        [[2, 5, 0, b""], [2, 5, 0, b""]],
        [[3, 5, 0, b""], [2, 6, 0, b""]],  # a falling term
        [[1, 5, 0, b""]],  # before its predecessor's
        [[4, 5, 0, b""]],  # after the message's
        [[2, 5, 2, b""]],
        [[2, 5, 0, "a"]],
        [[2, 5, 0]],
        [[True, 5, 0, b""]],
        [5],
    ],
    ids=repr,
)
def test_impossible_entries(entries: list[Any]) -> None:
    with pytest.raises(MalformedMessage):
        from_wire(MESSAGE_KINDS.index(Append), [1, 2, 3, 4, 2, 9, entries, 0])


@pytest.mark.parametrize(
    "meta",
    [
        [0, 1, [[1], []]],
        [1, 0, [[1], []]],
        [1, 9, [[1], []]],  # a later term than the message's
        [1, 1, [[], []]],
        [1, 1, [[2, 1], []]],
        [1, 1, [[1, 1], []]],
        [1, 1, [[1], [1]]],
        [1, 1, [[0], []]],
        [1, 1, [[1]]],
        [1, 1, [1, 2]],
        [1, 1],
    ],
    ids=repr,
)
def test_impossible_snapshots(meta: list[Any]) -> None:
    with pytest.raises(MalformedMessage):
        from_wire(MESSAGE_KINDS.index(InstallSnapshot), [1, 2, 3, meta])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.integers(-1, len(MESSAGE_KINDS)), st.lists(VALUES, max_size=8))
def test_anything_is_a_message_or_malformed(number: int, fields: list[Any]) -> None:
    try:
        message = from_wire(number, fields)
    except MalformedMessage:
        return
    assert from_wire(*wire(message)) == message
