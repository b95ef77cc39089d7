"""Whom a fault strikes: chosen when it strikes, since members come, go and lead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from jepsen_like.faults import steps
from jepsen_like.faults.fault import Arena

Victims = Callable[[Arena], Awaitable[list[int]]]


async def one(arena: Arena) -> list[int]:
    """Any member."""
    return [arena.fleet.pick(arena.rng)]


async def leader(arena: Arena) -> list[int]:
    """Whoever leads."""
    return [await steps.a_leader(arena)]


async def majority(arena: Arena) -> list[int]:
    """As few as can outvote the others."""
    return arena.rng.sample(arena.fleet.numbers(), arena.fleet.size // 2 + 1)


async def everybody(arena: Arena) -> list[int]:
    """All members."""
    return arena.fleet.numbers()


async def anybody(arena: Arena) -> list[int]:
    """One of these."""
    chosen: Victims = arena.rng.choice((one, leader, majority, everybody))
    return await chosen(arena)
