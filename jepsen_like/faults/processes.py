"""Rows 1 and 4: members are killed by SIGKILL, or stopped in their tracks and let go again.

A kill at any moment mostly hits a member that waits for something. So most kills are held back
until a write is on its way, which is when there is something to lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from jepsen_like.faults.fault import Anywhere, Arena, Setting
from jepsen_like.procs.fleet import Fleet

KILL_ROW: Final = 1
PAUSE_ROW: Final = 4
PENDING_SHARE: Final = 10 / 11  # ten times likelier while a write is pending
PENDING_LIMIT_S: Final = 0.5
PENDING_POLL_S: Final = 0.001
DOWN_S: Final = 1.5  # the longest that a killed member stays down
PAUSE_S: Final = (1.0, 30.0)


@dataclass(frozen=True)
class ProcessFault(Anywhere):
    """A fault that needs nothing of the machine but processes and signals."""

    name: str
    row: int
    smallest: int
    act: Callable[[Arena], Awaitable[None]]
    setting: Setting = Setting()

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        await self.act(arena)

    async def heal(self, arena: Arena) -> None:
        """Paused members go on, members that are down come up; removed ones are left alone."""
        restore(arena.fleet)


def restore(fleet: Fleet) -> None:
    """Every member of the cluster runs, and none is paused."""
    for number in list(fleet.paused):
        fleet.resume(number)
    running = set(fleet.running())
    fleet.start(number for number in fleet.numbers() if number not in running)


async def the_leader(arena: Arena) -> int:
    """Who leads; somebody where nobody says so."""
    leader = await arena.fleet.leader()
    present = arena.fleet.numbers()
    return leader if leader in present else arena.rng.choice(present)


def a_majority(arena: Arena) -> list[int]:
    """As few members as nothing can be decided without."""
    numbers = arena.fleet.numbers()
    return arena.rng.sample(numbers, len(numbers) // 2 + 1)


async def kill(arena: Arena, numbers: list[int]) -> None:
    """Kill them in one moment, and start them one after the other."""
    if arena.rng.random() < PENDING_SHARE:
        await a_write_is_pending(arena)
    await arena.fleet.kill(numbers)
    arena.note(f"killed {names(numbers)}")
    arena.rng.shuffle(numbers)
    for number in numbers:
        await asyncio.sleep(DOWN_S * arena.rng.random() ** 2)
        arena.fleet.start([number])


async def a_write_is_pending(arena: Arena) -> None:
    """Wait for one to be sent, though not for long: there may be nobody who takes it."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + PENDING_LIMIT_S
    while not arena.pending:
        if loop.time() > deadline_s:
            return
        await asyncio.sleep(PENDING_POLL_S)


async def pause(arena: Arena, numbers: list[int]) -> None:
    """Stop them for 1 to 30 seconds, short pauses being likelier, and let them go on."""
    shortest_s, longest_s = PAUSE_S
    longest_s = max(shortest_s, min(longest_s, arena.left_s))
    seconds = shortest_s * (longest_s / shortest_s) ** arena.rng.random()
    for number in numbers:
        arena.fleet.pause(number)
    arena.note(f"paused {names(numbers)} for {seconds:.1f} s")
    await asyncio.sleep(seconds)
    for number in numbers:
        arena.fleet.resume(number)


def names(numbers: list[int]) -> str:
    """Members as their logs name them."""
    return ", ".join(f"m{number + 1}" for number in sorted(numbers))


async def _kill_one(arena: Arena) -> None:
    await kill(arena, [arena.fleet.pick(arena.rng)])


async def _kill_leader(arena: Arena) -> None:
    await kill(arena, [await the_leader(arena)])


async def _kill_majority(arena: Arena) -> None:
    await kill(arena, a_majority(arena))


async def _kill_all(arena: Arena) -> None:
    await kill(arena, arena.fleet.numbers())


async def _kill_again(arena: Arena) -> None:
    """Kill a member, and once more while it comes up."""
    number = arena.fleet.pick(arena.rng)
    for _ in range(arena.rng.randint(2, 4)):
        await kill(arena, [number])
        await asyncio.sleep(arena.rng.uniform(0.05, 1.0))


async def _pause_one(arena: Arena) -> None:
    await pause(arena, [arena.fleet.pick(arena.rng)])


async def _pause_leader(arena: Arena) -> None:
    await pause(arena, [await the_leader(arena)])


async def _pause_majority(arena: Arena) -> None:
    await pause(arena, a_majority(arena))


async def _anything(arena: Arena) -> None:
    """Any of the others, kills of one being the most likely."""
    acts = list(SHARES) if arena.fleet.size > 1 else list(SHARES_ALONE)
    shares = [SHARES[act] for act in acts]
    await arena.rng.choices(acts, shares)[0](arena)


KILLS: Final[tuple[ProcessFault, ...]] = (
    ProcessFault("kill one", KILL_ROW, 1, _kill_one),
    ProcessFault("kill the leader", KILL_ROW, 3, _kill_leader),
    ProcessFault("kill a majority", KILL_ROW, 3, _kill_majority),
    ProcessFault("kill all", KILL_ROW, 3, _kill_all),
    ProcessFault("kill one again and again", 3, 1, _kill_again),
)
PAUSES: Final[tuple[ProcessFault, ...]] = (
    ProcessFault("pause one", PAUSE_ROW, 1, _pause_one),
    ProcessFault("pause the leader", PAUSE_ROW, 3, _pause_leader),
    ProcessFault("pause a majority", PAUSE_ROW, 3, _pause_majority),
)
SHARES: Final[dict[Callable[[Arena], Awaitable[None]], int]] = {
    _kill_one: 25,
    _kill_leader: 22,
    _kill_majority: 12,
    _kill_all: 12,
    _kill_again: 12,
    _pause_one: 8,
    _pause_leader: 9,
}
SHARES_ALONE: Final = (_kill_one, _kill_again, _pause_one)
ANYTHING: Final = ProcessFault("kill and pause anybody", KILL_ROW, 1, _anything)
FAULTS: Final = (*KILLS, *PAUSES, ANYTHING)
