"""Wall clocks jump, one or all differently; clocks run too fast or too slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import SECOND_NS
from jepsen_like.sim.clock import MAX_DRIFT_PPM

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice

HOUR_S = 3600

# --- carrying out --------------------------------------------------------------------------


def wall_jump(cluster: Cluster, *, member: int, seconds: int) -> None:
    """Somebody sets the clock."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.clock.wall_offset_ns += seconds * SECOND_NS


def drift(cluster: Cluster, *, member: int, ppm: int) -> None:
    """From now on the clock gains so many millionths."""
    victim = cluster.members.get(member)
    if victim is not None:
        victim.clock.set_drift(ppm)


ACTS: dict[str, Callable[..., None]] = {"wall jump": wall_jump, "drift": drift}

# --- drawing -------------------------------------------------------------------------------


def _jump(dice: Dice, number: int) -> None:
    rng = dice.rng
    seconds = rng.choice((-HOUR_S, -1, 1, HOUR_S, rng.randint(-HOUR_S, HOUR_S)))
    dice.act("wall jump", member=number, seconds=seconds)


def _draw_wall_jump(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        _jump(dice, member.number)


def _draw_wall_jumps(dice: Dice) -> None:
    for number in dice.numbers():
        _jump(dice, number)


def _draw_drift(dice: Dice) -> None:
    member = dice.running()
    if member is not None and dice.cluster.shape.drift:
        ppm = dice.rng.randint(-MAX_DRIFT_PPM, MAX_DRIFT_PPM)
        dice.act("drift", member=member.number, ppm=ppm)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "wall jump": _draw_wall_jump,
    "wall jumps": _draw_wall_jumps,
    "drift": _draw_drift,
}
