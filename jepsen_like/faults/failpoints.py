"""A member dies exactly between two steps: the strikes go through all failpoints in turn.

Which moment of a member's work a random kill hits is left to chance, and the short ones are never
hit; here each has its turn. A point that only a start passes is armed for the next start, one that
only a member far behind passes while it is away.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from jepsen_like.faults import steps
from jepsen_like.faults.harnessed import HARNESSED, HarnessFault

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena, Fault, Setting

ROUND: Final = (
    "before save",
    "before log write",
    "after log write",
    "after log sync",
    "after save",
    "before persisted",
    "after persisted",
    "before send",
    "after send",
    "before apply",
    "after apply",
    "before reply",
    "after reply",
    "before hard state",
    "after hard state",
)
"""What every round of work, or every election, passes."""
FILES: Final = (
    "before segment cut",
    "after segment cut",
    "before new file sync",
    "after new file sync",
    "before snapshot begin",
    "after snapshot begin",
    "after snapshot write",
    "before snapshot finish",
    "after snapshot sync",
    "after rename",
    "after directory sync",
    "after snapshot finish",
    "before snapshot record",
    "after snapshot record",
    "before purge",
    "after remove",
    "after purge",
)
"""What comes along when so much was written."""
START: Final = (
    "before recovery",
    "after recovery",
    "before recovery repair",
    "after recovery repair",
    "before recovery restore",
    "after recovery restore",
    "before recovery start number",
    "after recovery start number",
    "before serving",
    "after serving",
)
BEHIND: Final = (
    "before snapshot seal",
    "after snapshot seal",
    "before snapshot adopt",
    "after snapshot adopt",
)
"""What a member passes that was away for long."""
SENDING: Final = ("before snapshot transfer", "after snapshot transfer")
"""What the leader passes then."""

REACHED_S: Final = 6.0  # until a point of a round, or of a file that is due, has been passed
AWAY_WRITES: Final = 600  # more than members under the harness keep behind a snapshot
AWAY_S: Final = 10.0


class KilledAtPoints(HarnessFault):
    """Kill a member at one failpoint after the other."""

    def __init__(self, name: str, points: tuple[str, ...], smallest: int = 1) -> None:
        self._name = name
        self._points = points
        self._smallest = smallest
        self._deck: list[str] = []

    @property
    def name(self) -> str:
        """See `Fault.name`."""
        return self._name

    @property
    def row(self) -> int:
        """See `Fault.row`."""
        return 2

    @property
    def setting(self) -> Setting:
        """See `Fault.setting`."""
        return HARNESSED

    @property
    def smallest(self) -> int:
        """See `Fault.smallest`."""
        return self._smallest

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        if not self._deck:
            self._deck = list(self._points)
            arena.rng.shuffle(self._deck)
        point = self._deck.pop()
        number = await self._armed(arena, point)
        arena.fleet.may_end[number] = f"killed {point}"
        status = await arena.fleet.ended(number, REACHED_S)
        if status is None:
            arena.note(f"{point}: not reached by member {number}")
            await steps.calm(arena)
            await arena.fleet.kill([number])
        else:
            await steps.ended(arena, number, (steps.KILLED,), 0.0)
        await steps.start_again(arena, [number], 0.5)
        await steps.progress(arena)

    async def _armed(self, arena: Arena, point: str) -> int:
        """Somebody who will pass this point."""
        rng, fleet = arena.rng, arena.fleet
        number = await steps.a_leader(arena) if rng.random() < 0.5 else fleet.pick(rng)
        if point in START:
            await fleet.kill([number])
            fleet.arm_start(number, f"{point}=kill")
            fleet.start([number])
        elif point in BEHIND:
            await away(arena, number)
            fleet.arm_start(number, f"{point}=kill")
            fleet.start([number])
        elif point in SENDING:
            others = [other for other in fleet.numbers() if other != number]
            behind = rng.choice(others)
            await away(arena, behind)
            number = await steps.a_leader(arena)
            await self._arm(arena, number, point, 1)
            fleet.start([behind])
        else:
            await self._arm(arena, number, point, rng.choice((1, 1, 2, 5)))
        return number

    async def _arm(self, arena: Arena, number: int, point: str, after: int) -> None:
        arena.fleet.may_end[number] = f"killed {point}"  # which may be at once
        arm = arena.fleet.control(number).arm
        await steps.told(arena, number, partial(arm, point, "kill", after))


async def away(arena: Arena, number: int) -> None:
    """Kill a member, and wait until the others have moved on beyond what they keep for it."""
    await arena.fleet.kill([number])
    goal = arena.acknowledged + AWAY_WRITES
    await steps.until("writes without one", lambda: arena.acknowledged >= goal, AWAY_S * 3)


FAULTS: Final[tuple[Fault, ...]] = (
    KilledAtPoints("kill between two steps of a round", ROUND),
    KilledAtPoints("kill while files are changed", FILES),
    KilledAtPoints("kill between two steps of a start", START),
    KilledAtPoints("kill while a snapshot is taken in", BEHIND, 3),
    KilledAtPoints("kill while a snapshot is sent", SENDING, 3),
)
