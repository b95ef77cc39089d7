"""A watch through each member on one directory, for a workload that needs to be told of events."""

from __future__ import annotations

import asyncio
from typing import Final

from jepsen_like.check.coverage import Seen
from jepsen_like.procs.tasks import end_tasks
from jepsen_like.procs.watchers import Watcher
from jepsen_like.workloads.workload import Context

LOOK_S: Final = 0.1


class Lookouts:
    """Started when the work begins; whoever joins later is watched as well."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watchers: list[Watcher] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._tasks.append(asyncio.create_task(self._watch_all()))

    async def _watch_all(self) -> None:
        """A watch through each member, also through one that joins later."""
        fleet, poll = self._context.fleet, not self._context.resuming_streams
        watched: set[int] = set()
        while True:
            for number in fleet.numbers():
                if number not in watched:
                    watched.add(number)
                    watcher = Watcher(fleet, number, self._context.root, poll=poll)
                    watcher.next_index = self._context.recorder.highest_index + 1
                    self._watchers.append(watcher)
                    self._tasks.append(asyncio.create_task(watcher.run()))
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """End all watches. Raises what one of them has found."""
        failures = await end_tasks(self._tasks)
        if failures:
            raise failures[0]

    def behind(self, index: int) -> list[int]:
        """Members of the cluster whose watch has not shown all up to an event's index."""
        present = self._context.fleet.numbers()
        return [
            watcher.member
            for watcher in self._watchers
            if watcher.member in present and watcher.next_index <= index
        ]

    def events(self) -> list[Seen]:
        """Everything that was shown, once for each member that showed it."""
        return [
            seen
            for watcher in self._watchers
            for session in watcher.sessions
            for seen in session.events
        ]
