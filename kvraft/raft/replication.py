"""How a leader's log reaches the others, and what they do with it.

Plain functions over the state of a RaftCore, which owns the state and calls them: the leader's
appends, heartbeats, snapshots, commit rule, read rounds and hand-over; the follower's
side of each. They touch no disk: an acceptance is promised, and the core lets it leave when the
entries are durable.

Invariants: commit covers only what a majority has durably, the leader itself included, and
only counts at an entry of the leader's own term; it never falls. A heartbeat never tells a
commit index beyond what its receiver has acknowledged.

Paper: 5.3, 5.4.2, section 7. Thesis: 3.10, 6.2, 6.4, 10.2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvraft.errors import DataLost
from kvraft.raft import election
from kvraft.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    ReadReply,
    ReadRequest,
    TimeoutNow,
)
from kvraft.raft.progress import PROBE, SNAPSHOT, Progress
from kvraft.raft.quorum import reached_by_majority
from kvraft.raft.ready import ReadState, Role

if TYPE_CHECKING:
    from kvraft.raft.core import RaftCore
    from kvraft.raft.message import SnapshotReport

LEADER: Final = Role.LEADER


# --- the leader sends ------------------------------------------------------------------


def send_to_all(core: RaftCore) -> None:
    """Everyone gets what is new to it: entries, or at least the commit index."""
    core.send_pending = False
    for progress in core.progress.values():
        send_append(core, progress)


def send_append(core: RaftCore, progress: Progress, *, even_empty: bool = False) -> None:
    """Send what this member lacks, as far as its window allows.

    `even_empty`: ask for an answer even if there is nothing to tell.
    """
    log = core.log
    commit = core.commit
    round_ = core.leader_reads.number if core.leader_reads is not None else 0
    while progress.may_send():
        first = progress.next
        if first < log.first:
            _send_snapshot(core, progress)
            return
        last = log.last
        if first <= last:
            last = log.fit(first, last, core.config.max_append_bytes)
            entries = log.slice(first, last)
        elif even_empty or progress.commit_sent < commit:
            entries = []
        else:
            return
        previous = first - 1
        core.messages.append(
            Append(
                progress.member,
                core.member_id,
                core.term,
                previous,
                log.term_at(previous),
                commit,
                entries,
                round_ if round_ > progress.read_round else 0,
            )
        )
        progress.commit_sent = commit
        if progress.state is PROBE:
            progress.paused = True
            return
        if not entries:
            return
        progress.sent(last, log.size_between(previous, last))
        even_empty = False


def _send_snapshot(core: RaftCore, progress: Progress) -> None:
    """The log does not reach back far enough: send the latest snapshot instead.

    Not to a member that has been silent: it could not take it, and it costs much.
    """
    if core.ticks - progress.active_tick >= core.config.election_ticks:
        return
    meta = core.snapshot
    assert meta is not None, "compaction without a snapshot"
    assert meta.index >= core.log.first - 1, "compaction beyond the snapshot"
    core.messages.append(InstallSnapshot(progress.member, core.member_id, core.term, meta))
    progress.wait_for_snapshot(meta.index)


def send_heartbeats(core: RaftCore) -> None:
    """Tell everyone that the leader is there, with the current read round and context."""
    reads = core.leader_reads
    assert reads is not None
    core.heartbeat_elapsed = 0
    commit, term, me, number = core.commit, core.term, core.member_id, reads.number
    context = core.heartbeat_context
    for member, progress in core.progress.items():
        known = progress.match
        core.messages.append(
            Heartbeat(member, me, term, known if known < commit else commit, number, context)
        )


def tick_leader(core: RaftCore) -> None:
    """One tick of a leader: check its majority, its hand-over, its heartbeats."""
    peers = core.voter_peers
    if peers and core.config.check_quorum:
        heard = [progress.active_tick for progress in peers]
        heard.append(core.ticks)
        if core.ticks - reached_by_majority(heard) >= core.config.election_ticks:
            election.become_follower(core, core.term, 0)
            return
    if core.transferee:
        core.transfer_elapsed += 1
        if core.transfer_elapsed >= core.config.election_ticks:
            core.transferee = 0
    core.heartbeat_elapsed += 1
    if core.heartbeat_elapsed < core.config.heartbeat_ticks:
        return
    if core.transferee:
        hand_over_if_caught_up(core)
    if core.reads_may_start():
        start_read_round(core)
    elif core.progress:
        send_heartbeats(core)
    else:
        core.heartbeat_elapsed = 0


# --- the leader hears ------------------------------------------------------------------


def advance_commit(core: RaftCore) -> None:
    """Commit what a majority has, if that reaches an entry of the own term (Paper 5.4.2)."""
    peers = core.voter_peers
    index = core.log.durable
    if peers:
        matches = [progress.match for progress in peers]
        matches.append(index)
        index = reached_by_majority(matches)
    if index > core.commit and index >= core.own_first:
        core.commit = index
        if core.progress:
            core.send_pending = True


def handle_append_reply(core: RaftCore, message: AppendReply) -> None:
    """A member accepted or refused an append (or a snapshot)."""
    progress = core.progress.get(message.sender)
    if progress is None:
        return
    progress.active_tick = core.ticks
    progress.heard = True
    index = message.index
    if not message.ok:
        _handle_refusal(core, progress, message)
        return
    if index > core.log.last:
        return  # no member of this version acknowledges what it was not sent
    progress.acknowledged(index)
    if progress.state is PROBE or (
        progress.state is SNAPSHOT
        and (index >= progress.snapshot_index or index >= core.log.first - 1)
    ):
        progress.replicate()
    if index > core.commit:
        advance_commit(core)
    if progress.next <= core.log.last:
        send_append(core, progress)
    if core.transferee == progress.member:
        hand_over_if_caught_up(core)


def _handle_refusal(core: RaftCore, progress: Progress, message: AppendReply) -> None:
    """Go back to where both logs may agree: at most one round per term (Paper 5.3, end)."""
    refused = message.index
    if progress.state is SNAPSHOT or refused <= progress.match:
        return
    if progress.state is PROBE and refused != progress.next - 1:
        return  # an answer to an earlier probe
    hint = core.log.last_not_after_term(message.hint_index, message.hint_term)
    progress.probe(min(refused, hint + 1))
    send_append(core, progress, even_empty=True)


def handle_heartbeat_reply(core: RaftCore, message: HeartbeatReply) -> None:
    """A member is there: whatever waited for a lost answer goes on."""
    progress = core.progress.get(message.sender)
    if progress is None:
        return
    progress.active_tick = core.ticks
    progress.heard = True
    if message.read_round > progress.read_round:
        progress.read_round = message.read_round
        confirm_reads(core)
    if progress.nudge_tick == core.ticks:
        return  # read rounds are answered far more often than there is anything to mend
    progress.nudge_tick = core.ticks
    progress.paused = False
    if progress.match < core.log.last or progress.state is PROBE:
        progress.free_one()
        send_append(core, progress, even_empty=True)


def snapshot_outcome(core: RaftCore, member: int, ok: bool) -> None:
    """The transfer of a snapshot ended; go on with the next heartbeat's answer."""
    progress = core.progress.get(member)
    if progress is None or progress.state is not SNAPSHOT:
        return
    progress.probe(progress.snapshot_index + 1 if ok else progress.match + 1, paused=True)


def handle_snapshot_report(core: RaftCore, message: SnapshotReport) -> None:
    """The receiver of a snapshot tells how its transfer ended."""
    snapshot_outcome(core, message.sender, message.ok)


# --- hand-over -------------------------------------------------------------------------


def hand_over_if_caught_up(core: RaftCore) -> None:
    """Tell the chosen successor to start its election once it has the whole log."""
    progress = core.progress[core.transferee]
    if progress.match == core.log.last:
        core.messages.append(TimeoutNow(progress.member, core.member_id, core.term))


def best_successor(core: RaftCore) -> Progress | None:
    """The voter with the longest acknowledged log among those heard of recently."""
    oldest = core.ticks - core.config.election_ticks
    alive = [progress for progress in core.voter_peers if progress.active_tick > oldest]
    return max(alive, key=lambda progress: progress.match, default=None)


# --- reads on the leader ---------------------------------------------------------------


def start_read_round(core: RaftCore) -> None:
    """Ask everyone whether this member still leads, for all reads that wait."""
    reads = core.leader_reads
    assert reads is not None
    assert core.commit >= core.own_first, "a read before the first commit of the term"
    reads.start_round(core.commit)
    if core.voter_peers:
        send_heartbeats(core)
    else:
        confirm_reads(core)


def confirm_reads(core: RaftCore) -> None:
    """Answer the reads of every round that a majority has confirmed."""
    reads = core.leader_reads
    if reads is None or not reads.rounds:
        return
    numbers = [progress.read_round for progress in core.voter_peers]
    numbers.append(reads.number)
    for done in reads.confirmed(reached_by_majority(numbers)):
        for member, ctx in done.requests:
            if member:
                core.messages.append(ReadReply(member, core.member_id, core.term, ctx, done.index))
            else:
                core.reads.append(ReadState(ctx, done.index))


def handle_read_request(core: RaftCore, message: ReadRequest) -> None:
    """A follower's read: it takes part in the next round."""
    if core.leader_reads is not None:
        core.leader_reads.add(message.sender, message.ctx)


# --- the follower's side ---------------------------------------------------------------


def handle_append(core: RaftCore, message: Append) -> None:
    """Take over entries whose predecessor matches; refuse others with a hint."""
    leader = message.sender
    election.heard_leader(core, leader)
    log = core.log
    previous, entries = message.prev_index, message.entries
    if message.read_round > core.answered_round:
        _confirm_round(core, leader, message.read_round)
    last = previous + len(entries)
    if previous < core.commit:
        # What is committed here matches any leader's log: only the rest is of interest.
        entries = entries[core.commit - previous :]
        previous = core.commit
        last = max(last, previous)
    elif log.term_at(previous) != message.prev_term:
        assert previous > core.commit, "the leader's log differs from what is committed here"
        hint = log.last_not_after_term(previous, message.prev_term)
        core.reply(
            AppendReply(leader, core.member_id, core.term, previous, False, hint, log.term_at(hint))
        )
        return
    if entries:
        log.merge(previous, entries, core.commit)
        core.commit_previous_change()
    if message.commit > core.commit and last > core.commit:
        core.commit = min(message.commit, last)
    core.promise(AppendReply(leader, core.member_id, core.term, last, True, 0, 0))


def handle_heartbeat(core: RaftCore, message: Heartbeat) -> None:
    """The leader is there, and tells a commit index that this member has acknowledged.

    Raises DataLost if this member's log does not reach there.
    """
    election.heard_leader(core, message.sender)
    commit = message.commit
    if commit > core.commit:
        if commit > core.log.last:
            raise DataLost(commit, core.log.last)
        core.commit = commit
    _confirm_round(core, message.sender, message.read_round)


def _confirm_round(core: RaftCore, leader: int, number: int) -> None:
    core.answered_round = number
    core.reply(HeartbeatReply(leader, core.member_id, core.term, number))


def handle_install_snapshot(core: RaftCore, message: InstallSnapshot) -> None:
    """Replace log and state by a snapshot, unless the log has all of it already."""
    leader, meta = message.sender, message.meta
    election.heard_leader(core, leader)
    log = core.log
    index = meta.index
    if index > core.commit:
        if log.term_at(index) == meta.term:
            core.commit = index
        else:
            log.reset(index, meta.term)
            core.commit = index
            core.installing = meta
            core.install_pending = True
    core.promise(AppendReply(leader, core.member_id, core.term, core.commit, True, 0, 0))


def handle_read_reply(core: RaftCore, message: ReadReply) -> None:
    """The leader answered; answers to questions given up are ignored."""
    index = message.index
    core.reads += [ReadState(ctx, index) for ctx in core.forwarded.answered(message.ctx)]
