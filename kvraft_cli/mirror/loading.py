"""Putting the keys of an export into a server, so that it may be broken off and begun again.

Every key is written so that writing it twice does no harm, and a key that is there already is not
written at all: to go on after an interruption is to begin again. A write of which nobody said what
became of it is looked at before it is repeated, so that nothing is counted twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kvraft.client.errors import (
    ClientError,
    DidNotHappen,
    KeyExists,
    KeyNotFound,
    NotADirectory,
    NotAFile,
    OutcomeUnknown,
    ReadFailed,
)
from kvraft.client.operations import KeyOperations
from kvraft.limits import LOAD_ATTEMPTS, MIRROR_MAX_BACKOFF_S
from kvraft_cli.mirror import carry
from kvraft_cli.mirror.dump import Record
from kvraft_cli.mirror.engine import FIRST_BACKOFF_S
from kvraft_cli.mirror.model import Step, Write
from kvraft_cli.mirror.pending import Pending
from kvraft_cli.mirror.tree import Difference, Entry, Kind, Tree, compare, is_within, parents_of

NEVER: Final = float("inf")


class Selection(NamedTuple):
    """What of an export is wanted, under the keys that it is to have."""

    tree: Tree
    expired: int  # keys whose time is over, with all below them
    outside: int  # keys that are not below the prefix


def select(
    records: Sequence[Record],
    *,
    prefix: str,
    old_root: str,
    new_root: str | None,
    now: float,
    age_s: float,
    ttl: str,
) -> Selection:
    """The keys at or below `prefix`, moved from `old_root` to `new_root`.

    `age_s`: how long ago the export was made. `ttl`: "left" lets a key expire when the original
    would, "restart" gives it once more what it had then, "drop" lets it stay.
    """
    tree: Tree = {}
    gone: set[str] = set()
    expired = outside = 0
    for record in records:
        if not is_within(record.key, prefix):
            outside += 1
            continue
        expires_at = None
        if record.ttl_s is not None and ttl != "drop":
            left_s = record.ttl_s - (age_s if ttl == "left" else 0)
            expires_at = now + left_s
            if left_s <= 0:
                gone.add(record.key)
        if record.key in gone or any(parent in gone for parent in parents_of(record.key)):
            expired += 1
            continue
        tree[moved(record.key, old_root, new_root)] = Entry(record.value, expires_at)
    tree.pop("/", None)
    return Selection(tree, expired, outside)


def moved(key: str, old_root: str, new_root: str | None) -> str:
    """The key below another root; a key outside the old root keeps its whole name below the new."""
    if new_root is None:
        return key
    rest = key[len(old_root) :] if old_root != "/" and is_within(key, old_root) else key
    return (new_root if new_root != "/" else "") + rest or "/"


class Plan(NamedTuple):
    """What there is to do: keys to write, keys that hold something else, keys that are right."""

    missing: list[str]
    conflicts: list[Difference]
    same: int


def plan(wanted: Mapping[str, Entry], found: Mapping[str, Entry]) -> Plan:
    """Compare with what the server has; TTLs of keys that are there already do not count."""
    missing: list[str] = []
    conflicts: list[Difference] = []
    for difference in compare(wanted, found, NEVER):
        if difference.kind is Kind.MISSING:
            missing.append(difference.key)
        elif difference.kind in (Kind.CHANGED, Kind.TYPE):
            conflicts.append(difference)
    return Plan(missing, conflicts, len(wanted) - len(missing) - len(conflicts))


@dataclass(slots=True)
class Loaded:
    """What has been done so far."""

    written: int = 0
    there: int = 0  # somebody else had written the same meanwhile
    skipped: list[str] = field(default_factory=list)  # somebody had written something else
    retries: int = 0


class Loader:
    """Writes keys, `workers` at a time; `overwrite` for those that may replace a value."""

    def __init__(
        self,
        server: KeyOperations,
        wanted: Mapping[str, Entry],
        overwrite: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        self.loaded: Final = Loaded()
        self._server = server
        self._wanted = wanted
        self._overwrite = overwrite
        self._clock = clock
        self._pending = Pending()
        self._changed = asyncio.Condition()

    async def run(self, keys: Sequence[str], workers: int, report: Callable[[int], None]) -> None:
        """Write these keys, directories first. Raises what cannot be helped."""
        self._pending.add(map(Write, keys))
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(report))

    async def _worker(self, report: Callable[[int], None]) -> None:
        while True:
            step = await self._next()
            if step is None:
                return
            await self._write(step.key)
            async with self._changed:
                self._pending.done(step)
                self._changed.notify_all()
            report(len(self._pending))

    async def _next(self) -> Step | None:
        async with self._changed:
            while self._pending:
                step = self._pending.take()
                if step is not None:
                    return step
                await self._changed.wait()
            return None

    async def _write(self, key: str) -> None:
        """Write one key, and look after it until it is clear what became of it."""
        wanted = self._wanted[key]
        ours = False  # a write of ours may have happened, though nobody said so
        problem: ClientError | None = None
        for attempt in range(LOAD_ATTEMPTS):
            if attempt:
                self.loaded.retries += 1
                await asyncio.sleep(min(FIRST_BACKOFF_S * 2**attempt, MIRROR_MAX_BACKOFF_S))
            try:
                try:
                    await self._write_once(key, wanted)
                    self.loaded.written += 1
                    return
                except (KeyExists, OutcomeUnknown) as error:
                    problem = error
                    ours = ours or isinstance(error, OutcomeUnknown)
                    found = await self._look(key)
                if found is not None and found.value == wanted.value:
                    self.loaded.written += ours
                    self.loaded.there += not ours
                    return
                if isinstance(problem, KeyExists) and found is not None:
                    self.loaded.skipped.append(key)
                    return
            except (NotAFile, NotADirectory):  # somebody put something in the way meanwhile
                self.loaded.skipped.append(key)
                return
            except (DidNotHappen, ReadFailed, KeyNotFound) as error:
                problem = error
        assert problem is not None
        raise problem

    async def _write_once(self, key: str, wanted: Entry) -> None:
        ttl_s = wanted.ttl_s(self._clock())
        if key in self._overwrite:
            await carry.write(self._server, key, wanted, ttl_s)
        elif wanted.value is None:
            await self._server.make_dir(key, ttl=ttl_s)
        else:
            await self._server.create(key, wanted.value, ttl=ttl_s)

    async def _look(self, key: str) -> Entry | None:
        try:
            result = await self._server.get(key, quorum=True)
        except KeyNotFound:
            return None
        return Entry(None if result.node.dir else result.node.value or "")
