"""Keeping the garbage collector's pauses away from the event loop.

A full collection visits every object: with a million keys that is most of a second, several
election timeouts. The request path makes no reference cycles, so automatic collection is off;
young objects are collected in small portions between requests, and what survives is moved out
of the collector's sight. Cycles that live longer than one portion are not freed; only rare paths
(connection set-up, errors) make any, and they are small.

Only the server process does this: a program that embeds a member keeps its own collector.
"""

from __future__ import annotations

import asyncio
import gc
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvraft.histogram import Histogram

YOUNG_OBJECTS = 20_000
"""Collected at once: about 2 ms."""
CHECK_SECONDS = 0.05


class Collector:
    """Collects young objects piecewise instead of everything at some inconvenient moment."""

    def __init__(self, pauses: Histogram | None = None) -> None:
        """`pauses`: where the seconds of each collection are counted."""
        self._pauses = pauses
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take over from the automatic collector."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._schedule()

    def stop(self) -> None:
        """Give back to the automatic collector."""
        if self._handle is not None:
            self._handle.cancel()
        gc.enable()

    def _schedule(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        if gc.get_count()[0] > YOUNG_OBJECTS:
            began_s = monotonic()
            gc.collect(0)
            gc.freeze()
            if self._pauses is not None:
                self._pauses.observe(monotonic() - began_s)
        self._schedule()
