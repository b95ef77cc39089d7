"""Processes end, one or many, at any step or disk call, again while they recover; or they sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.sim.disk import MODES

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice

# --- carrying out --------------------------------------------------------------------------


def kill(cluster: Cluster, *, member: int, ms: int) -> None:
    """SIGKILL; a supervisor starts the process again after `ms`."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.kill()
        cluster.restart_later(victim, ms)


def kill_at_step(cluster: Cluster, *, member: int, steps: int) -> None:
    """SIGKILL once the member has come through so many more steps."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.points_left = steps


def power(cluster: Cluster, *, member: int, calls: int, mode: str, chance: int, ms: int) -> None:
    """The machine stops; the write under way comes through so many more disk calls (0: none)."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.cut_power(calls, mode, chance)
        cluster.restart_later(victim, ms)


def end_at_call(cluster: Cluster, *, member: int, calls: int, power: bool = True) -> None:
    """At its disk call of this number from now the process is killed, or the machine stops."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.disk.cut_after_calls = calls
        victim.only_killed = not power


def crash_in_recovery(
    cluster: Cluster, *, member: int, calls: list[int], power: bool, ms: int
) -> None:
    """SIGKILL; then each of the next starts ends at its disk call of this number."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.kill()
        victim.only_killed = not power
        victim.recovery_cuts = list(calls)
        cluster.restart_later(victim, ms)


def pause(cluster: Cluster, *, member: int) -> None:
    """SIGSTOP: not scheduled; what arrives waits in the sockets."""
    victim = cluster.members.get(member)
    if victim is not None and victim.up:
        victim.pause()


def resume(cluster: Cluster, *, member: int) -> None:
    """SIGCONT."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.resume()


ACTS: dict[str, Callable[..., None]] = {
    "kill": kill,
    "kill at a step": kill_at_step,
    "kill at a disk call": end_at_call,
    "power": power,
    "power at a disk call": end_at_call,
    "crash in recovery": crash_in_recovery,
    "pause": pause,
    "heal pause": resume,
}

# --- drawing -------------------------------------------------------------------------------


def _draw_kill(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.when_writing(member, "kill", member=member.number, ms=dice.down_ms())


def _draw_kill_leader(dice: Dice) -> None:
    leader = dice.cluster.leader()
    if leader is not None:
        dice.act("kill", member=leader.number, ms=dice.down_ms())


def _draw_kill_majority(dice: Dice) -> None:
    for number in dice.majority():
        dice.act("kill", member=number, ms=dice.down_ms())


def _draw_kill_everywhere(dice: Dice) -> None:
    for number in dice.numbers():
        dice.act("kill", member=number, ms=dice.down_ms())


def _draw_kill_at_step(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("kill at a step", member=member.number, steps=dice.rng.randint(1, 40))


def _draw_kill_at_call(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        calls = dice.rng.randint(1, 60)
        dice.act("kill at a disk call", member=member.number, calls=calls, power=False)


def _draw_crash_in_recovery(dice: Dice) -> None:
    member, rng = dice.running(), dice.rng
    if member is not None:
        calls = [rng.randint(1, 30) for _ in range(rng.randint(1, 4))]
        power = rng.random() < 0.5
        dice.act(
            "crash in recovery", member=member.number, calls=calls, power=power, ms=dice.down_ms()
        )


def _power_details(dice: Dice, number: int) -> dict[str, object]:
    rng = dice.rng
    calls = rng.choice((1, 1, 2, 2, 3, 5, 8)) if rng.random() < 0.7 else 0
    return {
        "member": number, "calls": calls, "mode": rng.choice(MODES),
        "chance": dice.chance(), "ms": dice.down_ms(),
    }  # fmt: skip


def _draw_power(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.when_writing(member, "power", **_power_details(dice, member.number))


def _draw_power_at_call(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("power at a disk call", member=member.number, calls=dice.rng.randint(1, 60))


def _cut_power(dice: Dice, numbers: list[int]) -> None:
    for number in numbers:
        dice.act("power", **_power_details(dice, number))
        if dice.rng.random() < 0.2:
            dice.act("power at a disk call", member=number, calls=dice.rng.randint(1, 40))


def _draw_power_majority(dice: Dice) -> None:
    _cut_power(dice, dice.majority())


def _draw_power_everywhere(dice: Dice) -> None:
    _cut_power(dice, dice.numbers())


def _draw_pause(dice: Dice) -> None:
    """From less than an election timeout up to half a minute, short ones more often."""
    member = dice.leader_or_any()
    if member is not None:
        dice.act("pause", member=member.number)
        ms = dice.rng.choice((200, 1000, 1000, 3000, 3000, 10_000, 30_000))
        dice.later(ms, "heal pause", member=member.number)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "kill": _draw_kill,
    "kill leader": _draw_kill_leader,
    "kill majority": _draw_kill_majority,
    "kill everywhere": _draw_kill_everywhere,
    "kill at a step": _draw_kill_at_step,
    "kill at a disk call": _draw_kill_at_call,
    "crash in recovery": _draw_crash_in_recovery,
    "power": _draw_power,
    "power at a disk call": _draw_power_at_call,
    "power majority": _draw_power_majority,
    "power everywhere": _draw_power_everywhere,
    "pause": _draw_pause,
}
