"""Readers wait for a confirmed round and for its index, in batches, and never for ever."""

from __future__ import annotations

from typing import cast

import pytest

from kvraft import limits
from kvraft.api.service import Unavailable
from kvraft.raft.core import RaftCore
from kvraft.server.reads import ReadQueue

LATE = Unavailable("late", definite=True)


class FakeCore:
    """Remembers which rounds were asked for."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def read_index(self, ctx: int) -> None:
        self.rounds.append(ctx)


class Readers:
    """A queue, its core, and what each reader was told."""

    def __init__(self) -> None:
        self.queue = ReadQueue()
        self.core = FakeCore()
        self.told: dict[str, list[Unavailable | None]] = {}

    def add(self, name: str, now_ns: int = 0) -> None:
        self.queue.add(now_ns, self.told.setdefault(name, []).append)

    def start(self) -> int:
        """Start a round if one is wanted; its context."""
        assert self.queue.wants_round()
        self.queue.start_round(cast("RaftCore", self.core))
        return self.core.rounds[-1]


@pytest.fixture
def readers() -> Readers:
    return Readers()


def test_nobody_waiting_wants_no_round(readers: Readers) -> None:
    assert not readers.queue.wants_round()


def test_a_reader_goes_on_when_the_index_is_applied(readers: Readers) -> None:
    readers.add("a")
    readers.queue.confirmed(readers.start(), 10)
    readers.queue.release(9)
    assert readers.told["a"] == []
    readers.queue.release(10)
    readers.queue.release(11)
    assert readers.told["a"] == [None]


def test_those_who_come_later_share_the_next_round(readers: Readers) -> None:
    readers.add("a")
    first = readers.start()
    readers.add("b")
    readers.add("c")
    assert not readers.queue.wants_round(), "one at a time"
    readers.queue.confirmed(first, 10)
    readers.queue.release(100)
    assert readers.told == {"a": [None], "b": [], "c": []}, "b and c came after it had begun"
    second = readers.start()
    assert second != first
    readers.queue.confirmed(second, 12)
    readers.queue.release(12)
    assert readers.told == {"a": [None], "b": [None], "c": [None]}


def test_answers_to_other_rounds_are_ignored(readers: Readers) -> None:
    readers.add("a")
    round_ = readers.start()
    readers.queue.confirmed(round_ + 1, 1)
    readers.queue.failed(round_ + 1)
    readers.queue.release(1)
    assert readers.told["a"] == []
    readers.queue.confirmed(round_, 5)
    readers.queue.confirmed(round_, 1)
    readers.queue.release(1)
    assert readers.told["a"] == [], "the first answer holds"


def test_a_failed_round_is_repeated_after_the_next_tick(readers: Readers) -> None:
    readers.add("a", 1)
    readers.queue.failed(readers.start())
    readers.add("b", 2)
    assert not readers.queue.wants_round(), "not in a tight circle"
    readers.queue.tick(0, LATE)
    readers.queue.confirmed(readers.start(), 3)
    readers.queue.release(3)
    assert readers.told == {"a": [None], "b": [None]}


def test_readers_that_are_late_are_told_so_wherever_they_wait(readers: Readers) -> None:
    readers.add("confirmed", 10)
    readers.queue.confirmed(readers.start(), 1000)
    readers.add("in round", 20)
    late_round = readers.start()
    readers.add("waiting", 30)
    readers.queue.tick(9, LATE)
    assert all(not told for told in readers.told.values())
    readers.queue.tick(10, LATE)
    readers.queue.tick(20, LATE)
    assert readers.told == {"confirmed": [LATE], "in round": [LATE], "waiting": []}
    readers.queue.confirmed(late_round, 1)
    readers.queue.tick(30, LATE)
    readers.queue.release(1000)
    assert all(told == [LATE] for told in readers.told.values())


def test_of_a_round_only_the_late_are_dropped(readers: Readers) -> None:
    readers.add("old", 10)
    readers.add("new", 20)
    round_ = readers.start()
    readers.queue.tick(15, LATE)
    readers.queue.confirmed(round_, 1)
    readers.queue.release(1)
    assert readers.told == {"old": [LATE], "new": [None]}


def test_a_round_whose_readers_are_all_gone_makes_room_for_the_next(readers: Readers) -> None:
    readers.add("old", 10)
    readers.start()
    readers.queue.tick(10, LATE)
    readers.add("new", 20)
    readers.queue.confirmed(readers.start(), 1)
    readers.queue.release(1)
    assert readers.told == {"old": [LATE], "new": [None]}


def test_there_is_a_limit(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_READS", 1)
    readers.add("a")
    readers.add("b")
    assert readers.told["a"] == []
    [refusal] = readers.told["b"]
    assert refusal is not None
    assert refusal.definite


def test_the_end_answers_everybody_once(readers: Readers) -> None:
    readers.add("confirmed")
    readers.queue.confirmed(readers.start(), 1000)
    readers.add("in round")
    readers.start()
    readers.add("waiting")
    readers.queue.fail_all(LATE)
    readers.queue.fail_all(LATE)
    readers.queue.release(1000)
    assert all(told == [LATE] for told in readers.told.values())
