"""Steps that many faults on harnessed members are made of."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from jepsen_like.base import Violation
from jepsen_like.procs.web import BrokenError, NotSentError, once

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena

PROGRESS_S: Final = 30.0  # ten elections on a loaded machine; beyond it the cluster hangs
REACH_S: Final = 15.0  # until a process that was started listens to its harness
END_S: Final = 15.0
POLL_S: Final = 0.02
KILLED: Final = -9
STORM_TERMS: Final = 6  # one election may be split once or twice; a storm goes on and on
ASK_S: Final = 1.0


async def until(what: str, reached: Callable[[], bool], limit_s: float) -> None:
    """Wait. Raises Violation if it does not come about."""
    deadline = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > deadline:
            raise Violation(f"{what}: not within {limit_s:.0f} s")
        await asyncio.sleep(POLL_S)


async def progress(arena: Arena, writes: int = 1) -> None:
    """Wait for further acknowledged writes. Raises Violation if none come."""
    goal = arena.acknowledged + writes
    await until("acknowledged writes", lambda: arena.acknowledged >= goal, PROGRESS_S)


async def told(arena: Arena, number: int, call: Callable[[], Awaitable[None]]) -> bool:
    """Tell the harness of a member something; it may still be starting.

    False if the member has ended, or ends while it is told. Raises Violation if it never hears, or
    had no reason to end.
    """
    deadline = time.monotonic() + REACH_S
    while True:
        arena.fleet.check_alive()
        if number not in arena.fleet.running():
            return False
        try:
            await call()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if time.monotonic() > deadline:
                raise Violation(f"a harness does not listen: {error}") from error
            await asyncio.sleep(POLL_S)
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError):
            return False
        else:
            return True


async def ended(arena: Arena, number: int, statuses: tuple[int, ...], within_s: float) -> None:
    """Wait for an end that was announced. Raises Violation if it does not come, or differs."""
    status = await arena.fleet.ended(number, within_s)
    member = arena.fleet.member(number)
    if status is None:
        raise Violation(f"{member.name} did not end within {within_s:.0f} s:\n{member.log_tail()}")
    if status not in statuses:
        raise Violation(
            f"{member.name} ended with {status}, not one of {statuses}:\n{member.log_tail()}"
        )


async def serving(arena: Arena, number: int) -> None:
    """Wait until a member serves and knows a leader. Raises Violation if it does not come to it."""
    member = arena.fleet.member(number)
    deadline = time.monotonic() + PROGRESS_S
    while time.monotonic() < deadline:
        arena.fleet.check_alive()  # which starts one again that joined too early
        with contextlib.suppress(OSError, LookupError, TypeError, AssertionError):
            if await asyncio.to_thread(member.ready):
                return
        await asyncio.sleep(POLL_S)
    raise Violation(f"{member.name} does not serve after {PROGRESS_S:.0f} s:\n{member.log_tail()}")


async def a_leader(arena: Arena) -> int:
    """Who leads, or somebody if nobody says so."""
    leader = await arena.fleet.leader()
    return arena.fleet.pick(arena.rng) if leader is None else leader


async def highest_term(arena: Arena) -> int:
    """The highest term that any member knows of."""
    terms = [0]
    for number in arena.fleet.running():
        try:
            answer = await once(arena.fleet.address(number), "/v2/keys/", ASK_S)
            terms.append(int(answer.headers.get("x-raft-term", "0")))
        except (NotSentError, BrokenError, ValueError):
            continue
    return max(terms)


def no_storm(before: int, after: int, cause: str) -> None:
    """Raises Violation if there was election after election between these two terms."""
    if after - before > STORM_TERMS:
        raise Violation(f"{after - before} terms because of {cause}")


async def start_again(arena: Arena, numbers: list[int], spread_s: float = 1.0) -> None:
    """Start members that are down, in any order, at different moments."""
    arena.rng.shuffle(numbers)
    for number in numbers:
        await asyncio.sleep(arena.rng.uniform(0.0, spread_s) ** 2)
        if number not in arena.fleet.running():
            arena.fleet.start([number])


async def calm(arena: Arena) -> None:
    """Disarm and mend whatever still listens."""
    for number in arena.fleet.running():
        control = arena.fleet.control(number)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await control.disarm()
            await control.disk(sync_delay_s=0.0, failing_syncs=0, full=False, short_writes=False)
