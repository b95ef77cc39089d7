"""The event loop of a member stands still, as behind a long collection or on a stalled machine.

What is older than the pause must not be believed afterwards: a leader that slept may have been
replaced. And nobody may start election after election because of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from jepsen_like.faults import steps
from jepsen_like.faults.fault import Anywhere
from jepsen_like.faults.harnessed import HARNESSED, HarnessFault
from jepsen_like.faults.victims import Victims, everybody, leader, majority, one

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena, Fault, Setting

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 5.0


@dataclass(frozen=True)
class Blocked(Anywhere):
    """The event loops of the victims stand still for a while."""

    name: str
    victims: Victims
    smallest: int = 1
    row: int = 5
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        before = await steps.highest_term(arena)
        seconds = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** arena.rng.random()
        numbers = await self.victims(arena)
        for number in numbers:
            await steps.told(arena, number, partial(arena.fleet.control(number).block, seconds))
        arena.note(f"blocked for {seconds:.1f} s")
        await asyncio.sleep(seconds)
        await steps.progress(arena)
        after = await steps.highest_term(arena)
        steps.no_storm(before, after, f"a pause of {seconds:.1f} s")

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`: it ends by itself."""


@dataclass(frozen=True)
class StandsStill(HarnessFault):
    """A member stands still at a failpoint: the loop, or the disk thread, whoever passes it."""

    name: str = "stand still between two steps"
    row: int = 5
    smallest: int = 1
    setting: Setting = HARNESSED
    points: tuple[str, ...] = (
        "before apply",
        "before send",
        "before reply",
        "before persisted",
        "before log sync",
        "after log sync",
        "before snapshot finish",
        "before snapshot record",
    )

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        rng = arena.rng
        number = await steps.a_leader(arena) if rng.random() < 0.5 else arena.fleet.pick(rng)
        seconds = rng.uniform(0.1, 3.0)
        arm = arena.fleet.control(number).arm
        await steps.told(arena, number, partial(arm, rng.choice(self.points), "sleep", 1, seconds))
        await asyncio.sleep(seconds)
        await steps.progress(arena)


FAULTS: Final[tuple[Fault, ...]] = (
    Blocked("block the loop of one", one),
    Blocked("block the loop of the leader", leader, 3),
    Blocked("block the loops of a majority", majority, 3),
    Blocked("block all loops", everybody),
    StandsStill(),
)
