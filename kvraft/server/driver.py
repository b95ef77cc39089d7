"""The one place that owns the order of things: persist, then send, then apply, then answer.

Runs a replica on the event loop. Whatever arrives (frames, requests, ticks, finished disk jobs)
is put into the replica, and one round of work is scheduled for the end of the loop's turn:
everything that arrived in the same turn shares one log write, one frame per peer and one sync.
While a sync runs in the disk thread, the next batch forms.

A failed sync or a broken disk ends the member through `on_fatal`. A full disk does not: the write
is repeated until there is space, new writes are refused, and a leader hands over to another member.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial, wraps
from time import monotonic
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from kvraft import limits
from kvraft.errors import DataLost, DiskFull, StorageError
from kvraft.raft.core import Role
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.message import InstallSnapshot
from kvraft.server.diskthread import DiskThread, MakeQueue
from kvraft.server.logs import logger
from kvraft.server.metrics import SnapshotTimer
from kvraft.transport.handshake import HandshakeError

if TYPE_CHECKING:
    from kvraft.raft.entry import HardState, SnapshotMeta
    from kvraft.raft.ready import Persist
    from kvraft.server.metrics import Metrics
    from kvraft.server.peerstats import PeerStats
    from kvraft.server.replica import Frame, Replica, SnapshotJob
    from kvraft.storage import Storage
    from kvraft.store.store import Store
    from kvraft.transport.links import PeerLinks

P = ParamSpec("P")

_log = logger("etcdserver")
_file_log = logger("fileutil")

ROUNDS_PER_TURN = 8
"""Rounds of work before other callbacks get the loop: each is bounded by MAX_APPLY_ENTRIES."""


def _or_end(step: Callable[Concatenate[Driver, P], None]) -> Callable[Concatenate[Driver, P], None]:
    """A step of the driver that ends the member if it raises.

    What comes out of a replica is a broken invariant or a lost disk: no further step may follow.
    """

    @wraps(step)
    def guarded(driver: Driver, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(driver, *args, **kwargs)
        except Exception as error:
            driver.fail(error)

    return guarded


class Driver:
    """Runs one replica; see the module's description."""

    def __init__(
        self,
        replica: Replica,
        storage: Storage,
        stats: PeerStats,
        metrics: Metrics,
        *,
        on_fatal: Callable[[BaseException], None],
        on_change: Callable[[], None],
        on_removed: Callable[[], None],
        addresses: Callable[[], Mapping[int, Sequence[str]]],
        max_snapshots: int,
        max_wals: int,
        make_queue: MakeQueue = DiskThread,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._replica = replica
        self._storage = storage
        self._stats = stats
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._on_change = on_change
        self._on_removed = on_removed
        self._addresses = addresses
        self._max_snapshots = max_snapshots
        self._max_wals = max_wals
        self._hub: PeerLinks | None = None
        self._members_seen: object = None
        self._leadership_seen: object = None
        self._refused_seen: object = None
        self._wal_queue = make_queue(self._loop, "kvraft-wal")
        self._snapshot_queue = make_queue(self._loop, "kvraft-snapshot")
        self._scheduled = False
        self._stopped = False
        self._halted = False  # stopped or paused
        self._held: list[Callable[[], None]] = []  # what has come while paused, in order
        self._backlog = False
        self._unsaved: HardState | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending_snapshots: set[int] = set()
        self._tick_handle: asyncio.TimerHandle | None = None
        self._tick_seconds = replica.config.tick_ms / 1000

    # --- life ---------------------------------------------------------------------------

    def start(self, hub: PeerLinks) -> None:
        """Begin to tick."""
        self._metrics.wal_last_index = self._replica.core.log.last
        self._hub = hub
        self._start_ticking()
        self._spawn(self._purge_regularly())
        self.wake()

    async def transfer_leadership(self) -> None:
        """As a leader with followers, hand over before stopping; gives up after a while."""
        core = self._replica.core
        if self._halted or core.role is not Role.LEADER or len(core.membership.voters) < 2:
            return
        self._hand_over()
        deadline = self._loop.time() + self._tick_seconds * self._replica.config.election_ticks
        # The core has no events; this lasts a few milliseconds, once in a life.
        while core.role == Role.LEADER and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(self._tick_seconds / 20)

    def end(self) -> None:
        """From here on nothing is sent, written or acknowledged; whoever waits is told so."""
        if self._stopped:
            return
        self._stopped = self._halted = True
        self._held.clear()
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        for task in self._tasks:
            task.cancel()
        self._replica.stop()

    async def stop(self) -> None:
        """End everything; what was submitted to the disk is finished first."""
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._wal_queue.close()
        await self._snapshot_queue.close()

    def pause(self) -> None:
        """Stand still as a process does that got SIGSTOP: frames wait, no tick comes.

        The disk finishes what it was given; nobody hears of it before `resume`.
        """
        if not self._halted:
            self._halted = True
            if self._tick_handle is not None:
                self._tick_handle.cancel()

    def resume(self) -> None:
        """Go on with whatever has arrived meanwhile."""
        if not self._halted or self._stopped:
            return
        self._halted = self._scheduled = False
        held, self._held = self._held, []
        for event in held:
            event()
        self._start_ticking()
        self.wake()

    # --- inputs -------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was put into the replica: do its work at the end of this turn."""
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self._run)

    @_or_end
    def receive_frames(self, frames: list[Frame]) -> None:
        """Frames from a peer."""
        if self._halted:
            if not self._stopped and len(self._held) < limits.PAUSED_BATCHES:
                self._held.append(partial(self.receive_frames, frames))
            return
        self._stats.received(frames)
        receive = self._replica.receive
        for frame in frames:
            receive(frame)
        self.wake()

    @_or_end
    def receive_snapshot(self, message: InstallSnapshot, store: Store) -> None:
        """A snapshot from the leader has arrived whole and is on disk."""
        if self._halted:
            if not self._stopped:
                self._held.append(partial(self.receive_snapshot, message, store))
            return
        self._metrics.snapshots_received += 1
        self._replica.receive_snapshot(message, store)
        self.wake()

    async def run_snapshot_job(self, job: Callable[[], Any]) -> Any:
        """Run a blocking job of a snapshot transfer, in order with the others."""
        return await self._snapshot_queue.run(job)

    def fail(self, error: BaseException) -> None:
        """The data directory or the replica cannot be trusted any more: end the member."""
        if isinstance(error, DataLost):
            error = self._storage.set_back(error)
        self._on_fatal(error)
        self.pause()  # until whoever has been told ends it

    def report_unreachable(self, member: int) -> None:
        """Frames to this member are being lost."""
        self._replica.report_unreachable(member)

    def _start_ticking(self) -> None:
        self._next_tick = self._loop.time() + self._tick_seconds
        self._tick_handle = self._loop.call_at(self._next_tick, self._tick)

    @_or_end
    def _tick(self) -> None:
        now = self._loop.time()
        lag_s = max(0.0, now - self._next_tick)
        # A late tick is not made up for: after a pause, messages that wait in the sockets have
        # to be read before anybody concludes that the leader is gone.
        self._next_tick = now + self._tick_seconds
        self._tick_handle = self._loop.call_at(self._next_tick, self._tick)
        core = self._replica.core
        self._metrics.ticked(lag_s, core.role is Role.LEADER and len(core.membership.voters) > 1)
        self._metrics.starting(not self._replica.accepting())
        self._replica.tick()
        self._save_commit_index()
        self._reclaim()
        if self._replica.may_leave():
            self._on_removed()
        self.wake()

    def _reclaim(self) -> None:
        """Free removed subtrees in short slices, with everything else in between."""
        if not self._stopped and self._replica.store.reclaim(limits.RECLAIM_SLICE_NODES):
            self._loop.call_soon(self._reclaim)

    # --- work ---------------------------------------------------------------------------

    @_or_end
    def _run(self) -> None:
        if self._halted:
            self._scheduled = True  # so that nothing schedules it before `resume`
            return
        self._scheduled = False
        replica = self._replica
        backlog = False
        for _ in range(ROUNDS_PER_TURN):
            if not replica.busy():
                break
            work = replica.take_work()
            if work.send:
                self._send(work.send)
            if work.persist is not None:
                self._persist(work.persist)
            if work.committed:
                replica.apply(work.committed)
        else:
            backlog = True
            self.wake()
        if backlog or self._backlog:
            self._backlog = backlog
            self._metrics.applying(backlog)
        leadership = (replica.core.term, replica.core.leader, replica.core.role)
        if (
            replica.members is not self._members_seen
            or leadership != self._leadership_seen
            or replica.removals.refused is not self._refused_seen
        ):
            self._refused_seen = replica.removals.refused
            self._leadership_seen = leadership
            self._metrics.leadership(replica.core.leader)
            self._members_seen = replica.members
            self.follow_membership()
            self._on_change()
        if replica.snapshot_due():
            self._spawn(self._take_snapshot(replica.begin_snapshot()))

    def _send(self, frames: list[Frame]) -> None:
        assert self._hub is not None
        for frame in frames:
            if type(frame) is InstallSnapshot:
                self._start_transfer(frame)
        ordinary = [frame for frame in frames if type(frame) is not InstallSnapshot]
        if ordinary:
            began_ns = self._stats.now_ns()
            self._hub.send(ordinary)
            self._stats.sent(ordinary, began_ns)

    def follow_membership(self) -> None:
        """Dial whoever there is, at the addresses known now."""
        if self._hub is not None and not self._stopped:
            self._hub.update(self._addresses())

    # --- persisting ---------------------------------------------------------------------

    def _persist(self, persist: Persist) -> None:
        if not persist.sync:
            # A commit index alone promises nothing to anyone: it is written with the next
            # batch, or with the next tick.
            self._unsaved = persist.hard_state
            self._persisted(persist)
            return
        self._unsaved = None
        storage = self._storage

        def job() -> float:
            began_s = monotonic()
            if persist.snapshot is not None:
                storage.adopt_received(persist.snapshot)
            storage.save(persist.hard_state, persist.entries, True)
            return monotonic() - began_s

        self._metrics.saving()
        self._wal_queue.submit(job, lambda took, error: self._saved(persist, job, took, error))

    @_or_end
    def _saved(
        self, persist: Persist, job: Callable[[], float], took_s: float, error: BaseException | None
    ) -> None:
        if self._halted:
            if not self._stopped:
                self._held.append(partial(self._saved, persist, job, took_s, error))
            return
        if error is None:
            entries = persist.entries
            self._metrics.saved(took_s, len(entries), entries[-1].index if entries else 0)
            if self._replica.disk_full:
                self._replica.disk_full = False
                self._metrics.disk_full(False)
                _log.info("there is space in the data directory again, writes are accepted")
            self._persisted(persist)
            self._run()
        elif isinstance(error, DiskFull):
            self._refuse_writes(error)
            self._loop.call_later(
                limits.DISK_FULL_RETRY_MS / 1000,
                self._wal_queue.submit,
                job,
                lambda took, again: self._saved(persist, job, took, again),
            )
        else:
            self.fail(error)

    def _persisted(self, persist: Persist) -> None:
        frames = self._replica.persisted(persist)
        if frames:
            self._send(list(frames))

    def _save_commit_index(self) -> None:
        """Record the commit index now and then, so that a restart knows more at once."""
        state, self._unsaved = self._unsaved, None
        if state is None:
            return
        storage = self._storage

        def finished(_: object, error: BaseException | None) -> None:
            if error is not None and not isinstance(error, DiskFull) and not self._stopped:
                self.fail(error)

        self._wal_queue.submit(lambda: storage.save(state, [], False), finished)

    def _refuse_writes(self, error: DiskFull) -> None:
        if not self._replica.disk_full:
            self._replica.disk_full = True
            self._metrics.disk_full(True)
            _log.error("%s; refusing writes until there is space", error)
        self._hand_over()

    def _hand_over(self) -> None:
        """As a leader, let somebody else lead who can; nobody may be able to."""
        if self._replica.core.role is Role.LEADER:
            with contextlib.suppress(ProposalRefused):
                self._replica.core.transfer_leadership(0)
                self.wake()

    # --- snapshots ----------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_snapshot(self, job: SnapshotJob) -> None:
        """Encode on the loop, a short slice at a time; write in a thread of its own."""
        run = self._snapshot_queue.run
        storage = self._storage
        timer = SnapshotTimer(self._metrics)
        try:
            writer = await run(partial(storage.snapshot_writer, job.meta))
            for chunk in timer.encoding(job.chunks):
                await run(partial(writer.write, chunk))
            await run(writer.commit)
            timer.finish()
            self._replica.snapshot_done(job.meta)
            _log.info("saved snapshot at index %d", job.meta.index)
            await self._purge()
        except DiskFull as error:
            self._replica.snapshot_failed()
            self._metrics.snapshots_failed += 1
            _log.error("cannot save a snapshot: %s", error)
        except (OSError, StorageError) as error:
            self.fail(error)

    async def _purge_regularly(self) -> None:
        try:
            while True:
                await self._purge()
                await asyncio.sleep(limits.PURGE_INTERVAL_S)
        except (OSError, StorageError) as error:
            self.fail(error)

    async def _purge(self) -> None:
        purge = partial(self._storage.purge, self._max_snapshots, self._max_wals)
        for path in await self._snapshot_queue.run(purge):
            _file_log.info("purged file %s successfully", path)

    def _start_transfer(self, message: InstallSnapshot) -> None:
        if message.to not in self._sending_snapshots:
            self._sending_snapshots.add(message.to)
            self._spawn(self._transfer(message))

    async def _transfer(self, message: InstallSnapshot) -> None:
        assert self._hub is not None
        ok = False
        began_ns = self._stats.now_ns()
        try:
            ok = await self._hub.send_snapshot(message, self._read_chunks(message.meta))
        except (OSError, TimeoutError, HandshakeError, StorageError) as error:
            _log.warning("cannot send a snapshot to member %x: %s", message.to, error)
        finally:
            # In any case, also of an error that nobody thought of: until it has been told, the
            # core sends nothing else to this member.
            self._sending_snapshots.discard(message.to)
            self._stats.transferred(message.to, InstallSnapshot, began_ns, ok)
            self._replica.report_snapshot(message.to, ok)
            self.wake()

    async def _read_chunks(self, meta: SnapshotMeta) -> AsyncIterator[bytes]:
        run = self._snapshot_queue.run
        chunks = self._storage.read_snapshot(meta)
        while (chunk := await run(lambda: next(chunks, None))) is not None:
            yield chunk
