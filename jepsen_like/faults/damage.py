"""Stored data is damaged, or gone, or older than it was, when a member starts.

The member must refuse to start, change nothing and say what to do; or start with what is certainly
right. One that was refused is replaced as its message says: removed, and added as a new member.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jepsen_like.base import Violation
from jepsen_like.faults import spoiling, steps
from jepsen_like.faults.fault import Anywhere
from jepsen_like.faults.harnessed import HARNESSED
from jepsen_like.procs.changes import Changes

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena, Fault, Setting

DECIDED_S: Final = 20.0  # until a start has come to an end, one way or the other
REFUSED: Final = 1
ADVICE: Final = "member remove"
BOOTSTRAPPED: Final = "already been bootstrapped"
OLDER_WRITES: Final = 50
NOTICED_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Replacing(Anywhere):
    """Base of these faults: whoever is struck, and refuses to start, is replaced."""

    smallest: int = 3
    setting: Setting = HARNESSED

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`: nothing stays."""


@dataclass(frozen=True)
class Damaged(Replacing):
    """The files of a stopped member are spoiled."""

    name: str
    spoil: spoiling.Spoil
    must_refuse: bool
    """Otherwise it may also start: what was spoiled may not be needed, or there is another."""
    row: int = 12

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        fleet = arena.fleet
        number = fleet.pick(arena.rng)
        await steps.serving(arena, number)
        await fleet.kill([number])
        data_dir = fleet.data_dir(number)
        path = self.spoil(data_dir, arena.rng)
        if path is None:
            arena.note("no such file yet")
            fleet.start([number])
            return
        before = spoiling.contents(data_dir)
        if await serves(arena, number):
            if self.must_refuse:
                raise Violation(f"{fleet.member(number).name} started with {path} spoiled")
            arena.note(f"started without {path.name}")
            return
        check_refusal(arena, number, ADVICE)
        if spoiling.contents(data_dir) != before:
            raise Violation(f"{fleet.member(number).name} refused to start, and changed its data")
        await replaced(arena, number)


@dataclass(frozen=True)
class Emptied(Replacing):
    """The data directory is gone; the member is started with the flags it always had."""

    name: str = "empty data directory"
    row: int = 13

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        fleet = arena.fleet
        number = fleet.pick(arena.rng)
        await steps.serving(arena, number)
        await fleet.kill([number])
        shutil.rmtree(fleet.data_dir(number))
        fleet.member(number).initial_cluster = fleet.initial_cluster()
        if await serves(arena, number):
            raise Violation(f"{fleet.member(number).name} came back with an empty disk")
        check_refusal(arena, number, BOOTSTRAPPED)
        await replaced(arena, number)


@dataclass(frozen=True)
class SetBack(Replacing):
    """An older copy of a follower's whole directory takes its place, while its leader leads on."""

    name: str = "data directory of an earlier time"
    row: int = 13

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        fleet = arena.fleet
        leader = await steps.a_leader(arena)
        number = arena.rng.choice([other for other in fleet.numbers() if other != leader])
        data_dir = fleet.data_dir(number)
        copy = data_dir.with_suffix(".older")
        await fleet.kill([number])
        shutil.copytree(data_dir, copy)
        fleet.start([number])
        await steps.serving(arena, number)
        await steps.progress(arena, OLDER_WRITES)
        await fleet.kill([number])
        shutil.rmtree(data_dir)
        copy.rename(data_dir)
        fleet.start([number])
        fleet.may_end[number] = "set back"
        status = await fleet.ended(number, NOTICED_S)
        if status is None and await fleet.leader() != leader:
            arena.note("somebody else leads now, who cannot know what is missing")
            return
        if status is None:
            raise Violation(f"{fleet.member(number).name} goes on with data that was set back")
        check_refusal(arena, number, ADVICE)
        await replaced(arena, number)


async def serves(arena: Arena, number: int) -> bool:
    """Start a member, which may refuse; whether it came to serve."""
    fleet = arena.fleet
    fleet.start([number])
    fleet.may_end[number] = "spoiled data"
    member = fleet.member(number)
    deadline = time.monotonic() + DECIDED_S
    while time.monotonic() < deadline:
        if await fleet.ended(number, steps.POLL_S) is not None:
            return False
        try:
            if await asyncio.to_thread(member.ready):
                fleet.may_end.pop(number, None)
                return True
        except (OSError, LookupError, TypeError, AssertionError):
            continue
    raise Violation(f"{member.name} neither serves nor refuses:\n{member.log_tail()}")


def check_refusal(arena: Arena, number: int, words: str) -> None:
    """Raises Violation unless a member has ended as a refusal should, with these words."""
    member = arena.fleet.member(number)
    status = arena.fleet.status(number)
    if status != REFUSED or words not in member.log_tail():
        raise Violation(f"{member.name} ended with {status}:\n{member.log_tail()}")


async def replaced(arena: Arena, number: int) -> None:
    """As the documentation says: remove it, and add a new one with an empty directory."""
    changes = Changes(arena.fleet, arena.rng)
    await changes.removed(number)
    successor = await changes.added()
    arena.fleet.start([successor])
    arena.note(f"member {number} was replaced by {successor}")
    await steps.serving(arena, successor)


FAULTS: Final[tuple[Fault, ...]] = (
    Damaged("flipped bit in the log", spoiling.last_segment, must_refuse=True),
    Damaged("flipped bit in the last record", spoiling.last_record, must_refuse=True),
    Damaged("flipped bit in a record's length", spoiling.record_length, must_refuse=True),
    Damaged("flipped bit in an old segment", spoiling.old_segment, must_refuse=False),
    Damaged("truncated old segment", spoiling.cut_segment, must_refuse=False),
    Damaged("lost old segment", spoiling.lost_segment, must_refuse=False),
    Damaged("flipped bit in the newest snapshot", spoiling.newest_snapshot, must_refuse=False),
    Damaged("truncated newest snapshot", spoiling.cut_snapshot, must_refuse=False),
    Damaged("flipped bit in every snapshot", spoiling.all_snapshots, must_refuse=False),
    Emptied(),
    SetBack(),
)
