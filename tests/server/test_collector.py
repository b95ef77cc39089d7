"""Automatic collection is off while the collector runs, and young garbage goes nevertheless."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from kvraft.server import collector
from kvraft.server.collector import Collector


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.self = self


@pytest.mark.asyncio
async def test_young_garbage_is_collected_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "YOUNG_OBJECTS", 10)
    monkeypatch.setattr(collector, "CHECK_SECONDS", 0.001)
    own = Collector()
    own.start()
    try:
        assert not gc.isenabled()
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        knot = Knot()
        weakref.finalize(knot, lambda: freed.set_result(None))
        ballast = [[number] for number in range(100)]
        del knot
        await asyncio.wait_for(freed, 10)
        assert len(ballast) == 100
    finally:
        own.stop()
        gc.unfreeze()
    assert gc.isenabled()


@pytest.mark.asyncio
async def test_few_young_objects_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "YOUNG_OBJECTS", 1 << 30)
    monkeypatch.setattr(collector, "CHECK_SECONDS", 0.001)
    own = Collector()
    own.start()
    frozen = gc.get_freeze_count()
    try:
        await asyncio.sleep(0.01)
        assert gc.get_freeze_count() <= frozen
    finally:
        own.stop()
        gc.unfreeze()


def test_stopping_what_was_never_started_is_harmless() -> None:
    Collector().stop()
    assert gc.isenabled()
