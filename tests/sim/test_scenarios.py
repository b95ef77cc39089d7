"""Named situations on the simulated cluster, where random search would only meet them by chance."""

from __future__ import annotations

import pytest

from jepsen_like.base import SECOND_NS
from jepsen_like.sim.member import Member
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape
from kvraft.raft.core import Role
from kvraft.raft.entry import SnapshotMeta
from kvraft.raft.message import InstallSnapshot
from kvraft.server.replica import Replica
from kvraft.store.store import Store

QUIET = Shape(members=3, drift=False)


def _started(shape: Shape = QUIET, seed: int = 1) -> tuple[Run, Member]:
    """A cluster at work, and its leader."""
    run = Run(seed, shape)
    run.cluster.start()
    run.workload.start()
    _pass(run, 5)
    leader = run.cluster.leader()
    assert leader is not None
    return run, leader


def _pass(run: Run, seconds: float) -> None:
    run.world.run_until(run.world.now_ns + int(seconds * SECOND_NS))


def _cut_off(run: Run, member: Member) -> None:
    others = set(run.cluster.members) - {member.number}
    run.cluster.network.partition({member.number}, others, into=True, out=True)


def _follower(run: Run, leader: Member) -> Member:
    return next(member for member in run.cluster.running() if member is not leader)


def _end(run: Run) -> None:
    run.liveness()
    run.verify()


def test_a_returning_member_leaves_the_leader_alone() -> None:
    run, leader = _started()
    term = leader.replica.core.term
    _cut_off(run, _follower(run, leader))
    _pass(run, 30)
    run.cluster.network.heal()
    _pass(run, 5)
    assert run.cluster.leader() is leader
    assert leader.replica.core.term == term
    _end(run)


def test_without_pre_vote_and_stickiness_it_does_not() -> None:
    run, leader = _started(QUIET._replace(pre_vote=False, check_quorum=False))
    term = leader.replica.core.term
    _cut_off(run, _follower(run, leader))
    _pass(run, 30)
    run.cluster.network.heal()
    _pass(run, 5)
    new = run.cluster.leader()
    assert new is not None
    assert new.replica.core.term > term
    _end(run)


def test_a_leader_without_a_majority_steps_down() -> None:
    run, leader = _started()
    _cut_off(run, leader)
    _pass(run, 2 * QUIET.election_ns / SECOND_NS + 0.5)
    assert leader.replica.core.role is not Role.LEADER
    _end(run)


def test_a_paused_leader_answers_no_stale_quorum_read() -> None:
    run, leader = _started()
    leader.pause()
    _pass(run, 5)
    leader.resume()
    _pass(run, 5)
    assert leader.replica.core.role is not Role.LEADER
    _end(run)


def test_a_long_absent_member_gets_a_snapshot_and_its_watchers_go_on() -> None:
    run, leader = _started(QUIET._replace(think_ms=10, snapshot_count=50, watch_share=0.3))
    away = _follower(run, leader)
    watches = [watch for watch in run.history.watches if watch.member == away.number]
    assert watches
    _cut_off(run, away)
    _pass(run, 5)
    run.cluster.network.heal()
    _pass(run, 5)
    assert run.world.faults["snapshot sent"] >= 1
    assert away.life == 1
    _end(run)
    assert any(watch.ended == "" and watch.events for watch in watches)


def test_snapshots_that_consensus_ignored_do_not_keep_out_later_ones() -> None:
    run, leader = _started(QUIET._replace(think_ms=10, snapshot_count=50))
    away = _follower(run, leader)
    core = away.replica.core
    for beyond in (1000, 2000, 3000):  # from a leader of a term gone by: nothing to install
        meta = SnapshotMeta(core.log.last + beyond, core.term, core.membership)
        message = InstallSnapshot(away.number, leader.number, core.term - 1, meta)
        away.replica.receive_snapshot(message, Store())
    _cut_off(run, away)
    _pass(run, 5)
    run.cluster.network.heal()
    _pass(run, 5)
    assert run.world.faults["snapshot sent"] >= 1
    assert away.replica.applied_index > leader.replica.applied_index - 50


@pytest.mark.parametrize("members", [1, 3, 5])
def test_no_acknowledged_write_is_lost_by_a_power_cut_everywhere(members: int) -> None:
    run, _ = _started(QUIET._replace(members=members, think_ms=10))
    for _ in range(5):
        for member in run.cluster.running():
            member.cut_power(2, "some", member.number)
            run.cluster.restart_later(member)
        _pass(run, 4)
    assert run.world.faults["power cut"] >= 4 * members
    _end(run)


def test_a_full_disk_refuses_writes_and_recovers() -> None:
    run, leader = _started(QUIET._replace(members=1))
    leader.disk.full = True
    _pass(run, 1)
    assert leader.replica.disk_full
    leader.disk.full = False
    _pass(run, 1)
    assert not leader.replica.disk_full
    _end(run)


def test_wall_clocks_do_not_matter_while_members_run() -> None:
    run, leader = _started()
    for member in run.cluster.running():
        member.clock.wall_offset_ns += 3600 * SECOND_NS * (1 if member is leader else -1)
    _pass(run, 10)
    _end(run)


def test_local_reads_in_the_place_of_quorum_reads_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Replica, "read_barrier", lambda replica, done: done(None))
    failures = [Run(seed, QUIET._replace(faults=("slow link",))).execute() for seed in range(1, 4)]
    assert any("comes before it" in verdict.failure for verdict in failures)
