"""Which of the things that hold everybody up explains a slow request."""

from __future__ import annotations

import pytest

from kvraft.limits import DELAYS_KEPT
from kvraft.server.delays import Cause, Delays


@pytest.fixture
def delays() -> Delays:
    return Delays()


def longest(
    delays: Delays, began_s: float, ended_s: float, *, local: bool
) -> tuple[Cause, float] | None:
    """As the method, with the time rounded."""
    found = delays.longest(began_s, ended_s, local)
    return None if found is None else (found[0], round(found[1], 9))


def test_what_covers_most_is_the_cause(delays: Delays) -> None:
    delays.note(Cause.DISK, 10.0, 10.4)
    delays.note(Cause.LOOP, 10.4, 10.5)
    delays.note(Cause.DISK, 10.5, 10.9)
    assert longest(delays, 10.0, 11.0, local=False) == (Cause.DISK, 0.8)


def test_only_the_time_of_the_request_counts(delays: Delays) -> None:
    delays.note(Cause.DISK, 0.0, 10.3)
    delays.note(Cause.LEADER, 10.4, 99.0)
    assert longest(delays, 10.0, 11.0, local=False) == (Cause.LEADER, 0.6)


def test_what_covers_too_little_explains_nothing(delays: Delays) -> None:
    delays.note(Cause.DISK, 10.0, 10.1)
    assert delays.longest(10.0, 11.0, local=False) is None
    assert delays.longest(20.0, 21.0, local=False) is None


def test_a_local_read_waits_for_nobody_else(delays: Delays) -> None:
    delays.note(Cause.LEADER, 10.0, 11.0)
    delays.note(Cause.LOOP, 10.0, 10.6)
    assert longest(delays, 10.0, 11.0, local=True) == (Cause.LOOP, 0.6)


def test_what_still_lasts_counts(delays: Delays) -> None:
    delays.set(Cause.LEADER, True, 10.0)
    delays.set(Cause.LEADER, True, 10.5)
    assert longest(delays, 9.0, 11.0, local=False) == (Cause.LEADER, 1.0)
    delays.set(Cause.LEADER, False, 10.8)
    delays.set(Cause.LEADER, False, 99.0)
    assert longest(delays, 9.0, 11.0, local=False) == (Cause.LEADER, 0.8)


def test_short_and_old_ones_are_forgotten(delays: Delays) -> None:
    delays.note(Cause.DISK, 1.0, 2.0)
    for _ in range(10 * DELAYS_KEPT):
        delays.note(Cause.LOOP, 3.0, 3.01)
    assert delays.longest(1.0, 2.0, local=False) is not None
    for _ in range(DELAYS_KEPT):
        delays.note(Cause.LOOP, 3.0, 4.0)
    assert delays.longest(1.0, 2.0, local=False) is None
