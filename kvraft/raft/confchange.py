"""What one membership change does to a membership.

Pure functions. Proposing is strict (`check`), applying is total (`apply`): every member must
come to the same membership whatever an entry says, so a change that makes no sense when its
turn comes changes nothing. Whether a change may be proposed *now* is the core's business.

Invariants: at most one voter more or less per change, so old and new majorities share a member;
the last voter goes only together with the cluster, never leaving learners behind that nobody leads.

Thesis: 4.1 (single-server changes), 4.2.1 (learners first).
"""

from __future__ import annotations

from kvraft.raft.entry import ConfChange, ConfChangeKind, Membership
from kvraft.raft.errors import Refused


def objection(membership: Membership, change: ConfChange) -> str | None:
    """Why this change makes no sense for this membership; None if it does."""
    voters, learners = membership
    member = change.member
    kind = change.kind
    known = member in voters or member in learners
    if kind in (ConfChangeKind.ADD_VOTER, ConfChangeKind.ADD_LEARNER):
        if kind == ConfChangeKind.ADD_LEARNER and not voters:
            return f"{member:x} would have nobody to learn from"
        return f"{member:x} is a member already" if known else None
    if not known:
        return f"{member:x} is not a member"
    if kind == ConfChangeKind.PROMOTE and member in voters:
        return f"{member:x} is a voter already"
    if kind == ConfChangeKind.REMOVE and voters == (member,) and learners:
        return f"{member:x} is the last voter, and others depend on it"
    return None


def check(membership: Membership, change: ConfChange) -> None:
    """Raise Refused if this change makes no sense for this membership."""
    reason = objection(membership, change)
    if reason is not None:
        raise Refused(reason)


def apply(membership: Membership, change: ConfChange) -> Membership:
    """The membership after this change; the same one if the change makes no sense."""
    if objection(membership, change) is not None:
        return membership
    voters, learners = set(membership.voters), set(membership.learners)
    kind = change.kind
    if kind == ConfChangeKind.ADD_LEARNER:
        learners.add(change.member)
    elif kind == ConfChangeKind.REMOVE:
        voters.discard(change.member)
        learners.discard(change.member)
    elif kind in (ConfChangeKind.ADD_VOTER, ConfChangeKind.PROMOTE):
        learners.discard(change.member)
        voters.add(change.member)
    else:
        return membership
    return Membership(tuple(sorted(voters)), tuple(sorted(learners)))
