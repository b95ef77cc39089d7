"""Turns for clients: together they keep to a rate, and none makes up for turns it has missed.

Members share the machine with the load. A generator that caught up after each stall would hit a
cluster that has just come back with everything that was not done meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from jepsen_like.check.history import Operation
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.workload import Context
from kvraft.store.request import Op

POLL_S: Final = 0.05

Step = Callable[[], Awaitable[None]]


class Pace:
    """One turn after the other, `interval_s` apart on average."""

    def __init__(self, interval_s: float, rng: random.Random) -> None:
        self._interval_s = interval_s
        self._rng = rng
        self._next_s = asyncio.get_running_loop().time() + rng.uniform(0, interval_s)

    async def turn(self) -> None:
        """Wait for the next turn."""
        now_s = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._next_s - now_s))
        step_s = self._interval_s * self._rng.uniform(0.5, 1.5)
        self._next_s = max(self._next_s + step_s, now_s)


def recruit(context: Context, most: int) -> list[Client]:
    """The clients of a workload: as many as it is given, but not more than `most`."""
    return [
        Client(context.fleet, context.recorder, context.rng, context.timeout_s)
        for _ in range(min(most, max(1, context.clients)))
    ]


def changes_of(
    context: Context, clients: Sequence[Client], op: Op, below: bytes
) -> list[Operation]:
    """All changes of one kind that these clients have asked for at or below a path."""
    numbers = {client.number for client in clients}
    return [
        operation
        for operation in context.recorder.history.operations
        if operation.client in numbers
        and operation.request is not None
        and operation.request.op == op
        and operation.request.path.startswith(below)
    ]


async def work(context: Context, steps: Sequence[Step], stopped: asyncio.Event) -> None:
    """Take the steps, each again and again and one at a time, at the rate of the context."""
    interval_s = len(steps) / context.rate_per_s

    async def repeat(step: Step) -> None:
        pace = Pace(interval_s, context.rng)
        while not stopped.is_set():
            await pace.turn()
            if context.may_go_on():
                await step()

    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(repeat(step))


async def employ(
    context: Context,
    clients: Sequence[Client],
    step: Callable[[Client], Awaitable[None]],
    stopped: asyncio.Event,
) -> None:
    """Let each client take the same step again and again; in the end all of them leave."""
    await work(context, [partial(step, client) for client in clients], stopped)
    for client in clients:
        client.leave()


async def pause(stopped: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond `stopped`."""
    try:
        await asyncio.wait_for(stopped.wait(), seconds)
    except TimeoutError:
        return
