"""Every kind of change and of read on a few keys and one queue, in any order.

It has no invariant of its own: what it did is judged by the checkers of the whole history.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs.clients import REFUSED_PAUSE_S, Client, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.workloads.pace import work
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

KEYS: Final = 10
LEAVES: Final = 0.01  # how often a client goes to another member without a reason

# operation, or None for a read -> how often
MIX: Final[dict[Op | None, int]] = {
    Op.SET: 30,
    Op.COMPARE_AND_SWAP: 20,
    Op.CREATE: 6,
    Op.UPDATE: 6,
    Op.CREATE_IN_ORDER: 10,
    Op.DELETE: 7,
    Op.COMPARE_AND_DELETE: 5,
    None: 16,
}


def keys_below(root: bytes) -> list[bytes]:
    """The keys that are written."""
    return [b"%b/k%d" % (root, number) for number in range(KEYS)]


def queue_below(root: bytes) -> bytes:
    """The directory of in-order keys."""
    return b"%b/queue" % root


class Writer(Client):
    """A client that draws what to do."""

    def __init__(
        self,
        root: bytes,
        fleet: Fleet,
        recorder: Recorder,
        rng: random.Random,
        timeout_s: float = 2.0,
    ) -> None:
        super().__init__(fleet, recorder, rng, timeout_s)
        self._keys = keys_below(root)
        self._queue = queue_below(root)
        self._seen: dict[bytes, tuple[bytes, int]] = {}

    async def run(self, stopped: asyncio.Event, may_go_on: Callable[[], bool]) -> None:
        """Work without a pause until `stopped` is set."""
        while not stopped.is_set():
            if may_go_on():
                await self.step()
            else:
                await asyncio.sleep(REFUSED_PAUSE_S)
        self.leave()

    async def step(self) -> None:
        """One operation."""
        request = self._draw()
        if request is not None:
            operation = await self.write(request)
        else:
            operation = await self.read(
                self._rng.choice(self._keys), quorum=self._rng.random() < 0.5
            )
        self._learn(operation)
        if self._rng.random() < LEAVES:
            self.leave()

    def _learn(self, operation: Operation) -> None:
        answered = operation.outcome in (Outcome.OK, Outcome.REFUSED)
        if answered and operation.node_value is not None:
            self._seen[operation.node_path] = (operation.node_value, operation.node_modified)

    def _draw(self) -> Request | None:
        rng = self._rng
        path = rng.choice(self._keys)
        op = rng.choices(list(MIX), list(MIX.values()))[0]
        if op is None:
            return None
        if op is Op.CREATE_IN_ORDER:
            return Request(op, self._queue, self.value())
        if op is Op.DELETE:
            return Request(op, path)
        value, modified = self._seen.get(path, (b"nobody wrote this", 1))
        if op is Op.COMPARE_AND_DELETE:
            return Request(op, path, prev_value=value)
        request = Request(op, path, self.value())
        if op is Op.COMPARE_AND_SWAP:
            by_index = rng.random() < 0.5
            expected = {"prev_index": modified} if by_index else {"prev_value": value}
            request = request._replace(**expected)
        return request


class Keys:
    """See the module's description."""

    name = "keys"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._writers = [
            Writer(context.root, context.fleet, context.recorder, context.rng, context.timeout_s)
            for _ in range(context.clients)
        ]

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await work(self._context, [writer.step for writer in self._writers], stopped)
        for writer in self._writers:
            writer.leave()

    async def finish(self) -> None:
        """Nothing is left to be read."""

    def check(self) -> Finding:
        """Only figures: the history's checkers give the verdict."""
        numbers = {writer.number for writer in self._writers}
        outcomes = Counter(
            operation.outcome
            for operation in self._context.recorder.history.operations
            if operation.client in numbers
        )
        done = outcomes[Outcome.OK] + outcomes[Outcome.REFUSED]
        text = f"{outcomes.total()} operations on {KEYS} keys and a queue, {done} answered"
        return Finding("passed" if done else "unknown", text)
