"""Disk jobs run in order, off the loop, and are reported on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from kvraft.server.diskthread import DiskThread, InlineQueue


@pytest_asyncio.fixture
async def disk() -> AsyncIterator[DiskThread]:
    thread = DiskThread(asyncio.get_running_loop(), "test-disk")
    yield thread
    await thread.close()


@pytest.mark.asyncio
async def test_jobs_run_in_order_in_another_thread(disk: DiskThread) -> None:
    order: list[tuple[str, int]] = []
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finished(number: int) -> None:
        order.append(("reported", number))
        assert threading.current_thread() is threading.main_thread()
        if number == 2:
            done.set_result(None)

    def job(number: int) -> int:
        order.append(("run", number))
        assert threading.current_thread().name == "test-disk"
        return number

    for number in range(3):
        disk.submit(partial(job, number), lambda result, _: finished(result))
    assert order == [] or order[0] == ("run", 0)
    await done
    for kind in ("run", "reported"):
        assert [number for what, number in order if what == kind] == [0, 1, 2]


@pytest.mark.asyncio
async def test_errors_are_reported_and_do_not_end_the_thread(disk: DiskThread) -> None:
    reported: asyncio.Future[tuple[Any, BaseException | None]]
    reported = asyncio.get_running_loop().create_future()

    def fail() -> None:
        raise OSError("no such disk")

    disk.submit(fail, lambda *outcome: reported.set_result(outcome))
    result, error = await reported
    assert result is None
    assert isinstance(error, OSError)
    with pytest.raises(OSError, match="no such disk"):
        await disk.run(fail)
    assert await disk.run(lambda: 7) == 7


@pytest.mark.asyncio
async def test_a_caller_may_give_up_waiting(disk: DiskThread) -> None:
    gate = threading.Event()
    task = asyncio.create_task(disk.run(gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    assert await disk.run(lambda: 7) == 7


@pytest.mark.asyncio
async def test_closing_finishes_what_was_submitted() -> None:
    thread = DiskThread(asyncio.get_running_loop(), "test-disk")
    done: list[int] = []
    for number in range(100):
        thread.submit(partial(done.append, number), lambda *_: None)
    await thread.close()
    assert done == list(range(100))


@pytest.mark.asyncio
async def test_an_inline_queue_runs_nothing_within_submit_and_keeps_the_order() -> None:
    queue = InlineQueue(asyncio.get_running_loop(), "test-disk")
    order: list[str] = []
    for number in range(3):
        queue.submit(partial(order.append, f"run {number}"), lambda *_: order.append("reported"))
    assert order == []
    with pytest.raises(OSError, match="no such disk"):
        await queue.run(_fail)
    assert order == ["run 0", "reported", "run 1", "reported", "run 2", "reported"]
    queue.submit(partial(order.append, "last"), lambda *_: None)
    await queue.close()
    assert order[-1] == "last"


def _fail() -> None:
    raise OSError("no such disk")
