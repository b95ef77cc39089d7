"""Row 14: the network is cut between members, or between a member and its clients.

Cuts last either shorter than an election timeout, so that nobody may notice, or longer, so that a
leader has to go. In a long one writes have to succeed again while it still holds, wherever a
majority hears each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from jepsen_like.faults import probes, steps
from jepsen_like.faults.fault import Arena, Fault, Setting, Wires
from jepsen_like.faults.namespaces import Namespaces

ROW: Final = 14
SETTING: Final = Setting(wires=Wires.NAMESPACES)
SHORT_S: Final = (0.05, 0.8)
LONG_S: Final = (2.0, 4.5)
LONG_SHARE: Final = 0.7
FLAPS: Final = (4, 12)
FLAP_S: Final = (0.05, 0.5)


class Cuts(NamedTuple):
    """What is cut at one moment."""

    text: str
    pairs: tuple[tuple[int, int], ...] = ()
    """Sources and destinations."""
    clients: tuple[int, ...] = ()
    """Members that no client reaches."""
    answers: bool = True
    """See `Namespaces.cut`."""


Shape = Callable[[Arena], Awaitable[Cuts]]


def between(one: Iterable[int], other: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """All pairs between two sides, both ways."""
    return tuple(pair for a in one for b in other for pair in ((a, b), (b, a)))


def names(numbers: Iterable[int]) -> str:
    """Members as their logs name them."""
    return " ".join(f"m{number + 1}" for number in sorted(numbers))


async def halves(arena: Arena) -> Cuts:
    """Two sides of any size, whoever leads."""
    numbers = arena.fleet.numbers()
    side = set(arena.rng.sample(numbers, arena.rng.randint(1, len(numbers) - 1)))
    rest = set(numbers) - side
    return Cuts(f"{names(side)} | {names(rest)}", between(side, rest))


async def leader_in_minority(arena: Arena) -> Cuts:
    """As many as possible stay with the leader that are no majority."""
    leader = await steps.a_leader(arena)
    others = [number for number in arena.fleet.numbers() if number != leader]
    arena.rng.shuffle(others)
    company = (arena.fleet.size - 1) // 2 - 1
    side, rest = [leader, *others[:company]], others[company:]
    return Cuts(f"{names(side)}, which lead, | {names(rest)}", between(side, rest))


async def leader_alone(arena: Arena) -> Cuts:
    """Nobody hears the leader, and it hears nobody."""
    leader = await steps.a_leader(arena)
    rest = [number for number in arena.fleet.numbers() if number != leader]
    return Cuts(f"the leader {names([leader])} alone", between([leader], rest))


async def everybody_alone(arena: Arena) -> Cuts:
    """No member hears any other."""
    numbers = arena.fleet.numbers()
    pairs = tuple((a, b) for a in numbers for b in numbers if a != b)
    return Cuts("everybody alone", pairs)


async def bridge(arena: Arena) -> Cuts:
    """Two sides that only one member in the middle connects."""
    numbers = arena.fleet.numbers()
    arena.rng.shuffle(numbers)
    middle, *rest = numbers
    side, other = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    text = f"{names(side)} | {names(other)}, {names([middle])} between them"
    return Cuts(text, between(side, other))


async def deaf(arena: Arena) -> Cuts:
    """A member hears nobody, but is heard."""
    victim = await _victim(arena)
    rest = [number for number in arena.fleet.numbers() if number != victim]
    pairs = tuple((other, victim) for other in rest)
    return Cuts(f"{names([victim])} hears nobody", pairs, answers=arena.rng.random() < 0.5)


async def mute(arena: Arena) -> Cuts:
    """Nobody hears a member, but it hears all."""
    victim = await _victim(arena)
    rest = [number for number in arena.fleet.numbers() if number != victim]
    pairs = tuple((victim, other) for other in rest)
    return Cuts(f"nobody hears {names([victim])}", pairs, answers=arena.rng.random() < 0.5)


async def no_clients(arena: Arena) -> Cuts:
    """Clients do not reach a member, or not even a majority; the members hear each other."""
    victims = {await _victim(arena)}
    if arena.rng.random() < 0.3:
        numbers = arena.fleet.numbers()
        victims.update(arena.rng.sample(numbers, len(numbers) // 2))
    return Cuts(f"no client reaches {names(victims)}", clients=tuple(victims))


async def any_shape(arena: Arena) -> Cuts:
    """One of the others."""
    shape: Shape = arena.rng.choice((halves, leader_alone, bridge, deaf, mute, no_clients))
    return await shape(arena)


async def _victim(arena: Arena) -> int:
    """The leader as often as anybody else."""
    if arena.rng.random() < 0.5:
        return await steps.a_leader(arena)
    return arena.fleet.pick(arena.rng)


@dataclass(frozen=True, kw_only=True)
class NetworkFault:
    """Base of these faults: what they need, and that nothing stays cut."""

    smallest: int = 3
    row: int = ROW
    setting: Setting = SETTING

    def missing(self) -> str:
        """See `Fault.missing`."""
        return probes.missing("namespaces", "iptables")

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        await asyncio.to_thread(network(arena).heal)


@dataclass(frozen=True)
class Partition(NetworkFault):
    """One shape, for a while."""

    name: str
    shape: Shape
    majority: bool = True
    """Whether some majority can still work."""

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        is_long = arena.rng.random() < LONG_SHARE
        cuts = await self.shape(arena)
        try:
            await apply(arena, cuts)
            await asyncio.sleep(arena.rng.uniform(*(LONG_S if is_long else SHORT_S)))
            if is_long and self.majority:
                await steps.progress(arena)
        finally:
            await self.heal(arena)


@dataclass(frozen=True)
class Flapping(NetworkFault):
    """Cut and healed again and again, always too soon for whoever just coped."""

    name: str = "a flapping network"

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        try:
            for _ in range(arena.rng.randint(*FLAPS)):
                await apply(arena, await any_shape(arena))
                await asyncio.sleep(arena.rng.uniform(*FLAP_S))
                await self.heal(arena)
                await asyncio.sleep(arena.rng.uniform(*FLAP_S))
        finally:
            await self.heal(arena)


def network(arena: Arena) -> Namespaces:
    """The hosts of this cluster."""
    wires = arena.fleet.wires
    assert isinstance(wires, Namespaces), "the fault's setting asks for them"
    return wires


async def apply(arena: Arena, cuts: Cuts) -> None:
    """Cut, in addition to what is cut already."""
    hosts = network(arena)
    arena.note(cuts.text)
    if cuts.pairs:
        await asyncio.to_thread(hosts.cut_all, cuts.pairs, answers=cuts.answers)
    for number in cuts.clients:
        await asyncio.to_thread(hosts.cut_client, number)


FAULTS: Final[tuple[Fault, ...]] = (
    Partition("two halves", halves),
    Partition("the leader in a minority", leader_in_minority, smallest=5),
    Partition("the leader alone", leader_alone),
    Partition("everybody alone", everybody_alone, majority=False),
    Partition("a bridge", bridge),
    Partition("one-way in", deaf),
    Partition("one-way out", mute),
    Partition("clients cut off", no_clients),
    Flapping(),
)
