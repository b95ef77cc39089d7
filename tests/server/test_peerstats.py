"""The documents about traffic between members."""

from __future__ import annotations

from typing import Any

import pytest

from kvraft.clock import ManualClock
from kvraft.raft.entry import Entry
from kvraft.raft.message import Append, AppendReply, Heartbeat, HeartbeatReply
from kvraft.server.peerstats import PeerStats

MS = 10**6
SELF, PEER = 1, 2


def append(index: int, size: int = 0, count: int = 1) -> Append:
    entries = [Entry(1, index + n, 0, b"x" * size) for n in range(count)]
    return Append(PEER, SELF, 1, index - 1, 1, 0, entries, 0)


def reply(index: int, ok: bool = True) -> AppendReply:
    return AppendReply(SELF, PEER, 1, index, ok, 0, 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stats(clock: ManualClock) -> PeerStats:
    return PeerStats(clock)


def follower(stats: PeerStats) -> Any:
    return stats.followers_document([PEER])["2"]


def test_without_traffic_there_are_only_zeros(stats: PeerStats) -> None:
    assert stats.self_document() == {"recvAppendRequestCnt": 0, "sendAppendRequestCnt": 0}
    document = follower(stats)
    assert document["counts"] == {"fail": 0, "success": 0}
    assert document["latency"]["minimum"] > 2**62, "as etcd shows a follower never reached"
    assert document["latency"]["current"] == document["latency"]["standardDeviation"] == 0


def test_latency_is_measured_until_the_last_entry_is_there(
    stats: PeerStats, clock: ManualClock
) -> None:
    stats.sent([append(5, count=3)], stats.now_ns())
    clock.advance(2 * MS)
    stats.received([reply(6)])
    assert follower(stats)["counts"]["success"] == 0
    clock.advance(2 * MS)
    stats.received([reply(7, ok=False), reply(7), reply(8)])
    assert follower(stats)["counts"] == {"fail": 0, "success": 1}
    assert follower(stats)["latency"]["current"] == 4.0


def test_the_running_figures_are_those_of_the_whole_series(
    stats: PeerStats, clock: ManualClock
) -> None:
    series = [3, 1, 8]
    for index, milliseconds in enumerate(series, 1):
        stats.sent([append(index)], stats.now_ns())
        clock.advance(milliseconds * MS)
        stats.received([reply(index)])
    latency = follower(stats)["latency"]
    assert (latency["current"], latency["minimum"], latency["maximum"]) == (8.0, 1.0, 8.0)
    assert latency["average"] == pytest.approx(4.0)
    assert latency["standardDeviation"] == pytest.approx((26 / 3) ** 0.5)


def test_lost_frames_are_counted_and_not_measured(stats: PeerStats, clock: ManualClock) -> None:
    clock.advance(MS)
    stats.failed(PEER)
    clock.advance(MS)
    stats.sent([append(1)], stats.now_ns())
    began_ns = stats.now_ns()
    clock.advance(MS)
    stats.failed(PEER)
    stats.sent([append(2), Heartbeat(PEER, SELF, 1, 0, 0, 9)], began_ns)
    clock.advance(MS)
    stats.received([reply(1)])
    assert follower(stats)["counts"] == {"fail": 2, "success": 0}
    sent = stats.traffic(PEER)
    assert (sent[Append].latency.count, sent[Append].failed) == (1, 1)
    assert (sent[Heartbeat].latency.count, sent[Heartbeat].failed) == (0, 1)


def test_what_left_together_took_the_same_time(stats: PeerStats, clock: ManualClock) -> None:
    began_ns = stats.now_ns()
    clock.advance(2 * MS)
    stats.sent([append(1), append(2), Heartbeat(PEER, SELF, 1, 0, 0, 9)], began_ns)
    sent = stats.traffic(PEER)
    assert sent[Append].latency.count == 2
    assert sent[Append].latency.total == pytest.approx(0.004)
    assert sent[Heartbeat].latency.total == pytest.approx(0.002)
    assert stats.traffic(99) == {}


def test_round_trip_is_that_of_the_last_answered_heartbeat(
    stats: PeerStats, clock: ManualClock
) -> None:
    assert stats.round_trip_s(PEER) == 0
    stats.received([HeartbeatReply(SELF, PEER, 1, 0)])
    for milliseconds in (5, 3):
        stats.sent([Heartbeat(PEER, SELF, 1, 0, 0, 9)], stats.now_ns())
        clock.advance(milliseconds * MS)
        stats.received([HeartbeatReply(SELF, PEER, 1, 0)])
        assert stats.round_trip_s(PEER) == pytest.approx(milliseconds / 1000)
    stats.sent([Heartbeat(PEER, SELF, 1, 0, 0, 9)], stats.now_ns())
    stats.failed(PEER)
    clock.advance(MS)
    stats.received([HeartbeatReply(SELF, PEER, 1, 0)])
    assert stats.round_trip_s(PEER) == pytest.approx(0.003), "that one never left"


def test_rates_are_of_appends_only_and_end_when_nothing_comes(
    stats: PeerStats, clock: ManualClock
) -> None:
    for index in range(1, 11):
        stats.received([append(index, size=100), Heartbeat(PEER, SELF, 1, 0, 0, 9)])
        clock.advance(100 * MS)
    document = stats.self_document()
    assert document["recvAppendRequestCnt"] == 10
    assert document["recvPkgRate"] == pytest.approx(10 / 0.9)
    assert document["recvBandwidthRate"] == pytest.approx(1000 / 0.9)
    assert "sendPkgRate" not in document
    clock.advance(1000 * MS)
    assert "recvPkgRate" not in stats.self_document()


def test_followers_are_sorted_as_text(stats: PeerStats) -> None:
    assert list(stats.followers_document([0x9, 0x10, 0xA])) == ["10", "9", "a"]
