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


def test_the_first_word_of_a_leader_replaces_the_wall_clock() -> None:
    clock = ManualClock(BOOT + HOUR)
    log_time = LogTime(clock, 0)
    log_time.follow(BOOT)
    assert log_time.now_ns() == BOOT
    clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + SECOND


def test_a_wall_clock_ahead_by_no_more_than_a_message_may_be_late_is_believed() -> None:
    clock = ManualClock(BOOT + SECOND // 2)
    log_time = LogTime(clock, 0)
    log_time.follow(BOOT)
    assert log_time.now_ns() == BOOT + SECOND // 2
    clock.advance(SECOND)
    log_time.follow(BOOT)
    assert log_time.now_ns() == BOOT + SECOND * 3 // 2, "only the first one could set it back"


def test_later_ones_only_move_it_forward() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    log_time.follow(BOOT)
    clock.advance(10 * SECOND)
    log_time.follow(BOOT + 9 * SECOND)
    assert log_time.now_ns() == BOOT + 10 * SECOND, "a message is always a little old"
    log_time.follow(BOOT + 11 * SECOND)
    assert log_time.now_ns() == BOOT + 11 * SECOND
    clock.advance(SECOND)
    assert log_time.now_ns() == BOOT + 12 * SECOND


def test_a_leader_is_not_set_back_by_its_successor() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    stamp = log_time.stamp()
    clock.advance(SECOND)
    log_time.observe(stamp)
    log_time.follow(stamp)
    assert log_time.now_ns() == BOOT + SECOND


def test_a_stamp_moves_it_forward_only() -> None:
    clock = ManualClock(BOOT)
    log_time = LogTime(clock, 0)
    log_time.observe(BOOT - 4 * SECOND)
    assert log_time.now_ns() == BOOT
    log_time.observe(BOOT + SECOND)
    assert log_time.now_ns() == BOOT + SECOND
    log_time.follow(BOOT + SECOND // 2)
    assert log_time.now_ns() == BOOT + SECOND, "never below a stamp that was applied"


def test_a_stamp_from_a_backlog_leaves_the_first_word_of_a_leader_its_weight() -> None:
    log_time = LogTime(ManualClock(BOOT + HOUR), BOOT - 4 * SECOND)
    log_time.observe(BOOT - 3 * SECOND)
    log_time.follow(BOOT)
    assert log_time.now_ns() == BOOT


def test_a_restored_stamp_is_not_undercut_either() -> None:
    log_time = LogTime(ManualClock(BOOT - HOUR), BOOT)
    log_time.follow(BOOT - SECOND)
    assert log_time.now_ns() == BOOT
