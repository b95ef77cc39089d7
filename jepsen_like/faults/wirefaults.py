"""Rows 15 to 18: bad links between members, by the proxy that knows their frames.

Rates are drawn anew for every strike, up to what the fault matrix asks for. Frames that are none
must end a connection and nothing else; whatever happens on the wire, no member may grow without
bound for it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.faults import absence, steps
from jepsen_like.faults.fault import Anywhere, Arena, Fault, Setting, Wires
from jepsen_like.faults.partition import names
from jepsen_like.faults.proxies import Proxies
from jepsen_like.faults.proxy import Link
from jepsen_like.faults.victims import Victims, anybody, everybody, leader, majority, one
from jepsen_like.faults.wire import Rule
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import BrokenError, NotSentError, once

SETTING: Final = Setting(wires=Wires.PROXY)
MEMORY_LIMIT_BYTES: Final = 512 << 20
"""A member of these clusters takes 60 MB; frames under way may add 64 MB per peer and direction."""
REFUSED: Final = "closing the stream from member"
"""What a member writes into its log when it gets what is no frame."""
CATCH_UP_S: Final = 30.0
ASK_S: Final = 1.0
POLL_S: Final = 0.05

Draw = Callable[[random.Random], Rule]


def links_of(arena: Arena, victims: Iterable[int]) -> list[Link]:
    """All links that begin or end at one of these members."""
    struck, numbers = set(victims), arena.fleet.numbers()
    return [
        (sender, to)
        for sender in numbers
        for to in numbers
        if sender != to and (sender in struck or to in struck)
    ]


def lossy(rng: random.Random) -> Rule:
    """Frames lost, repeated and overtaken."""
    return Rule(loss=rng.uniform(0, 0.3), replay=rng.uniform(0, 0.5), reorder=rng.uniform(0, 0.3))


def clogged(rng: random.Random) -> Rule:
    """Nothing passes, and then all of it at once."""
    return Rule(clogged=True)


def slow(rng: random.Random) -> Rule:
    """As between continents."""
    return Rule(delay_ms=75, jitter_ms=50)


def very_slow(rng: random.Random) -> Rule:
    """Longer than any election timeout."""
    return Rule(delay_ms=5000, jitter_ms=500)


def truncated(rng: random.Random) -> Rule:
    """Connections break in the middle of a frame."""
    return Rule(truncate=rng.uniform(0.005, 0.2))


def garbled(rng: random.Random) -> Rule:
    """What arrives is no frame."""
    return Rule(garbage=rng.uniform(0.005, 0.2))


def oversized(rng: random.Random) -> Rule:
    """What arrives would be a frame too long."""
    return Rule(oversize=rng.uniform(0.005, 0.05))


def silent(rng: random.Random) -> Rule:
    """Connections are up, and the other side is gone."""
    return Rule(silent=True)


class RuleFault(Anywhere):
    """Base of the faults that are over when no link has a rule any more."""

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        await asyncio.to_thread(proxies_of(arena).heal)


@dataclass(frozen=True)
class BadLinks(RuleFault):
    """A rule on all links of the victims, for a while."""

    name: str
    row: int
    draw: Draw
    victims: Victims = anybody
    hold_s: tuple[float, float] = (1.5, 4.0)
    works: bool = False
    """Whether writes have to succeed while it lasts."""
    both_ways: bool = True
    """Otherwise only what the victims send is struck, or only what they get."""
    smallest: int = 3
    setting: Setting = SETTING

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        proxies, rng = proxies_of(arena), arena.rng
        victims = await self.victims(arena)
        links = links_of(arena, victims)
        if not self.both_ways and rng.random() < 0.5:
            side = rng.choice((0, 1))
            links = [link for link in links if link[side] in victims] or links
        rule = self.draw(rng)
        before, refused = await asyncio.to_thread(proxies.counts), refusals(arena.fleet)
        arena.note(f"{words(rule)} at {names(victims)}")
        try:
            await asyncio.to_thread(proxies.set_rules, dict.fromkeys(links, rule))
            await asyncio.sleep(rng.uniform(*self.hold_s))
            if self.works:
                await steps.progress(arena)
            struck = await asyncio.to_thread(proxies.counts)
        finally:
            await self.heal(arena)
        no_frames = sum(
            struck.get(name, 0) - before.get(name, 0) for name in ("garbage", "oversize")
        )
        if no_frames:
            await steps.until(
                "a member that says it got no frame",
                lambda: refusals(arena.fleet) > refused,
                CATCH_UP_S,
            )
        await steps.progress(arena)
        check_memory(arena.fleet)


@dataclass(frozen=True)
class HangUps(Anywhere):
    """Connections break again and again, with whatever is under way on them."""

    name: str = "connections break"
    row: int = 17
    smallest: int = 3
    setting: Setting = SETTING

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        proxies, rng = proxies_of(arena), arena.rng
        for _ in range(rng.randint(5, 20)):
            links = links_of(arena, await anybody(arena))
            chosen = rng.sample(links, rng.randint(1, len(links)))
            await asyncio.to_thread(proxies.hang_up, chosen)
            await asyncio.sleep(rng.uniform(0.0, 0.3))
        arena.note("connections broken")
        await steps.progress(arena)

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`: nothing stays."""


@dataclass(frozen=True)
class BrokenSnapshots(RuleFault):
    """A member needs a snapshot, and the transfers break or are damaged before one arrives."""

    name: str = "snapshot transfers break"
    row: int = 18
    smallest: int = 3
    setting: Setting = absence.SETTING._replace(wires=Wires.PROXY)

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        proxies, rng = proxies_of(arena), arena.rng
        rule = rng.choice((Rule(snapshot_cut=1.0), Rule(snapshot_flip=1.0)))
        numbers = arena.fleet.numbers()
        every_link = dict.fromkeys(links_of(arena, numbers), rule)
        before = await _transfers(proxies)
        try:
            await asyncio.to_thread(proxies.set_rules, every_link)
            number = await absence.away(arena, absence.ENOUGH_WRITES)
            arena.note(f"snapshots for {names([number])}: {words(rule)}")
            struck = await self._struck(proxies, before, CATCH_UP_S)
            await asyncio.sleep(rng.uniform(0.0, 3.0))
        finally:
            await self.heal(arena)
        arena.note(f"{struck} transfers were broken")
        await caught_up(arena, number)
        check_memory(arena.fleet)

    async def _struck(self, proxies: Proxies, before: int, within_s: float) -> int:
        """Wait for the first transfer that is broken; how many were."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while not (struck := await _transfers(proxies) - before):
            if loop.time() > deadline_s:
                raise Violation(f"nobody sent a snapshot in {within_s:.0f} s: nothing was tested")
            await asyncio.sleep(POLL_S)
        return struck


async def _transfers(proxies: Proxies) -> int:
    """How many transfers have been broken so far."""
    counts = await asyncio.to_thread(proxies.counts)
    return counts.get("snapshot_cut", 0) + counts.get("snapshot_flip", 0)


def proxies_of(arena: Arena) -> Proxies:
    """The proxies of this cluster."""
    wires = arena.fleet.wires
    assert isinstance(wires, Proxies), "the fault's setting asks for them"
    return wires


def words(rule: Rule) -> str:
    """What differs from a good link."""
    found = []
    for name, value in rule._asdict().items():
        if value is True:
            found.append(name)
        elif value:
            found.append(f"{name} {value:.2f}" if value < 1 else f"{name} {value:g}")
    return ", ".join(found)


def refusals(fleet: Fleet) -> int:
    """How often members have refused what was no frame, in all their lives."""
    return sum(_lines_with(fleet.log_file(number), REFUSED) for number in fleet.numbers())


def _lines_with(path: Path, text: str) -> int:
    return path.read_text(errors="replace").count(text) if path.exists() else 0


def resident_bytes(pid: int) -> int:
    """The memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_memory(fleet: Fleet) -> None:
    """Raises Violation if a member has grown beyond what it may need."""
    for number in fleet.running():
        size = resident_bytes(fleet.pid(number))
        if size > MEMORY_LIMIT_BYTES:
            raise Violation(f"{names([number])} takes {size >> 20} MB of memory")


async def index_of(fleet: Fleet, number: int) -> int:
    """The index of a member's own state; 0 if it does not answer."""
    try:
        answer = await once(fleet.address(number), "/v2/keys/", ASK_S)
        return int(answer.headers.get("x-etcd-index", "0"))
    except (NotSentError, BrokenError, ValueError):
        return 0


async def caught_up(arena: Arena, number: int) -> None:
    """Wait until a member knows what others know now. Raises Violation if it never does."""
    fleet = arena.fleet
    goal = max([await index_of(fleet, other) for other in fleet.numbers()])
    deadline_s = asyncio.get_running_loop().time() + CATCH_UP_S
    while await index_of(fleet, number) < goal:
        fleet.check_alive()
        if asyncio.get_running_loop().time() > deadline_s:
            raise Violation(f"{names([number])} did not reach index {goal} in {CATCH_UP_S:.0f} s")
        await asyncio.sleep(POLL_S)


FAULTS: Final[tuple[Fault, ...]] = (
    BadLinks("lossy links", 15, lossy, both_ways=False),
    BadLinks("links clog, then burst", 15, clogged, hold_s=(0.2, 3.0), both_ways=False),
    BadLinks("slow links of one", 16, slow, one, works=True),
    BadLinks("slow links of the leader", 16, slow, leader, works=True),
    BadLinks("slow links of a majority", 16, slow, majority, works=True),
    BadLinks("slow links everywhere", 16, slow, everybody, works=True),
    BadLinks("very slow links of one", 16, very_slow, one, (4.0, 8.0), works=True),
    BadLinks("very slow links of the leader", 16, very_slow, leader, (4.0, 8.0), works=True),
    BadLinks("very slow links of a majority", 16, very_slow, majority, (4.0, 8.0)),
    BadLinks("very slow links everywhere", 16, very_slow, everybody, (4.0, 8.0)),
    BadLinks("truncated frames", 17, truncated, both_ways=False),
    BadLinks("garbage instead of frames", 17, garbled, both_ways=False),
    BadLinks("oversized frames", 17, oversized, both_ways=False),
    BadLinks("half-open connections", 17, silent, both_ways=False),
    HangUps(),
    BrokenSnapshots(),
)
