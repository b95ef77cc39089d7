"""A background thread with an event loop, for programs that have none.

    portal = Portal()
    portal.call(client.get, "/a")           # runs the coroutine there, waits for it here
    for event in portal.iterate(watch): ...
    portal.close()

Knows nothing of what it runs. Any thread may call, several at a time; so may a thread that runs an
event loop of its own, which then waits like any other. Ctrl-C cancels the call that is waited for.
A portal does not survive a fork: threads are not copied, and the child gets a clear error.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()


class Portal:
    """Runs coroutines in a thread of its own, which starts with the first call."""

    def __init__(self, name: str = "kvraft-portal") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0  # the process that has the thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closed = False
        self._at_end: list[Callable[[], Awaitable[None]]] = []

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function(*args, **kwargs)` in the portal's thread; its result or exception.

        Raises RuntimeError if the portal is closed, or belongs to the parent of this process, or
        if it is called from its own thread, which would wait for itself.
        """
        return self._wait(self.submit(function, *args, **kwargs))

    def submit(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As `call`, without waiting; `asyncio.wrap_future` makes it awaitable elsewhere."""

        async def run() -> T:
            return await function(*args, **kwargs)

        return self._submit(run)

    def iterate(self, iterator: AsyncIterator[T], owner: object = None) -> Iteration[T]:
        """A plain iterator over an asynchronous one; an item is fetched when it is asked for.

        `owner` is kept alive as long as the iterator is.
        """
        return Iteration(self, iterator, owner)

    def at_end(self, function: Callable[[], Awaitable[None]]) -> None:
        """Have this awaited in the portal's thread, if that has started, when it is closed."""
        self._at_end.append(function)

    @contextmanager
    def using(self, manager: AbstractAsyncContextManager[T]) -> Generator[T, None, None]:
        """Enter and leave an asynchronous context manager."""
        value = self.call(manager.__aenter__)
        try:
            yield value
        except BaseException as error:
            if not self.call(manager.__aexit__, type(error), error, error.__traceback__):
                raise
        else:
            self.call(manager.__aexit__, None, None, None)

    def close(self) -> None:
        """Do what is to be done at the end, cancel what still runs, end the thread.

        May be called more than once, and from any thread.
        """
        if self._pid not in (0, os.getpid()):
            return  # the parent's thread is the parent's business
        with self._lock:
            thread, loop, stop = self._thread, self._loop, self._stop
            if not self._closed:
                self._closed = True
                if loop is not None and stop is not None:
                    loop.call_soon_threadsafe(stop.set)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def closed(self) -> bool:
        """Whether no more calls are taken."""
        return self._closed

    # --- calls --------------------------------------------------------------------------

    def _submit(self, function: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        # Before the lock: at the moment of a fork, another thread may have held it.
        if self._pid not in (0, os.getpid()):
            raise RuntimeError(
                f"process {os.getpid()} is a fork of {self._pid}, whose background thread it does "
                "not have: make a new client or node after the fork"
            )
        if self._thread is not None and self._thread is threading.current_thread():
            raise RuntimeError("called from the portal's own thread, it would wait for itself")
        with self._lock:
            if self._closed:
                raise RuntimeError("this client or node is closed")
            loop = self._loop or self._start()
            # Within the lock: whatever is submitted comes before the loop's end.
            return asyncio.run_coroutine_threadsafe(function(), loop)

    def _wait(self, future: Future[T]) -> T:
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise RuntimeError("this client or node was closed") from None
            raise
        except BaseException:
            future.cancel()  # Ctrl-C here; has no effect if the exception is the call's own
            raise

    # --- the thread ---------------------------------------------------------------------

    def _start(self) -> asyncio.AbstractEventLoop:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(ready,), name=self._name, daemon=True
        )
        self._thread.start()
        self._pid = os.getpid()
        self._loop = ready.result()
        return self._loop

    def _serve(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def serve() -> None:
            self._stop = asyncio.Event()
            ready.set_result(asyncio.get_running_loop())
            await self._stop.wait()
            async with AsyncExitStack() as stack:
                for function in self._at_end:
                    stack.push_async_callback(function)

        try:
            asyncio.run(serve())  # at its end it cancels all other tasks and waits for them
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)


class Iteration(Generic[T]):
    """An iterator over what comes in the portal's thread; also a context manager."""

    def __init__(self, portal: Portal, iterator: AsyncIterator[T], owner: object = None) -> None:
        self._portal = portal
        self._owner = owner
        self._iterator = iterator
        self._step_task: asyncio.Task[object] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout_s: float | None = None) -> T:
        """Wait for the next item. Raises TimeoutError, and StopIteration at the end."""
        if self._closed:
            raise StopIteration
        item = self._portal.call(self._step, timeout_s)
        if item is _END:
            raise StopIteration
        return cast("T", item)

    def __enter__(self) -> Self:
        enter = getattr(self._iterator, "__aenter__", None)
        if enter is not None:
            self._portal.call(enter)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration; whoever waits for an item, in another thread, finds it at its end."""
        if not self._closed and not self._portal.closed:
            self._portal.call(self._finish)
        self._closed = True

    async def _step(self, timeout_s: float | None) -> object:
        if self._step_task is not None:
            raise RuntimeError("another thread waits for the next item already")
        self._step_task = asyncio.current_task()
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(self._iterator)
        except StopAsyncIteration:
            return _END
        except asyncio.CancelledError:
            if self._closed:
                return _END
            raise
        finally:
            self._step_task = None

    async def _finish(self) -> None:
        self._closed = True
        task = self._step_task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
