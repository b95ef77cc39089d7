"""A disk thread of a simulated member: jobs in order, each done when its latency has passed.

A job runs as a whole at the moment of its completion; what happens on the platter before that
is left to the power cut, which may run the job under way up to any disk call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvraft.errors import StorageError

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member

Job = Callable[[], Any]
Finished = Callable[[Any, Exception | None], None]


class DiskQueue:
    """Jobs of one life of one member; `busy` while one is under way."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._life = member.life
        self._jobs: deque[tuple[Job, Finished]] = deque()
        self.busy = False

    def submit(self, job: Job, finished: Finished) -> None:
        """Run `job` later, then `finished(result, None)` or `finished(None, error)`."""
        self._jobs.append((job, finished))
        if not self.busy:
            self._begin()

    def _begin(self) -> None:
        self.busy = True
        member = self._member
        member.world.after(member.sync_latency_ns(), self._complete)

    def _complete(self) -> None:
        member = self._member
        if not self._lasts():
            return
        if member.defer(self._complete):
            return
        job, finished = self._jobs.popleft()
        result: Any = None
        error: Exception | None = None

        def run() -> None:
            nonlocal result, error
            try:
                result = job()
            except (OSError, StorageError) as caught:
                error = caught

        if member.enter(run):
            member.enter(lambda: finished(result, error))
        if self._jobs and self._lasts():
            self._begin()
        else:
            self.busy = False

    def _lasts(self) -> bool:
        return self._member.up and self._member.life == self._life

    def tear(self) -> None:
        """The power fails: carry the job under way as far as the disk allows."""
        if self._jobs:
            self._jobs.popleft()[0]()
