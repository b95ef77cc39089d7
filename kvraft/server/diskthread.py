"""A thread for blocking disk calls, so that the event loop never waits for a disk.

Jobs run one after the other in the order they were submitted. A plain thread with a C-level queue
is used rather than an executor: the hand-over is on the path of every write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

Job = Callable[[], Any]
Finished = Callable[[Any, BaseException | None], None]


class DiskThread:
    """Runs jobs in order and reports each on the event loop."""

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
        future = self._loop.create_future()

        def finished(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(job, finished)
        return await future

    def close(self) -> None:
        """Finish the jobs that were submitted, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, finished = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = job()
            except BaseException as caught:  # reported on the loop, which decides
                error = caught
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(finished, result, error)
