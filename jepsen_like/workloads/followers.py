"""Watchers of many manners, each of which notes what it asked for and what it was shown.

Each request is one `Watch` of the history. A follower goes on where its last watch ended; if that
is forgotten (error 401) it reads the key at the same member and goes on behind what it has read, as
the manual tells clients to.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from jepsen_like.check.explain import previous_of, value_of
from jepsen_like.check.history import Delivered, Outcome, Watch
from jepsen_like.procs.clients import Client
from jepsen_like.procs.web import LINE_BYTES, BrokenError, Connection, NotSentError
from jepsen_like.workloads.workload import Context

HEAD_TIMEOUT_S: Final = 5.0
SLOW_BUFFER_BYTES: Final = 4096
THINKS_AFTER: Final = 5  # events of one watch, if it is slow
RETRY_S: Final = (0.1, 0.8)
ABANDONED_S: Final = (2.0, 8.0)
POLL_S: Final = 0.1
CLEARED: Final = 401


class Told(NamedTuple):
    """One event: action, key, value, and value and version before it."""

    action: str
    key: bytes
    value: bytes | None
    previous: tuple[bytes | None, int] | None


class Notebook:
    """All events that any follower was shown."""

    def __init__(self) -> None:
        self.events: dict[int, Told] = {}
        self.conflicts: list[str] = []

    def note(self, document: dict[str, Any]) -> Delivered:
        """One more event, compared with what others were shown at its index."""
        node = document["node"]
        index, key = node["modifiedIndex"], node["key"].encode()
        previous = previous_of(document)
        told = Told(document["action"], key, value_of(node), previous)
        known = self.events.setdefault(index, told)
        if known != told:
            self.conflicts.append(f"at index {index} one was shown {known}, another {told}")
        return Delivered(index, told.action, key, previous and previous[0])


class Manner(NamedTuple):
    """How a follower watches."""

    path: bytes
    recursive: bool = False
    stream: bool = False
    member: int | None = None
    """The only member it asks; None for any."""
    ahead: int = 0
    """How far in the future each of its watches begins."""
    leaves: float = 0.0
    """How likely it leaves after an event, for another member."""
    slow_s: float = 0.0
    """How long it thinks in each watch, and takes no event meanwhile."""
    begins_now: bool = False
    """Asks for no index: what happens between its watches is lost on purpose."""
    abandons: bool = False
    """Reads nothing, but keeps its connection for a while."""

    def must_follow(self) -> bool:
        """Whether such a follower is told of everything sooner or later."""
        return not (self.ahead or self.begins_now or self.abandons)


class Follower:
    """One watcher; see the module's description."""

    def __init__(self, context: Context, notebook: Notebook, manner: Manner) -> None:
        self.manner = manner
        self.position = 0
        """The index of the last event it was shown, or behind which it begins."""
        self.watches: list[Watch] = []
        self._context = context
        self._notebook = notebook
        self._rng: random.Random = context.rng
        self._slow = manner.slow_s > 0
        self._reader = Client(context.fleet, context.recorder, context.rng, context.timeout_s)

    async def run(self, hurry: Callable[[], bool]) -> None:
        """Watch until cancelled; a slow one keeps up as soon as `hurry` says so."""
        while True:
            try:
                await self._connect(hurry)
            except (NotSentError, BrokenError):
                pass
            await asyncio.sleep(self._rng.uniform(*RETRY_S))

    async def _connect(self, hurry: Callable[[], bool]) -> None:
        fleet, manner = self._context.fleet, self.manner
        member = fleet.pick(self._rng) if manner.member is None else manner.member
        buffer_bytes = SLOW_BUFFER_BYTES if self._slow or manner.abandons else LINE_BYTES
        life = fleet.life(member)
        connection = await Connection.open(fleet.address(member), buffer_bytes=buffer_bytes)
        try:
            if life != fleet.life(member):
                return
            while True:
                watch = self._begin(life)
                goes_on = False
                try:
                    goes_on = await self._watch(connection, watch, hurry)
                except BrokenError:
                    watch.ended = "crash"
                    raise
                finally:
                    watch.ended = watch.ended or "cut"
                if not goes_on:
                    break
        finally:
            connection.close()
        if self.watches[-1].refused_cause is not None:
            await self._catch_up(member)

    def _begin(self, life: int) -> Watch:
        history = self._context.recorder.history
        watch = Watch(len(history.watches), life, self.manner.path)
        watch.recursive = self.manner.recursive
        watch.stream = self.manner.stream and self._context.resuming_streams
        if self.position and not self.manner.begins_now:
            watch.first_index = self.position + 1 + self.manner.ahead
        history.watches.append(watch)
        self.watches.append(watch)
        return watch

    async def _watch(self, connection: Connection, watch: Watch, hurry: Callable[[], bool]) -> bool:
        """One request; whether the connection is good for another one."""
        status, headers = await connection.begin(_target(watch), HEAD_TIMEOUT_S)
        watch.registered_index = watch.recalled_index = int(headers.get("x-etcd-index", "0"))
        watch.first_index = watch.first_index or watch.registered_index + 1
        if status == 200:
            self.position = max(self.position, watch.first_index - 1 - self.manner.ahead)
        if self.manner.abandons:
            await asyncio.sleep(self._rng.uniform(*ABANDONED_S))
            return False
        async for line in connection.lines(headers):
            if not line:
                continue
            document = json_of(line)
            if status != 200:
                return self._refused(watch, document)
            event = self._notebook.note(document)
            watch.events.append(event)
            watch.reached_index = event.index
            self.position = max(self.position, event.index)
            if self._slow:
                if hurry():
                    self._slow = False
                    return False  # what waits for it in small buffers would take too long
                if len(watch.events) == THINKS_AFTER:
                    await self._think(hurry)
            if watch.stream and self._rng.random() < self.manner.leaves:
                return False
        if watch.stream or not watch.events:
            watch.ended = "overflow" if self.manner.slow_s and watch.events else "closed"
            return False
        return self._rng.random() >= self.manner.leaves

    async def _think(self, hurry: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._rng.uniform(0.7, 1.3) * self.manner.slow_s
        while loop.time() < until_s:
            if hurry():
                return
            await asyncio.sleep(POLL_S)

    def _refused(self, watch: Watch, document: dict[str, Any]) -> bool:
        watch.ended = "closed"
        if document.get("errorCode") == CLEARED:
            watch.registered_index = document["index"]
            watch.refused_cause = str(document.get("cause", "")).encode()
        return False

    async def _catch_up(self, member: int) -> None:
        """Read what is there now: behind that the next watch may begin."""
        self._reader.go_to(member)
        operation = await self._reader.read(self.manner.path)
        self._reader.leave()
        if operation.outcome in (Outcome.OK, Outcome.REFUSED):
            self.position = max(self.position, operation.index)


def json_of(line: bytes) -> dict[str, Any]:
    """The document of one line. Raises BrokenError if it was cut."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise BrokenError(repr(error)) from error
    return found


def _target(watch: Watch) -> str:
    query = "?wait=true"
    query += "&recursive=true" if watch.recursive else ""
    query += "&stream=true" if watch.stream else ""
    query += f"&waitIndex={watch.first_index}" if watch.first_index else ""
    return f"/v2/keys{watch.path.decode()}{query}"
