"""The checks themselves: each must notice what it is there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvraft.raft import invariants
from kvraft.raft.core import RaftCore, Role
from kvraft.raft.entry import Entry, Membership
from kvraft.raft.invariants import InvariantViolation
from tests.raft.cluster import Cluster


def working() -> Cluster:
    cluster = Cluster((1, 2, 3))
    cluster.elect(1)
    cluster.propose(1, b"a", b"b")
    cluster.tick(1)
    return cluster


def beyond(core: RaftCore) -> None:
    core.commit = core.log.last + 1


def ahead(core: RaftCore) -> None:
    core.applied = core.commit + 1


def marks(core: RaftCore) -> None:
    core.log.durable = core.log.last + 1


def hole(core: RaftCore) -> None:
    core.log.entries[-1] = core.log.entries[-2]


def falling(core: RaftCore) -> None:
    core.log.entries[-2] = core.log.entries[-2]._replace(term=9)


def foreign_vote(core: RaftCore) -> None:
    core.vote = 3


def no_voter(core: RaftCore) -> None:
    core.membership = Membership((2, 3), ())


def overtaken(core: RaftCore) -> None:
    core.progress[2].match = core.progress[2].next


def window(core: RaftCore) -> None:
    core.progress[2].inflight_bytes += 1


@pytest.mark.parametrize(
    "damage",
    [beyond, ahead, marks, hole, falling, foreign_vote, no_voter, overtaken, window],
)
def test_a_damaged_core_is_noticed(damage: Callable[[RaftCore], None]) -> None:
    core = working().core(1)
    invariants.check(core)
    damage(core)
    with pytest.raises(InvariantViolation):
        invariants.check(core)


@pytest.mark.parametrize(
    "change",
    [
        {"term": 1},
        {"commit": 1},
        {"applied": 1},
        {"vote": 3},
        {"leader": 3},
        {"role": Role.CANDIDATE},
        {"last": 1},
    ],
    ids=str,
)
def test_an_impossible_step_is_noticed(change: dict[str, int]) -> None:
    before = invariants.observe(working().core(1))
    invariants.check_delta(before, before)
    with pytest.raises(InvariantViolation):
        invariants.check_delta(before, before._replace(**change))  # type: ignore[arg-type]


def second_leader(cluster: Cluster) -> None:
    cluster.core(2).role = Role.LEADER


def other_entry(cluster: Cluster) -> None:
    log = cluster.core(2).log
    log.entries[-1] = Entry(log.last_term(), log.last, 0, b"other")


def missing_entry(cluster: Cluster) -> None:
    cluster.core(1).log.truncate(2)
    cluster.core(1).commit = 2


def other_membership(cluster: Cluster) -> None:
    cluster.core(3).membership = Membership((1, 2), ())


@pytest.mark.parametrize("damage", [second_leader, other_entry, missing_entry, other_membership])
def test_members_that_disagree_are_noticed(damage: Callable[[Cluster], None]) -> None:
    cluster = working()
    cores = [host.core for host in cluster.up()]
    invariants.check_cluster(cores)
    damage(cluster)
    with pytest.raises(InvariantViolation):
        invariants.check_cluster(cores)
