"""Each fault is injected when it is asked for, and has its effect; the run goes on to pass."""

from __future__ import annotations

from inspect import signature

import pytest

from jepsen_like.base import MILLISECOND_NS, SECOND_NS
from jepsen_like.sim.action import Action
from jepsen_like.sim.faults import ACTS, DRAWS
from jepsen_like.sim.member import Member
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import FAULTS, Shape
from kvraft.raft.core import Role

QUIET = Shape(members=3, drift=False, safety_ms=4000, think_ms=60, clients=3, tick_ms=50)
POWER = {"calls": 0, "mode": "nothing", "chance": 1, "ms": 100}


def started(shape: Shape = QUIET, seed: int = 1, seconds: float = 2) -> tuple[Run, Member]:
    """A cluster at work, and its leader."""
    run = Run(seed, shape, ())
    run.cluster.start()
    run.workload.start()
    run.world.run_until(int(seconds * SECOND_NS))
    leader = run.cluster.leader()
    assert leader is not None
    return run, leader


def go_on(run: Run, seconds: float) -> None:
    run.world.run_until(run.world.now_ns + int(seconds * SECOND_NS))


def end(run: Run) -> None:
    run.liveness()
    run.verify()


def followers(run: Run, leader: Member) -> list[Member]:
    return [member for member in run.cluster.running() if member is not leader]


def test_every_fault_can_be_drawn_and_every_end_has_its_beginning() -> None:
    assert set(FAULTS) == set(DRAWS)
    ends = {name.removeprefix("heal ") for name in ACTS if name.startswith("heal ")}
    assert ends <= set(ACTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_run_with_this_fault_alone_passes(name: str) -> None:
    shape = Shape(members=3, faults=(name,), fault_every_ms=300, safety_ms=4000)
    run = Run(7, shape)
    verdict = run.execute()
    assert not verdict.failure, verdict.failure
    assert run.actions


def test_actions_for_members_that_are_not_there_do_nothing() -> None:
    cut = {"side": [8], "others": [9], "into": True, "out": True}
    details = {
        "members": [8, 9], "member": 9, "ms": 1, "jitter_ms": 0, "calls": 1, "seconds": 1,
        "steps": 1, "ppm": 1, "chance": 1, "mode": "torn", "sender": 8, "foreign": True,
        "terms": 1, "link": [8, 9], "number": 1, "power": True, "full": False, **cut,
    }  # fmt: skip
    run, _ = started()
    for name, act in ACTS.items():
        accepted = {k: v for k, v in details.items() if k in signature(act).parameters}
        if name == "crash in recovery":
            accepted["calls"] = [1]
        run.actor.act(name, accepted)
    end(run)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
def test_a_kill_strikes_at_this_very_step(steps: int) -> None:
    run, leader = started()
    run.actor.act("kill at a step", {"member": leader.number, "steps": steps})
    go_on(run, 2)
    assert run.world.faults["killed between two steps"] == 1
    end(run)


@pytest.mark.parametrize("power", [True, False])
def test_recoveries_are_struck_again_and_again(power: bool) -> None:
    run, leader = started()
    life = leader.life
    run.actor.act(
        "crash in recovery",
        {"member": leader.number, "calls": [1, 5, 9, 14], "power": power, "ms": 1},
    )
    go_on(run, 10)
    what = "power cut" if power else "process killed"
    assert run.world.faults[f"{what} during recovery"] >= 3
    assert leader.life >= life + 5
    assert leader.up
    end(run)


def test_a_kill_at_a_disk_call_loses_nothing_that_was_written() -> None:
    run, leader = started()
    run.actor.act("kill at a disk call", {"member": leader.number, "calls": 7, "power": False})
    go_on(run, 2)
    assert run.world.faults["process killed at a disk call"] == 1
    assert not run.world.faults["power cut"]
    end(run)


@pytest.mark.parametrize("members", [1, 3, 5])
def test_power_fails_at_a_majority(members: int) -> None:
    run, _ = started(QUIET._replace(members=members))
    for number in range(1, members // 2 + 2):
        run.actor.act("power", {"member": number, **POWER})
    go_on(run, 3)
    assert run.world.faults["power cut"] == members // 2 + 1
    end(run)


def test_kills_come_in_the_middle_of_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[bool] = []
    original = Member.kill

    def kill(member: Member) -> None:
        busy.append(member.wal_queue.busy)
        original(member)

    monkeypatch.setattr(Member, "kill", kill)
    shape = QUIET._replace(tick_ms=20, election_ticks=5, faults=("kill",), fault_every_ms=1000)
    for seed in range(1, 7):
        Run(seed, shape._replace(safety_ms=10_000)).safety()
    assert len(busy) > 24
    assert sum(busy) > 3 * (len(busy) - sum(busy))  # ten times as likely, but a write may end first


def test_a_leader_paused_for_long_comes_back_as_a_follower() -> None:
    run, leader = started(QUIET._replace(think_ms=150))
    run.actor.act("pause", {"member": leader.number})
    go_on(run, 8)
    assert leader.replica.core.role is Role.LEADER  # it has not noticed
    assert run.cluster.members[leader.number].paused
    run.actor.act("heal pause", {"member": leader.number})
    go_on(run, 1)
    assert leader.replica.core.role is not Role.LEADER
    end(run)


def test_slow_syncs_leave_the_heartbeats_alone() -> None:
    run, leader = started()
    term = leader.replica.core.term
    victim = followers(run, leader)[0]
    for member in (leader, victim):
        run.actor.act("slow disk", {"member": member.number, "ms": 10_000})
    go_on(run, 8)
    assert leader.replica.core.term == term
    assert leader.replica.core.role is Role.LEADER
    end(run)


def test_an_emptied_directory_is_refused_and_its_owner_comes_back_as_another() -> None:
    run, leader = started()
    victim, helper = followers(run, leader)
    run.actor.act("empty disk", {"member": victim.number, "ms": 1})
    go_on(run, 1)
    assert run.world.faults["empty directory refused"] == 1
    assert victim.lost
    assert not victim.up
    run.operator.drawing = True
    run.actor.act("remove member", {"ask": helper.number, "member": victim.number})
    go_on(run, 1)
    run.actor.act("add member", {"ask": helper.number, "urls": ["http://again:2380"]})
    go_on(run, 6)
    assert run.world.faults["membership changed: add"] == 1
    end(run)


def test_a_directory_that_was_set_back_ends_its_member() -> None:
    run, leader = started()
    victim = followers(run, leader)[0]
    run.actor.act("copy disk", {"member": victim.number})
    go_on(run, 2)
    run.actor.act("old disk", {"member": victim.number, "ms": 1})
    go_on(run, 2)
    assert run.world.faults["member with an old directory ended itself"] == 1
    assert not victim.up
    end(run)


@pytest.mark.parametrize("into", [True, False])
def test_one_way_cuts_are_survived(into: bool) -> None:
    run, leader = started()
    others = [member.number for member in followers(run, leader)]
    details = {"side": [leader.number], "others": others, "into": into, "out": not into}
    run.actor.act("one way", details)
    go_on(run, 5)
    new = run.cluster.leader()
    assert new is not None
    assert new is not leader
    run.actor.act("heal one way", details)
    assert not run.cluster.network.cut
    end(run)


def test_clients_are_cut_off_while_members_are_not() -> None:
    run, leader = started()
    everybody = sorted(run.cluster.members)
    run.actor.act("cut off clients", {"members": everybody})
    go_on(run, 2)
    written = run.workload.written
    go_on(run, 5)
    assert run.workload.written == written
    assert run.cluster.leader() is leader
    run.actor.act("heal cut off clients", {"members": everybody})
    go_on(run, 1)
    assert run.workload.written > written
    end(run)


def test_a_delay_is_as_long_as_asked_for() -> None:
    run, leader = started()
    run.actor.act("delay", {"members": [leader.number], "ms": 5000, "jitter_ms": 500})
    lags = [run.cluster.network.lag_ns((1, leader.number)) for _ in range(100)]
    assert 4500 * MILLISECOND_NS <= min(lags) < max(lags) <= 5500 * MILLISECOND_NS
    go_on(run, 10)
    run.actor.act("heal delay", {"members": [leader.number]})
    assert run.cluster.network.lag_ns((1, leader.number)) == 0
    end(run)


def test_two_snapshots_close_to_each_other() -> None:
    run, leader = started(QUIET._replace(snapshot_count=1000, think_ms=20))
    away = followers(run, leader)[0]
    others = sorted(set(run.cluster.members) - {away.number})
    cut = {"side": [away.number], "others": others, "into": True, "out": True}
    run.actor.act("long absence", cut)
    go_on(run, 3)
    for _ in range(2):
        applied = leader.replica.applied_index
        run.actor.act("snapshot", {"members": others})
        while leader.replica.applied_index < applied + 5:
            go_on(run, 0.05)
    run.actor.act("heal long absence", cut)
    go_on(run, 3)
    assert run.world.faults["snapshot taken"] == 4
    assert away.replica.snapshot_index
    end(run)


@pytest.mark.parametrize("settings", [(True, False), (False, False)])
def test_a_removed_member_that_never_heard_of_it_disturbs_nobody(
    settings: tuple[bool, bool],
) -> None:
    pre_vote, check_quorum = settings
    run, leader = started(QUIET._replace(pre_vote=pre_vote, check_quorum=check_quorum))
    gone = followers(run, leader)[0]
    others = sorted(set(run.cluster.members) - {gone.number})
    cut = {"side": [gone.number], "others": others, "into": True, "out": True}
    run.actor.act("long absence", cut)
    run.actor.act("remove member", {"ask": leader.number, "member": gone.number})
    go_on(run, 5)
    term = leader.replica.core.term
    run.actor.act("heal long absence", cut)
    go_on(run, 5)
    assert leader.replica.core.term == term
    assert run.world.faults["removed member left"] == 1
    end(run)


def test_strangers_are_sent_away() -> None:
    run, leader = started()
    gone, other = followers(run, leader)
    run.actor.act("remove member", {"ask": leader.number, "member": gone.number})
    go_on(run, 3)
    term = leader.replica.core.term
    for member in (leader, other):
        for sender, foreign in ((gone.number, False), (other.number, True)):
            run.actor.act(
                "stranger",
                {"member": member.number, "sender": sender, "foreign": foreign, "terms": 1000},
            )
    go_on(run, 1)
    assert run.world.faults["stranger refused: removed member"] == 2
    assert run.world.faults["stranger refused: request cluster ID mismatch"] == 2
    assert leader.replica.core.term == term
    end(run)


def test_clocks_drift_and_jump_differently() -> None:
    run, _ = started()
    clocks = [member.clock for member in run.cluster.running()]
    before = [clock.monotonic_ns() for clock in clocks]
    for number, ppm in ((1, 5000), (2, -5000)):
        run.actor.act("drift", {"member": number, "ppm": ppm})
        run.actor.act("wall jump", {"member": number, "seconds": ppm // 2})
    assert [clock.monotonic_ns() for clock in clocks] == before  # no jump
    go_on(run, 10)
    passed = [clock.monotonic_ns() - at for clock, at in zip(clocks, before, strict=True)]
    assert passed == [10_050_000_000, 9_950_000_000, 10_000_000_000]
    end(run)


def test_mixed_settings_are_those_of_the_shape() -> None:
    run, _ = started(QUIET._replace(settings=((True, False), (False, True), (False, False))))
    found = [
        (member.replica.core.config.pre_vote, member.replica.core.config.check_quorum)
        for member in run.cluster.running()
    ]
    assert found == [(True, False), (False, True), (False, False)]
    end(run)


def test_a_script_that_cuts_for_ever_is_healed_in_the_end() -> None:
    cut = {"side": [1], "others": [2, 3], "into": True, "out": True}
    script = [Action(SECOND_NS, "partition", cut), Action(2 * SECOND_NS, "pause", {"member": 2})]
    run = Run(1, QUIET, script)
    assert not run.execute().failure
    assert run.actions == script
