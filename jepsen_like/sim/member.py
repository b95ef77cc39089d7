"""One simulated member: a thin shell around the production replica, storage and store.

It does what the asyncio driver does, in the same order, with virtual time in place of a loop and
two job queues in place of two threads. Between the steps lie points at which it may be
killed. Everything that it must not get wrong is reported to the cluster's agreed log.
Invariants: nothing of an earlier life acts in a later one; only the disk survives.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from jepsen_like.base import MILLISECOND_NS, Violation
from jepsen_like.sim.clock import Clock
from jepsen_like.sim.disk import Disk, DiskFiles, PowerCut
from jepsen_like.sim.diskqueue import DiskQueue
from jepsen_like.sim.transfer import Receiver, start_transfer
from kvraft.errors import Corrupt, DiskFailed, DiskFull, StorageError
from kvraft.raft import invariants
from kvraft.raft.config import RaftConfig
from kvraft.raft.core import Role
from kvraft.raft.entry import NO_STATE
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.message import InstallSnapshot
from kvraft.server.bootstrap import build_replica, initial_entries, restore_store
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.storage.datadir import SnapshotWriter, Storage
from kvraft.storage.wal import Identity
from kvraft.store.store import Store
from kvraft.transport.codec import FrameDecoder, FrameEncoder

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from kvraft.raft.entry import Entry, HardState
    from kvraft.raft.ready import Persist
    from kvraft.server.replica import Frame, Replica, SnapshotJob

CLUSTER_ID = 0xC1
DATA_DIR = "/data"
FOREVER_NS = 1 << 62


class Killed(BaseException):
    """The process ends at this point; no production code may handle it."""


class Member:
    """See the module's description."""

    def __init__(self, cluster: Cluster, number: int, name: str) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.number = number  # its id
        self.name = name
        self.joins = False  # added to a running cluster: begins with an empty log
        self.known: set[int] = set()  # whom it was told of when it joined
        self.gone = False  # its process has ended for good
        self.rng: random.Random = cluster.world.rng(f"member {name.removeprefix('m')}")
        self.disk = Disk(cluster.world.rng(f"disk {name}"))
        self.clock = Clock(self.world, self.rng, cluster.shape.tick_ns, cluster.shape.drift)
        self.life = 0
        self.up = False
        self.lost = False  # its disk is damaged and it refused to start
        self.damaged = False
        self.points_left = 0  # 0: no kill is armed
        self.paused = False
        self.slow_disk_ns = 0
        self.receivers: dict[int, Receiver] = {}
        self.highest_term = 0
        self._unsaved: HardState | None = None
        self._encoder = FrameEncoder(FRAME_NUMBERS)
        self._sending: set[int] = set()
        self._applies = 0
        self._waiting: list[Callable[[], None]] = []

    # --- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process: recover, or bootstrap at the very first time."""
        if self.up or self.lost or self.gone:
            return
        self.life += 1
        self.clock.wall_offset_ns = self.rng.randint(-200, 200) * MILLISECOND_NS
        self.world.note("member", self.number, "starts, life", self.life)
        self.files = DiskFiles(self.disk)
        try:
            self._recover()
        except PowerCut:
            self._power_cut("during recovery")
            self.cluster.restart_later(self)
            return
        except Corrupt as error:
            self._refused(error)
            return
        except (DiskFull, DiskFailed) as error:
            self.world.fault("start given up on a disk error", self.number, repr(error))
            self.cluster.restart_later(self)
            return
        self.up = True
        self._show()
        self.wal_queue = DiskQueue(self)
        self.snapshot_queue = DiskQueue(self)
        self.receivers = {}
        self._sending = set()
        self._unsaved = None
        self._decoder = FrameDecoder(frame_from_wire)
        self._before = invariants.observe(self.replica.core)
        self._schedule_tick()
        self.enter(self.work)

    def _recover(self) -> None:
        shape = self.cluster.shape
        if not Storage.exists(self.files, DATA_DIR):
            entries, state = initial_entries(self.cluster.founders)
            if self.joins:
                entries, state = [], NO_STATE
            self.disk.make_data_dir(DATA_DIR)
            identity = Identity(self.number, CLUSTER_ID)
            Storage.create(
                self.files, DATA_DIR, identity, entries, state, segment_bytes=shape.segment_bytes
            ).close()
        self.storage, recovered = Storage.open(
            self.files, DATA_DIR, segment_bytes=shape.segment_bytes
        )
        store = Store()
        if recovered.snapshot is not None:
            store = restore_store(self.storage.read_snapshot(recovered.snapshot))
        self.cluster.ledger.recovered(self, recovered)
        self.recovered_commit = recovered.hard_state.commit
        config = RaftConfig(
            self.number, shape.election_ticks, pre_vote=shape.pre_vote,
            check_quorum=shape.check_quorum, max_append_bytes=shape.max_append_bytes,
            max_inflight_appends=shape.max_inflight_appends,
        )  # fmt: skip
        self.replica: Replica = build_replica(
            shape.replica_config(self.name), config, self.rng, self.clock, self.life,
            recovered, store,
        )  # fmt: skip

    def _refused(self, error: Corrupt) -> None:
        if not self.damaged:
            raise Violation(f"member {self.number} refuses its undamaged disk: {error}")
        self.lost = True
        self.world.fault("damage refused at start", self.number, str(error))

    def kill(self) -> None:
        """The process ends; the machine and its page cache stay."""
        if self.up:
            self._ended("killed")
            self.world.fault("process killed", self.number)

    def cut_power(self, calls: int, mode: str, chance: int) -> None:
        """The machine stops; a disk job under way comes through `calls` more calls (0: none).

        `mode` is one of `disk.MODES`; `chance` seeds what else is left to chance.
        """
        if not self.up:
            return
        self._ended("power cut")
        rng = random.Random(chance)
        if calls:
            self.disk.cut_after_calls = calls
            queues = [queue for queue in (self.wal_queue, self.snapshot_queue) if queue.busy]
            try:
                if queues:
                    rng.choice(queues).tear()
            except PowerCut:
                self.world.faults["power cut between two disk calls"] += 1
            except (OSError, StorageError):
                self.world.note("the job under way had failed anyway")
        self._power_cut("", mode, rng)

    def _power_cut(self, when: str, mode: str = "", rng: random.Random | None = None) -> None:
        mode = self.disk.power_cut(mode, rng)
        self.world.fault("power cut" + (" " + when if when else ""), self.number, mode)

    def _ended(self, why: str) -> None:
        self.up = False
        if self.world.observer is not None:
            self.world.observer.ended(self.number, why)
        self.points_left = 0
        self.paused = False
        self._waiting.clear()
        for owner in self.cluster.owners_at(self):
            owner.member_ended()

    def pause(self) -> None:
        """Not scheduled until `resume`; what arrives waits in the sockets."""
        self.paused = True
        if self.world.observer is not None:
            self.world.observer.paused(self.number, FOREVER_NS)

    def resume(self) -> None:
        """Scheduled again: take what has waited, in its order."""
        if self.paused and self.world.observer is not None:
            self.world.observer.paused(self.number, 0)
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def defer(self, action: Callable[[], None]) -> bool:
        """If the process is paused now, do `action` when it goes on."""
        if not self.paused:
            return False
        self._waiting.append(action)
        return True

    # --- the shell around every step ------------------------------------------------------

    def enter(self, action: Callable[[], None]) -> bool:
        """Run a step of the process; False if it ended in it."""
        try:
            action()
        except Killed:
            self.world.fault("killed between two steps", self.number)
            self._ended("killed between two steps")
        except PowerCut:
            self.world.fault("power cut at a disk call", self.number)
            self._ended("power cut at a disk call")
            self._power_cut("")
        else:
            return self.up
        self.cluster.restart_later(self)
        return False

    def soon(self, life: int, action: Callable[[], None]) -> None:
        """Run an input and the work that follows from it, if this life still lasts."""
        if life != self.life or not self.up:
            return
        if self.defer(lambda: self.soon(life, action)):
            return

        def step() -> None:
            action()
            self.work()

        self.enter(step)

    def _point(self) -> None:
        if self.points_left:
            self.points_left -= 1
            if not self.points_left:
                raise Killed

    def serve(self) -> None:
        """A client is about to be served: all that was known to be committed must be there."""
        if self.replica.applied_index < self.recovered_commit:
            raise Violation(
                f"member {self.number} serves at log index {self.replica.applied_index}, but knew "
                f"{self.recovered_commit} to be committed when it started"
            )

    # --- inputs -------------------------------------------------------------------------

    def _schedule_tick(self) -> None:
        life = self.life
        self.world.after(self.clock.next_tick_ns(), lambda: self.soon(life, self._tick))

    def _tick(self) -> None:
        self._schedule_tick()
        self.replica.tick()
        self._save_commit_index()
        self._dial()
        if self.replica.may_leave():
            self.world.fault("removed member left", self.number)
            self.gone = True
            self._ended("left")

    def _dial(self) -> None:
        """Keep connections to all others, as production does; some may not want this member."""
        network = self.cluster.network
        for number in (*self.replica.members, *self.known):
            peer = self.cluster.members.get(number)
            if peer is None or not peer.up or peer.paused:
                continue
            if not (
                network.connected(self.number, number) and network.connected(number, self.number)
            ):
                continue
            if peer.replica.may_be_told_of_removal(self.number):
                self._refused_by(number)

    def _refused_by(self, number: int) -> None:
        told = partial(self._told_of_removal, number)
        self.world.after(MILLISECOND_NS, partial(self.soon, self.life, told))

    def _told_of_removal(self, by: int) -> None:
        self.replica.told_of_removal(by)

    def receive(self, sender: Member, data: bytes) -> None:
        """Bytes of one frame from a peer."""
        if self.up:
            self.soon(self.life, lambda: self._received(sender, data))

    def _received(self, sender: Member, data: bytes) -> None:
        if self.replica.may_be_told_of_removal(sender.number):
            return  # its connection has been cut; when it calls again, it is told why
        for frame in self._decoder.feed(data):
            self.world.note(self.number, "<-", frame)
            self.replica.receive(cast("Frame", frame))

    # --- work ---------------------------------------------------------------------------

    def work(self) -> None:
        replica = self.replica
        rounds = 0
        while replica.busy():
            rounds += 1
            if rounds > 1000:
                raise Violation(f"member {self.number} is busy without end")
            self._point()
            work = replica.take_work()
            self._point()
            if work.send:
                self._send(work.send)
                self._point()
            if work.persist is not None:
                self._persist(work.persist)
            if work.committed:
                self._apply(work.committed)
                self._point()
            self._check()
        if replica.snapshot_due():
            self._take_snapshot(replica.begin_snapshot())

    def _apply(self, committed: list[Entry]) -> None:
        replica, agreed = self.replica, self.cluster.agreed
        agreed.observe(self.number, replica.applied_index, committed)
        replica.apply(committed)
        agreed.store_index(self.number, replica.applied_index, replica.store.index)
        voters, learners = replica.core.membership
        if sorted(voters + learners) != list(replica.members):
            raise Violation(
                f"member {self.number} counts {voters} and {learners}, but its records name "
                f"{list(replica.members)}"
            )
        self._applies += 1
        if self._applies % self.cluster.shape.digest_every == 0:
            self.check_digest()

    def _show(self) -> None:
        """Tell an onlooker where this member stands."""
        observer = self.world.observer
        if observer is not None:
            core = self.replica.core
            observer.state(
                self.number, self.life, core.role.name.lower(), core.term, core.commit,
                self.replica.applied_index, core.log.last, core.log.first,
            )  # fmt: skip

    def check_digest(self) -> None:
        """Compare the whole store with those of the others at this index."""
        replica = self.replica
        self.cluster.agreed.digest(self.number, replica.applied_index, replica.store.digest())

    def _check(self) -> None:
        self.cluster.ledger.step(self)
        self._show()
        if not self.cluster.shape.check_core:
            return
        core = self.replica.core
        invariants.check(core)
        now = invariants.observe(core)
        invariants.check_delta(self._before, now)
        self._before = now

    def _send(self, frames: list[Frame]) -> None:
        network = self.cluster.network
        for frame in frames:
            to = frame[0]
            peer = self.cluster.members.get(to)
            if peer is None and to not in self.cluster.agreed.added:
                raise Violation(f"member {self.number} sends to unknown member {to}")
            if peer is None or not self._reaches(peer):
                self._unreachable_soon(to)
                continue
            if type(frame) is InstallSnapshot:
                self._transfer(frame)
                continue
            if not network.connected(self.number, to) and self.rng.random() < 0.2:
                self._unreachable_soon(to)
            data = self._encoder.encode([frame])
            network.send(self.number, to, partial(peer.receive, self, data), frame)

    def _reaches(self, peer: Member) -> bool:
        """Whether this member knows where the other one is, from the log or from its call."""
        if peer.number in self.replica.members or peer.number in self.known:
            return True
        return peer.up and self.number in peer.replica.members

    def _unreachable_soon(self, to: int) -> None:
        """The transport notices a broken connection a little later."""
        report = partial(self.replica.report_unreachable, to)
        self.world.after(5 * MILLISECOND_NS, partial(self.soon, self.life, report))

    # --- persisting ---------------------------------------------------------------------

    def sync_latency_ns(self) -> int:
        """How long the next disk job takes."""
        base_ns = self.rng.randint(MILLISECOND_NS // 10, 3 * MILLISECOND_NS)
        return base_ns + (self.rng.randint(0, self.slow_disk_ns) if self.slow_disk_ns else 0)

    def _persist(self, persist: Persist) -> None:
        if not persist.sync:
            self._unsaved = persist.hard_state
            self._persisted(persist)
            return
        self._unsaved = None

        def job() -> None:
            if persist.snapshot is not None:
                self.storage.adopt_received(persist.snapshot)
            self.storage.save(persist.hard_state, persist.entries, True)

        self.cluster.ledger.saving(self, persist)
        self.wal_queue.submit(job, lambda _, error: self._saved(persist, job, error))

    def _saved(self, persist: Persist, job: Callable[[], None], error: Exception | None) -> None:
        if error is None:
            self.cluster.ledger.saved(self, persist)
            self.replica.disk_full = False
            self._point()
            self._persisted(persist)
            self._point()
            self.work()
        elif isinstance(error, DiskFull):
            self.replica.disk_full = True
            self.world.faults["write refused by a full disk"] += 1
            if self.replica.core.role is Role.LEADER:
                with suppress(ProposalRefused):
                    self.replica.core.transfer_leadership(0)
            life = self.life
            self.world.after(
                100 * MILLISECOND_NS,
                lambda: self.soon(
                    life,
                    lambda: self.wal_queue.submit(
                        job, lambda _, again: self._saved(persist, job, again)
                    ),
                ),
            )
        else:
            self.fatal(error)

    def fatal(self, error: Exception) -> None:
        self.world.fault("process ended by a disk error", self.number, repr(error))
        raise Killed

    def _persisted(self, persist: Persist) -> None:
        frames = self.replica.persisted(persist)
        if frames:
            self._send(list(frames))

    def _save_commit_index(self) -> None:
        state, self._unsaved = self._unsaved, None
        if state is None:
            return

        def finished(_: object, error: Exception | None) -> None:
            if error is not None and not isinstance(error, DiskFull):
                self.fatal(error)

        self.wal_queue.submit(lambda: self.storage.save(state, [], False), finished)

    # --- snapshots ----------------------------------------------------------------------

    def _take_snapshot(self, job: SnapshotJob) -> None:
        self.world.faults["snapshot taken"] += 1
        chunks = iter(job.chunks)

        def begun(writer: SnapshotWriter, error: Exception | None) -> None:
            def write(_: object, error: Exception | None) -> None:
                if self._snapshot_failed(error):
                    return
                chunk = next(chunks, None)
                if chunk is None:
                    self.snapshot_queue.submit(writer.commit, done)
                else:
                    self.snapshot_queue.submit(lambda: writer.write(chunk), write)

            write(None, error)

        def done(_: object, error: Exception | None) -> None:
            if self._snapshot_failed(error):
                return
            self.replica.snapshot_done(job.meta)
            self.work()
            self.wal_queue.submit(lambda: self.storage.purge(2, 2), self._purged)

        self.snapshot_queue.submit(lambda: self.storage.snapshot_writer(job.meta), begun)

    def _snapshot_failed(self, error: Exception | None) -> bool:
        if error is None:
            self._point()
            return False
        if not isinstance(error, DiskFull):
            self.fatal(error)
        self.replica.snapshot_failed()
        return True

    def _purged(self, _: object, error: Exception | None) -> None:
        if error is not None and not isinstance(error, DiskFull):
            self.fatal(error)

    def _transfer(self, message: InstallSnapshot) -> None:
        if message.to in self._sending:
            return
        self._sending.add(message.to)
        life = self.life

        def ended(ok: bool) -> None:
            def report() -> None:
                self._sending.discard(message.to)
                self.replica.report_snapshot(message.to, ok)

            self.soon(life, report)

        start_transfer(self, message, ended)
