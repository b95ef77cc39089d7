"""Log time: never early, whatever the wall clock does."""

from __future__ import annotations

from kvraft.clock import ManualClock
from kvraft.server.logtime import LogTime

SECOND = 10**9
HOUR = 3600 * SECOND
BOOT = 1_800_000_000 * SECOND


def test_a_fresh_cluster_starts_from_the_wall_clock() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    assert log_time.now_ns() == BOOT
    clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + SECOND


def test_wall_clock_jumps_have_no_effect_while_running() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    for jump in (HOUR, -2 * HOUR):
        clock.jump(jump)
        clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + 2 * SECOND
    assert log_time.stamp() == BOOT + 2 * SECOND


def test_downtime_of_the_whole_cluster_counts() -> None:
    assert LogTime(ManualClock(BOOT + HOUR), BOOT).now_ns() == BOOT + HOUR


def test_a_wall_clock_behind_the_log_does_not_turn_it_back() -> None:
    assert LogTime(ManualClock(BOOT - HOUR), BOOT).now_ns() == BOOT


def test_the_first_stamp_of_another_leader_replaces_the_wall_clock() -> None:
    clock = ManualClock(BOOT + HOUR)
    log_time = LogTime(clock, 0)
    log_time.observe(BOOT, fresh=True)
    assert log_time.now_ns() == BOOT
    clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + SECOND


def test_later_stamps_only_move_it_forward() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    log_time.observe(BOOT, fresh=True)
    clock.advance(10 * SECOND)
    log_time.observe(BOOT + 9 * SECOND, fresh=True)
    assert log_time.now_ns() == BOOT + 10 * SECOND, "a stamp is always a little old"
    log_time.observe(BOOT + 11 * SECOND, fresh=True)
    assert log_time.now_ns() == BOOT + 11 * SECOND
    clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + 12 * SECOND


def test_a_leader_is_not_set_back_by_its_own_stamps() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    stamp = log_time.stamp()
    clock.advance(SECOND)
    log_time.observe(stamp, fresh=True)
    assert log_time.now_ns() == BOOT + SECOND


def test_a_stamp_from_a_backlog_moves_it_forward_only() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    log_time.observe(BOOT - 4 * SECOND, fresh=False)
    assert log_time.now_ns() == BOOT
    log_time.observe(BOOT + SECOND, fresh=False)
    assert log_time.now_ns() == BOOT + SECOND
    log_time.observe(BOOT, fresh=True)
    assert log_time.now_ns() == BOOT, "the first fresh one is believed all the same"
