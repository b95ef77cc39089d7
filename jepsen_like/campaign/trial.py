"""One fault on one cluster, from the first start until all members show the same.

Clients work and watchers watch all the time. After a first progress the fault strikes about every
five seconds; between two strikes the cluster is mostly, but not always, given the time to make
progress again: a strike into an election or a recovery is worth more than one into a quiet
cluster. After the last strike everything heals, writes must succeed again in time, and clients
go on for a while without any fault before the work is stopped.

A member that ends by itself ends the trial at once, unless the fault has announced it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from benchmarks.members import KVRAFT
from jepsen_like.base import Violation
from jepsen_like.campaign.ground import Ground
from jepsen_like.campaign.settle import Settling, Shown
from jepsen_like.faults.fault import Fault
from jepsen_like.faults.mix import parts_of
from jepsen_like.faults.processes import restore
from jepsen_like.procs.clients import Client, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.watchers import Watcher
from jepsen_like.report.result import Strike
from jepsen_like.workloads.load import Load
from jepsen_like.workloads.registry import EVERY
from jepsen_like.workloads.workload import Finding

ELECTION_MS: Final = 1000
MEMBER_FLAGS: Final = ("--heartbeat-interval=100", f"--election-timeout={ELECTION_MS}")
OWN_FLAGS: Final = ("--corrupt-check-interval=1",)  # seconds
SNAPSHOT_COUNTS: Final = (50, 100, 1000)  # small, so that snapshots are made and sent all the time
RECOVERY_LIMIT_S: Final = 10 * ELECTION_MS / 1000  # what is promised
PROGRESS_LIMIT_S: Final = 45.0  # waited for, to tell a slow recovery from none at all
STRIKE_LIMIT_S: Final = 150.0  # a strike that takes longer is a defect of the harness
PATIENCE: Final = 0.75  # how often progress is waited for between strikes
BETWEEN_S: Final = (3.5, 6.5)  # from one strike to the next
FIRST_S: Final = (0.3, 1.5)  # from the first progress to the first strike
QUIET_SHARE: Final = 0.15  # of the load's time, without faults in the end
QUIET_S: Final = (1.0, 4.0)  # but not shorter and not longer
QUIET_WRITES: Final = 300  # fewer say nothing about the rarer operations
QUIET_LIMIT_S: Final = 15.0
UNSEEN_LIMIT: Final = 500  # half of what a member remembers for watchers
POLL_S: Final = 0.02
GUARD_S: Final = 0.1


class Job(NamedTuple):
    """What is to be tried."""

    fault: Fault
    members: int
    seed: int
    seconds: float
    """Of load."""
    mutant: str = ""
    """A known bug to plant in all members."""
    kind: tuple[str, ...] = KVRAFT
    """The command line of the server under test."""
    workloads: tuple[str, ...] = tuple(EVERY)


class Work(Protocol):
    """What clients do, see `workloads.load`."""

    async def run(self, stopped: asyncio.Event) -> None:
        """Until `stopped` is set."""

    async def finish(self) -> None:
        """After all faults have ended and all members are up. Raises Violation."""

    def check(self) -> dict[str, Finding]:
        """What each part of it has found out."""


class Trial:
    """See the module's description."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.job = job
        self.recorder = Recorder()
        self._foreign = job.kind != KVRAFT
        setting = job.fault.setting
        self.fleet = Fleet(
            job.members, directory, self._flags(), setting, job.kind, mutant=job.mutant
        )
        self.ground = Ground(self.fleet, self.recorder, self._rng("fault"))
        self.watchers: list[Watcher] = []
        self.load: Work = Load(
            self.fleet,
            self.recorder,
            f"{self._seed()}/load",
            job.workloads,
            may_go_on=self.watchers_follow,
            resuming_streams=not self._foreign,
        )
        self.began_ns = 0
        self.ended_ns = 0
        self.healed_ns: list[int] = []
        """When everything was healed and progress was waited for; the last one is the end."""
        self.shown: Shown | None = None
        self._directory = directory
        self._follow: set[asyncio.Task[None]] = set()
        self._pauses = self._rng("pauses")
        self._deck: list[Fault] = []
        self._struck = 0

    async def execute(self) -> None:
        """From the first start to the last answer. Raises Violation, in a group maybe."""
        try:
            self.fleet.start(self.fleet.numbers())
            await asyncio.to_thread(self.fleet.wait_ready)
            async with asyncio.TaskGroup() as group:
                self._watch_all(group)
                guard = group.create_task(self._guard(group))
                await self._work()
                self.shown = await self.settle()
                for task in (guard, *self._follow):
                    task.cancel()
        finally:
            self.recorder.dismiss()
            self.ended_ns = self.ended_ns or time.monotonic_ns()
            with contextlib.suppress(Exception):
                await self.job.fault.heal(self.ground)

    def live_watchers(self) -> list[Watcher]:
        """Those at present members."""
        present = set(self.fleet.numbers())
        return [watcher for watcher in self.watchers if watcher.member in present]

    def _seed(self) -> str:
        return f"{self.job.seed}/{self.job.fault.name}/{self.job.members}"

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed()}/{name}")

    def _flags(self) -> tuple[str, ...]:
        """The fault's own flags are added behind these, except for what it sets itself."""
        count = self._rng("flags").choice(SNAPSHOT_COUNTS)
        drawn = (*MEMBER_FLAGS, f"--snapshot-count={count}", *(() if self._foreign else OWN_FLAGS))
        chosen = {flag.partition("=")[0] for flag in self.job.fault.setting.flags}
        return tuple(flag for flag in drawn if flag.partition("=")[0] not in chosen)

    # --- meanwhile ------------------------------------------------------------------------

    async def _guard(self, group: asyncio.TaskGroup) -> None:
        """Members live on, and whoever joins is watched."""
        while True:
            self.fleet.check_alive()
            self._watch_all(group)
            await asyncio.sleep(GUARD_S)

    def _watch_all(self, group: asyncio.TaskGroup) -> None:
        watched = {watcher.member for watcher in self.watchers}
        for number in self.fleet.numbers():
            if number not in watched:
                watcher = Watcher(self.fleet, number, poll=self._foreign)
                watcher.next_index = self.recorder.highest_index + 1
                self.watchers.append(watcher)
                self._follow.add(group.create_task(watcher.run()))

    def watchers_follow(self) -> bool:
        """Whether no change is in danger of falling out of the members' history unseen."""
        seen = max((watcher.next_index for watcher in self.live_watchers()), default=0)
        return self.recorder.highest_index - seen < UNSEEN_LIMIT

    async def _work(self) -> None:
        """Clients and strikes at once; either's failure ends both."""
        stopped = asyncio.Event()
        self.began_ns = time.monotonic_ns()
        quiet_s = min(max(QUIET_SHARE * self.job.seconds, QUIET_S[0]), QUIET_S[1])
        self.ground.begin(self.job.seconds - quiet_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.load.run(stopped))
            await self.progress("at the beginning")
            await self.strikes()
            await self.heal()
            self.healed_ns.append(time.monotonic_ns())
            await self.progress("after all faults ended")
            await self._quiet(quiet_s)
            self.ended_ns = time.monotonic_ns()
            stopped.set()

    async def _quiet(self, seconds: float) -> None:
        """Work without faults, for longer if that is too little for every workload to do much."""
        goal = self.recorder.acknowledged + QUIET_WRITES
        longest_s = time.monotonic() + QUIET_LIMIT_S
        await asyncio.sleep(seconds)
        while self.recorder.acknowledged < goal:
            if time.monotonic() > longest_s:
                return
            await asyncio.sleep(POLL_S)

    # --- strikes --------------------------------------------------------------------------

    async def strikes(self) -> None:
        """As many as there is time for. Raises Violation."""
        await self._pause(self._pauses.uniform(*FIRST_S))
        least = len(parts_of(self.job.fault))
        while self.ground.left_s > 0 or self._struck < least:
            began_s = self.ground.now_s
            await self.strike()
            await self.heal()
            if self._pauses.random() < PATIENCE:
                self.healed_ns.append(time.monotonic_ns())
                await self.progress("after a strike")
            gone_s = self.ground.now_s - began_s
            await self._pause(self._pauses.uniform(*BETWEEN_S) - gone_s)

    async def strike(self) -> None:
        """Once, however long it takes. Raises Violation."""
        began_s = self.ground.now_s
        fault = self._drawn()
        strike = Strike(began_s, began_s, fault.name)
        self.ground.strikes.append(strike)
        self._struck += 1
        try:
            async with asyncio.timeout(STRIKE_LIMIT_S):
                await fault.strike(self.ground)
        finally:
            strike.until_s = self.ground.now_s

    def _drawn(self) -> Fault:
        """Of a mix each in turn, in an order that is drawn anew each time round."""
        if not self._deck:
            self._deck = list(parts_of(self.job.fault))
            self._pauses.shuffle(self._deck)
        return self._deck.pop()

    async def heal(self) -> None:
        """Leave nothing of a strike in force."""
        await self.job.fault.heal(self.ground)
        self.fleet.check_alive()
        restore(self.fleet)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, self.ground.left_s)))

    async def progress(self, when: str) -> None:
        """Wait for a write to succeed. Raises Violation if that takes too long."""
        goal = self.recorder.acknowledged + 1
        deadline_s = time.monotonic() + PROGRESS_LIMIT_S
        while self.recorder.acknowledged < goal:
            if time.monotonic() > deadline_s:
                raise Violation(f"no write was acknowledged for {PROGRESS_LIMIT_S:.0f} s {when}")
            await asyncio.sleep(POLL_S)

    async def settle(self) -> Shown:
        """All members up and showing the same. Raises Violation."""
        client = Client(self.fleet, self.recorder, self._rng("last"))
        settling = Settling(self.fleet, self.recorder, client, self.live_watchers, self._directory)
        await settling.writes()
        await self.load.finish()
        shown = await settling.same()
        if self._foreign or len(self.fleet.numbers()) == 1:
            return shown
        return shown._replace(compared_index=await settling.compared())
