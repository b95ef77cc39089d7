"""Processes end, machines lose power, also in the middle of a write; or a process sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.sim.disk import MODES

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice

# --- carrying out --------------------------------------------------------------------------


def kill(cluster: Cluster, *, member: int, down_ms: int) -> None:
    """SIGKILL; a supervisor starts the process again."""
    victim = cluster.members[member]
    if victim.up:
        victim.kill()
        cluster.restart_later(victim, down_ms)


def kill_at_step(cluster: Cluster, *, member: int, steps: int) -> None:
    """SIGKILL once the member has come through so many more steps."""
    if cluster.members[member].up:
        cluster.members[member].points_left = steps


def power(
    cluster: Cluster, *, member: int, calls: int, mode: str, chance: int, down_ms: int
) -> None:
    """The machine stops; the write under way comes through so many more disk calls (0: none)."""
    victim = cluster.members[member]
    if victim.up:
        victim.cut_power(calls, mode, chance)
        cluster.restart_later(victim, down_ms)


def power_at_call(cluster: Cluster, *, member: int, calls: int) -> None:
    """The machine stops at its disk call of this number from now, also during a recovery."""
    cluster.members[member].disk.cut_after_calls = calls


def pause(cluster: Cluster, *, member: int) -> None:
    """SIGSTOP: not scheduled; what arrives waits in the sockets."""
    if cluster.members[member].up:
        cluster.members[member].pause()


def resume(cluster: Cluster, *, member: int) -> None:
    """SIGCONT."""
    cluster.members[member].resume()


ACTS: dict[str, Callable[..., None]] = {
    "kill": kill,
    "kill at a step": kill_at_step,
    "power": power,
    "power at a disk call": power_at_call,
    "pause": pause,
    "resume": resume,
}

# --- drawing -------------------------------------------------------------------------------


def _draw_kill(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.when_writing(member, "kill", member=member.number, down_ms=dice.down_ms())


def _draw_kill_leader(dice: Dice) -> None:
    leader = dice.cluster.leader()
    if leader is not None:
        dice.act("kill", member=leader.number, down_ms=dice.down_ms())


def _draw_kill_at_step(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("kill at a step", member=member.number, steps=dice.rng.randint(1, 40))


def _power_details(dice: Dice, number: int) -> dict[str, object]:
    rng = dice.rng
    calls = rng.choice((1, 1, 2, 2, 3, 5, 8)) if rng.random() < 0.7 else 0
    return {
        "member": number, "calls": calls, "mode": rng.choice(MODES),
        "chance": dice.chance(), "down_ms": dice.down_ms(),
    }  # fmt: skip


def _draw_power(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.when_writing(member, "power", **_power_details(dice, member.number))


def _draw_power_at_call(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("power at a disk call", member=member.number, calls=dice.rng.randint(1, 60))


def _draw_power_everywhere(dice: Dice) -> None:
    for member in dice.cluster.running():
        dice.act("power", **_power_details(dice, member.number))
        if dice.rng.random() < 0.2:
            dice.act("power at a disk call", member=member.number, calls=dice.rng.randint(1, 40))


def _draw_pause(dice: Dice) -> None:
    member = dice.leader_or_any()
    if member is not None:
        dice.act("pause", member=member.number)
        dice.later(dice.rng.choice((200, 1000, 3000)), "resume", member=member.number)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "kill": _draw_kill,
    "kill leader": _draw_kill_leader,
    "kill at a step": _draw_kill_at_step,
    "power": _draw_power,
    "power at a disk call": _draw_power_at_call,
    "power everywhere": _draw_power_everywhere,
    "pause": _draw_pause,
}
