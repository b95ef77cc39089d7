"""`python -m jepsen_like.procs.changing`: kill real members while members come and go.

The load and the verdict are those of `crash`. Meanwhile an operator adds, removes, moves and
replaces members, and members are killed or paused at the worst moments: the leader while it makes a
change or right after its answer, a member while it joins, everybody at once. A change whose answer
was lost is looked up before the next one. Whoever was removed has to end by itself with status 0,
also when its process was down meanwhile; nobody else may.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.members import free_ports
from jepsen_like.base import Violation
from jepsen_like.procs import crash
from jepsen_like.procs.changes import RETRY_S, STEP_S, Changes
from jepsen_like.procs.clients import Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.watchers import Watcher

REFUSED_S: Final = 30.0  # until a member without its disk has to have given up
BOOTSTRAPPED: Final = "already been bootstrapped"
LARGEST: Final = 5
SMALLEST: Final = 3


class Operator:
    """Changes the members and has them killed meanwhile; one scenario after the other."""

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder,
        rng: random.Random,
        on_join: Callable[[int], None],
    ) -> None:
        self._fleet = fleet
        self._recorder = recorder
        self._rng = rng
        self._changes = Changes(fleet, rng, on_join)
        self.done: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unmoved = set(fleet.present)
        """Founders at their first address: their ids follow from it."""

    async def run(self, rounds: int, time_is_up: Callable[[], bool]) -> None:
        """So many scenarios, from a shuffled deck. Raises Violation."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "add": self._add,
            "add, joiner killed": self._add_and_kill_it,
            "add, leader killed": self._add_and_kill_the_leader,
            "remove": self._remove,
            "remove the leader": self._remove_the_leader,
            "remove, leader killed": self._remove_and_kill_the_leader,
            "remove one that is down": self._remove_the_absent,
            "remove, it is killed": self._remove_and_kill_it,
            "remove a paused one": self._remove_the_paused,
            "move": self._move,
            "lost disk comes back as new": self._lost_disk,
            "all killed during a change": self._all_at_once,
            "replace": self._replace,
        }
        deck: list[str] = []
        for _ in range(rounds):
            if time_is_up():
                return
            if not deck:
                deck = list(kinds)
                self._rng.shuffle(deck)
            kind = deck.pop()
            if kind.startswith("add") and len(self._fleet.present) >= LARGEST:
                await self._remove()
                await self._calm()
            elif kind.startswith("remove") and len(self._fleet.present) <= SMALLEST:
                await self._add()
                await self._calm()
            await kinds[kind]()
            self.done[kind] += 1
            await self._calm()
            await asyncio.sleep(self._rng.uniform(0.0, 0.5))

    # --- scenarios ----------------------------------------------------------------------

    async def _add(self) -> None:
        number = await self._changes.added()
        self._fleet.start([number])

    async def _add_and_kill_it(self) -> None:
        """Killed again and again while it joins, without ever losing its disk."""
        number = await self._changes.added()
        for _ in range(self._rng.randint(1, 5)):
            self._fleet.start([number])
            await asyncio.sleep(self._rng.uniform(0.1, 1.6))
            await self._fleet.kill([number])
        self._fleet.start([number])

    async def _add_and_kill_the_leader(self) -> None:
        number = self._fleet.add()
        with self._strike(self._leader_down):
            await self._changes.add_to(number)
        self._fleet.start([number])
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0.2, 1.2))
            await self._leader_down()

    async def _remove(self) -> None:
        await self._changes.removed(self._fleet.pick(self._rng))

    async def _remove_the_leader(self) -> None:
        leader = await self._fleet.leader()
        number = self._fleet.pick(self._rng) if leader not in self._fleet.present else leader
        assert number is not None
        await self._changes.removed(number)

    async def _remove_and_kill_the_leader(self) -> None:
        number = self._fleet.pick(self._rng)
        if self._rng.random() < 0.5:
            with self._strike(self._leader_down):
                await self._changes.removed(number)
        else:
            await self._changes.removed(number)
            await self._leader_down()

    async def _remove_the_absent(self) -> None:
        number = self._fleet.pick(self._rng)
        await self._fleet.kill([number])
        await self._changes.removed(number)
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))
        self._fleet.start([number])

    async def _remove_and_kill_it(self) -> None:
        """The removed one is killed in its last moments, and started again later."""
        number = self._fleet.pick(self._rng)
        await self._changes.removed(number)
        await asyncio.sleep(self._rng.uniform(0.0, 0.4))
        if self._fleet.member(number).process is not None:
            await self._fleet.kill([number])
            await asyncio.sleep(self._rng.uniform(0.0, 2.0))
            self._fleet.start([number])

    async def _remove_the_paused(self) -> None:
        number = self._fleet.pick(self._rng)
        self._fleet.pause(number)
        await self._changes.removed(number)
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        self._fleet.resume(number)

    async def _move(self) -> None:
        """A member gets another peer address, and is restarted with it."""
        fleet = self._fleet
        number = fleet.pick(self._rng)
        member = fleet.member(number)
        target = await self._changes.id_of(number)
        url = f"http://127.0.0.1:{free_ports(1)[0]}"

        def moved(members: list[dict[str, Any]]) -> bool:
            return any(one["peerURLs"] == [url] for one in members)

        strike = self._leader_down if self._rng.random() < 0.5 else self._nothing
        with self._strike(strike):
            await self._changes.change("PUT", "/" + target, {"peerURLs": [url]}, moved)
        await self._settle_strikes()
        member.peer_url = url
        self._unmoved.discard(number)
        await fleet.kill([number])
        fleet.start([number])

    async def _lost_disk(self) -> None:
        """It must not take part again under its old name; then it is replaced."""
        number = self._fleet.pick(self._rng)
        member = self._fleet.member(number)
        await self._fleet.kill([number])
        shutil.rmtree(member.data_dir)
        kept = member.initial_cluster_state, member.initial_cluster
        member.initial_cluster_state = "new" if number in self._unmoved else "existing"
        member.initial_cluster = self._fleet.initial_cluster()
        member.start()
        assert member.process is not None
        try:
            code = await asyncio.to_thread(member.process.wait, REFUSED_S)
        except subprocess.TimeoutExpired as error:
            raise Violation(f"{member.name} came back with an empty disk") from error
        if code != 1 or BOOTSTRAPPED not in member.log_tail():
            raise Violation(f"{member.name}, its disk lost, ended: {code}\n{member.log_tail()}")
        member.process = None
        member.initial_cluster_state, member.initial_cluster = kept
        await self._changes.removed(number)
        await self._add()

    async def _all_at_once(self) -> None:
        fleet = self._fleet
        adds = len(fleet.present) < LARGEST
        number = fleet.add() if adds else fleet.pick(self._rng)
        with self._strike(self._all_down):
            await (self._changes.add_to(number) if adds else self._changes.removed(number))
        if adds:
            fleet.start([number])

    async def _replace(self) -> None:
        """One is lost for good; while its successor joins, the leader is killed, too."""
        number = self._fleet.pick(self._rng)
        await self._fleet.kill([number])
        await self._changes.removed(number)
        await self._add()
        await asyncio.sleep(self._rng.uniform(0.0, 1.5))
        await self._leader_down()

    # --- strikes ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _strike(self, strike: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
        """Strike a moment after what is done meanwhile has begun, which may be after its end."""

        async def later() -> None:
            await asyncio.sleep(self._rng.choice((0.0, 0.005, 0.02, 0.05, 0.1, 0.3)))
            await strike()

        self._tasks.add(asyncio.create_task(later()))
        yield

    async def _nothing(self) -> None:
        """For once the change is left alone."""

    async def _settle_strikes(self) -> None:
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _leader_down(self) -> None:
        fleet = self._fleet
        leader = await fleet.leader()
        if leader is None:
            return
        if self._rng.random() < 0.25:
            fleet.pause(leader)
            await asyncio.sleep(self._rng.uniform(0.5, 3.0))
            fleet.resume(leader)
            return
        await fleet.kill([leader])
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))
        fleet.start([leader])

    async def _all_down(self) -> None:
        numbers = self._fleet.running()
        await self._fleet.kill(numbers)
        self._rng.shuffle(numbers)
        for number in numbers:
            await asyncio.sleep(self._rng.uniform(0.0, 0.5))
            self._fleet.start([number])

    # --- between scenarios --------------------------------------------------------------

    async def _calm(self) -> None:
        """All members are up and named, those removed have ended, and writes go through."""
        await self._settle_strikes()
        fleet = self._fleet
        for number in list(fleet.paused):
            fleet.resume(number)
        down = [n for n in fleet.present if fleet.member(n).process is None]
        fleet.start(down)
        deadline = asyncio.get_running_loop().time() + STEP_S
        goal = self._recorder.acknowledged + 1
        while True:
            fleet.check_alive()
            reasons = []
            staying = [fleet.member(n).name for n in fleet.leaving if n in fleet.running()]
            if staying:
                reasons.append(f"{staying} do not end although removed")
            if self._recorder.acknowledged < goal:
                reasons.append("no write is acknowledged")
            listed = await self._changes.members()
            if len(listed) != len(fleet.present) or not all(one["name"] for one in listed):
                reasons.append(f"members: {listed}")
            if not reasons:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Violation(f"after {STEP_S:.0f} s: {'; '.join(reasons)}")
            await asyncio.sleep(RETRY_S)


class Run(crash.Run):
    """One run; `kills` counts scenarios."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        super().__init__(options, directory)
        self.changing = Fleet(options.members, directory, crash.MEMBER_FLAGS)
        self.fleet = self.changing
        self.watchers = [Watcher(self.fleet, number) for number in range(options.members)]
        self._followers: list[asyncio.Task[None]] = []
        self.operator = Operator(
            self.changing, self.recorder, self._rng("operator"), self._watch_further
        )

    def numbers(self) -> list[int]:
        """See `crash.Run.numbers`."""
        return self.changing.present

    async def strike(self, time_is_up: Callable[[], bool]) -> None:
        """See `crash.Run.strike`."""
        await self.operator.run(self.options.kills, time_is_up)

    def figures(self) -> list[str]:
        """What happened, in numbers."""
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.operator.done.items()))
        return [f"changes: {done}", *super().figures()]

    def _watch_further(self, number: int) -> None:
        watcher = Watcher(self.fleet, number)
        watcher.next_index = self.recorder.highest_index + 1
        self.watchers.append(watcher)
        self._followers.append(asyncio.create_task(watcher.run()))

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        try:
            async with super()._watching():
                yield
        finally:
            for task in self._followers:
                task.cancel()
            outcomes = await asyncio.gather(*self._followers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return crash.main(arguments, Run, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
