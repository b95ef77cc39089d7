"""Fencing tokens that go back, and holders side by side, which is allowed."""

from __future__ import annotations

from jepsen_like.base import SECOND_NS
from jepsen_like.check.history import Outcome
from jepsen_like.workloads.lock import Grant, Journal, judge, judge_grants, overlaps
from kvraft.store.request import Op, Request
from tests.workloads.made import done


def grant(token: int, acquired_s: float, left_s: float = 0) -> Grant:
    acquired_ns = round(acquired_s * SECOND_NS)
    made = Grant(1, token, acquired_ns - 5, acquired_ns)
    made.left_ns = round(left_s * SECOND_NS)
    return made


def journal_of(accepted: dict[int, int], *tokens: int) -> Journal:
    journal = Journal(b"/c/lock", 0)
    journal.grants = [grant(token, number + 1) for number, token in enumerate(tokens)]
    journal.accepted = accepted
    return journal


def test_tokens_that_rise() -> None:
    assert judge(journal_of({11: 10, 12: 10, 21: 20}, 10, 20)) == []


def test_an_older_token_accepted_after_a_newer_one() -> None:
    assert "accepted after 20" in judge(journal_of({11: 10, 21: 20, 22: 10}, 10, 20))[0]


def test_a_token_that_nobody_was_given() -> None:
    assert "under 15" in judge(journal_of({11: 10, 16: 15}, 10))[0]


def test_a_later_holder_with_a_smaller_token() -> None:
    assert "after 20" in judge_grants([grant(20, 1), grant(10, 2)])[0]
    assert "after 20" in judge_grants([grant(20, 1), grant(20, 2)])[0]


def test_what_the_lock_was_taken_away_for() -> None:
    journal = journal_of({11: 10}, 10)
    journal.early.append("taken away too early")
    assert judge(journal)


def test_holders_side_by_side_are_counted() -> None:
    assert overlaps([grant(1, 1, 2), grant(2, 3, 4)]) == 0
    assert overlaps([grant(1, 1, 5), grant(2, 3, 4)]) == 1
    assert overlaps([grant(1, 1), grant(2, 3, 4), grant(3, 5, 6)]) == 2


def test_states_of_the_resource_come_from_answers_of_every_kind() -> None:
    journal = Journal(b"/c/lock", 0)
    swap = Request(Op.COMPARE_AND_SWAP, journal.resource, b"10 c1-1", prev_index=9)
    journal.note(done(swap, at=0, index=12, previous=(b"7 c0-1", 9)))
    journal.note(done(swap, at=0, index=13, outcome=Outcome.UNKNOWN))
    assert journal.accepted == {9: 7, 12: 10}
