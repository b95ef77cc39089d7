"""One simulated member: a thin shell around the production replica, storage and store.

It does what the asyncio driver does, in the same order, with virtual time in place of a loop and
two job queues in place of two threads. Between the steps lie points at which it may be
killed. Everything that it must not get wrong is reported to the cluster's agreed log.
Invariants: nothing of an earlier life acts in a later one; only the disk survives.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from jepsen_like.base import MILLISECOND_NS, Violation
from jepsen_like.sim import opening
from jepsen_like.sim.calling import dial
from jepsen_like.sim.clock import Clock
from jepsen_like.sim.comparing import Comparing
from jepsen_like.sim.disk import Disk, DiskFiles, PowerCut
from jepsen_like.sim.diskqueue import DiskQueue
from jepsen_like.sim.saving import Saving
from jepsen_like.sim.snapshotting import Snapshots
from jepsen_like.sim.transfer import Receiver
from kvraft.errors import Corrupt, DataLost, DiskFailed, DiskFull, StorageError
from kvraft.raft import invariants
from kvraft.raft.message import InstallSnapshot
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.transport.codec import FrameDecoder, FrameEncoder

if TYPE_CHECKING:
    from jepsen_like.check.commands import Tally
    from jepsen_like.sim.cluster import Cluster
    from kvraft.raft.entry import Entry
    from kvraft.server.replica import Frame, Replica
    from kvraft.storage.datadir import Storage

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
        self.place = int(name.removeprefix("m"))  # among all that there ever were
        self.replica: Replica
        self.storage: Storage
        self.tally: Tally
        self.recovered_commit = 0
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
        self.only_killed = False  # at the disk call that is armed: the machine goes on
        self.recovery_cuts: list[int] = []  # the next starts end at these disk calls
        self.emptied = False  # its data directory was lost
        self.rolled_back = False  # its data directory is an old one
        self.disk_copy: Disk | None = None
        self.paused = False
        self.slow_disk_ns = 0
        self.receivers: dict[int, Receiver] = {}
        self.callers: set[int] = set()  # who has called this member in this life
        self.highest_term = 0
        self.comparing = Comparing(number, cluster.known, cluster.agreed)
        self._encoder = FrameEncoder(FRAME_NUMBERS)
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
        if self.recovery_cuts:
            self.disk.cut_after_calls = self.recovery_cuts.pop(0)
        try:
            if not opening.may_begin(self):
                return
            opening.recover(self)
        except PowerCut:
            self._stopped_at_call("during recovery")
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
        self.callers = set()
        self.snapshots = Snapshots(self)
        self._saving = Saving(self)
        self._decoder = FrameDecoder(frame_from_wire)
        self._before = invariants.observe(self.replica.core)
        self._checked: tuple[int, int, Entry | None] = (0, 0, None)
        self._schedule_tick()
        self.enter(self.work)

    def _refused(self, error: Corrupt) -> None:
        if not self.damaged:
            raise Violation(f"member {self.number} refuses its undamaged disk: {error}")
        self.lost = True
        self.world.fault("damage refused at start", self.number, str(error))

    def lose_disk(self) -> None:
        """The data directory of this member, which is down, is gone."""
        self.disk = Disk(self.world.rng(f"disk {self.name} again"))
        self.damaged = self.emptied = True

    def roll_back(self) -> None:
        """The data directory of this member, which is down, is replaced by its copy."""
        assert self.disk_copy is not None
        self.disk, self.disk_copy = self.disk_copy, None
        self.damaged = self.rolled_back = True

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

    def _stopped_at_call(self, when: str) -> None:
        if self.only_killed:
            self.world.fault(f"process killed {when}", self.number)
        else:
            self._power_cut(when)

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
            self._ended("killed at a disk call" if self.only_killed else "power cut at a disk call")
            self._stopped_at_call("at a disk call")
        except DataLost as error:
            if not self.rolled_back:
                raise Violation(f"member {self.number}: {error}") from error
            self.world.fault("member with an old directory ended itself", self.number, str(error))
            self._ended("data lost")
            self.lost = True
            return False
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

    def point(self) -> None:
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
        self._saving.commit_index()
        dial(self)
        if self.replica.may_leave():
            self.world.fault("removed member left", self.number)
            self.gone = True
            self._ended("left")

    def receive(self, sender: Member, data: bytes) -> None:
        """Bytes of one frame from a peer."""
        if self.up:
            self.soon(self.life, lambda: self._received(sender, data))

    def take_snapshot_now(self) -> None:
        """A snapshot before it is due, unless one is under way or nothing has changed."""
        replica = self.replica
        if replica.applied_index > replica.snapshot_index and not replica._snapshot_running:
            self.snapshots.take(replica.begin_snapshot())

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
            self.point()
            work = replica.take_work()
            self.point()
            if work.send:
                self.send(work.send)
                self.point()
            if work.persist is not None:
                self._saving.save(work.persist)
            if work.committed:
                self._apply(work.committed)
                self.point()
            self._check()
        if replica.snapshot_due():
            self.snapshots.take(replica.begin_snapshot())

    def _apply(self, committed: list[Entry]) -> None:
        every = self.cluster.shape.digest_every
        while committed:
            left = every - self.replica.applied_index % every
            self._apply_some(committed[:left])
            committed = committed[left:]
            if not self.replica.applied_index % every:
                self.check_digest()

    def _apply_some(self, committed: list[Entry]) -> None:
        replica, agreed = self.replica, self.cluster.agreed
        before = replica.store.index
        agreed.observe(self.number, replica.applied_index, committed)
        replica.apply(committed)
        agreed.store_index(self.number, replica.applied_index, replica.store.index)
        self.comparing.batch(before, replica.applied_index, replica.store, self.tally)
        voters, learners = replica.core.membership
        if sorted(voters + learners) != list(replica.members):
            raise Violation(
                f"member {self.number} counts {voters} and {learners}, but its records name "
                f"{list(replica.members)}"
            )

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
        self.comparing.everything(self.replica.applied_index, self.replica.store)

    def _check(self) -> None:
        self.cluster.ledger.step(self)
        self._show()
        if not self.cluster.shape.check_core:
            return
        core = self.replica.core
        log = core.log
        ends = (log.first, log.last, log.entries[-1] if log.entries else None)
        invariants.check(core, entries=ends != self._checked)
        self._checked = ends  # entries come and go at the ends of a log, nowhere else
        now = invariants.observe(core)
        invariants.check_delta(self._before, now)
        self._before = now

    def send(self, frames: list[Frame]) -> None:
        """Hand frames to the network."""
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
                self.snapshots.send(frame)
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

    # --- the disk ---------------------------------------------------------------------

    def sync_latency_ns(self) -> int:
        """How long the next disk job takes."""
        base_ns = self.rng.randint(MILLISECOND_NS // 10, 3 * MILLISECOND_NS)
        return base_ns + (self.rng.randint(0, self.slow_disk_ns) if self.slow_disk_ns else 0)

    def fatal(self, error: Exception) -> None:
        """Raises Killed."""
        self.world.fault("process ended by a disk error", self.number, repr(error))
        raise Killed
