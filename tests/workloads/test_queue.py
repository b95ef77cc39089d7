"""Items that are lost, taken twice, made up, out of order or passed over."""

from __future__ import annotations

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.workloads.queue import Journal, Look, judge, judge_looks
from kvraft.store.request import Op, Request
from tests.workloads.made import done, post

ITEMS = b"/c/queue/items"


def key(number: int) -> bytes:
    return b"%b/%020d" % (ITEMS, number)


def push(number: int, at: int, outcome: Outcome = Outcome.OK) -> Operation:
    return post(ITEMS, b"v%d" % number, at, number, outcome)


def take(number: int, at: int, outcome: Outcome = Outcome.OK, value: bytes = b"") -> Operation:
    request = Request(Op.COMPARE_AND_DELETE, key(number), prev_index=number)
    previous = (value or b"v%d" % number, number)
    return done(request, at=at, outcome=outcome, index=100 + number, previous=previous)


def test_everything_is_accounted_for() -> None:
    pushes = [push(1, 0), push(2, 10), push(3, 20), push(4, 30, Outcome.UNKNOWN)]
    takes = [take(1, 40), take(2, 50, Outcome.UNKNOWN), take(4, 60)]
    assert judge(pushes, takes, {key(3): b"v3"}) == []
    assert judge(pushes, takes, {key(2): b"v2", key(3): b"v3"}) == []


def test_a_lost_item() -> None:
    assert "lost" in judge([push(1, 0)], [], {})[0]
    assert "lost" in judge([push(1, 0)], [take(1, 10, Outcome.REFUSED)], {})[0]


def test_an_item_taken_twice() -> None:
    assert "taken 2 times" in judge([push(1, 0)], [take(1, 10), take(1, 20)], {})[0]


def test_an_item_that_is_there_after_it_was_taken() -> None:
    assert "still there" in judge([push(1, 0)], [take(1, 10)], {key(1): b"v1"})[0]


def test_an_item_that_nobody_appended() -> None:
    assert "nobody appended" in judge([push(1, 0)], [take(1, 10)], {key(2): b"v2"})[0]
    failed = [push(1, 0), push(2, 5, Outcome.FAILED)]
    assert "nobody appended" in judge(failed, [take(1, 10), take(2, 20)], {})[0]


def test_a_changed_item() -> None:
    assert "held" in judge([push(1, 0)], [take(1, 10, value=b"other")], {})[0]


def test_a_key_out_of_order() -> None:
    left = {key(1): b"v1", key(2): b"v2"}
    assert "before" in judge([push(2, 0), push(1, 10)], [], left)[0]
    assert not judge([push(2, 0), push(1, 3)], [], left)  # at the same time


def test_a_head_before_which_something_was_waiting() -> None:
    journal = Journal()
    journal.pushes = [push(1, 0), push(2, 10)]
    journal.looks = [Look(20, 25, key(2))]
    assert judge_looks(journal)
    journal.takes = [take(1, 22, Outcome.UNKNOWN)]
    assert not judge_looks(journal)
    journal.takes = [take(1, 30)]
    assert judge_looks(journal)
    journal.looks = [Look(20, 25, key(1)), Look(40, 45, key(2)), Look(3, 4, key(2))]
    assert not judge_looks(journal)
