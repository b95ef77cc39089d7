"""Where blocking disk calls run, so that the event loop never waits for a disk.

Jobs run one after the other in the order they were submitted, and never within `submit`: whoever
submits one has its turn first. For a disk that is a thread; a plain one with a C-level queue
rather than an executor, since the hand-over is on the path of every write. Files in memory wait for
nothing, and need none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

Job = Callable[[], Any]
Finished = Callable[[Any, BaseException | None], None]


class DiskQueue(Protocol):
    """Runs jobs in order and reports each on the event loop."""

    def submit(self, job: Job, finished: Finished) -> None:
        """Run `job` soon, then call `finished(result, None)` or `finished(None, error)`."""

    async def run(self, job: Job) -> Any:
        """As `submit`, to be awaited."""

    async def close(self) -> None:
        """Finish the jobs that were submitted, and take no more."""


MakeQueue = Callable[["asyncio.AbstractEventLoop", str], DiskQueue]
"""Makes the queue of that name for a loop."""


class DiskThread:
    """Runs jobs in a thread of its own; a `DiskQueue`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Job, Finished] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job, finished: Finished) -> None:
        """Run `job` in the thread, then `finished(result, None)` or `finished(None, error)`."""
        self._jobs.put((job, finished))

    async def run(self, job: Job) -> Any:
        """As `submit`, to be awaited."""
        return await _submitted(self, self._loop, job)

    async def close(self) -> None:
        """Finish the jobs that were submitted, and end the thread."""
        if self._thread.is_alive():
            last = _submitted(self, self._loop, lambda: None)
            self._jobs.put(None)
            await last
            self._thread.join()  # it has nothing more to do

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, finished = item
            result, error = _outcome(job)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(finished, result, error)


class InlineQueue:
    """Runs jobs in later turns of the loop, for files that nobody waits for; a `DiskQueue`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """`name` is that of the thread which this one does not need."""
        self._loop = loop

    def submit(self, job: Job, finished: Finished) -> None:
        """See `DiskQueue.submit`."""
        self._loop.call_soon(self._do, job, finished)

    async def run(self, job: Job) -> Any:
        """See `DiskQueue.run`."""
        return await _submitted(self, self._loop, job)

    async def close(self) -> None:
        """See `DiskQueue.close`."""
        await self.run(lambda: None)  # the loop calls in order

    @staticmethod
    def _do(job: Job, finished: Finished) -> None:
        finished(*_outcome(job))


def _submitted(queue: DiskQueue, loop: asyncio.AbstractEventLoop, job: Job) -> asyncio.Future[Any]:
    """Submit a job; the future has its result."""
    future = loop.create_future()

    def finished(result: Any, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    queue.submit(job, finished)
    return future


def _outcome(job: Job) -> tuple[Any, BaseException | None]:
    try:
        return job(), None
    except BaseException as caught:  # reported on the loop, which decides
        return None, caught
