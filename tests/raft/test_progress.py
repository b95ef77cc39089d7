"""The marks a leader keeps of a member."""

from __future__ import annotations

from kvraft.raft.progress import PROBE, REPLICATE, SNAPSHOT, Progress


def progress() -> Progress:
    one = Progress(2, 5, 0, 2, 100)
    one.acknowledged(4)
    return one


def test_one_probe_at_a_time() -> None:
    one = progress()
    assert one.state is PROBE
    assert one.may_send()
    one.paused = True
    assert not one.may_send()


def test_the_window_is_full_by_count_and_by_bytes() -> None:
    one = progress()
    one.replicate()
    one.sent(5, 10)
    assert one.may_send()
    one.sent(6, 10)
    assert not one.may_send()
    one.acknowledged(5)
    assert one.may_send()
    one.sent(7, 500)
    one.acknowledged(6)
    assert not one.may_send()  # one, but too large
    one.acknowledged(7)
    assert (one.inflight_bytes, one.next, one.match) == (0, 8, 7)


def test_a_heartbeats_answer_frees_one_of_a_full_window() -> None:
    one = progress()
    one.replicate()
    one.sent(5, 10)
    one.free_one()
    assert len(one.inflight) == 1
    one.sent(6, 10)
    one.free_one()
    assert list(one.inflight) == [(6, 10)]
    assert one.inflight_bytes == 10


def test_probing_never_goes_behind_what_is_acknowledged() -> None:
    one = progress()
    one.replicate()
    one.sent(9, 10)
    one.probe(2)
    assert (one.state, one.next, one.inflight_bytes) == (PROBE, 5, 0)
    one.wait_for_snapshot(20)
    assert one.state is SNAPSHOT
    assert not one.may_send()
    one.acknowledged(20)
    one.replicate()
    assert (one.state, one.next) == (REPLICATE, 21)
