"""Row 23: the wall clocks of members jump and drift, and differ.

Keys expire by the time in the log, which the leader measures on a clock that nobody sets. So no
key may go early for these, nor late; nothing else may care at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jepsen_like.faults import probes, steps
from jepsen_like.faults.clocks import SEEN_S, Clocks
from jepsen_like.faults.fault import Arena, Fault, Setting
from jepsen_like.faults.partition import names
from jepsen_like.faults.victims import Victims, anybody, everybody

ROW: Final = 23
SETTING: Final = Setting(own_clocks=True)
HOLD_S: Final = (1.5, 4.0)
HOUR_S: Final = 3600.0

Jump = Callable[[random.Random], float]


def by_an_hour(rng: random.Random) -> float:
    """Ahead or back."""
    return rng.choice((-HOUR_S, HOUR_S))


def by_a_second(rng: random.Random) -> float:
    """As after a leap, or a correction."""
    return rng.choice((-1.0, 1.0))


def anywhere(rng: random.Random) -> float:
    """Each member as it likes."""
    return rng.uniform(-HOUR_S, HOUR_S)


@dataclass(frozen=True, kw_only=True)
class ClockFault:
    """Base of these faults: what they need, and that clocks are set right again."""

    smallest: int = 1
    row: int = ROW
    setting: Setting = SETTING

    def missing(self) -> str:
        """See `Fault.missing`."""
        return probes.missing("faketime")

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        clocks_of(arena).heal()


@dataclass(frozen=True)
class Jumps(ClockFault):
    """Clocks are set, once or several times, and in the end set right, which is a jump, too."""

    name: str
    jump: Jump
    victims: Victims = anybody
    new_leader: bool = False
    """The leader is killed meanwhile, so that somebody else has to say what time it is."""

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        clocks, rng = clocks_of(arena), arena.rng
        try:
            for _ in range(rng.randint(1, 2)):
                for number in await self.victims(arena):
                    seconds = self.jump(rng)
                    clocks.jump(number, seconds)
                    arena.note(f"the clock of {names([number])} jumps by {seconds:+.0f} s")
                await asyncio.sleep(SEEN_S)
                if self.new_leader:
                    await _kill_leader(arena)
                await asyncio.sleep(rng.uniform(*HOLD_S))
            await steps.progress(arena)
        finally:
            await self.heal(arena)


@dataclass(frozen=True)
class Drift(ClockFault):
    """Clocks run fast or slow, each at another rate."""

    name: str = "clocks drift"

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        clocks, rng = clocks_of(arena), arena.rng
        try:
            for number in arena.fleet.numbers():
                clocks.drift(number, rng.choice((0.5, 0.9, 0.99, 1.01, 1.1, 2.0)))
            arena.note("clocks drift")
            await asyncio.sleep(SEEN_S + rng.uniform(*HOLD_S))
            await steps.progress(arena)
        finally:
            await self.heal(arena)


async def _kill_leader(arena: Arena) -> None:
    """It comes back soon, under the clock that it has by then."""
    number = await steps.a_leader(arena)
    await arena.fleet.kill([number])
    arena.note(f"killed {names([number])}")
    await asyncio.sleep(arena.rng.uniform(0.0, 1.0))
    arena.fleet.start([number])


def clocks_of(arena: Arena) -> Clocks:
    """The clocks of this cluster's members."""
    clocks = arena.fleet.clocks
    assert clocks is not None, "the fault's setting asks for them"
    return clocks


FAULTS: Final[tuple[Fault, ...]] = (
    Jumps("clocks jump by an hour", by_an_hour),
    Jumps("clocks jump by a second", by_a_second),
    Jumps("every clock differs", anywhere, everybody),
    Jumps(
        "a new leader under other clocks",
        by_an_hour,
        everybody,
        new_leader=True,
        smallest=3,
        setting=SETTING._replace(starts_under_them=True),
    ),  # fmt: skip
    Drift(),
)
