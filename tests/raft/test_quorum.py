"""Majorities: against the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft.quorum import VoteResult, majority, reached_by_majority, vote_result


@given(st.integers(1, 50))
def test_two_majorities_share_a_member(voters: int) -> None:
    assert 2 * majority(voters) > voters
    assert majority(voters) <= voters


@given(st.integers(1, 50))
def test_majorities_before_and_after_one_change_share_a_member(voters: int) -> None:
    assert majority(voters) + majority(voters + 1) > voters + 1


@given(st.lists(st.integers(0, 100), min_size=1, max_size=9))
def test_what_a_majority_reaches(values: list[int]) -> None:
    reached = reached_by_majority(list(values))
    assert sum(value >= reached for value in values) >= majority(len(values))
    assert sum(value > reached for value in values) < majority(len(values))


@given(
    st.lists(st.integers(1, 12), unique=True, max_size=9),
    st.dictionaries(st.integers(1, 12), st.booleans()),
)
def test_votes_are_counted_by_definition(voters: list[int], votes: dict[int, bool]) -> None:
    result = vote_result(voters, votes)
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    if voters and granted >= majority(len(voters)):
        assert result is VoteResult.WON
    elif not voters or len(voters) - refused < majority(len(voters)):
        assert result is VoteResult.LOST
    else:
        assert result is VoteResult.PENDING
