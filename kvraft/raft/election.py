"""Who leads: pre-vote, votes, stickiness, and the transitions between roles.

Plain functions over the state of a RaftCore, which owns the state and calls them. They know
nothing of replication beyond what a new leader must set up, and nothing of storage: a
candidate's own vote is counted when the core learns that it is durable.

Invariants: at most one vote per term, and it is durable before its message leaves; the term
never falls, and rises only for a real candidate, a real leader, or an own election that a
majority would support; a member outside its own voters never campaigns, nor does one with a
committed membership change that it has not applied.

Paper: 5.2, 5.4.1. Thesis: 9.6 (pre-vote), 4.2.3 (stickiness), 3.10 (transfer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kvraft.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
)
from kvraft.raft.progress import Progress
from kvraft.raft.quorum import VoteResult, vote_result
from kvraft.raft.readindex import LeaderReads
from kvraft.raft.ready import Role

if TYPE_CHECKING:
    from kvraft.raft.core import RaftCore
    from kvraft.raft.message import TimeoutNow

FOLLOWER: Final = Role.FOLLOWER
PRE_CANDIDATE: Final = Role.PRE_CANDIDATE
CANDIDATE: Final = Role.CANDIDATE
LEADER: Final = Role.LEADER


# --- transitions -----------------------------------------------------------------------


def restart_timer(core: RaftCore) -> None:
    """Begin a new election timeout, drawn once from [base, 2 * base) (Paper 5.2)."""
    base = core.config.election_ticks
    core.elapsed = 0
    core.timeout = core.rng.randrange(base, 2 * base)


def set_leader(core: RaftCore, leader: int) -> None:
    """Note who leads; reads that waited for another leader fail."""
    if core.leader == leader:
        return
    core.leader = leader
    core.state_changed = True
    core.reads_failed += core.forwarded.give_up()
    if core.leader_reads is not None:
        core.reads_failed += core.leader_reads.own()
        core.leader_reads = None


def _enter(core: RaftCore, term: int, role: Role, leader: int) -> None:
    if term != core.term:
        assert term > core.term, "the term would fall"
        core.term = term
        core.vote = 0
    core.role = role
    core.state_changed = True
    core.votes = {}
    core.transferee = 0
    core.send_pending = False
    core.answered_round = 0
    if core.progress:
        core.progress = {}
        core.voter_peers = []
    set_leader(core, leader)
    restart_timer(core)


def become_follower(core: RaftCore, term: int, leader: int) -> None:
    """Follow `leader` (0: not known yet) in `term`."""
    _enter(core, term, FOLLOWER, leader)


def heard_leader(core: RaftCore, leader: int) -> None:
    """A message of this term's leader has arrived."""
    if core.leader == leader and core.role is FOLLOWER:
        core.elapsed = 0
        return
    assert core.role is not LEADER, "two leaders in one term"
    assert core.leader in (0, leader), "two leaders in one term"
    become_follower(core, core.term, leader)


def _become_leader(core: RaftCore) -> None:
    _enter(core, core.term, LEADER, core.member_id)
    log = core.log
    core.own_first = log.last + 1
    core.leader_reads = LeaderReads()
    core.heartbeat_elapsed = 0
    config = core.config
    for member in core.membership.voters + core.membership.learners:
        if member != core.member_id:
            core.progress[member] = Progress(
                member,
                core.own_first,
                core.ticks,
                config.max_inflight_appends,
                config.max_inflight_bytes,
            )
    core.collect_voter_peers()
    # An entry of the own term is what lets this leader commit what it inherited (Paper 5.4.2).
    log.append_payloads(core.term, (b"",))
    core.send_pending = True


# --- campaigning -----------------------------------------------------------------------


def may_campaign(core: RaftCore) -> bool:
    """Whether this member may ask for votes.

    With a committed but unapplied membership change it would count the wrong voters.
    """
    configs = core.log.configs
    return (
        core.member_id in core.membership.voters
        and core.installing is None
        and not (configs and configs[0] <= core.commit)
    )


def timed_out(core: RaftCore) -> None:
    """Nothing was heard of a leader for a whole election timeout."""
    if may_campaign(core):
        campaign(core)
    else:
        set_leader(core, 0)


def campaign(core: RaftCore) -> None:
    """Start an election, with a round of pre-votes first if so configured."""
    if not core.config.pre_vote:
        _start_election(core, forced=False)
        return
    _enter(core, core.term, PRE_CANDIDATE, 0)
    core.votes[core.member_id] = True
    log = core.log
    me, term, last, last_term = core.member_id, core.term + 1, log.last, log.last_term()
    commit, commit_term = core.commit, log.term_at(core.commit)
    for voter in core.membership.voters:
        if voter != me:
            core.messages.append(PreVote(voter, me, term, last, last_term, commit, commit_term))
    _count(core)


def _start_election(core: RaftCore, *, forced: bool) -> None:
    _enter(core, core.term + 1, CANDIDATE, 0)
    core.vote = core.member_id
    log = core.log
    me, term, last, last_term = core.member_id, core.term, log.last, log.last_term()
    commit, commit_term = core.commit, log.term_at(core.commit)
    for voter in core.membership.voters:
        if voter != me:
            core.promise(Vote(voter, me, term, last, last_term, forced, commit, commit_term))


def own_vote_durable(core: RaftCore) -> None:
    """The candidate's vote for itself is on disk: now it counts."""
    core.votes[core.member_id] = True
    _count(core)


def _count(core: RaftCore) -> None:
    result = vote_result(core.membership.voters, core.votes)
    if result is VoteResult.WON:
        if core.role is PRE_CANDIDATE:
            _start_election(core, forced=False)
        else:
            _become_leader(core)
    elif result is VoteResult.LOST:
        become_follower(core, core.term, 0)


# --- messages --------------------------------------------------------------------------


def _is_sticky(core: RaftCore) -> bool:
    """Whether a leader was heard so recently that nobody should be asking for votes.

    Only together with check-quorum: otherwise a leader that can send but not receive
    would keep its followers from ever choosing another.
    """
    if not core.config.check_quorum or not core.leader:
        return False
    return core.role is LEADER or core.elapsed < core.config.election_ticks


def accept_newer_term(core: RaftCore, message: Any) -> bool:
    """A message with a higher term: adopt the term if it is one to adopt.

    False if the message is to be ignored.
    """
    kind = type(message)
    if kind is PreVote:
        return not _is_sticky(core)
    if kind is Vote and not message.forced and _is_sticky(core):
        return False
    if kind is PreVoteReply and message.granted:
        return True
    from_leader = kind in (Append, Heartbeat, InstallSnapshot)
    become_follower(core, message.term, message.sender if from_leader else 0)
    return True


def answer_older_term(core: RaftCore, message: Any) -> None:
    """A message with a lower term has no effect, but its sender may be stuck without an answer.

    An old leader, or one that this member cannot rejoin because its own term ran ahead, learns
    the term and steps down; a (pre-)candidate learns the term it must exceed.
    """
    kind = type(message)
    if kind in (Append, Heartbeat, InstallSnapshot):
        core.reply(AppendReply(message.sender, core.member_id, core.term, 0, False, 0, 0))
    elif kind is Vote:
        _learn_commit(core, message)
        core.reply(_vote_reply(core, message.sender, granted=False))
    elif kind is PreVote:
        _learn_commit(core, message)
        core.reply(_pre_vote_reply(core, message.sender, core.term, granted=False))
    elif kind in (VoteReply, PreVoteReply):
        _learn_commit(core, message)


def _learn_commit(core: RaftCore, message: PreVote | PreVoteReply | Vote | VoteReply) -> None:
    """Take over another member's commit index if it means an entry of this log.

    A member removed by the newest change may know that it is committed, and refuse its vote for
    the sake of its longer log; without this news the others could wait for that vote for ever.
    """
    index = message.commit
    if index > core.commit and core.role is not LEADER:
        if core.log.term_at(index) == message.commit_term:
            core.commit = index


def _vote_reply(core: RaftCore, to: int, *, granted: bool) -> VoteReply:
    commit = core.commit
    return VoteReply(to, core.member_id, core.term, granted, commit, core.log.term_at(commit))


def _pre_vote_reply(core: RaftCore, to: int, term: int, *, granted: bool) -> PreVoteReply:
    commit = core.commit
    return PreVoteReply(to, core.member_id, term, granted, commit, core.log.term_at(commit))


def _has_vote_for(core: RaftCore, candidate: int) -> bool:
    return core.vote == candidate or (core.vote == 0 and core.leader == 0)


def handle_pre_vote(core: RaftCore, message: PreVote) -> None:
    """Would this member vote so? Neither the vote nor the timer changes here."""
    _learn_commit(core, message)
    granted = (
        message.term > core.term or _has_vote_for(core, message.sender)
    ) and core.log.is_as_good(message.last_index, message.last_term)
    term = message.term if granted else core.term
    core.reply(_pre_vote_reply(core, message.sender, term, granted=granted))


def handle_pre_vote_reply(core: RaftCore, message: PreVoteReply) -> None:
    """Count it, unless it answers a question asked in another term."""
    _learn_commit(core, message)
    if core.role is not PRE_CANDIDATE:
        return
    if message.granted and message.term != core.term + 1:
        return
    core.votes.setdefault(message.sender, message.granted)
    _count(core)


def handle_vote(core: RaftCore, message: Vote) -> None:
    """Vote once per term, for a log at least as good as the own one."""
    to = message.sender
    _learn_commit(core, message)
    if _has_vote_for(core, to) and core.log.is_as_good(message.last_index, message.last_term):
        core.vote = to
        core.elapsed = 0
        core.promise(_vote_reply(core, to, granted=True))
    else:
        core.reply(_vote_reply(core, to, granted=False))


def handle_vote_reply(core: RaftCore, message: VoteReply) -> None:
    """Count it."""
    _learn_commit(core, message)
    if core.role is CANDIDATE:
        core.votes.setdefault(message.sender, message.granted)
        _count(core)


def handle_timeout_now(core: RaftCore, message: TimeoutNow) -> None:
    """The leader hands over: no pre-vote, and voters need not stick to the leader."""
    if core.role is FOLLOWER and core.leader == message.sender and may_campaign(core):
        _start_election(core, forced=True)
