"""Watchers of every manner beside writers: streams and single events, slow ones and crowds.

Through each member one endless stream of everything; watchers of single keys that chain one event
to the next; some that leave and go on elsewhere, begin in the future, think too long, or are
abandoned with their connection open; and a crowd on quiet keys, beside which far more happens
than members remember. In the end each key is written once more, and whoever still watches it has to
be told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from jepsen_like.check.history import Outcome
from jepsen_like.procs.clients import Client
from jepsen_like.procs.tasks import end_tasks
from jepsen_like.workloads import watched
from jepsen_like.workloads.followers import Follower, Manner, Notebook
from jepsen_like.workloads.pace import employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CLIENTS: Final = 3
HOT_KEYS: Final = 8
QUIET_KEYS: Final = 20
DIRECTORIES: Final = 4
CROWD: Final = 200
QUIET_WRITE: Final = 0.002  # how often a write goes to a quiet key
LONG_WRITE: Final = 0.15  # how often a value is long, so that slow readers fall behind
LONG_BYTES: Final = 16_000
AHEAD: Final = 30
SLOW_S: Final = 8.0  # long enough for a hundred events and what sockets hold
LEAVES: Final = 0.05
NEWS_LIMIT_S: Final = 30.0
POLL_S: Final = 0.05


class WatchWork:
    """See the module's description."""

    name = "watch"

    def __init__(self, context: Context, crowd: int = CROWD) -> None:
        root = context.root
        self._context = context
        self._crowd = crowd
        self._clients = recruit(context, CLIENTS)
        self._notebook = Notebook()
        self._hot = [b"%b/hot/k%02d" % (root, number) for number in range(HOT_KEYS)]
        self._quiet = [b"%b/quiet/q%02d" % (root, number) for number in range(QUIET_KEYS)]
        self._directories = [b"%b/dirs/d%02d" % (root, number) for number in range(DIRECTORIES)]
        self._written: dict[bytes, int] = {}
        """In the end: key -> index of its last write."""
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._hurry = False
        self._behind: list[str] = []

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        self._followers = [
            Follower(self._context, self._notebook, manner) for manner in self._manners()
        ]
        self._tasks = [
            asyncio.create_task(follower.run(lambda: self._hurry)) for follower in self._followers
        ]
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """Write each key once more, and wait until everybody who watches was told."""
        self._hurry = True
        client = self._clients[0]
        for path in [*self._hot, *self._quiet]:
            operation = await client.last_write(partial(_fresh, path, client))
            if operation.outcome is Outcome.OK:
                self._written[path] = operation.index
        deadline_s = time.monotonic() + NEWS_LIMIT_S
        while self._late():
            if time.monotonic() > deadline_s:
                break
            await asyncio.sleep(POLL_S)
        self._behind = [
            f"not told of index {self._goal(follower)}: {follower.manner}, at {follower.position}"
            for follower in self._late()
        ]
        failures = await end_tasks(self._tasks)
        if failures:
            raise failures[0]

    def check(self) -> Finding:
        """Hold what the watchers were shown against each other."""
        watches = [watch for follower in self._followers for watch in follower.watches]
        problems = self._notebook.conflicts + watched.judge(watches, self._notebook.events)
        problems += self._behind
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        shown = sum(len(watch.events) for watch in watches)
        refused = sum(watch.refused_cause is not None for watch in watches)
        overflows = sum(watch.ended == "overflow" for watch in watches)
        text = (
            f"{len(self._followers)} watchers, {len(watches)} watches, {shown} events shown of "
            f"{len(self._notebook.events)} changes, {refused} too late for the history, "
            f"{overflows} ended for slowness"
        )
        return Finding("passed" if shown else "unknown", text)

    # --- watchers ---------------------------------------------------------------------------

    def _manners(self) -> Iterator[Manner]:
        root, rng = self._context.root, self._context.rng
        members = self._context.fleet.numbers()
        for member in members:
            yield Manner(root, recursive=True, stream=True, member=member)
        for number, path in enumerate(self._hot):
            yield Manner(path, member=members[number % len(members)])
            yield Manner(path, stream=number % 2 == 0, leaves=LEAVES)
        for path in self._directories:
            yield Manner(path + b"/f0", leaves=LEAVES)
        yield Manner(root + b"/hot", recursive=True, stream=True, leaves=LEAVES)
        yield Manner(root + b"/dirs", recursive=True, leaves=LEAVES)
        yield Manner(root + b"/hot", recursive=True, begins_now=True)
        yield Manner(root + b"/hot", recursive=True, ahead=AHEAD)
        yield Manner(root, recursive=True, stream=True, slow_s=SLOW_S)
        yield Manner(self._hot[0], stream=True, slow_s=SLOW_S)
        for _ in range(self._crowd):
            yield Manner(rng.choice(self._quiet), member=rng.choice(members))
        yield Manner(root, recursive=True, stream=True, abandons=True)
        yield Manner(root + b"/hot", recursive=True, stream=True, abandons=True)

    def _late(self) -> list[Follower]:
        """Followers who ought to have been told of the last writes, and were not."""
        present = self._context.fleet.numbers()
        return [
            follower
            for follower in self._followers
            if follower.manner.must_follow()
            and (follower.manner.member is None or follower.manner.member in present)
            and follower.position < self._goal(follower)
        ]

    def _goal(self, follower: Follower) -> int:
        """The index of the last write that a follower has to be told of."""
        path, recursive = follower.manner.path, follower.manner.recursive
        return max(
            (
                index
                for key, index in self._written.items()
                if key == path or (recursive and key.startswith(path + b"/"))
            ),
            default=0,
        )

    # --- writers ----------------------------------------------------------------------------

    async def _step(self, client: Client) -> None:
        await client.write(self._draw(client))

    def _draw(self, client: Client) -> Request:
        rng = self._context.rng
        value = client.value()
        kind = rng.random()
        if kind < QUIET_WRITE:
            return Request(Op.SET, rng.choice(self._quiet), value)
        if kind < 0.1:
            path = rng.choice(self._directories)
            if rng.random() < 0.3:
                return Request(Op.DELETE, path, directory=True, recursive=True)
            return Request(Op.SET, b"%b/f%d" % (path, rng.randrange(3)), value)
        path = rng.choice(self._hot)
        if rng.random() < LONG_WRITE:
            # always the same key, so that snapshots stay short
            return Request(Op.SET, self._hot[0], value.ljust(LONG_BYTES, b"."))
        if kind < 0.2:
            return Request(Op.DELETE, path)
        if kind < 0.3:
            return Request(Op.CREATE, path, value)
        return Request(Op.SET, path, value)


def _fresh(path: bytes, client: Client) -> Request:
    return Request(Op.SET, path, client.value())
