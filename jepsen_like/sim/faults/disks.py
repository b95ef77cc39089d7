"""Disks are slow, full, refuse to sync or lose a bit; wall clocks jump.

At most a minority of disks is damaged in a run, and a damaged member that refuses to start
does not come back: that is all the cluster promises to survive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS, SECOND_NS

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice

HOUR_S = 3600

# --- carrying out --------------------------------------------------------------------------


def slow_disk(cluster: Cluster, *, member: int, delay_ms: int) -> None:
    """Each disk job takes up to so much longer from now on."""
    cluster.members[member].slow_disk_ns = delay_ms * MILLISECOND_NS


def full_disk(cluster: Cluster, *, member: int, full: bool) -> None:
    """There is no space left; or there is again."""
    cluster.members[member].disk.full = full


def failed_sync(cluster: Cluster, *, member: int) -> None:
    """The next sync fails."""
    cluster.members[member].disk.fail_next_sync = True


def bit_flip(cluster: Cluster, *, member: int, chance: int, down_ms: int) -> None:
    """Damage a stored byte of a member that is down, away from the end of its newest log."""
    victim = cluster.members[member]
    if not victim.up:
        return
    victim.kill()
    if victim.disk.damage(chance):
        victim.damaged = True
    cluster.restart_later(victim, down_ms)


def wall_jump(cluster: Cluster, *, member: int, seconds: int) -> None:
    """Somebody sets the clock."""
    cluster.members[member].clock.wall_offset_ns += seconds * SECOND_NS


ACTS: dict[str, Callable[..., None]] = {
    "slow disk": slow_disk,
    "full disk": full_disk,
    "failed sync": failed_sync,
    "bit flip": bit_flip,
    "wall jump": wall_jump,
}

# --- drawing -------------------------------------------------------------------------------


def _draw_slow_disk(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("slow disk", member=member.number, delay_ms=dice.rng.choice((50, 500, 2000)))
        dice.later(dice.rng.choice((1000, 3000)), "slow disk", member=member.number, delay_ms=0)


def _draw_full_disk(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("full disk", member=member.number, full=True)
        dice.later(dice.rng.choice((300, 1500)), "full disk", member=member.number, full=False)


def _draw_failed_sync(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("failed sync", member=member.number)


def _draw_bit_flip(dice: Dice) -> None:
    member = dice.running()
    if member is None:
        return
    damaged = {one.number for one in dice.cluster.members.values() if one.damaged}
    minority = (len(dice.cluster.members) - 1) // 2
    if len(damaged | {member.number}) <= minority:
        dice.act("bit flip", member=member.number, chance=dice.chance(), down_ms=dice.down_ms())


def _draw_wall_jump(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        seconds = dice.rng.choice((-HOUR_S, -1, 1, HOUR_S))
        dice.act("wall jump", member=member.number, seconds=seconds)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "slow disk": _draw_slow_disk,
    "full disk": _draw_full_disk,
    "failed sync": _draw_failed_sync,
    "bit flip": _draw_bit_flip,
    "wall jump": _draw_wall_jump,
}
