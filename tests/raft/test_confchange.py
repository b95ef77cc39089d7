"""Membership changes: whatever comes, the result is a sound membership one step away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft import confchange
from kvraft.raft.entry import ConfChange, ConfChangeKind, Membership
from kvraft.raft.errors import Refused

CHANGES = st.builds(
    ConfChange, st.sampled_from(list(ConfChangeKind)), st.integers(1, 6), st.just(b"")
)


@given(st.lists(CHANGES, max_size=30))
def test_every_step_is_sound(changes: list[ConfChange]) -> None:
    membership = Membership((1,), ())
    for change in changes:
        after = confchange.apply(membership, change)
        assert after.voters or not after.learners
        assert list(after.voters) == sorted(set(after.voters))
        assert list(after.learners) == sorted(set(after.learners))
        assert not set(after.voters) & set(after.learners)
        assert len(set(after.voters) ^ set(membership.voters)) <= 1
        refused = confchange.objection(membership, change) is not None
        assert not refused or after == membership
        membership = after


@pytest.mark.parametrize(
    ("kind", "member", "voters", "learners"),
    [
        (ConfChangeKind.ADD_VOTER, 9, (1, 2, 9), (3,)),
        (ConfChangeKind.ADD_LEARNER, 9, (1, 2), (3, 9)),
        (ConfChangeKind.PROMOTE, 3, (1, 2, 3), ()),
        (ConfChangeKind.REMOVE, 1, (2,), (3,)),
        (ConfChangeKind.REMOVE, 3, (1, 2), ()),
        (ConfChangeKind.UPDATE, 1, (1, 2), (3,)),
    ],
)
def test_what_each_kind_does(
    kind: ConfChangeKind, member: int, voters: tuple[int, ...], learners: tuple[int, ...]
) -> None:
    before = Membership((1, 2), (3,))
    confchange.check(before, ConfChange(kind, member, b""))
    assert confchange.apply(before, ConfChange(kind, member, b"")) == (voters, learners)


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        (ConfChangeKind.ADD_VOTER, 1),
        (ConfChangeKind.ADD_VOTER, 3),
        (ConfChangeKind.ADD_LEARNER, 1),
        (ConfChangeKind.PROMOTE, 1),
        (ConfChangeKind.PROMOTE, 9),
        (ConfChangeKind.REMOVE, 9),
        (ConfChangeKind.REMOVE, 1),  # the last voter
        (ConfChangeKind.UPDATE, 9),
    ],
)
def test_what_makes_no_sense_is_refused(kind: ConfChangeKind, member: int) -> None:
    with pytest.raises(Refused):
        confchange.check(Membership((1,), (3,)), ConfChange(kind, member, b""))
