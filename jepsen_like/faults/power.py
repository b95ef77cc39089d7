"""Power cuts: what was not synced is lost, in part or wholly, on one machine or on many.

The members run on lossy disks. Whichever blocks and names survive, a member must start again, and
what was acknowledged must be there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from jepsen_like.faults import steps
from jepsen_like.faults.harnessed import HARNESSED, HarnessFault
from jepsen_like.faults.victims import Victims, everybody, leader, majority, one

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena, Fault, Setting

MOMENTS: Final = (
    "after create",
    "after rename",
    "before directory sync",
    "after remove",
    "after log write",
    "after new file write",
    "before snapshot sync",
    "before snapshot record",
)
"""Where a write or a name stands open."""
RECOVERY: Final = (
    "before recovery",
    "after recovery",
    "before recovery repair",
    "after recovery repair",
    "before recovery restore",
    "before recovery start number",
    "after recovery start number",
    "before serving",
    "after serving",
    "after create",
    "after new file write",
    "after new file sync",
    "after rename",
    "before directory sync",
    "after directory sync",
    "after remove",
)
"""What every start passes once it recovers, some of it several times."""


async def slow(arena: Arena, numbers: list[int]) -> None:
    """Let syncs take long for a moment: whoever answers before they end is found out by a cut."""
    delay_s = arena.rng.choice((0.0, 0.05, 0.3))
    for number in numbers if delay_s else ():
        disk = arena.fleet.control(number).disk
        await steps.told(arena, number, partial(disk, sync_delay_s=delay_s))
    await asyncio.sleep(delay_s * arena.rng.uniform(1.0, 3.0))


async def cut(arena: Arena, numbers: list[int], mode: str) -> None:
    """Cut the power of these members in the same moment, and wait until they are gone."""
    calls = []
    for number in numbers:
        arena.fleet.may_end[number] = "power cut"
        power_cut = arena.fleet.control(number).power_cut
        calls.append(steps.told(arena, number, partial(power_cut, mode, arena.rng.getrandbits(32))))
    await asyncio.gather(*calls)
    for number in numbers:
        await steps.ended(arena, number, (steps.KILLED,), steps.END_S)


@dataclass(frozen=True)
class PowerCut(HarnessFault):
    """The power goes; what was not synced is lost as far as `modes` say."""

    name: str
    row: int
    victims: Victims
    modes: tuple[str, ...]
    smallest: int = 1
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        numbers = await self.victims(arena)
        await slow(arena, numbers)
        await cut(arena, numbers, arena.rng.choice(self.modes))
        await steps.start_again(arena, numbers)
        await steps.progress(arena)


@dataclass(frozen=True)
class CutBetweenSteps(HarnessFault):
    """The power goes while a name or a write stands open."""

    name: str = "power cut while a name is changed"
    row: int = 8
    smallest: int = 1
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        rng, fleet = arena.rng, arena.fleet
        number = fleet.pick(rng)
        fleet.may_end[number] = "power cut at a failpoint"
        control = fleet.control(number)
        point, mode = rng.choice(MOMENTS), rng.choice(("nothing", "some", "torn"))
        after = rng.randint(1, 4)
        await steps.told(arena, number, partial(control.arm, point, "power", after, mode=mode))
        if await fleet.ended(number, 3.0) is None:
            await steps.told(arena, number, control.disarm)
            await cut(arena, [number], mode)
            arena.note(f"{point} was not reached")
        await steps.start_again(arena, [number])
        await steps.progress(arena)


@dataclass(frozen=True)
class CutInRecovery(HarnessFault):
    """The power goes again and again while a member recovers from the last time."""

    name: str
    victims: Victims
    row: int = 3
    smallest: int = 1
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        numbers = await self.victims(arena)
        await cut(arena, numbers, arena.rng.choice(("nothing", "some", "torn")))
        await asyncio.gather(*(self._stumble(arena, number) for number in numbers))
        await steps.start_again(arena, numbers, 0.1)
        await steps.progress(arena)

    async def _stumble(self, arena: Arena, number: int) -> None:
        rng, fleet = arena.rng, arena.fleet
        for _ in range(rng.randint(1, 3)):
            point = rng.choice(RECOVERY)
            do, after = rng.choice(("power", "power", "kill")), rng.choice((1, 1, 2, 3))
            fleet.arm_start(number, f"{point}={do}:{after}")
            fleet.start([number])
            fleet.may_end[number] = f"{do} {point}"
            if await fleet.ended(number, 2.0) is None:
                await cut(arena, [number], "some")


LOSING: Final = ("nothing",)
PARTLY: Final = ("some", "torn", "everything")
FAULTS: Final[tuple[Fault, ...]] = (
    CutInRecovery("power cut again and again during recovery", one),
    CutInRecovery("power cut of everybody during recovery", everybody),
    PowerCut("power cut of one", 6, one, LOSING),
    PowerCut("power cut of the leader", 6, leader, LOSING, 3),
    PowerCut("power cut of a majority", 6, majority, LOSING, 3),
    PowerCut("power cut of everybody", 6, everybody, LOSING),
    PowerCut("torn writes of one", 7, one, PARTLY),
    PowerCut("torn writes of a majority", 7, majority, PARTLY, 3),
    PowerCut("torn writes of everybody", 7, everybody, PARTLY),
    CutBetweenSteps(),
)
