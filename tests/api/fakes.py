"""A member without a cluster: the real store, and every proposal applied at once.

Run as a program it serves on a port, for the recorded conformance cases and for load:

    python -m tests.api.fakes http://127.0.0.1:2379
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator

import uvloop

from kvraft.api.figures import HttpFigures
from kvraft.api.port import ClientPort
from kvraft.api.service import (
    BarrierDone,
    ChangeDone,
    ChangeOutcome,
    MemberChange,
    MemberInfo,
    Unavailable,
    WriteDone,
)
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request
from kvraft.store.store import Store

SYNC_INTERVAL_S = 0.5
MEMBER = MemberInfo(0x7924593A81A969FD, "default", ("http://127.0.0.1:1",), ("http://127.0.0.1:2",))


class FakeDiagnostics:
    """Says what a test wants to hear."""

    def __init__(self) -> None:
        self.levels: list[str] = []

    def explain_delay(self, began_s: float, ended_s: float, local: bool) -> str:
        return "local" if local else "cluster"

    def metrics(self, figures: HttpFigures, done: Callable[[bytes], None]) -> None:
        done(b"connections %d\n" % figures.connections)

    def variables(self) -> dict[str, object]:
        return {"raft.status": {"id": "1"}, "cmdline": ["kvraft", "<x>"]}

    def set_log_level(self, level: str) -> bool:
        self.levels.append(level)
        return level.upper() in ("INFO", "DEBUG")


class FakeBackup:
    """A backup of given parts."""

    def __init__(self, index: int, parts: list[bytes]) -> None:
        self.etcd_index = index
        self.raft_index = 17
        self.raft_term = 3
        self.file_name = "x.backup"
        self.closed = 0
        self.taken = 0
        self._parts = parts

    def parts(self) -> Iterator[Callable[[], bytes]]:
        for part in self._parts:
            self.taken += 1
            yield part[:].strip

    def close(self) -> None:
        self.closed += 1


class FakeService:
    """A service of one member that agrees with itself."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self.store = Store()
        self.diagnostics = FakeDiagnostics()
        self.cluster_id_hex = b"7e27652122e8b2ae"
        self.applied_index = 4
        self.applied_term = 2
        self.cluster_version: str | None = "2.3.0"
        self.clock = clock
        self.ready = True
        self.healthy = True
        self.leads = True
        self.unavailable: Unavailable | None = None
        self.held: list[tuple[Request, WriteDone]] | None = None
        self.held_barriers: list[BarrierDone] | None = None
        self.backups: list[FakeBackup] = []
        self.backup_parts = [b"head", b"x" * 100_000, b"end"]
        self.changes: list[MemberChange] = []
        self.change_outcome: ChangeOutcome = None
        self.record(b"/0/members/7924593a81a969fd/raftAttributes", create=True)
        self.record(b"/0/members/7924593a81a969fd/attributes")
        self.record(b"/0/version")

    def record(self, name: bytes, create: bool = False) -> None:
        """Write one of the server's own records."""
        self.store.apply(Request(Op.PUT_RECORD, name, b"{}", directory=create))

    def now_ns(self) -> int:
        return self.clock()

    def propose(self, request: Request, done: WriteDone) -> None:
        if self.unavailable is not None:
            done(self.unavailable)
        elif self.held is not None:
            self.held.append((request, done))
        else:
            self.commit(request, done)

    def commit(self, request: Request, done: WriteDone) -> None:
        """Apply a request, tell the client, wake the watchers."""
        store = self.store
        if request.ttl_seconds is not None:
            self.sync()
        self.applied_index += 1
        try:
            event = store.apply(request)
        except StoreError as error:
            done(error)
        else:
            assert event is not None
            done(event)
        self.wake()

    def release(self) -> None:
        """Commit what has been held back."""
        held, self.held = self.held or [], None
        for request, done in held:
            self.commit(request, done)

    def sync(self) -> None:
        """Move the log's time and expire what is due."""
        self.applied_index += 1
        self.store.apply(Request(Op.SYNC, b"", time_ns=self.clock()))
        self.wake()

    def wake(self) -> None:
        for watcher in self.store.take_woken():
            owner = watcher.owner
            if owner is not None:
                owner.watch_ready(watcher)

    def read_barrier(self, done: BarrierDone) -> None:
        if self.held_barriers is not None:
            self.held_barriers.append(done)
        else:
            done(self.unavailable)

    def members(self) -> list[MemberInfo]:
        return [MEMBER]

    def change_membership(self, change: MemberChange, done: ChangeDone) -> None:
        self.changes.append(change)
        done(self.change_outcome)

    def leader(self) -> MemberInfo | None:
        return MEMBER if self.leads else None

    def health(self, done: Callable[[bool], None]) -> None:
        done(self.healthy)

    def self_stats(self) -> dict[str, object]:
        return {"name": MEMBER.name, "id": f"{MEMBER.id:x}", "state": "StateLeader"}

    def leader_stats(self) -> dict[str, object] | None:
        return {"leader": f"{MEMBER.id:x}", "followers": {}} if self.leads else None

    def begin_backup(self) -> FakeBackup:
        self.backups.append(FakeBackup(self.store.index, self.backup_parts))
        return self.backups[-1]

    def accepting(self) -> bool:
        return self.ready


async def serve(number: int) -> None:
    """Serve until interrupted."""
    loop = asyncio.get_running_loop()
    service = FakeService()
    port = ClientPort(service, loop)
    server = await loop.create_server(port.connection, "127.0.0.1", number, backlog=1024)
    port.start()

    def tick() -> None:
        service.sync()
        loop.call_later(SYNC_INTERVAL_S, tick)

    tick()
    print(f"serving on {server.sockets[0].getsockname()}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    number = int(sys.argv[1].rpartition(":")[2])
    if "--asyncio" in sys.argv:
        asyncio.run(serve(number))
    else:
        uvloop.run(serve(number))
