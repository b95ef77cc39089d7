"""Rows 18 and 19: a member is away until the others have thrown away what it needs.

Snapshots are made every 50 changes on purpose. What comes back then is caught up by a snapshot,
with the membership and the history of events in it, and perhaps by another one right after it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.faults.fault import Arena, Setting
from jepsen_like.faults.processes import ProcessFault, kill, names

# Under the harness, whose members keep few entries behind a snapshot; others keep 5000.
SETTING: Final = Setting(harnessed=True, flags=("--snapshot-count=50",))
ENOUGH_WRITES: Final = 400  # several snapshots, and the log before them is gone
AWAY_LIMIT_S: Final = 60.0
POLL_S: Final = 0.02


async def away(arena: Arena, writes: int) -> int:
    """Kill a member, start it when so many writes have succeeded without it; which one it was."""
    number = arena.fleet.pick(arena.rng)
    await arena.fleet.kill([number])
    arena.note(f"{names([number])} is away for {writes} writes")
    await _written(arena, writes)
    arena.fleet.start([number])
    return number


async def _written(arena: Arena, writes: int) -> None:
    goal = arena.acknowledged + writes
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + AWAY_LIMIT_S
    while arena.acknowledged < goal:
        if loop.time() > deadline_s:
            raise Violation(f"fewer than {writes} writes in {AWAY_LIMIT_S:.0f} s with one down")
        await asyncio.sleep(POLL_S)


async def _long(arena: Arena) -> None:
    await away(arena, ENOUGH_WRITES)


async def _twice(arena: Arena) -> None:
    """Away again as soon as it is back, so that it gets the second snapshot while it is busy with
    the first one; killed in between for good measure."""
    number = await away(arena, ENOUGH_WRITES)
    await asyncio.sleep(arena.rng.uniform(0.0, 1.5))
    await kill(arena, [number])
    await _written(arena, arena.rng.choice((50, 100, 200)))


FAULTS: Final = (
    ProcessFault("a long absence", 18, 3, _long, SETTING),
    ProcessFault("two snapshots after each other", 19, 3, _twice, SETTING),
)
