"""A watch through each member on one directory, for a workload that needs to be told of events."""

from __future__ import annotations

import asyncio

from jepsen_like.check.coverage import Seen
from jepsen_like.procs.watchers import Watcher
from jepsen_like.workloads.workload import Context


class Lookouts:
    """Started when the work begins; members that join later are not watched."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watchers: list[Watcher] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        fleet, poll = self._context.fleet, not self._context.resuming_streams
        self._watchers = [
            Watcher(fleet, number, self._context.root, poll=poll) for number in fleet.numbers()
        ]
        self._tasks = [asyncio.create_task(watcher.run()) for watcher in self._watchers]

    async def stop(self) -> None:
        """End all watches. Raises what one of them has found."""
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

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
