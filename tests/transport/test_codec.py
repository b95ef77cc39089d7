"""Frames as bytes: what we write we read, and nothing else gets through."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft import limits
from kvraft.raft.entry import Entry, Membership, SnapshotMeta
from kvraft.raft.message import Append, AppendReply, Heartbeat, InstallSnapshot, Vote
from kvraft.server.forwarding import Forward, ForwardReply, Verdict
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.transport.codec import FrameDecoder, FrameEncoder, MalformedFrame

APPEND = Append(2, 1, 7, 10, 6, 9, [Entry(7, 11, 0, b"x" * 100), Entry(7, 12, 1, b"y")], 5)
FRAMES: list[Any] = [
    Vote(2, 1, 8, 10, 7, False, 9, 7),
    APPEND,
    AppendReply(1, 2, 7, 12, True, 0, 0),
    Heartbeat(2, 1, 7, 12, 3, 9),
    InstallSnapshot(2, 1, 7, SnapshotMeta(5, 3, Membership((1, 2), (3,)))),
    Forward(1, 2, 7, 1 << 40, 1, True, (b"a", b"b")),
    ForwardReply(2, 1, 7, 1 << 40, 1, Verdict.REFUSED),
]


def encode(*frames: Any) -> bytes:
    return FrameEncoder(FRAME_NUMBERS).encode(frames)


def decode(data: bytes, decoder: FrameDecoder | None = None) -> list[Any]:
    return list((decoder or FrameDecoder(frame_from_wire)).feed(data))


def plain(frame: Any) -> Any:
    """Sequences compare as tuples, whichever they were."""
    return tuple(map(plain, frame)) if isinstance(frame, list | tuple) else frame


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_back_as_it_was(frame: Any) -> None:
    [found] = decode(encode(frame))
    assert type(found) is type(frame)
    assert plain(found) == plain(frame)


@given(st.integers(0, 2**32))
def test_the_cut_of_the_stream_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    frames = rng.choices(FRAMES, k=10)
    data = encode(*frames)
    decoder = FrameDecoder(frame_from_wire)
    found = []
    while data:
        size = rng.randint(1, 200)
        found += decode(data[:size], decoder)
        data = data[size:]
    assert [plain(frame) for frame in found] == [plain(frame) for frame in frames]


def test_frames_in_front_of_a_bad_one_are_not_lost() -> None:
    decoder = FrameDecoder(frame_from_wire).feed(encode(FRAMES[0]) + b"\xc1")
    assert next(decoder) == FRAMES[0]
    with pytest.raises(MalformedFrame):
        next(decoder)


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        b"bytes",
        "text",
        [],
        {},
        ["0", 1, 2],
        [True, 2, 1, 7],
        [None],
        [9999, 2, 1, 7],
        [-1, 2, 1, 7],
        [1.5, 2, 1],
        [[1], 2, 1],
        [FRAME_NUMBERS[Heartbeat], 2, 1, 7, 12],
        [FRAME_NUMBERS[Heartbeat], 2, 1, 7, 12, 3, 9, 4],
        [FRAME_NUMBERS[Heartbeat], 2, 1, 7, 12, -3],
        [FRAME_NUMBERS[Heartbeat], 2, 1, 7, 12, b"3"],
        [FRAME_NUMBERS[Heartbeat], 2, 1, 7, 12, True],
        [FRAME_NUMBERS[Append], 2, 1, 7, 10, 6, 9, [[7, 11, 0]], 5],
        [FRAME_NUMBERS[Append], 2, 1, 7, 10, 6, 9, [[7, 13, 0, b""]], 5],
        [FRAME_NUMBERS[Append], 2, 1, 7, 10, 6, 9, [[7, 11, 0, "text"]], 5],
        [FRAME_NUMBERS[Append], 2, 1, 7, 10, 6, 9, 17, 5],
        [FRAME_NUMBERS[InstallSnapshot], 2, 1, 7, [5, 3]],
        [FRAME_NUMBERS[Forward], 1, 2, 7, 1, 1, 1, [b"a"]],
        [FRAME_NUMBERS[Forward], 1, 2, 7, 1, 1, True, [b""]],
        [FRAME_NUMBERS[Forward], 1, 2, 7, 1, 1, True, [1]],
        [FRAME_NUMBERS[Forward], 1, 2, 7, 1, 1, True, b"a"],
        [FRAME_NUMBERS[Forward], 1, 2, 7, -1, 1, True, [b"a"]],
        [FRAME_NUMBERS[Forward], 1, 2, 7, 1, 1, True],
        [FRAME_NUMBERS[ForwardReply], 2, 1, 7, 1, 1, 17],
        [FRAME_NUMBERS[ForwardReply], 2, 1, 7, 1, 1, True],
        [FRAME_NUMBERS[ForwardReply], 2, 1, 7, 1, 1],
        msgpack.ExtType(1, b"x"),
    ],
    ids=repr,
)
def test_what_is_no_frame_is_refused(value: Any) -> None:
    with pytest.raises(MalformedFrame):
        decode(msgpack.packb(value))


def test_lists_in_lists_without_end_are_refused() -> None:
    with pytest.raises(MalformedFrame):
        decode(b"\x91" * 100_000)


def test_an_array_that_promises_too_much_is_refused_at_once() -> None:
    with pytest.raises(MalformedFrame):
        decode(b"\x92\x01\xdd" + b"\xff" * 4)


def endless(promise: bytes) -> None:
    """Feed a frame that promises more than a frame may have, until that is noticed."""
    decoder = FrameDecoder(frame_from_wire)
    decode(b"\x92\x01\xc6" + promise, decoder)
    block = bytes(1 << 20)
    for _ in range(limits.MAX_FRAME_BYTES // len(block) + 1):
        decode(block, decoder)


def test_a_frame_that_does_not_end_is_refused_at_the_bound() -> None:
    with pytest.raises(MalformedFrame):
        endless(b"\xff" * 4)


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_noise_is_a_frame_or_refused_and_nothing_else(noise: bytes, seed: int) -> None:
    """Random bytes, and good frames with one byte changed."""
    rng = random.Random(seed)
    good = bytearray(encode(*rng.choices(FRAMES, k=3)))
    good[rng.randrange(len(good))] = rng.randrange(256)
    for data in (noise, bytes(good)):
        try:
            for frame in decode(data):
                assert type(frame) in FRAME_NUMBERS
        except MalformedFrame:
            pass
