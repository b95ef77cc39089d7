"""The arithmetic of majorities: pure functions over numbers and votes.

Invariant: any two majorities of one set of voters share a member, and so do a majority of a
set and a majority of the same set with one voter more or less.

Paper: 5.2 (elections), 5.3 (commit). Thesis: figure 4.3.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class VoteResult(IntEnum):
    """How an election stands."""

    PENDING = 0
    WON = 1
    LOST = 2


def majority(voters: int) -> int:
    """How many of so many voters are a majority."""
    return voters // 2 + 1


def reached_by_majority(values: list[int]) -> int:
    """The highest number that a majority of these values reach. Sorts the list in place."""
    values.sort()
    return values[(len(values) - 1) // 2]


def vote_result(voters: Sequence[int], votes: Mapping[int, bool]) -> VoteResult:
    """Count the votes of these voters; votes of others do not matter."""
    if not voters:
        return VoteResult.LOST
    needed = majority(len(voters))
    granted = missing = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is None:
            missing += 1
        elif vote:
            granted += 1
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.PENDING if granted + missing >= needed else VoteResult.LOST
