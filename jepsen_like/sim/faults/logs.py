"""Snapshots at bad moments, checks of the data, and callers that do not belong to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from jepsen_like.sim.calling import stranger_calls

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice
    from jepsen_like.sim.member import Member

# --- carrying out --------------------------------------------------------------------------


def snapshot(cluster: Cluster, *, members: list[int]) -> None:
    """These members take a snapshot now, however little has changed since the last one."""
    for number in members:
        member = cluster.members.get(number)
        if member is not None:
            member.soon(member.life, member.take_snapshot_now)


def check(cluster: Cluster, *, number: int) -> None:
    """The leader has all members compare their data at one entry of the log."""
    leader = cluster.leader()
    if leader is not None:
        leader.soon(leader.life, partial(_propose_check, leader, number))


def _propose_check(leader: Member, number: int) -> None:
    leader.replica.propose_check(number)


def stranger(cluster: Cluster, *, member: int, sender: int, foreign: bool, terms: int) -> None:
    """Somebody calls who was removed, or is of another cluster, and asks for votes far ahead."""
    called = cluster.members.get(member)
    if called is not None:
        called.soon(called.life, lambda: stranger_calls(called, sender, foreign, terms))


ACTS: dict[str, Callable[..., None]] = {
    "snapshot": snapshot,
    "check": check,
    "stranger": stranger,
}

# --- drawing -------------------------------------------------------------------------------


def _draw_two_snapshots(dice: Dice) -> None:
    """Shortly after each other, with somebody cut off before them who needs one."""
    rng, members = dice.rng, dice.numbers()
    for ms in (0, rng.choice((5, 30, 200))):
        dice.later(ms, "snapshot", members=members)


def _draw_check(dice: Dice) -> None:
    dice.act("check", number=dice.chance())


def _draw_stranger(dice: Dice) -> None:
    rng = dice.rng
    removed = sorted(dice.cluster.agreed.removed)
    foreign = not removed or rng.random() < 0.5
    sender = rng.choice(dice.numbers() if foreign else removed)
    for number in dice.numbers():
        if number != sender:
            dice.act("stranger", member=number, sender=sender, foreign=foreign, terms=1000)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "two snapshots": _draw_two_snapshots,
    "check": _draw_check,
    "stranger": _draw_stranger,
}
