"""Writes that wait for their answer: once each, and proposed again only when that is safe."""

from __future__ import annotations

import pytest

from kvraft import limits
from kvraft.api.service import Unavailable
from kvraft.server.proposals import NOT_SENT, Outcome, Pending, ProposalTable

LOST = Unavailable("gone")


class Writers:
    """A table, and what it has told the writers by their request ids."""

    def __init__(self) -> None:
        self.table = ProposalTable()
        self.told: dict[int, list[Outcome]] = {}

    def add(
        self, request_id: int, size: int = 10, *, timed: bool = False, created_ns: int = 0
    ) -> Pending:
        told = self.told.setdefault(request_id, [])
        payload = b"%d" % request_id + b"x" * size
        pending = Pending(payload, timed, told.append, created_ns)
        self.table.add(request_id, pending)
        return pending


@pytest.fixture
def writers() -> Writers:
    return Writers()


def test_batches_are_bounded_by_entries_and_bytes(writers: Writers) -> None:
    added = [writers.add(request_id) for request_id in range(1, 8)]
    assert writers.table.take_batch(3, 10_000) == (added[:3], False)
    assert writers.table.take_batch(10, 15) == (added[3:5], False), "the one that fills it goes in"
    assert writers.table.take_batch(10, 10_000) == (added[5:], False)
    assert writers.table.take_batch(10, 10_000) == ([], False)


def test_a_batch_is_timed_if_one_write_is(writers: Writers) -> None:
    writers.add(1)
    writers.add(2, timed=True)
    writers.add(3)
    assert writers.table.take_batch(1, 1000)[1] is False
    assert writers.table.take_batch(2, 1000)[1] is True


def test_an_entry_of_somebody_else_with_the_same_id_answers_nobody(writers: Writers) -> None:
    pending = writers.add(1)
    writers.table.answer(1, LOST, b"what another member asked for")
    assert writers.told == {1: []}
    writers.table.answer(1, LOST, pending.payload)
    assert writers.told == {1: [LOST]}


def test_each_writer_is_answered_once(writers: Writers) -> None:
    writers.add(1)
    for _ in range(2):
        writers.table.answer(1, LOST)
    writers.table.answer(99, LOST)
    writers.table.fail_all(LOST)
    assert writers.told == {1: [LOST]}
    assert len(writers.table) == 0


def test_the_answered_are_not_proposed(writers: Writers) -> None:
    writers.add(1)
    second = writers.add(2)
    writers.table.answer(1, LOST)
    assert writers.table.take_batch(10, 1000)[0] == [second]


def test_put_back_keeps_the_order_and_forgets_the_answered(writers: Writers) -> None:
    added = [writers.add(request_id) for request_id in range(1, 5)]
    batch, _ = writers.table.take_batch(3, 1000)
    for pending in batch:
        pending.term = 7
    writers.table.answer(2, LOST)
    writers.table.put_back(batch)
    assert [pending.term for pending in (added[0], added[2])] == [NOT_SENT, NOT_SENT]
    assert writers.table.take_batch(10, 1000)[0] == [added[0], added[2], added[3]]


def test_only_lower_terms_are_lost_when_an_entry_is_applied(writers: Writers) -> None:
    unsent, old, present, later = (writers.add(request_id) for request_id in range(1, 5))
    writers.table.take_batch(4, 1000)
    writers.table.put_back([unsent])
    old.term, present.term, later.term = 4, 5, 6
    writers.table.requeue_lost(5)
    assert list(writers.table.queue) == [old, unsent]
    assert (old.term, present.term, later.term) == (NOT_SENT, 5, 6)
    writers.table.requeue_lost(5)
    assert list(writers.table.queue) == [old, unsent], "nothing is queued twice"


def test_a_snapshot_makes_the_sent_uncertain_and_leaves_the_others(writers: Writers) -> None:
    added = [writers.add(request_id) for request_id in range(1, 5)]
    for pending, term in zip(added, (NOT_SENT, 4, 5, 6), strict=True):
        pending.term = term
    writers.table.fail_uncertain(5, LOST)
    assert writers.told == {1: [], 2: [LOST], 3: [LOST], 4: []}


def test_the_overdue_come_oldest_first(writers: Writers) -> None:
    for request_id in range(1, 6):
        writers.add(request_id, created_ns=request_id * 100)
    overdue = []
    for request_id, _ in writers.table.overdue(300):
        overdue.append(request_id)
        writers.table.answer(request_id, LOST)
    assert overdue == [1, 2, 3]
    assert list(writers.table.overdue(300)) == []


def test_there_is_a_limit(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_PROPOSALS", 2)
    writers.add(1)
    assert not writers.table.is_full()
    writers.add(2)
    assert writers.table.is_full()
    writers.table.answer(1, LOST)
    assert not writers.table.is_full()


def test_the_table_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_BYTES", 100)
    table = ProposalTable()
    for number in range(2):
        assert not table.is_full()
        table.add(number, Pending(b"x" * 60, False, lambda _: None, 0))
    assert table.is_full()
    table.answer(0, Unavailable("gone"))
    assert not table.is_full()
