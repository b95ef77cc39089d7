"""Plain reads at every member while others write: stale ones are allowed, and looked for.

A reader stays at its member whatever happens, and asks again when it is not answered. While the
member is stopped, requests wait in the kernel; when it goes on it answers them from what it knew
before, unless it hears of the newer writes first. A key is given up for a fresh one after some
writes, so that the search stays short.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from jepsen_like.campaign.trial import Work
from jepsen_like.check.linear import Verdict
from jepsen_like.check.registers import judge_registers
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import work
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

WRITERS: Final = 2
READERS_PER_MEMBER: Final = 2
WRITES_PER_KEY: Final = 40
READ_TIMEOUT_S: Final = 0.5
CALLS_MAX: Final = 3000  # on one key; while writes stand still readers go on, and that is the point


class StaleReads:
    """See the module's description."""

    name = "stale"

    def __init__(self, context: Context) -> None:
        self._context = context
        fleet, recorder, rng = context.fleet, context.recorder, context.rng
        self._writers = [Client(fleet, recorder, rng, context.timeout_s) for _ in range(WRITERS)]
        self._readers = [
            (number, Client(fleet, recorder, rng, READ_TIMEOUT_S))
            for number in fleet.numbers()
            for _ in range(READERS_PER_MEMBER)
        ]
        self._writes = 0

    @property
    def _path(self) -> bytes:
        return b"%b/g%d" % (self._context.root, self._writes // WRITES_PER_KEY)

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        steps = [partial(self._write, client) for client in self._writers]
        reads = [partial(self._read, number, client) for number, client in self._readers]
        await work(self._context, [*steps, *reads], stopped)
        for client in (*self._writers, *(client for _, client in self._readers)):
            client.leave()

    async def finish(self) -> None:
        """The last key is read once more."""
        await self._writers[0].last_read(self._path)

    def check(self) -> Finding:
        """Nothing can be wrong here that the checkers of the whole history do not find."""
        return Finding("passed", f"{self._writes} writes; {self.stale_keys()} keys read stale")

    def stale_keys(self) -> int:
        """On how many keys plain reads cannot be explained as if they were linearizable."""
        clients = {client.number for client in self._writers}
        clients |= {client.number for _, client in self._readers}
        mine = [o for o in self._context.recorder.history.operations if o.client in clients]
        results = judge_registers(mine, local=True, clients_max=len(clients), calls_max=CALLS_MAX)
        return sum(result.verdict is Verdict.VIOLATION for result in results.values())

    async def _write(self, client: Client) -> None:
        self._writes += 1
        await client.write(Request(Op.SET, self._path, client.value()))

    async def _read(self, number: int, client: Client) -> None:
        client.go_to(number)
        await client.read(self._path)


class WithStaleReads:
    """A load, and stale reads beside it."""

    def __init__(self, load: Work, stale: StaleReads) -> None:
        self._load = load
        self._stale = stale

    async def run(self, stopped: asyncio.Event) -> None:
        """Both, until `stopped` is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load.run(stopped))
            group.create_task(self._stale.run(stopped))

    async def finish(self) -> None:
        """One after the other."""
        await self._load.finish()
        await self._stale.finish()

    def check(self) -> dict[str, Finding]:
        """What all have found out."""
        return self._load.check() | {self._stale.name: self._stale.check()}
