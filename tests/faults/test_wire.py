"""Frames on their way: untouched ones arrive as they are, each rule does what it says."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from jepsen_like.faults.wire import NOTHING, Carrier, Due, Rule, no_frame, too_long
from kvraft.raft.message import Heartbeat
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.transport.codec import FrameDecoder, FrameEncoder, MalformedFrame

FRAMES = [Heartbeat(2, 1, 7, commit, commit, commit) for commit in range(1, 401)]


def encoded(*frames: Any) -> bytes:
    return FrameEncoder(FRAME_NUMBERS).encode(frames)


def decoded(data: bytes) -> list[Any]:
    return list(FrameDecoder(frame_from_wire).feed(data))


class Way:
    """A carrier, what came out of it, and a clock of its own."""

    def __init__(self, seed: int = 1, *, snapshot: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.carrier = Carrier(random.Random(seed), self.counts, snapshot=snapshot)
        self.now_s = 100.0
        self.out = b""
        self.broken = False

    def send(self, rule: Rule, frames: list[Heartbeat] = FRAMES) -> None:
        for frame in frames:
            self.carrier.take(encoded(frame), rule, self.now_s)

    def wait(self, seconds: float = 1000.0) -> list[Any]:
        """What has arrived after so long, with the end of the connection noted."""
        self.now_s += seconds
        due: Due = self.carrier.due(self.now_s)
        self.broken |= due.breaks
        return decoded(due.data)


@pytest.mark.parametrize("seed", range(5))
def test_untouched_frames_arrive_whatever_the_cut_of_the_stream(seed: int) -> None:
    way, rng = Way(), random.Random(seed)
    rest = encoded(*FRAMES)
    while rest:
        size = rng.randint(1, 100)
        way.carrier.take(rest[:size], NOTHING, way.now_s)
        rest = rest[size:]
    assert way.wait(0) == FRAMES
    assert way.carrier.held_bytes == 0
    assert not way.counts


def test_loss_takes_whole_frames_and_leaves_the_stream_intact() -> None:
    way = Way()
    way.send(Rule(loss=0.3))
    left = way.wait()
    assert len(left) + way.counts["loss"] == len(FRAMES)
    assert 60 < way.counts["loss"] < 180
    assert left == [frame for frame in FRAMES if frame in left]


def test_replayed_frames_were_sent_before_and_may_come_late() -> None:
    way = Way()
    way.send(Rule(replay=0.5))
    arrived = way.wait()
    assert len(arrived) == len(FRAMES) + way.counts["replay"]
    assert set(arrived) == set(FRAMES)
    assert 120 < way.counts["replay"] < 280


def test_overtaken_frames_arrive_later_than_others() -> None:
    way = Way()
    way.send(Rule(reorder=0.2))
    arrived = way.wait()
    assert arrived != FRAMES
    assert sorted(arrived) == FRAMES


def test_a_delay_keeps_the_order_and_its_bounds() -> None:
    way = Way()
    way.send(Rule(delay_ms=75, jitter_ms=50))
    assert way.wait(0.0249) == []
    some = way.wait(0.02)
    assert some == FRAMES[: len(some)]
    assert some + way.wait(0.0802) == FRAMES


def test_a_clogged_link_lets_everything_go_in_a_burst() -> None:
    way = Way()
    way.send(Rule(clogged=True, loss=0.0))
    assert way.wait() == []
    assert way.carrier.held_bytes == len(encoded(*FRAMES))
    assert way.carrier.next_s() is None
    way.carrier.changed(Rule(clogged=True), way.now_s)
    assert way.wait() == []
    way.carrier.changed(NOTHING, way.now_s)
    assert way.wait(0) == FRAMES
    assert way.carrier.held_bytes == 0


def test_once_healed_what_is_late_arrives_at_once_and_in_order() -> None:
    way = Way()
    way.send(Rule(delay_ms=5000, jitter_ms=500), FRAMES[:200])
    way.carrier.changed(NOTHING, way.now_s)
    way.send(NOTHING, FRAMES[200:])
    assert way.wait(0) == FRAMES


def test_the_end_comes_after_everything_else() -> None:
    way = Way()
    way.send(Rule(delay_ms=1000))
    way.carrier.end(way.now_s)
    way.carrier.end(way.now_s)
    assert way.wait(0.999) == []
    assert not way.broken
    assert way.wait(0.002) == FRAMES
    assert way.broken


def test_a_truncated_frame_ends_the_connection_and_is_none() -> None:
    way = Way()
    way.send(Rule(truncate=0.01))
    arrived = way.wait()
    assert way.broken
    assert way.counts["truncate"] == 1
    assert arrived == FRAMES[: len(arrived)]
    assert len(arrived) < len(FRAMES)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("make", [no_frame, too_long])
def test_garbage_is_refused_and_nothing_of_it_acted_on(seed: int, make: Any) -> None:
    decoder = FrameDecoder(frame_from_wire)
    assert list(decoder.feed(encoded(FRAMES[0]))) == FRAMES[:1]
    frames = decoder.feed(make(random.Random(seed)) + encoded(FRAMES[1]))
    with pytest.raises(MalformedFrame):
        next(frames)


def test_garbage_takes_the_place_of_a_frame() -> None:
    way = Way()
    way.send(Rule(garbage=1.0), FRAMES[:1])
    with pytest.raises(MalformedFrame):
        way.wait()
    assert way.counts["garbage"] == 1


def test_silence_swallows_and_says_so() -> None:
    way = Way()
    way.send(NOTHING, FRAMES[:10])
    assert not way.carrier.swallowed
    way.send(Rule(silent=True), FRAMES[10:])
    assert way.carrier.swallowed
    assert way.wait() == FRAMES[:10]
    assert not way.broken


PIECES = [encoded(FRAMES[0]), b"\xc4\x64" + bytes(100), b"\xc0"]


def test_a_snapshot_is_only_delayed_by_what_befalls_frames() -> None:
    way = Way(snapshot=True)
    for piece in PIECES:
        rule = Rule(loss=1, replay=1, reorder=1, garbage=1, truncate=1, delay_ms=10)
        way.carrier.take(piece, rule, way.now_s)
    assert way.carrier.due(way.now_s) == Due(b"", breaks=False)
    assert way.carrier.due(way.now_s + 1) == Due(b"".join(PIECES), breaks=False)


@pytest.mark.parametrize("seed", range(10))
def test_a_snapshot_can_be_cut(seed: int) -> None:
    way = Way(seed, snapshot=True)
    for piece in PIECES:
        way.carrier.take(piece, Rule(snapshot_cut=1.0), way.now_s)
    due = way.carrier.due(way.now_s)
    assert due.breaks
    assert b"".join(PIECES).startswith(due.data)
    assert len(due.data) < len(b"".join(PIECES))


@pytest.mark.parametrize("seed", range(10))
def test_a_bit_of_a_snapshot_can_be_flipped(seed: int) -> None:
    way = Way(seed, snapshot=True)
    for piece in PIECES:
        way.carrier.take(piece, Rule(snapshot_flip=1.0), way.now_s)
    arrived, whole = way.carrier.due(way.now_s).data, b"".join(PIECES)
    different = [a ^ b for a, b in zip(arrived, whole, strict=True) if a != b]
    assert len(different) == 1
    assert different[0].bit_count() == 1
