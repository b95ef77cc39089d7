"""Registers that are read, written and compared: a second opinion on the one order of changes.

A third each of reads, writes and compare-and-swaps on ten keys. What clients were told about a key
is given to a search that knows nothing of indexes. The search is exponential at worst, so a key is
given up for a fresh one after some operations, and few clients share it. Half of the reads go
through a quorum and take part in the search; plain reads are local and are judged by their index
only, like everything in the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from jepsen_like.check.history import Outcome
from jepsen_like.check.linear import Result, Verdict
from jepsen_like.check.registers import judge_registers
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

KEYS: Final = 10
CLIENTS: Final = 5
OPERATIONS_PER_KEY: Final = 200
UNKNOWN_PER_KEY: Final = 8  # each doubles what the search has to try
NEVER_WRITTEN: Final = b"nobody wrote this"


class Slot:
    """One key at a time, and what was last heard of it."""

    def __init__(self, root: bytes, number: int) -> None:
        self._prefix = b"%b/k%d" % (root, number)
        self._generation = 0
        self._operations = 0
        self.unknown = 0
        self.path = self._prefix + b"-0"
        self.seen = NEVER_WRITTEN

    def take(self) -> bytes:
        """The key to use now."""
        if self._operations == OPERATIONS_PER_KEY or self.unknown >= UNKNOWN_PER_KEY:
            self._generation += 1
            self._operations = self.unknown = 0
            self.path = b"%b-%d" % (self._prefix, self._generation)
            self.seen = NEVER_WRITTEN
        self._operations += 1
        return self.path


class Register:
    """See the module's description."""

    name = "register"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients = recruit(context, CLIENTS)
        self._slots = [Slot(context.root, number) for number in range(KEYS)]

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """The last keys are read once more."""
        for slot in self._slots:
            await self._clients[0].last_read(slot.path)

    def check(self) -> Finding:
        """Search for an order, key by key."""
        numbers = {client.number for client in self._clients}
        operations = self._context.recorder.history.operations
        mine = [operation for operation in operations if operation.client in numbers]
        return summary(judge_registers(mine))

    async def _step(self, client: Client) -> None:
        rng = self._context.rng
        slot = rng.choice(self._slots)
        path = slot.take()
        kind = rng.randrange(3)
        if kind == 0:
            operation = await client.read(path, quorum=rng.random() < 0.5)
        elif kind == 1:
            operation = await client.write(Request(Op.SET, path, client.value()))
        else:
            request = Request(Op.COMPARE_AND_SWAP, path, client.value(), prev_value=slot.seen)
            operation = await client.write(request)
        if operation.outcome is Outcome.UNKNOWN and slot.path == path:
            slot.unknown += 1
        if operation.outcome is Outcome.OK and slot.path == path and operation.node_value:
            slot.seen = operation.node_value


def summary(results: dict[bytes, Result]) -> Finding:
    """One verdict of many: a violation anywhere is one, and `unknown` is not a pass."""
    steps = sum(result.steps for result in results.values())
    for verdict, name in ((Verdict.VIOLATION, "failed"), (Verdict.UNKNOWN, "unknown")):
        bad = [path for path, result in results.items() if result.verdict is verdict]
        if bad:
            return Finding(name, f"{_shown(bad)}: {results[bad[0]].explanation}")
    if not results:
        return Finding("unknown", "no operation was recorded")
    return Finding("passed", f"{len(results)} keys linearizable, {steps} steps of search")


def _shown(paths: Sequence[bytes]) -> str:
    return f"{len(paths)} keys, the first {paths[0].decode()}"
