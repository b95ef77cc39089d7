"""Disks that fail, take only a part, run full, or are slow.

A failed sync must end the process, with a message and a status that is not zero: what the disk
holds is unknown from then on, and nothing may be acknowledged any more. A full disk is survived:
writes are refused, reads go on, and it is over when there is space again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jepsen_like.base import Violation
from jepsen_like.faults import probes, steps
from jepsen_like.faults.fault import Disk, Setting
from jepsen_like.faults.harnessed import HARNESSED, HarnessFault
from jepsen_like.faults.victims import Victims, everybody, leader, one

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena, Fault

FAILED: Final = 1
"""What a process ends with whose disk has failed."""
BALLAST: Final = "ballast"
BALLAST_PIECE: Final = 1 << 16
READ_S: Final = 5.0


@dataclass(frozen=True)
class SyncFails(HarnessFault):
    """A sync, or another disk call, returns an input/output error."""

    name: str
    point: str
    """Where it fails; empty: the next sync of any file."""
    row: int = 9
    smallest: int = 1
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        rng, fleet = arena.rng, arena.fleet
        number = await steps.a_leader(arena) if rng.random() < 0.5 else fleet.pick(rng)
        fleet.may_end[number] = "a failing disk"
        control = fleet.control(number)
        if self.point:
            tell = partial(control.arm, self.point, "error", rng.randint(1, 3))
        else:
            tell = partial(control.disk, failing_syncs=1)
        await steps.told(arena, number, tell)
        await steps.ended(arena, number, (FAILED,), steps.END_S)
        check_message(arena, number)
        await steps.start_again(arena, [number])
        await steps.progress(arena)


@dataclass(frozen=True)
class SyncFailsInKernel:
    """The same by `strace`, which answers the system call, on a member as users run it."""

    name: str = "sync fails in the system call"
    row: int = 9
    smallest: int = 1
    setting: Setting = Setting()

    def missing(self) -> str:
        """See `Fault.missing`."""
        return probes.missing("strace")

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        fleet = arena.fleet
        number = fleet.pick(arena.rng)
        fleet.may_end[number] = "a failing sync"
        strace = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-qq", "-o", "/dev/null", "-p", str(fleet.pid(number))),
            *("-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"),
        )
        try:
            await steps.ended(arena, number, (FAILED,), steps.END_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                strace.terminate()
            await strace.wait()
        check_message(arena, number)
        await steps.start_again(arena, [number])
        await steps.progress(arena)

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`: it ended with the process."""


@dataclass(frozen=True)
class Misbehaves(HarnessFault):
    """Disks are slow, or take only a part of what is written; nobody ends."""

    name: str
    row: int
    victims: Victims
    slow: bool
    smallest: int = 1
    setting: Setting = HARNESSED

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        rng = arena.rng
        numbers = await self.victims(arena)
        before = await steps.highest_term(arena)
        delay_s = 0.1 * 100 ** rng.random() if self.slow else 0.0
        for number in numbers:
            disk = arena.fleet.control(number).disk
            await steps.told(
                arena, number, partial(disk, sync_delay_s=delay_s, short_writes=not self.slow)
            )
        if self.slow:
            arena.note(f"each sync takes {delay_s:.1f} s")
        await asyncio.sleep(min(5.0, rng.uniform(1.0, 2.0) + delay_s))
        if not self.slow or len(numbers) <= (arena.fleet.size - 1) // 2:
            await steps.progress(arena)  # a minority holds nobody up
        await self.heal(arena)
        await steps.progress(arena)
        steps.no_storm(before, await steps.highest_term(arena), self.name)  # heartbeats go on


@dataclass(frozen=True)
class RunsFull:
    """There is no space any more, then there is again."""

    name: str
    victims: Victims
    real: bool
    """On a small file system, filled by a file beside the data; otherwise the lossy disk's."""
    smallest: int = 1
    row: int = 10

    @property
    def setting(self) -> Setting:
        """See `Fault.setting`."""
        if self.real:
            return Setting(disk=Disk.SMALL, flags=("--snapshot-count=100",))
        return HARNESSED

    def missing(self) -> str:
        """See `Fault.missing`."""
        return probes.missing("tmpfs") if self.real else ""

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        numbers = await self.victims(arena)
        for number in numbers:
            if self.real:
                await asyncio.to_thread(fill, self._ballast(arena, number))
            else:
                await steps.told(
                    arena, number, partial(arena.fleet.control(number).disk, full=True)
                )
        minority = len(numbers) <= (arena.fleet.size - 1) // 2
        # While everybody is full nearly every answer is unknown, which proves little.
        await asyncio.sleep(arena.rng.uniform(0.5, 3.0 if minority else 1.0))
        for number in numbers:
            await self._still_reads(arena, number)
        if minority:
            await steps.progress(arena)
        await self.heal(arena)
        await steps.progress(arena)

    async def _still_reads(self, arena: Arena, number: int) -> None:
        member = arena.fleet.member(number)
        try:
            answer = await asyncio.to_thread(member.call, "GET", "/v2/keys/", None, READ_S)
        except OSError as error:
            raise Violation(f"{member.name} serves no reads on a full disk: {error}") from error
        if answer.status != 200:
            raise Violation(f"{member.name} reads on a full disk: {answer}")

    def _ballast(self, arena: Arena, number: int) -> Path:
        return arena.fleet.data_dir(number).parent / BALLAST

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        if not self.real:
            await steps.calm(arena)
            return
        for number in arena.fleet.numbers():
            self._ballast(arena, number).unlink(missing_ok=True)


def fill(path: Path) -> None:
    """Write until there is no space left."""
    piece = bytes(BALLAST_PIECE)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while piece:
            try:
                os.write(handle, piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: len(piece) // 2]
    finally:
        os.close(handle)


def check_message(arena: Arena, number: int) -> None:
    """Raises Violation unless the member has said why it ended."""
    member = arena.fleet.member(number)
    if os.strerror(errno.EIO).lower() not in member.log_tail().lower():
        raise Violation(f"{member.name} ended without saying why:\n{member.log_tail()}")


FAULTS: Final[tuple[Fault, ...]] = (
    SyncFails("sync fails", ""),
    SyncFails("write to the log fails", "before log write"),
    SyncFails("sync of a directory fails", "before directory sync"),
    SyncFails("sync of a snapshot fails", "before snapshot sync"),
    SyncFailsInKernel(),
    Misbehaves("short writes", 9, everybody, slow=False),
    RunsFull("disk of one is full", one, real=False),
    RunsFull("all disks are full", everybody, real=False),
    RunsFull("file system of one is full", one, real=True),
    RunsFull("file systems of all are full", everybody, real=True),
    Misbehaves("slow sync of one", 11, one, slow=True),
    Misbehaves("slow sync of the leader", 11, leader, slow=True, smallest=3),
    Misbehaves("slow sync of everybody", 11, everybody, slow=True),
)
