"""Whole members in this process: real driver, sockets and files, with a disk that can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks.members import free_ports
from kvraft.api.service import Unavailable
from kvraft.clock import Clock, SystemClock
from kvraft.raft.core import Role
from kvraft.server import bootstrap
from kvraft.server.member import Member
from kvraft.server.replica import Replica, ReplicaConfig
from kvraft.storage import PosixFiles, Recovered, Storage
from kvraft.store.event import Event
from kvraft.store.request import Op, Request
from kvraft.store.store import Store

TICK_MS = 20
ELECTION_TICKS = 15


class FaultyFiles(PosixFiles):
    """The real disk, until told otherwise. Faults hit paths that contain `where`."""

    def __init__(self) -> None:
        self.full = ""
        self.broken = ""
        self.syncing = threading.Event()
        self.syncing.set()
        self._paths: dict[int, str] = {}

    def create(self, path: str) -> int:
        self._check_space(path)
        handle = super().create(path)
        self._paths[handle] = path
        return handle

    def write(self, handle: int, data: bytes) -> int:  # type: ignore[override]
        self._check_space(self._paths[handle])
        return os.write(handle, data)

    def sync(self, handle: int) -> None:  # type: ignore[override]
        self.syncing.wait()
        if self.broken and self.broken in self._paths[handle]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(handle)

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        for handle, path in self._paths.items():
            if path == old:
                self._paths[handle] = new

    def _check_space(self, path: str) -> None:
        if self.full and self.full in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Running:
    """One member and what may be done to it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.data_dir = str(cluster.directory / name)
        self.files = FaultyFiles()
        self.fatal: list[BaseException] = []
        self.starts = 0
        self.member: Member
        self.replica: Replica

    def open(self) -> tuple[Storage, Recovered]:
        if Storage.exists(self.files, self.data_dir):
            return Storage.open(self.files, self.data_dir)
        founding = bootstrap.found(self.cluster.urls, "test", self.name)
        entries, state = bootstrap.initial_entries(founding.members)
        storage = Storage.create(self.files, self.data_dir, founding.identity, entries, state)
        return storage, Recovered(founding.identity, state, None, entries, [])

    async def start(self) -> None:
        storage, recovered = self.open()
        meta = recovered.snapshot
        store = bootstrap.restore_store(storage.read_snapshot(meta)) if meta else Store()
        clock = SystemClock()
        self.starts += 1
        self.replica = bootstrap.build_replica(
            self.cluster.config._replace(name=self.name),
            bootstrap.raft_config(recovered.identity.member_id, ELECTION_TICKS),
            random.Random(f"{self.name}/{self.starts}"),
            clock,
            1000 + self.starts,
            recovered,
            store,
            log_clock=self.cluster.log_clock,
        )
        self.member = Member(
            recovered.identity,
            self.replica,
            storage,
            clock,
            on_fatal=self.fatal.append,
            max_snapshots=5,
            max_wals=5,
        )
        await self.member.start(self.cluster.urls[self.name])
        if self.starts == 1:
            founders = bootstrap.found(self.cluster.urls, "test", self.name).members
            self.member.campaign_when_new([founder.id for founder in founders])

    async def stop(self) -> None:
        self.files.syncing.set()
        await self.member.stop()

    @property
    def leads(self) -> bool:
        return self.replica.core.role is Role.LEADER

    def propose(self, key: str, value: bytes = b"v") -> asyncio.Future[Any]:
        """A write; the future has its outcome."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.member.propose(Request(Op.SET, b"/" + key.encode(), value), future.set_result)
        return future

    async def put(self, key: str, value: bytes = b"v") -> None:
        """A write that must succeed; repeated while nobody leads."""
        outcome = await self.propose(key, value)
        assert isinstance(outcome, Event), outcome

    async def read(self) -> Unavailable | None:
        """A linearizable read's barrier."""
        future: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()
        self.member.read_barrier(future.set_result)
        return await future

    def value(self, key: str) -> bytes:
        node: Any = self.replica.store.get(b"/" + key.encode())
        value: bytes = node.value
        return value


class Cluster:
    """Founders on free ports of this machine."""

    def __init__(
        self, size: int, directory: Path, log_clock: Clock | None = None, **changes: Any
    ) -> None:
        self.directory = directory
        self.log_clock = log_clock
        self.config = ReplicaConfig(
            name="",
            client_urls=("http://127.0.0.1:1",),
            tick_ms=TICK_MS,
            election_ticks=ELECTION_TICKS,
            request_timeout_ms=7000,
            snapshot_count=10_000,
            snapshot_keep_entries=5000,
            cluster_version="2.3.0",
        )._replace(**changes)
        ports = free_ports(size)
        self.urls = {f"m{n}": (f"http://127.0.0.1:{port}",) for n, port in enumerate(ports, 1)}
        self.members = [Running(self, name) for name in self.urls]

    async def leader(self) -> Running:
        """The member that leads, once one does."""
        await until(lambda: any(member.leads for member in self.members))
        return next(member for member in self.members if member.leads)

    async def settled(self) -> None:
        """All members have applied the same."""

        def same() -> bool:
            applied = {member.replica.applied_index for member in self.members}
            lasts = {member.replica.core.log.last for member in self.members}
            return len(applied) == 1 and applied == lasts

        await until(same)
        digests = {member.replica.store.digest() for member in self.members}
        assert len(digests) == 1


@contextlib.asynccontextmanager
async def running(
    size: int, directory: Path, log_clock: Clock | None = None, **changes: Any
) -> AsyncIterator[Cluster]:
    """A cluster whose members have all been started; all are stopped in the end."""
    cluster = Cluster(size, directory, log_clock, **changes)
    started: list[Running] = []
    try:
        for member in cluster.members:
            await member.start()
            started.append(member)
        yield cluster
    finally:
        await asyncio.gather(*(member.stop() for member in started))
        await asyncio.sleep(0.005)  # sockets are closed a turn of the loop later


async def until(reached: Callable[[], bool]) -> None:
    """Let the loop work until it is so; the test's own timeout ends it otherwise."""
    while not reached():  # noqa: ASYNC110 - what is waited for is whatever the test asks
        await asyncio.sleep(0.002)
