"""What must hold of one core, between two moments of one core, and among all cores.

For tests and simulators: a violation means that the consensus core or its driver is wrong, not
that a fault happened. The checks look at the ends of logs only (`WINDOW`), so that they can
run after every simulated step; nothing here changes a core.

Paper: figure 3 (the five properties).
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft.raft.ready import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft.raft.core import RaftCore

WINDOW: Final = 64


class InvariantViolation(Exception):
    """Consensus is broken."""


class CoreState(NamedTuple):
    """What `check_delta` compares."""

    member: int
    term: int
    vote: int
    leader: int
    role: Role
    commit: int
    applied: int
    last: int


def observe(core: RaftCore) -> CoreState:
    """The present state, to be compared with a later one."""
    return CoreState(
        core.member_id,
        core.term,
        core.vote,
        core.leader,
        core.role,
        core.commit,
        core.applied,
        core.log.last,
    )


def _require(holds: bool, member: int, what: str) -> None:
    if not holds:
        raise InvariantViolation(f"member {member:x}: {what}")


def check(core: RaftCore, entries: bool = True) -> None:
    """Raise InvariantViolation unless this core agrees with itself.

    `entries` may be False if the log's entries are those of an earlier check.
    """
    me, log = core.member_id, core.log
    _require(core.commit <= log.last, me, "commit beyond the log")
    _require(core.applied <= core.delivered <= core.commit, me, "applied beyond commit")
    if core.installing is None:
        _require(core.delivered <= log.durable, me, "handed out what is not durable")
        _require(log.first - 1 <= core.applied, me, "compacted what is not applied")
    _require(log.durable <= log.handed <= log.last, me, "marks of the log out of order")
    _require(len(log.sizes) == len(log.entries) + 1, me, "sizes do not fit the entries")
    _require(log.last == log.first + len(log.entries) - 1, me, "indexes do not fit the entries")
    _require(log.last_term() <= core.term, me, "an entry of a later term")
    if entries:
        _check_entries(core)
    _check_changes(core)
    if core.role is Role.LEADER:
        _check_leader(core)
        return
    _require(not core.progress, me, "progress without leading")
    _require(core.leader != me, me, "follows itself")
    if core.role is Role.CANDIDATE:
        _require(core.vote == me, me, "a candidate that votes for another")
    if core.role is not Role.FOLLOWER:
        _require(core.leader == 0, me, "a candidate with a leader")
        _require(me in core.membership.voters, me, "a candidate that is no voter")


def _check_entries(core: RaftCore) -> None:
    log = core.log
    term = 0
    index = max(log.first, log.last - WINDOW + 1)
    for entry in log.slice(index, log.last):
        if entry.index != index or entry.term < term:  # no calls here: it runs for each entry
            _require(entry.index == index, core.member_id, f"entry {index} out of place")
            _require(term <= entry.term, core.member_id, f"the term falls at entry {index}")
        term = entry.term
        index += 1


def _check_changes(core: RaftCore) -> None:
    log = core.log
    if not log.configs:
        return
    configs = list(log.configs)
    _require(configs == sorted(configs), core.member_id, "changes out of order")
    for index in configs:
        known = core.applied < index <= log.last or core.installing is not None
        _require(known, core.member_id, "a change is noted that is applied or not there")
    if len(configs) > 1:
        _require(core.commit >= configs[-2], core.member_id, "two uncommitted changes")


def _check_leader(core: RaftCore) -> None:
    me, log = core.member_id, core.log
    _require(core.leader == me, me, "a leader that follows another")
    _require(core.vote == me, me, "a leader without its own vote")
    voters, learners = core.membership
    _require(me in voters, me, "a leader that is no voter")
    _require(set(core.progress) == {*voters, *learners} - {me}, me, "progress of the wrong members")
    _require(log.term_at(core.own_first) in (core.term, -1), me, "the first entry is not its own")
    own_change = any(index >= core.own_first for index in log.configs)
    reads = core.leader_reads
    _require(reads is not None, me, "a leader that takes no reads")
    if own_change or (reads is not None and reads.rounds):
        _require(core.commit >= core.own_first, me, "a change or read before an own commit")
    for progress in core.progress.values():
        _require(progress.match < progress.next, me, "next does not follow match")
        _require(progress.match <= log.last, me, "a follower has more than the leader")
        _require(progress.next <= log.last + 1, me, "next is beyond the log")
        sizes = sum(size for _, size in progress.inflight)
        _require(sizes == progress.inflight_bytes, me, "the window does not add up")


def check_delta(before: CoreState, after: CoreState) -> None:
    """Raise InvariantViolation unless a core may go from one state to the other."""
    me = after.member
    _require(before.term <= after.term, me, "the term fell")
    _require(before.commit <= after.commit, me, "the commit index fell")
    _require(before.applied <= after.applied, me, "the applied index fell")
    if before.term != after.term:
        return
    _require(before.vote in (0, after.vote), me, "a second vote in one term")
    known = 0 in (before.leader, after.leader) or before.leader == after.leader
    _require(known, me, "a second leader in one term")
    if before.role is Role.LEADER:
        _require(after.role in (Role.LEADER, Role.FOLLOWER), me, "a leader turned candidate")
        _require(before.last <= after.last, me, "a leader shortened its log")


def check_cluster(cores: Sequence[RaftCore]) -> None:
    """Raise InvariantViolation unless these members of one cluster agree with each other."""
    leaders: dict[int, int] = {}
    for core in cores:
        if core.role is Role.LEADER:
            other = leaders.setdefault(core.term, core.member_id)
            _require(other == core.member_id, core.member_id, f"{other:x} leads the same term")
            _check_complete(core, cores)
    for one, another in combinations(cores, 2):
        _check_pair(one, another)


def _check_complete(leader: RaftCore, cores: Sequence[RaftCore]) -> None:
    """A leader has every entry that was committed in an earlier term (Paper 5.4.3)."""
    for core in cores:
        if core.term > leader.term:
            continue
        index = core.commit
        _require(leader.log.last >= index, leader.member_id, "the leader lacks a committed entry")
        own, known = leader.log.term_at(index), core.log.term_at(index)
        _require(own == known or -1 in (own, known), leader.member_id, "a committed entry differs")


def _check_pair(one: RaftCore, other: RaftCore) -> None:
    """Committed entries are equal, and logs up to the last position of equal term (Paper 5.3)."""
    me, a, b = one.member_id, one.log, other.log
    if one.applied == other.applied:
        _require(one.membership == other.membership, me, f"{other.member_id:x} counts others")
    first = max(a.first, b.first)
    agreed = min(a.last, b.last)
    committed = min(one.commit, other.commit)
    while agreed >= first and agreed > committed and a.term_at(agreed) != b.term_at(agreed):
        agreed -= 1
    agreed = max(agreed, committed)
    first = max(first, agreed - WINDOW + 1)
    equal = a.slice(first, agreed) == b.slice(first, agreed) if first <= agreed else True
    _require(equal, me, f"entries up to {agreed} differ from those of {other.member_id:x}")
