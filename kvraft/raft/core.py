"""One member's part in consensus, as a state machine without clock, disk or network.

A driver feeds it ticks, messages, proposals and the news that something is durable or applied;
it takes out of `ready()` what to send, to write and to apply. The core knows no payloads, no
addresses and no files, starts no threads, and draws randomness only from what it is given:
the same inputs give the same outputs. Elections live in `election`, everything between a
leader and its followers in `replication`; this module owns the state and the exchange with
the driver.

Rules of the machine
--------------------
1. At most one vote per term (Paper 5.2). A vote, also a candidate's for itself, and an
   acceptance count and leave only when they are durable. Whatever shows a term to others waits
   until that term and its vote are durable.
2. A member campaigns after an election timeout without a leader, drawn from [base, 2 * base).
   With pre-vote it first asks whether a majority would vote, which changes no term anywhere
   (Thesis 9.6). With check-quorum a leader steps down when it has not heard from a majority for
   an election timeout, and members that heard a leader within one ignore candidates, unless the
   leader itself asked for the election (Thesis 4.2.3, 6.2, 3.10).
3. A message of a lower term changes nothing but is answered with the present term, so that an
   old leader, or a member that ran ahead, never stays stuck.
4. A leader never changes its own log; followers make theirs equal (Paper 5.3). Appends leave
   before the leader's own write is done, but its own log counts for the commit only after it
   (Thesis 10.2.1). Only an entry of the leader's own term is committed by counting (5.4.2).
5. Entries are handed out for applying when they are committed and durable here, once and in
   order; after a restart at once up to the commit index that was known.
6. One membership change at a time, of one member. It takes effect at each member when that
   member applies it, so that a cluster of one can commit the change to two. Two guards make
   this safe (Thesis 4.1): a leader proposes none before it has applied the previous one, and
   none before it has committed an entry of its own term. From the first follows: a log that
   holds a change proves that the change before it is committed. A member takes that as news
   of the commit, and does not campaign while a committed change is unapplied; hence every
   candidate counts the voters before or after the newest change in its log, and the majorities
   of those two meet all that may be at work elsewhere.
7. A read is answered after a majority confirmed, once the read had come in, that this member
   still leads, with an index that was committed then; and not before the leader has committed
   in its own term (Thesis 6.4).
8. A received snapshot replaces the log at once, but until the driver has installed it nothing
   is applied and the member does not campaign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from kvraft import limits
from kvraft.raft import confchange, election, replication
from kvraft.raft.entry import (
    EMPTY_MEMBERSHIP,
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    Membership,
    SnapshotMeta,
    encode_conf_change,
)
from kvraft.raft.errors import (
    ConfChangePending,
    NoOwnTermCommit,
    NotCaughtUp,
    NotLeader,
    Refused,
    TransferInProgress,
    UncommittedFull,
)
from kvraft.raft.log import RaftLog
from kvraft.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    SnapshotReport,
    TimeoutNow,
    Vote,
    VoteReply,
)
from kvraft.raft.progress import REPLICATE, Progress
from kvraft.raft.readindex import ForwardedReads, LeaderReads
from kvraft.raft.ready import Persist, ReadState, Ready, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kvraft.raft.config import RaftConfig
    from kvraft.raft.message import Message

__all__ = ["RaftCore", "Randomness", "Role"]

FOLLOWER: Final = Role.FOLLOWER
CANDIDATE: Final = Role.CANDIDATE
LEADER: Final = Role.LEADER


class Randomness(Protocol):
    """What the core needs of a random.Random; it must not repeat itself after a restart."""

    def randrange(self, start: int, stop: int, /) -> int:
        """A number from [start, stop)."""
        ...


class RaftCore:
    """The consensus state of one member.

    Of the attributes, the driver may read `member_id`, `term`, `role`, `leader` (0: none),
    `vote`, `commit`, `applied`, `log`, `membership` and `progress` (of a leader: by member), and
    set `heartbeat_context`, a number of 64 bits that a leader's heartbeats carry to all others.
    The rest is shared with the other modules of this package only.
    """

    __slots__ = (
        "_durable_term",
        "_durable_vote",
        "_flush_commit",
        "_handed_commit",
        "_handed_term",
        "_handed_vote",
        "_outstanding",
        "_seen",
        "_sync_commit",
        "after",
        "answered_round",
        "applied",
        "commit",
        "config",
        "delivered",
        "elapsed",
        "forwarded",
        "heartbeat_context",
        "heartbeat_elapsed",
        "install_pending",
        "installing",
        "leader",
        "leader_reads",
        "log",
        "member_id",
        "membership",
        "messages",
        "own_first",
        "progress",
        "reads",
        "reads_failed",
        "rng",
        "role",
        "send_pending",
        "snapshot",
        "state_changed",
        "term",
        "ticks",
        "timeout",
        "transfer_elapsed",
        "transferee",
        "vote",
        "voter_peers",
        "votes",
    )

    def __init__(
        self,
        config: RaftConfig,
        rng: Randomness,
        *,
        hard_state: HardState,
        snapshot: SnapshotMeta | None,
        entries: list[Entry],
        applied: int,
    ) -> None:
        """Start from what is durable: `entries` follow the snapshot, or index 0 without one.

        `applied` is what the driver's state already contains, at least the snapshot.
        """
        config.validate()
        base_index, base_term, membership = snapshot or (0, 0, EMPTY_MEMBERSHIP)
        self.config = config
        self.rng = rng
        self.member_id = config.member_id
        self.log = RaftLog(base_index, base_term, entries)
        self.term, self.vote, self.commit = hard_state
        self.commit = max(self.commit, base_index)
        assert self.commit <= self.log.last, "known as committed, but lost from this log"
        assert base_index <= applied <= self.commit, "applied what is not known as committed"
        assert self.log.last_term() <= self.term, "a log of later terms than the hard state"
        self.applied = self.delivered = applied
        self.log.applied(applied)
        self.membership: Membership = membership
        self.snapshot: SnapshotMeta | None = snapshot
        self.installing: SnapshotMeta | None = None
        self.install_pending = False

        self.role: Role = FOLLOWER
        self.leader = 0
        self.votes: dict[int, bool] = {}
        self.ticks = self.elapsed = self.timeout = 0

        self.progress: dict[int, Progress] = {}
        self.voter_peers: list[Progress] = []
        self.own_first = 0  # a leader's first entry; everything from there on is of its term
        self.heartbeat_elapsed = 0
        self.heartbeat_context = 0
        self.transferee = 0
        self.transfer_elapsed = 0
        self.send_pending = False
        self.leader_reads: LeaderReads | None = None
        self.forwarded = ForwardedReads(rng.randrange(0, 1 << 48))
        self.answered_round = 0

        self.messages: list[Message] = []
        self.after: list[Message] = []
        self.reads: list[ReadState] = []
        self.reads_failed: list[int] = []
        self._outstanding: Persist | None = None
        self._durable_term = self._handed_term = self.term
        self._durable_vote = self._handed_vote = self.vote
        self._handed_commit = hard_state.commit
        self._flush_commit = False
        self._sync_commit = False
        self.state_changed = True
        self._seen = (FOLLOWER, -1, 0)
        election.restart_timer(self)
        self.commit_previous_change()

    # --- input: time and peers -----------------------------------------------------------

    def tick(self) -> None:
        """One heartbeat interval of real time has passed."""
        self.ticks += 1
        self._flush_commit = self.commit != self._handed_commit
        if self.role is LEADER:
            replication.tick_leader(self)
            return
        self.elapsed += 1
        if self.elapsed >= self.timeout:
            election.timed_out(self)
        elif self.forwarded.sent and self.ticks % self.config.heartbeat_ticks == 0:
            for number in self.forwarded.sent:
                self._ask_leader(number)

    def step(self, message: Message) -> None:
        """Take a message from a peer. One that is out of date has no effect."""
        if message.term != self.term:
            if message.term < self.term:
                election.answer_older_term(self, message)
                return
            if not election.accept_newer_term(self, message):
                return
        _HANDLERS[type(message)](self, message)

    def campaign(self) -> None:
        """Start an election now, if this member may and does not lead already."""
        if self.role is not LEADER and election.may_campaign(self):
            election.campaign(self)

    def report_unreachable(self, member: int) -> None:
        """Messages to this member were lost: do not send ahead until it answers."""
        progress = self.progress.get(member)
        if progress is not None and progress.state is REPLICATE:
            progress.probe(progress.match + 1)

    def report_snapshot(self, member: int, ok: bool) -> None:
        """The transfer of a snapshot to this member has ended."""
        replication.snapshot_outcome(self, member, ok)

    # --- input: proposals ----------------------------------------------------------------

    def _require_open_leader(self) -> None:
        if self.role is not LEADER:
            raise NotLeader(self.leader)
        if self.transferee:
            raise TransferInProgress("the leader is handing over")

    def propose(self, payloads: Sequence[bytes]) -> int:
        """Append one entry per payload and return the index of the first.

        Raises NotLeader, TransferInProgress or UncommittedFull, and then appends nothing.
        """
        if self.role is not LEADER or self.transferee:
            self._require_open_leader()
        log = self.log
        last, commit = log.last, self.commit
        if last > commit:
            waiting = log.size_between(commit, last) + sum(map(len, payloads))
            if waiting > self.config.max_uncommitted_bytes:
                raise UncommittedFull("too many bytes wait for a majority")
        log.append_payloads(self.term, payloads)
        if self.progress:
            self.send_pending = True
        return last + 1

    def propose_conf_change(self, change: ConfChange) -> int:
        """Append a membership change and return its index.

        Raises a ProposalRefused that tells why not, and then appends nothing.
        """
        self._require_open_leader()
        if self.log.configs:
            raise ConfChangePending("an earlier membership change is not applied yet")
        if self.commit < self.own_first:
            raise NoOwnTermCommit("the leader has not committed in its term yet")
        confchange.check(self.membership, change)
        if change.kind == ConfChangeKind.PROMOTE:
            self._require_caught_up(change.member)
        index = self.log.last + 1
        data = encode_conf_change(change)
        self.log.append([Entry(self.term, index, int(EntryKind.CONFIG), data)])
        self.send_pending = bool(self.progress)
        return index

    def _require_caught_up(self, learner: int) -> None:
        """Raise NotCaughtUp unless a quorum with this learner could go on at once.

        One that has acknowledged nothing yet has never been there, however short the log.
        """
        log, match = self.log, self.progress[learner].match
        if match < log.first - 1 or match == 0 or not self.is_active(learner):
            raise NotCaughtUp(f"{learner:x} has not been heard of, or needs a snapshot")
        entries, size = log.last - match, log.size_between(match, log.last)
        if entries > limits.PROMOTE_LAG_ENTRIES or size > limits.PROMOTE_LAG_BYTES:
            raise NotCaughtUp(f"{learner:x} is {entries} entries, {size} bytes behind")

    def is_active(self, member: int) -> bool:
        """On a leader: whether this member has answered it within an election timeout."""
        if member == self.member_id:
            return True
        progress = self.progress.get(member)
        return (
            progress is not None
            and progress.heard
            and self.ticks - progress.active_tick < self.config.election_ticks
        )

    def transfer_leadership(self, to: int = 0) -> None:
        """Hand over to `to`, or to the best voter there is (0); no proposals meanwhile.

        Given up after an election timeout. Raises NotLeader, or Refused without a successor.
        """
        if self.role is not LEADER:
            raise NotLeader(self.leader)
        if to == self.member_id:
            raise Refused("the leader cannot hand over to itself")
        if to:
            progress = self.progress.get(to)
            if progress is None or to not in self.membership.voters:
                raise Refused(f"{to:x} is not a voter")
        else:
            progress = replication.best_successor(self)
            if progress is None:
                raise Refused("no other voter can lead")
        self.transferee = progress.member
        self.transfer_elapsed = 0
        replication.hand_over_if_caught_up(self)

    def read_index(self, ctx: int) -> None:
        """Ask for an index for a linearizable read; the outcome comes with a Ready."""
        reads = self.leader_reads
        if reads is not None:
            if not self.voter_peers and self.commit >= self.own_first:
                self.reads.append(ReadState(ctx, self.commit))
            else:
                reads.add(0, ctx)
        elif self.leader:
            self.forwarded.waiting.append(ctx)
        else:
            self.reads_failed.append(ctx)

    # --- input: membership, snapshots, applying --------------------------------------------

    def apply_conf_change(self, change: ConfChange) -> Membership:
        """The driver applies this committed change: from now on it is in force."""
        membership = confchange.apply(self.membership, change)
        if change.kind == ConfChangeKind.REMOVE:
            # Who was removed may have been needed for knowing it: it is to be known without it.
            self._sync_commit = True
        if membership != self.membership:
            self.membership = membership
            self._adopt_membership()
        return membership

    def _adopt_membership(self) -> None:
        voters, learners = self.membership
        if self.role is not LEADER:
            if self.role is not FOLLOWER and self.member_id not in voters:
                election.become_follower(self, self.term, 0)
            return
        if self.member_id not in voters:
            self._leave_leadership()
            return
        members = set(voters + learners)
        for member in [known for known in self.progress if known not in members]:
            del self.progress[member]
        for member in voters + learners:
            if member != self.member_id and member not in self.progress:
                self.progress[member] = Progress(
                    member,
                    self.log.last + 1,
                    self.ticks,
                    self.config.max_inflight_appends,
                    self.config.max_inflight_bytes,
                )
        if self.transferee not in voters:
            self.transferee = 0
        self.collect_voter_peers()
        replication.advance_commit(self)
        replication.confirm_reads(self)
        self.send_pending = bool(self.progress)

    def _leave_leadership(self) -> None:
        """This leader was removed: tell the others, and let the best of them go on at once."""
        replication.send_to_all(self)
        successor = max(self.voter_peers, key=lambda peer: peer.match, default=None)
        if successor is not None and successor.match >= self.commit:
            self.messages.append(TimeoutNow(successor.member, self.member_id, self.term))
        election.become_follower(self, self.term, 0)

    def collect_voter_peers(self) -> None:
        """Note the progress of the other voters, which is what commits are counted from."""
        me = self.member_id
        self.voter_peers = [self.progress[voter] for voter in self.membership.voters if voter != me]

    def commit_previous_change(self) -> None:
        """Of two unapplied membership changes in a log the earlier must be committed."""
        configs = self.log.configs
        if len(configs) > 1:
            self.commit = max(self.commit, configs[-2])

    def snapshot_taken(self, meta: SnapshotMeta) -> None:
        """A snapshot of this member's state is durable: it may be sent to others."""
        assert meta.index <= self.applied, "a snapshot of what is not applied"
        if self.snapshot is None or meta.index > self.snapshot.index:
            self.snapshot = meta

    def compact(self, index: int) -> None:
        """Drop the log up to and including `index`, which a snapshot covers."""
        assert self.snapshot is not None, "compaction without a snapshot"
        assert index <= self.snapshot.index, "compaction beyond the snapshot"
        self.log.compact(index)

    def snapshot_restored(self, meta: SnapshotMeta) -> None:
        """The driver's state is now that of a received snapshot."""
        assert self.delivered <= meta.index <= self.commit, "a snapshot of the past"
        self.applied = self.delivered = meta.index
        self.snapshot = meta
        if self.installing == meta:
            self.installing = None
        if self.membership != meta.membership:
            self.membership = meta.membership
            self._adopt_membership()

    def applied_to(self, index: int) -> None:
        """The driver has applied everything up to `index`."""
        if index <= self.applied:
            return
        assert index <= self.delivered, "applied more than was handed out"
        self.applied = index
        if self.log.configs:
            self.log.applied(index)

    # --- output ------------------------------------------------------------------------------

    def promise(self, message: Message) -> None:
        """Send this once everything in memory is durable."""
        log = self.log
        if (
            log.durable == log.last
            and self._durable_term == self.term
            and self._durable_vote == self.vote
            and self._outstanding is None
            and not self.after
            and not self.install_pending
        ):
            self.messages.append(message)
        else:
            self.after.append(message)

    def reply(self, message: Message) -> None:
        """Send this at once, unless the term it shows is not durable yet."""
        if self._durable_term == self.term and self._durable_vote == self.vote:
            self.messages.append(message)
        else:
            self.after.append(message)

    def reads_may_start(self) -> bool:
        """On a leader: whether reads wait and the leader is entitled to answer."""
        reads = self.leader_reads
        return reads is not None and bool(reads.waiting) and self.commit >= self.own_first

    def has_ready(self) -> bool:
        """Whether `ready()` would give anything."""
        log = self.log
        if self.messages or self.send_pending or self.state_changed or self.reads:
            return True
        if self._outstanding is None and (
            log.last > log.handed
            or self.after
            or self._flush_commit
            or self._sync_commit
            or self.term != self._handed_term
            or self.vote != self._handed_vote
            or self.install_pending
        ):
            return True
        if (
            self.delivered < self.commit
            and self.delivered < log.durable
            and self.installing is None
        ):
            return True
        if self.reads_failed or self.forwarded.waiting:
            return True
        reads = self.leader_reads
        return reads is not None and not reads.rounds and self.reads_may_start()

    def ready(self) -> Ready:
        """Take out what there is to do now. Each thing is given once."""
        reads = self.leader_reads
        if self.send_pending:
            replication.send_to_all(self)
        if reads is not None:
            if reads.waiting and not reads.rounds and self.reads_may_start():
                replication.start_read_round(self)
        elif self.forwarded.waiting:
            self._ask_leader(self.forwarded.batch())
        messages, self.messages = self.messages, []
        persist = self._next_persist() if self._outstanding is None else None
        leader_changed = False
        if self.state_changed:
            self.state_changed = False
            seen = (self.role, self.term, self.leader)
            leader_changed = seen != self._seen
            self._seen = seen
        done, self.reads = self.reads, []
        failed, self.reads_failed = self.reads_failed, []
        committed = self._next_committed() if self.delivered < self.commit else []
        return Ready(messages, persist, committed, done, failed, leader_changed)

    def _ask_leader(self, number: int) -> None:
        self.reply(ReadRequest(self.leader, self.member_id, self.term, number))

    def _next_persist(self) -> Persist | None:
        """What is to be written now; None if there is nothing worth a write."""
        log = self.log
        term, vote, commit = self.term, self.vote, self.commit
        entries = log.slice(log.handed + 1, log.last) if log.last > log.handed else []
        state_changed = term != self._handed_term or vote != self._handed_vote
        snapshot = self.installing if self.install_pending else None
        sync = state_changed or bool(entries) or snapshot is not None or self._sync_commit
        if not sync and not self.after and not self._flush_commit:
            return None
        hard_state = None
        if state_changed or commit != self._handed_commit or self._sync_commit:
            hard_state = HardState(term, vote, commit)
            self._handed_term, self._handed_vote, self._handed_commit = hard_state
        self._flush_commit = self._sync_commit = False
        self.install_pending = False
        log.handed = log.last
        after, self.after = self.after, []
        self._outstanding = persist = Persist(hard_state, entries, snapshot, after, sync)
        return persist

    def _next_committed(self) -> list[Entry]:
        """The next entries to apply: committed, durable here, and not too many."""
        log = self.log
        first = self.delivered + 1
        last = min(self.commit, log.durable, first + limits.MAX_APPLY_ENTRIES - 1)
        if last < first or self.installing is not None:
            return []
        last = log.fit(first, last, limits.MAX_APPLY_BYTES)
        self.delivered = last
        return log.slice(first, last)

    def persisted(self, persist: Persist) -> None:
        """This persist is durable, and its `after` messages have been sent."""
        assert persist is self._outstanding, "only the last persist can be outstanding"
        self._outstanding = None
        log = self.log
        log.durable = log.handed
        hard_state = persist.hard_state
        if hard_state is not None:
            self._durable_term, self._durable_vote, _ = hard_state
        if self.role is LEADER:
            if log.durable > self.commit:
                replication.advance_commit(self)
        elif (
            self.role is CANDIDATE
            and self._durable_term == self.term
            and self.member_id not in self.votes
        ):
            election.own_vote_durable(self)


_HANDLERS: Final[dict[type, Callable[[RaftCore, Any], None]]] = {
    PreVote: election.handle_pre_vote,
    PreVoteReply: election.handle_pre_vote_reply,
    Vote: election.handle_vote,
    VoteReply: election.handle_vote_reply,
    Append: replication.handle_append,
    AppendReply: replication.handle_append_reply,
    Heartbeat: replication.handle_heartbeat,
    HeartbeatReply: replication.handle_heartbeat_reply,
    InstallSnapshot: replication.handle_install_snapshot,
    SnapshotReport: replication.handle_snapshot_report,
    ReadRequest: replication.handle_read_request,
    ReadReply: replication.handle_read_reply,
    TimeoutNow: election.handle_timeout_now,
}
