"""Faults that are none: they break in a way that a test asks for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from jepsen_like.base import Violation
from jepsen_like.faults.fault import Arena, Setting


@dataclass
class FakeFault:
    """Waits a moment, or raises what it was given."""

    name: str = "nothing at all"
    row: int = 1
    smallest: int = 1
    lacks: str = ""
    error: Exception | None = None
    setting: Setting = Setting()
    strikes: int = 0
    heals: int = 0
    left_s: list[float] = field(default_factory=list)

    def missing(self) -> str:
        return self.lacks

    async def strike(self, arena: Arena) -> None:
        self.strikes += 1
        self.left_s.append(arena.left_s)
        arena.note("struck")
        await asyncio.sleep(0.05)
        if self.error is not None:
            raise self.error

    async def heal(self, arena: Arena) -> None:
        self.heals += 1


BROKEN = Violation("the fake promise is broken")
