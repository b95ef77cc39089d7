"""One member without I/O: consensus core, store, and the clients' requests between them.

The asyncio driver and the simulator drive it in the same way. Inputs are method calls (a tick, a
frame from a peer, a client's request); output is taken with `take_work` and handled in this order,
which is what makes an acknowledgement mean something:

1. `send` leaves at once;
2. `persist` is made durable, then reported with `persisted`, whose frames leave after that;
3. `committed` is passed to `apply`, which changes the store and answers the clients.

Invariants: a write is answered when its entry is applied here, and the core hands out only
entries that are durable here and committed. A write is proposed a second time only if no entry of
the first time can exist (see `forwarding`). Time is read from the injected clock alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kvraft import limits
from kvraft.api.service import (
    ChangeDone,
    ChangeOutcome,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.raft import confchange
from kvraft.raft.core import Role
from kvraft.raft.entry import ConfChangeKind, EntryKind, SnapshotMeta, decode_conf_change
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.message import Heartbeat, InstallSnapshot, Message
from kvraft.server import changes, ids, membership
from kvraft.server.changes import ChangeReply, ChangeRequest
from kvraft.server.checks import CHECK_FRAMES, CheckFrame, CheckListener
from kvraft.server.forwarding import Forward, ForwardReply, Inbox, Outbox, Verdict
from kvraft.server.logtime import LogTime
from kvraft.server.proposals import CommandDone, Done, Pending, ProposalTable
from kvraft.server.reads import Barrier, ReadQueue
from kvraft.server.removals import Removals
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request, decode_request, encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvraft.clock import Clock
    from kvraft.raft.core import RaftCore
    from kvraft.raft.entry import ConfChange, Entry
    from kvraft.raft.ready import Persist
    from kvraft.store.machine import Machine
    from kvraft.store.store import Store

Frame = Message | Forward | ForwardReply | ChangeRequest | ChangeReply | CheckFrame

TIMED_OUT = "etcdserver: request timed out"
LEADER_FAILED = TIMED_OUT + ", possibly due to previous leader failure"
CONNECTION_LOST = TIMED_OUT + ", possibly due to connection lost"
STOPPED = "etcdserver: server stopped"
OVERLOADED = "etcdserver: too many requests"
DISK_FULL = "etcdserver: no space left on the device of the data directory"

_NANOS_PER_MS = 1_000_000
_MAX_UINT64 = 2**64 - 1


class ReplicaConfig(NamedTuple):
    """What the replica has to know beyond the consensus core's settings."""

    name: str
    client_urls: tuple[str, ...]
    tick_ms: int
    election_ticks: int
    request_timeout_ms: int
    snapshot_count: int
    snapshot_keep_entries: int
    cluster_version: str
    strict_reconfig: bool = True


class Work(NamedTuple):
    """What the driver has to do next, in the order of the fields."""

    send: list[Frame]
    persist: Persist | None
    committed: list[Entry]


class SnapshotJob(NamedTuple):
    """A snapshot to be written: its place in the log, and its content piece by piece."""

    meta: SnapshotMeta
    chunks: Iterator[bytes]


class Replica:
    """See the module's description."""

    def __init__(
        self,
        config: ReplicaConfig,
        core: RaftCore,
        store: Store,
        clock: Clock,
        incarnation: int,
        machine: Machine | None = None,
        log_clock: Clock | None = None,
    ) -> None:
        """`machine` carries out commands. Raises MachineMissing or MachineFailed if the store is of
        a snapshot that needs one, or another one.

        `log_clock`: what log time follows where that is not `clock`. It may be set forward, which
        lets keys expire and shortens no deadline of a request.
        """
        self.config = config
        self.core = core
        self.store = store
        self._machine = machine
        store.attach(machine)
        self.applied_index = core.applied
        self.applied_term = core.log.term_at(core.applied) if core.applied else 0
        self.log_time = LogTime(clock if log_clock is None else log_clock, store.now_ns)
        self.members = membership.members_from_records(store.records())
        self.disk_full = False
        self.checks: CheckListener | None = None  # without one, checks pass unnoticed
        self._clock = clock
        self._proposals = ProposalTable()
        self._reads = ReadQueue()
        self._outbox = Outbox(core.member_id, incarnation)
        self._inbox = Inbox(core.member_id)
        self._desk = changes.Desk(core.member_id, incarnation)
        self._changes = changes.Queue(core, self, strict=config.strict_reconfig)
        election_ms = config.election_ticks * config.tick_ms
        self.removals = Removals(
            core.member_id, election_ms * _NANOS_PER_MS, config.tick_ms * _NANOS_PER_MS
        )
        self._send: list[Frame] = []
        self._incoming: dict[SnapshotMeta, Store] = {}
        self._next_request_id = ids.first_request_id(core.member_id, incarnation)
        self._retired = False
        self._started_ns = clock.monotonic_ns()
        if self.is_removed(core.member_id):
            self.removals.learnt(self._started_ns)
        self._recovered_commit = core.commit
        self._recovered_last = core.log.last
        self._snapshot_index = core.applied
        self._snapshot_running = False
        self._stamped_ns = 0
        self._published = False
        self._leader_since_ns = 0
        self._last_leader = 0
        self._hold_queue = False
        self._accepting = False

    # --- inputs -------------------------------------------------------------------------

    def tick(self) -> None:
        """One heartbeat interval has passed."""
        if self.core.role is Role.LEADER:
            self._tell_time()
        self.core.tick()
        self._hold_queue = False
        self._send += self._outbox.tick()
        now_ns = self._clock.monotonic_ns()
        limit_ns = now_ns - self.config.request_timeout_ms * _NANOS_PER_MS
        for request_id, pending in self._proposals.overdue(limit_ns):
            definite = pending.term == 0
            self._proposals.answer(request_id, self._timed_out(pending.created_ns, definite))
        self._reads.tick(limit_ns, self._timed_out(limit_ns, definite=True))
        self._tick_changes(limit_ns)
        if not self._published and self.core.leader:
            self._publish()
        if self.core.role is Role.LEADER:
            self._expire_keys(now_ns)

    def receive(self, frame: Frame) -> None:
        """A frame from a peer."""
        if isinstance(frame, Forward):
            self._send.append(self._take_forwarded(frame))
        elif isinstance(frame, ForwardReply):
            lost = self._outbox.answer(frame)
            if lost:
                self._proposals.put_back(lost)
            if frame.verdict != Verdict.ACCEPTED:
                self._hold_queue = True  # ask again after the next tick, not in a tight circle
        elif isinstance(frame, ChangeRequest):
            self._changes.take(frame, self._clock.monotonic_ns())
        elif isinstance(frame, ChangeReply):
            self._desk.answer(frame)
        elif isinstance(frame, CHECK_FRAMES):
            if self.checks is not None:
                self.checks.received(frame)
        else:
            self.core.step(frame)
            if isinstance(frame, Heartbeat):
                self._hear_time(frame)

    def _tell_time(self) -> None:
        """Have the heartbeats of this leader carry log time."""
        self.core.heartbeat_context = self.log_time.stamp()

    def _hear_time(self, beat: Heartbeat) -> None:
        """Follow the leader's log time, which is but a message old; 0 if it has not set any."""
        core = self.core
        if beat.context and beat.sender == core.leader and beat.term == core.term:
            self.log_time.follow(beat.context)

    def propose(self, request: Request, done: Done) -> None:
        """Write `request` to the log; `done` is called exactly once with the outcome."""
        self._propose(request, done)

    def submit(self, command: bytes, done: CommandDone) -> None:
        """Have the machines of all members carry out a command; `done` is called exactly once."""
        self._propose(Request(Op.COMMAND, b"", command), done)

    def _propose(self, request: Request, done: Done | CommandDone) -> None:
        if self.disk_full or self._retired:
            self._proposals.failed += 1
            done(Unavailable(STOPPED if self._retired else DISK_FULL, definite=True))
            return
        if self._proposals.is_full():
            self._proposals.failed += 1
            done(Unavailable(OVERLOADED, definite=True))
            return
        request_id = self._next_request_id = (self._next_request_id + 1) & _MAX_UINT64
        pending = Pending(
            encode_request(request_id, request),
            request.ttl_seconds is not None,
            done,
            self._clock.monotonic_ns(),
        )
        self._proposals.add(request_id, pending)

    def change_membership(self, change: MemberChange, done: ChangeDone) -> None:
        """Change the members; `done` is called exactly once, when the change is applied here."""
        if self._retired:
            done(Unavailable(STOPPED, definite=True))
            return
        if self.disk_full or self._desk.is_full():
            done(Unavailable(DISK_FULL if self.disk_full else OVERLOADED, definite=True))
            return
        request = self._next_request_id = (self._next_request_id + 1) & _MAX_UINT64
        prepared = changes.prepare(change, request, self._clock.wall_ns() // 10**9)
        if isinstance(prepared, MemberChangeError):
            done(prepared)
            return
        now_ns = self._clock.monotonic_ns()
        self._desk.add(changes.Waiting(request, prepared, done, now_ns))

    def read_barrier(self, done: Barrier) -> None:
        """Call `done` once the store shows everything that was committed before this call."""
        if self._retired:
            done(Unavailable(STOPPED, definite=True))
            return
        self._reads.add(self._clock.monotonic_ns(), done)

    def receive_snapshot(self, message: InstallSnapshot, store: Store) -> None:
        """A leader's snapshot has arrived whole and has been read into `store`."""
        self._incoming = {m: s for m, s in self._incoming.items() if m.index > self.applied_index}
        if len(self._incoming) < limits.MAX_INCOMING_SNAPSHOTS:
            self._incoming[message.meta] = store
            self.core.step(message)
            if self.core.installing != message.meta:
                self._incoming.pop(message.meta, None)  # of an old term, or not needed any more

    def propose_check(self, number: int) -> bool:
        """As the leader, have all members compare their data at one entry of the log."""
        if self.core.role is not Role.LEADER:
            return False
        check = Request(Op.CHECK, b"", prev_index=number)
        return self._append([encode_request(0, check)], timed=False)

    def expire_now(self) -> bool:
        """As the leader, let everything expire whose time has come, without waiting for a tick.

        The keys are gone on a member once it has applied the log as it is after this call.
        """
        if self.core.role is not Role.LEADER:
            return False
        return self._append([self._stamp(self._clock.monotonic_ns())], timed=False)

    def post(self, frame: Frame) -> None:
        """Send a frame with the next work."""
        self._send.append(frame)

    def report_unreachable(self, member: int) -> None:
        """Frames to this member are being lost."""
        self.core.report_unreachable(member)

    def report_snapshot(self, member: int, ok: bool) -> None:
        """The transfer of a snapshot to this member has ended."""
        self.core.report_snapshot(member, ok)

    def stop(self) -> None:
        """Answer everybody who still waits; nothing may be called afterwards."""
        outcome = Unavailable(STOPPED, definite=False)
        self._proposals.fail_all(outcome)
        self._desk.fail_all(outcome)
        self._reads.fail_all(outcome)

    # --- outputs ------------------------------------------------------------------------

    def busy(self) -> bool:
        """Whether `take_work` would give something to do."""
        return bool(
            self._send
            or self.core.has_ready()
            or (self._proposals.queue and self._may_propose())
            or self._reads.wants_round()
            or (self._desk.has_next() and self.core.leader)
            or self._changes.has_work()
        )

    def take_work(self) -> Work:
        """Everything to be done now."""
        if self._proposals.queue and self._may_propose():
            self._propose_queued()
        self._work_on_changes()
        if self._reads.wants_round():
            self._reads.start_round(self.core)
        ready = self.core.ready()
        if ready.leader_changed:
            self._leader_changed()
        for state in ready.reads:
            self._reads.confirmed(state.ctx, state.index)
        for ctx in ready.reads_failed:
            self._reads.failed(ctx)
        if ready.reads:
            self._reads.release(self.applied_index)
        send: list[Frame] = [*self._send, *ready.messages] if self._send else list(ready.messages)
        self._send = []
        return Work(send, ready.persist, ready.committed)

    def persisted(self, persist: Persist) -> list[Message]:
        """`persist` is durable: returns the frames that may leave only now."""
        if persist.snapshot is not None:
            self._install(persist.snapshot)
        self.core.persisted(persist)
        if persist.sync and persist.hard_state is not None:
            self.removals.sealed(persist.hard_state.commit)
        return persist.after

    def apply(self, committed: list[Entry]) -> None:
        """Apply entries to the store, answer their writers, wake the watchers."""
        store_apply = self.store.apply
        answer = self._proposals.answer
        self._proposals.now_ns = self._clock.monotonic_ns()
        for entry in committed:
            assert entry.index == self.applied_index + 1, "hole in the applied entries"
            if entry.term != self.applied_term:
                self.applied_term = entry.term
                self._proposals.requeue_lost(entry.term)
                self._desk.requeue_lost(entry.term)
            self.applied_index = entry.index
            if entry.kind == EntryKind.CONFIG:
                self._apply_conf_change(entry)
                continue
            if not entry.data:
                continue
            request_id, request = decode_request(entry.data)
            if request.op >= Op.SYNC:
                self._apply_internal(request_id, request, entry.data)
                continue
            try:
                outcome = store_apply(request)
            except StoreError as error:
                answer(request_id, error, entry.data)
            else:
                assert outcome is not None
                answer(request_id, outcome, entry.data)
        self.core.applied_to(self.applied_index)
        self._reads.release(self.applied_index)
        self._wake_watchers()

    # --- snapshots ----------------------------------------------------------------------

    def snapshot_due(self) -> bool:
        """Whether enough has been applied since the last snapshot."""
        count = self.applied_index - self._snapshot_index
        return count > self.config.snapshot_count and not self._snapshot_running

    def begin_snapshot(self) -> SnapshotJob:
        """Freeze the store as it is now; the content may be taken at leisure."""
        self._snapshot_running = True
        meta = SnapshotMeta(self.applied_index, self.applied_term, self.core.membership)
        return SnapshotJob(meta, self.store.snapshot().chunks(limits.SNAPSHOT_CHUNK_NODES))

    def snapshot_done(self, meta: SnapshotMeta) -> None:
        """The snapshot is durable: the log before it is needed only for slow followers."""
        self._snapshot_running = False
        if meta.index <= self._snapshot_index:
            return  # a newer one was received from the leader meanwhile
        self._snapshot_index = meta.index
        self.core.snapshot_taken(meta)
        keep_from = meta.index - self.config.snapshot_keep_entries
        if keep_from >= self.core.log.first:
            self.core.compact(keep_from)

    def snapshot_failed(self) -> None:
        """The snapshot could not be written; another one will be due at once."""
        self._snapshot_running = False

    # --- what others may ask ---------------------------------------------------------------

    def now_ns(self) -> int:
        """Log time as estimated here: what remaining TTLs are computed with."""
        return self.log_time.now_ns()

    def accepting(self) -> bool:
        """Whether clients may read: everything this member knew to be committed is applied.

        A member that joins a cluster has to have come as far as its own addition.
        After a restart the tail of the log behind the recorded commit index may have been
        committed, too. It is waited for as long as a leader may still turn up.
        """
        if not self._accepting:
            waited_ns = self._clock.monotonic_ns() - self._started_ns
            patience_ns = 2 * self.config.election_ticks * self.config.tick_ms * _NANOS_PER_MS
            self._accepting = (
                self.core.member_id in self.members
                and self.applied_index >= self._recovered_commit
                and (self.applied_index >= self._recovered_last or waited_ns >= patience_ns)
            )
        return self._accepting

    @property
    def proposals(self) -> ProposalTable:
        """The writes that wait, and what is counted of them."""
        return self._proposals

    def is_removed(self, member_id: int) -> bool:
        """Whether this member was removed from the cluster for good."""
        return self.store.get_record(membership.removal_record(member_id)) is not None

    @property
    def snapshot_index(self) -> int:
        """The last entry of the newest snapshot."""
        return self._snapshot_index

    def may_be_told_of_removal(self, member_id: int) -> bool:
        """Whether this member was removed, and this one will know it after any crash."""
        return self.is_removed(member_id) and self.removals.may_be_told(member_id)

    def told_of_removal(self, by: int) -> None:
        """Another member says that this one has been removed."""
        self.removals.told(by, self._clock.monotonic_ns())
        self._retire()

    def may_leave(self) -> bool:
        """Whether this member has been removed and nobody needs it any more."""
        own_id = self.core.member_id
        others = [voter for voter in self.core.membership.voters if voter != own_id]
        return self.removals.may_leave(others, self._clock.monotonic_ns())

    # --- proposing ------------------------------------------------------------------------

    def _may_propose(self) -> bool:
        if self._hold_queue or self.core.leader == 0:
            return False
        if self.core.role is Role.LEADER:
            return True
        self._outbox.aim(self.core.leader, self.core.term)
        return self._outbox.has_room()

    def _propose_queued(self) -> None:
        if self.core.role is not Role.LEADER:
            while self._outbox.has_room():
                batch, timed = self._proposals.take_batch(
                    limits.PROPOSAL_BATCH_ENTRIES, limits.FORWARD_BATCH_BYTES
                )
                if not batch:
                    return
                self._send.append(self._outbox.send(batch, timed))
            return
        batch, timed = self._proposals.take_batch(
            limits.PROPOSAL_BATCH_ENTRIES, limits.FORWARD_BATCH_BYTES
        )
        if not batch:
            return
        if self._append([pending.payload for pending in batch], timed):
            term = self.core.term
            for pending in batch:
                pending.term = term
        else:
            self._proposals.put_back(batch)
            self._hold_queue = True

    def _take_forwarded(self, frame: Forward) -> ForwardReply:
        core = self.core
        if (
            core.role is Role.LEADER
            and core.term == frame.term
            and self._inbox.expects(frame)  # first: what it has seen, it can refuse for sure
            and not self.disk_full
            and self._append(list(frame.payloads), frame.timed)
        ):
            return self._inbox.accept(frame)
        return self._inbox.refuse(frame)

    def _append(self, payloads: list[bytes], timed: bool) -> bool:
        """Append to the leader's log; False if it cannot take them now."""
        if timed or self.store.has_ttls():
            now_ns = self._clock.monotonic_ns()
            if timed or now_ns - self._stamped_ns >= limits.STAMP_INTERVAL_MS * _NANOS_PER_MS:
                payloads = [self._stamp(now_ns), *payloads]
        try:
            self.core.propose(payloads)
        except ProposalRefused:
            return False
        return True

    def _stamp(self, now_ns: int) -> bytes:
        self._stamped_ns = now_ns
        return encode_request(0, Request(Op.SYNC, b"", time_ns=self.log_time.stamp()))

    def _expire_keys(self, now_ns: int) -> None:
        if not self.store.has_ttls():
            return
        overdue = now_ns - self._stamped_ns >= limits.SYNC_INTERVAL_MS * _NANOS_PER_MS
        if overdue or self.store.expiry_due():
            self._append([self._stamp(now_ns)], timed=False)

    # --- changes of the membership --------------------------------------------------------

    def _work_on_changes(self) -> None:
        core = self.core
        if core.leader and self._desk.has_next():
            self._give(self._desk.next(core.leader, core.term))
        if self._changes.has_work():
            for reply in self._changes.work():
                if reply.to == core.member_id:
                    self._desk.answer(reply)
                else:
                    self._send.append(reply)

    def _give(self, frame: ChangeRequest) -> None:
        if frame.to == self.core.member_id:
            self._changes.take(frame, self._clock.monotonic_ns())
        else:
            self._send.append(frame)

    def _tick_changes(self, limit_ns: int) -> None:
        self._desk.give_up(limit_ns, self._timed_out)
        for frame in self._desk.tick(self.core.leader, self.core.term):
            self._give(frame)
        self._changes.tick(limit_ns)

    # --- applying -------------------------------------------------------------------------

    def _apply_internal(self, request_id: int, request: Request, entry: bytes) -> None:
        if request.op == Op.SYNC:
            self.store.apply(request)
            self.log_time.observe(request.time_ns)
            return
        if request.op == Op.COMMAND:
            applied = self.store.command(request.value, self.applied_index)
            self._proposals.answer(request_id, applied, entry)
            return
        if request.op == Op.CHECK:
            if self.checks is not None:
                self.checks.reached(request.prev_index, self.applied_index, self.store)
            return
        try:
            outcome = self.store.apply(request)
        except StoreError as error:
            self._proposals.answer(request_id, error, entry)
            return
        if request.path.startswith(membership.SERVER_RECORDS):
            self.members = membership.members_from_records(self.store.records())
            if request.path == membership.removal_record(self.core.member_id):
                self._take_back_removal()
        assert outcome is not None
        self._proposals.answer(request_id, outcome, entry)

    def _apply_conf_change(self, entry: Entry) -> None:
        """Make a committed change, unless it makes no sense when its turn comes."""
        change = decode_conf_change(entry.data)
        if change.kind == ConfChangeKind.PROMOTE:
            self.core.apply_conf_change(change)
            self.members = dict(self.members)  # another one, so that it is noticed
            return
        context = membership.decode_context(change.context)
        if context is None:
            return
        membership.count_look_up(self.store.stats, self.store.records())
        outcome: ChangeOutcome = membership.objection(
            self.members, self.is_removed, change, context
        )
        if outcome is None:
            outcome = self._change_members(change, context)
            if change.kind == ConfChangeKind.REMOVE and outcome is None:
                now_ns = self._clock.monotonic_ns()
                self.removals.applied(change.member, entry.index, now_ns)
        self._desk.applied(context.request, change, outcome)
        if self.removals.own_ns is not None:
            self._retire()

    def _retire(self) -> None:
        """This member has been removed: its clients had better ask another one at once."""
        if not self._retired:
            self._retired = True
            self._proposals.give_up(STOPPED)
            self._reads.fail_all(Unavailable(STOPPED, definite=True))

    def _take_back_removal(self) -> None:
        """The own removal is further back in the log of a cluster that was forced since."""
        self.removals.taken_back()
        self._retired = False

    def _change_members(self, change: ConfChange, context: membership.Context) -> ChangeOutcome:
        reason = confchange.objection(self.core.membership, change)
        if reason is not None:
            return MemberChangeError(ChangeRefusal.NOT_SAFE, reason)
        self.core.apply_conf_change(change)
        for write in membership.writes_of(change, context, self.store.get_record):
            self.store.apply(write)
        self.members = membership.members_from_records(self.store.records())
        return self.members.get(change.member)

    def _wake_watchers(self) -> None:
        for watcher in self.store.take_woken():
            owner = watcher.owner
            if owner is not None:
                owner.watch_ready(watcher)

    def _install(self, meta: SnapshotMeta) -> None:
        old, self.store = self.store, self._incoming.pop(meta)
        self.store.attach(self._machine)
        self.applied_index, self.applied_term = meta.index, meta.term
        self._snapshot_index = meta.index
        self.removals.sealed(meta.index)
        if self.is_removed(self.core.member_id):
            self.removals.learnt(self._clock.monotonic_ns())
        self.members = membership.members_from_records(self.store.records())
        self.core.snapshot_restored(meta)
        unknown = Unavailable(CONNECTION_LOST, definite=False)
        self._proposals.fail_uncertain(meta.term, unknown)
        self._desk.after_snapshot(meta.term, self, unknown)
        if self.removals.own_ns is not None:
            self._retire()
        self._reads.release(meta.index)
        self.store.succeed(old)
        self._wake_watchers()

    # --- leadership -----------------------------------------------------------------------

    def _leader_changed(self) -> None:
        core = self.core
        if core.role is Role.LEADER:
            self._tell_time()
        if self.checks is not None:
            self.checks.leader_changed()
        if core.leader != self._last_leader:
            self._last_leader = core.leader
            if core.leader:
                self._leader_since_ns = self._clock.monotonic_ns()
        if core.leader and not self._published:
            self._publish()
        if core.role is Role.LEADER and self.store.get_record(membership.VERSION_RECORD) is None:
            self.propose(membership.version_record(self.config.cluster_version), _ignore)

    def _publish(self) -> None:
        """Make the own name and client URLs known; tried at each tick until it has worked."""
        self._published = True
        info = MemberInfo(self.core.member_id, self.config.name, (), self.config.client_urls)
        self.propose(membership.publish_record(info), self._published_outcome)

    def _published_outcome(self, outcome: object) -> None:
        self._published = not isinstance(outcome, Unavailable)

    def _timed_out(self, created_ns: int, definite: bool) -> Unavailable:
        core = self.core
        window_ns = 2 * self.config.election_ticks * self.config.tick_ms * _NANOS_PER_MS
        if core.leader == 0:
            return Unavailable(TIMED_OUT, definite)
        if self._leader_since_ns - window_ns <= created_ns <= self._leader_since_ns:
            return Unavailable(LEADER_FAILED, definite)
        return Unavailable(CONNECTION_LOST, definite)


def _ignore(_: object) -> None:
    """The outcome concerns nobody: the next leader tries again if it is still needed."""
