"""Disks are slow, full, refuse to sync, lose a bit or everything.

At most a minority of disks is damaged in a run, and a damaged member that refuses to start
does not come back but as a new member: that is all the cluster promises to survive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice
    from jepsen_like.sim.member import Member

# --- carrying out --------------------------------------------------------------------------


def slow_disk(cluster: Cluster, *, member: int, ms: int = 0) -> None:
    """Each disk job takes up to so much longer from now on."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.slow_disk_ns = ms * MILLISECOND_NS


def full_disk(cluster: Cluster, *, member: int, full: bool = False) -> None:
    """There is no space left; or there is again."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.disk.full = full


def failed_sync(cluster: Cluster, *, member: int) -> None:
    """The next sync fails."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.disk.fail_next_sync = True


def bit_flip(cluster: Cluster, *, member: int, chance: int, ms: int) -> None:
    """Damage a stored byte of a member that is down, away from the end of its newest log."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.kill()
        if victim.disk.damage(chance):
            victim.damaged = True
        cluster.restart_later(victim, ms)


def empty_disk(cluster: Cluster, *, member: int, ms: int) -> None:
    """The data directory is gone, and somebody starts the member as if nothing had happened."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.kill()
        victim.lose_disk()
        cluster.restart_later(victim, ms)


def copy_disk(cluster: Cluster, *, member: int) -> None:
    """Somebody copies the data directory of a member that runs."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.disk_copy = victim.disk.copied()


def old_disk(cluster: Cluster, *, member: int, ms: int) -> None:
    """The member is ended and started again from the copy."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up and victim.disk_copy is not None:
        victim.kill()
        victim.roll_back()
        cluster.restart_later(victim, ms)


ACTS: dict[str, Callable[..., None]] = {
    "slow disk": slow_disk,
    "heal slow disk": slow_disk,
    "full disk": full_disk,
    "heal full disk": full_disk,
    "failed sync": failed_sync,
    "bit flip": bit_flip,
    "empty disk": empty_disk,
    "copy disk": copy_disk,
    "old disk": old_disk,
}

# --- drawing -------------------------------------------------------------------------------


def _draw_slow_disk(dice: Dice) -> None:
    member = dice.leader_or_any()
    if member is not None:
        ms = dice.rng.choice((50, 100, 500, 2000, 10_000))
        dice.act("slow disk", member=member.number, ms=ms)
        dice.later(dice.rng.choice((1000, 3000)), "heal slow disk", member=member.number)


def _draw_full_disk(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("full disk", member=member.number, full=True)
        dice.later(dice.rng.choice((300, 1500)), "heal full disk", member=member.number)


def _draw_failed_sync(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("failed sync", member=member.number)


def _expendable(dice: Dice) -> Member | None:
    """A member that the others can do without, even if it never came back."""
    member = dice.running()
    if member is None:
        return None
    members = dice.cluster.members
    damaged = {one.number for one in members.values() if one.damaged or one.lost}
    minority = (len(members) - 1) // 2
    return member if len(damaged | {member.number}) <= minority else None


def _draw_bit_flip(dice: Dice) -> None:
    member = _expendable(dice)
    if member is not None:
        dice.act("bit flip", member=member.number, chance=dice.chance(), ms=dice.down_ms())


def _draw_empty_disk(dice: Dice) -> None:
    """Later an operator follows the advice: removes the member, and adds a new one."""
    member = _expendable(dice)
    if member is None:
        return
    dice.act("empty disk", member=member.number, ms=dice.down_ms())
    others = [one.number for one in dice.cluster.running() if one is not member]
    if others:
        asked = dice.rng.choice(others)
        dice.later(3000, "remove member", ask=asked, member=member.number)
        dice.later(5000, "add member", ask=asked, urls=[f"http://again{member.number}:2380"])


DRAWS: dict[str, Callable[[Dice], None]] = {
    "slow disk": _draw_slow_disk,
    "full disk": _draw_full_disk,
    "failed sync": _draw_failed_sync,
    "bit flip": _draw_bit_flip,
    "empty disk": _draw_empty_disk,
}
