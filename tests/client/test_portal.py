"""A thread with an event loop: calls from everywhere, clean ends, clear errors."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from kvraft.client.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()
    assert threading.active_count() == 1


async def add(a: int, *, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def count(end: int) -> AsyncIterator[int]:
    for number in range(end):
        await asyncio.sleep(0)
        yield number


def test_results_and_exceptions(portal: Portal) -> None:
    assert portal.call(add, 1, b=2) == 3

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        portal.call(fail)


def test_the_thread_starts_when_it_is_needed() -> None:
    portal = Portal()
    assert threading.active_count() == 1
    portal.close()
    portal.close()
    with pytest.raises(RuntimeError, match="closed"):
        portal.call(add, 1, b=2)
    assert threading.active_count() == 1


def test_from_several_threads(portal: Portal) -> None:
    sums: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: sums.append(portal.call(add, n, b=n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sums) == [2 * n for n in range(8)]


def test_from_within_another_loop(portal: Portal) -> None:
    async def main() -> int:
        return portal.call(add, 1, b=2)

    assert asyncio.run(main()) == 3


def test_a_call_from_its_own_thread_would_never_end(portal: Portal) -> None:
    async def nested() -> int:
        return portal.call(add, 1, b=2)

    with pytest.raises(RuntimeError, match="wait for itself"):
        portal.call(nested)


def test_iterating(portal: Portal) -> None:
    assert list(portal.iterate(count(3))) == [0, 1, 2]
    with portal.iterate(count(3)) as numbers:
        assert next(numbers) == 0
    assert list(numbers) == []


def test_closing_an_iteration_from_another_thread(portal: Portal) -> None:
    async def never() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 0

    numbers = portal.iterate(never())
    timer = threading.Timer(0.1, numbers.close)
    timer.start()
    assert list(numbers) == []
    timer.join()


def test_waiting_for_a_while(portal: Portal) -> None:
    class Slow:
        def __aiter__(self) -> Slow:
            return self

        async def __anext__(self) -> int:
            await asyncio.Event().wait()
            return 0

    numbers = portal.iterate(Slow())
    with pytest.raises(TimeoutError):
        numbers.next(0.05)
    numbers.close()


def test_context_managers(portal: Portal) -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def manager() -> AsyncIterator[int]:
        steps.append("enter")
        try:
            yield 7
        except KeyError:
            steps.append("error")
        steps.append("exit")

    with portal.using(manager()) as value:
        assert value == 7
    with portal.using(manager()):
        raise KeyError
    assert steps == ["enter", "exit", "enter", "error", "exit"]


def test_closing_ends_what_runs() -> None:
    portal = Portal()
    ended: list[str] = []

    async def last() -> None:
        ended.append("last")

    portal.at_end(last)

    async def forever() -> None:
        threading.Timer(0.05, portal.close).start()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(RuntimeError, match="was closed"):
        portal.call(forever)
    portal.close()
    assert ended == ["last", "cancelled"]


def test_ctrl_c_cancels_the_call(portal: Portal) -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(forever)
    assert cancelled.wait(5)
    timer.join()
    assert portal.call(add, 1, b=2) == 3


def test_a_fork_is_told(portal: Portal) -> None:
    assert portal.call(add, 1, b=2) == 3
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            portal.call(add, 1, b=2)
        except RuntimeError as error:
            portal.close()  # neither waits nor fails
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        assert "make a new client or node after the fork" in pipe.read()
