"""What scenes of changing members are made of: an operator's steps, blows, and calm again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from jepsen_like.base import Violation
from jepsen_like.faults.fault import Arena
from jepsen_like.faults.processes import names, pause, restore, the_leader
from jepsen_like.procs.changes import RETRY_S, STEP_S, Changes, ask

SMALLEST: Final = 3
LARGEST: Final = 6
REFUSALS: Final = 3
LATER_S: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.3)
"""From the beginning of a change to what happens meanwhile."""


class Scene:
    """What scenes are made of."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.fleet = arena.fleet
        self.rng: random.Random = arena.rng
        self.changes = Changes(arena.fleet, arena.rng)

    def somebody(self) -> int:
        """Any member of the cluster."""
        return self.fleet.pick(self.rng)

    @contextlib.asynccontextmanager
    async def meanwhile(
        self, happens: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Let something happen a moment after the change inside has begun, maybe after its end."""

        async def later() -> None:
            await asyncio.sleep(self.rng.choice(LATER_S))
            await happens()

        task = asyncio.create_task(later())
        try:
            yield
            await task
        finally:
            task.cancel()

    async def the_leader_falls(self) -> None:
        """Killed and started again, or paused for a while."""
        leader = await the_leader(self.arena)
        if leader not in self.fleet.running():
            return
        if self.rng.random() < 0.25:
            await pause(self.arena, [leader])
            return
        await self.fleet.kill([leader])
        self.arena.note(f"killed {names([leader])}, the leader")
        await asyncio.sleep(self.rng.uniform(0.0, 2.0))
        self.fleet.start([leader])

    async def everybody_falls(self) -> None:
        """All are killed, and come back one after the other."""
        numbers = self.fleet.running()
        await self.fleet.kill(numbers)
        self.arena.note("killed all")
        self.rng.shuffle(numbers)
        for number in numbers:
            await asyncio.sleep(self.rng.uniform(0.0, 0.5))
            self.fleet.start([number])

    async def nothing(self) -> None:
        """For once the change is left alone."""

    async def add(self) -> int:
        """A member joins and is started."""
        number = await self.changes.added()
        self.fleet.start([number])
        self.arena.note(f"added {names([number])}")
        return number

    async def remove(self, number: int) -> None:
        """A member is removed; its process has to end."""
        await self.changes.removed(number)
        self.arena.note(f"removed {names([number])}")

    async def accepted(self, method: str, rest: str, body: dict[str, Any] | None) -> bool:
        """Ask for a change until the answer is clear; whether it was made.

        A refusal is status 500, its reason is in the server's log only. So it has to come again.
        """
        fleet = self.fleet
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + STEP_S
        last: object = None
        refusals = 0
        while loop.time() < deadline_s and refusals < REFUSALS:
            via = self.rng.choice([n for n in fleet.running() if n in fleet.present])
            try:
                status, text = await asyncio.to_thread(ask, fleet.member(via), method, rest, body)
            except OSError as error:
                last = error
            else:
                last = status, text
                if status in (200, 201, 204):
                    return True
                refusals += status == 500
                if method == "POST" and status == 409:
                    return True  # by an attempt whose answer was lost
            await asyncio.sleep(RETRY_S)
        if refusals >= REFUSALS:
            return False
        raise Violation(f"{method} {rest}: no definite answer in {STEP_S:.0f} s; last: {last!r}")

    async def room_to_add(self) -> None:
        """Remove somebody if there are very many."""
        if self.fleet.size >= LARGEST:
            await self.remove(self.somebody())
            await self.calm()

    async def room_to_remove(self) -> None:
        """Add somebody if there are very few."""
        if self.fleet.size <= SMALLEST:
            await self.add()
            await self.calm()

    async def calm(self) -> None:
        """Wait until the cluster is whole. Raises Violation if it does not become so."""
        fleet = self.fleet
        restore(fleet)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + STEP_S
        goal = self.arena.acknowledged + 1
        while reasons := await self._unrest(goal):
            if loop.time() > deadline_s:
                raise Violation(f"after {STEP_S:.0f} s: {'; '.join(reasons)}")
            await asyncio.sleep(RETRY_S)

    async def _unrest(self, goal: int) -> list[str]:
        fleet = self.fleet
        fleet.check_alive()
        reasons = []
        staying = sorted(fleet.leaving.intersection(fleet.running()))
        if staying:
            reasons.append(f"{names(staying)} do not end although removed")
        if self.arena.acknowledged < goal:
            reasons.append("no write is acknowledged")
        listed = await self.changes.members()
        if len(listed) != fleet.size or not all(one["name"] for one in listed):
            reasons.append(f"members: {listed}")
        return reasons
