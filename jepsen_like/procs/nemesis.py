"""Who is killed or paused, and when.

Strikes come from a shuffled deck, so that every kind has its share in a run of any length. Between
strikes the cluster is mostly, but not always, given the time to make progress again: a strike
into an election or a recovery is worth more than one into a quiet cluster.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.procs.clients import Recorder
from jepsen_like.procs.fleet import Fleet

PROGRESS_TIMEOUT_S: Final = 30.0  # ten elections on a loaded machine; beyond it the cluster hangs
PATIENCE: Final = 0.75  # how often progress is waited for
ABSENCE_WRITES: Final = 6000  # more than the log keeps for a follower: it needs a snapshot then
ABSENCE_LIMIT_S: Final = 40.0
POLL_S: Final = 0.02
PAUSES: Final = 0.15  # pauses per kill

# kind -> share; the names are those of the report
SHARES: Final = {"one": 30, "leader": 26, "majority": 14, "all": 14, "again": 12, "absence": 4}
SHARES_ALONE: Final = {"one": 80, "again": 20}


class Nemesis:
    """See the module's description."""

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder,
        rng: random.Random,
        kills: int,
        on_strike: Callable[[int], None],
    ) -> None:
        self._fleet = fleet
        self._recorder = recorder
        self._rng = rng
        self._kills = kills
        self._on_strike = on_strike
        self.strikes: Counter[str] = Counter()
        self.processes_killed = 0

    async def run(self, time_is_up: Callable[[], bool]) -> None:
        """Strike until the kills are done. Raises Violation if the cluster does not come back."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "one": self._one,
            "leader": self._leader,
            "majority": self._majority,
            "all": self._all,
            "again": self._again,
            "absence": self._absence,
            "pause": self._pause,
            "pause leader": self._pause_leader,
        }
        for kind in self._deck():
            if time_is_up():
                return
            await kinds[kind]()
            self.strikes[kind] += 1
            self._on_strike(self.kills())
            self._fleet.check_alive()
            if self._rng.random() < PATIENCE:
                await self._progress()
            await asyncio.sleep(self._rng.uniform(0.0, 1.0))

    def kills(self) -> int:
        """How many strikes so far were kills."""
        return sum(count for kind, count in self.strikes.items() if not kind.startswith("pause"))

    def _deck(self) -> list[str]:
        shares = SHARES if self._fleet.size > 1 else SHARES_ALONE
        total = sum(shares.values())
        deck = [kind for kind, share in shares.items() for _ in range(self._kills * share // total)]
        while len(deck) < self._kills:
            deck.append(self._rng.choice(list(shares)[:3]))
        pauses = ["pause", "pause leader"] if self._fleet.size > 1 else ["pause"]
        deck += [self._rng.choice(pauses) for _ in range(round(self._kills * PAUSES))]
        self._rng.shuffle(deck)
        return deck

    # --- strikes ------------------------------------------------------------------------

    async def _one(self) -> None:
        await self._kill([self._rng.randrange(self._fleet.size)])

    async def _leader(self) -> None:
        await self._kill([await self._some_leader()])

    async def _majority(self) -> None:
        numbers = self._rng.sample(range(self._fleet.size), self._fleet.size // 2 + 1)
        await self._kill(numbers)

    async def _all(self) -> None:
        await self._kill(list(range(self._fleet.size)))

    async def _again(self) -> None:
        """Kill a member, and once more while it comes up."""
        number = self._rng.randrange(self._fleet.size)
        await self._kill([number])
        await asyncio.sleep(self._rng.uniform(0.05, 1.0))
        await self._kill([number])

    async def _absence(self) -> None:
        """Keep one member away until the others have moved on far enough."""
        number = self._rng.randrange(self._fleet.size)
        await self._fleet.kill([number])
        self.processes_killed += 1
        goal = self._recorder.acknowledged + ABSENCE_WRITES
        await self._wait(lambda: self._recorder.acknowledged >= goal, ABSENCE_LIMIT_S)
        self._fleet.start([number])

    async def _pause(self) -> None:
        await self._stall(self._rng.randrange(self._fleet.size))

    async def _pause_leader(self) -> None:
        await self._stall(await self._some_leader())

    async def _stall(self, number: int) -> None:
        self._fleet.pause(number)
        await asyncio.sleep(self._rng.uniform(0.3, 4.0))
        self._fleet.resume(number)

    async def _kill(self, numbers: list[int]) -> None:
        await self._fleet.kill(numbers)
        self.processes_killed += len(numbers)
        self._rng.shuffle(numbers)
        for number in numbers:
            await asyncio.sleep(self._rng.uniform(0.0, 1.0) ** 2)
            self._fleet.start([number])

    async def _some_leader(self) -> int:
        leader = await self._fleet.leader()
        return leader if leader is not None else self._rng.randrange(self._fleet.size)

    # --- progress -----------------------------------------------------------------------

    async def _progress(self) -> None:
        goal = self._recorder.acknowledged + 1
        if not await self._wait(lambda: self._recorder.acknowledged >= goal, PROGRESS_TIMEOUT_S):
            raise Violation(
                f"no write was acknowledged for {PROGRESS_TIMEOUT_S:.0f} s with all members running"
            )

    async def _wait(self, reached: Callable[[], bool], limit_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while not reached():
            if loop.time() > deadline:
                return False
            self._fleet.check_alive()
            await asyncio.sleep(POLL_S)
        return True
