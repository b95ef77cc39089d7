"""One test per rule of the Raft paper and thesis that the core relies on."""

from __future__ import annotations

import random

import pytest

from kvraft.raft.config import RaftConfig
from kvraft.raft.core import RaftCore, Role
from kvraft.raft.entry import Entry, HardState, Membership, SnapshotMeta
from kvraft.raft.errors import NotLeader, UncommittedFull
from kvraft.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from kvraft.raft.ready import Ready
from tests.raft.cluster import Cluster

THREE = Membership((1, 2, 3), ())


def member(
    me: int = 1,
    *,
    terms: tuple[int, ...] = (),
    state: HardState | None = None,
    membership: Membership = THREE,
    config: RaftConfig | None = None,
) -> RaftCore:
    """A core whose log holds entries of these terms from index 2 on."""
    entries = [Entry(term, index, 0, b"x") for index, term in enumerate(terms, 2)]
    return RaftCore(
        config or RaftConfig(me),
        random.Random(me),
        hard_state=state or HardState(max((1, *terms)), 0, 1),
        snapshot=SnapshotMeta(1, 1, membership),
        entries=entries,
        applied=1,
    )


def flush(core: RaftCore) -> list[Ready]:
    """Carry out everything the core asks for, with a disk that always works."""
    done = []
    while core.has_ready():
        ready = core.ready()
        done.append(ready)
        if ready.persist is not None:
            core.persisted(ready.persist)
        if ready.committed:
            core.applied_to(ready.committed[-1].index)
    return done


def sent(core: RaftCore) -> list[object]:
    """Every message that leaves once the disk has done its part."""
    messages: list[object] = []
    for ready in flush(core):
        messages += ready.messages
        messages += ready.persist.after if ready.persist is not None else []
    return messages


def leading(**options: object) -> RaftCore:
    """Member 1 as leader of term 2 whose first entry is committed."""
    core = member(**options)  # type: ignore[arg-type]
    core.campaign()
    flush(core)
    core.step(PreVoteReply(1, 2, core.term + 1, True, 0, 0))
    flush(core)
    core.step(VoteReply(1, 2, core.term, True, 0, 0))
    flush(core)
    core.step(AppendReply(1, 2, core.term, core.log.last, True, 0, 0))
    flush(core)
    assert core.role is Role.LEADER
    assert core.commit == core.log.last
    return core


# --- elections (Paper 5.2) --------------------------------------------------------------


def test_a_member_starts_as_follower_without_leader() -> None:
    core = member()
    assert core.role is Role.FOLLOWER
    assert core.leader == 0


def test_the_election_timeout_is_drawn_between_base_and_twice_base() -> None:
    drawn = set()
    for seed in range(200):
        core = RaftCore(
            RaftConfig(1),
            random.Random(seed),
            hard_state=HardState(0, 0, 0),
            snapshot=None,
            entries=[],
            applied=0,
        )
        drawn.add(core.timeout)
    assert drawn == set(range(10, 20))


def test_a_follower_campaigns_after_the_timeout_and_not_before() -> None:
    core = member()
    for _ in range(core.timeout - 1):
        core.tick()
    assert core.role is Role.FOLLOWER
    core.tick()
    assert core.role is not Role.FOLLOWER


def test_a_heartbeat_restarts_the_timeout() -> None:
    core = member()
    for _ in range(100):
        core.tick()
        core.step(Heartbeat(1, 2, 1, 1, 0, 9))
    assert core.role is Role.FOLLOWER
    assert core.leader == 2


def test_a_member_votes_once_per_term() -> None:
    core = member()
    core.step(Vote(1, 2, 2, 1, 1, False, 1, 1))
    core.step(Vote(1, 3, 2, 9, 1, False, 1, 1))
    core.step(Vote(1, 2, 2, 1, 1, False, 1, 1))
    votes = [(m.to, m.granted) for m in sent(core) if isinstance(m, VoteReply)]
    assert sorted(votes) == [(2, True), (2, True), (3, False)]


def test_a_vote_survives_a_restart() -> None:
    core = member(state=HardState(2, 2, 1))
    core.step(Vote(1, 3, 2, 9, 1, False, 1, 1))
    assert not any(isinstance(m, VoteReply) and m.granted for m in sent(core))


def test_a_vote_leaves_only_when_it_is_durable() -> None:
    core = member()
    core.step(Vote(1, 2, 2, 1, 1, False, 1, 1))
    ready = core.ready()
    assert ready.messages == []
    assert ready.persist is not None
    assert ready.persist.sync
    assert ready.persist.hard_state == HardState(2, 2, 1)
    assert [type(m) for m in ready.persist.after] == [VoteReply]


def test_a_candidate_counts_its_own_vote_only_when_it_is_durable() -> None:
    core = member(config=RaftConfig(1, pre_vote=False))
    core.campaign()
    persist = core.ready().persist
    assert persist is not None
    core.step(VoteReply(1, 2, 2, True, 0, 0))
    assert core.role.name == "CANDIDATE"
    core.persisted(persist)
    assert core.role is Role.LEADER


def test_a_candidate_follows_a_leader_of_its_term() -> None:
    core = member(config=RaftConfig(1, pre_vote=False))
    core.campaign()
    flush(core)
    core.step(Heartbeat(1, 3, 2, 1, 0, 9))
    assert core.role is Role.FOLLOWER
    assert core.leader == 3


def test_a_majority_of_refusals_ends_a_candidacy() -> None:
    core = member(config=RaftConfig(1, pre_vote=False))
    core.campaign()
    flush(core)
    core.step(VoteReply(1, 2, 2, False, 0, 0))
    assert core.role.name == "CANDIDATE"
    core.step(VoteReply(1, 3, 2, False, 0, 0))
    assert core.role is Role.FOLLOWER


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(4, 2, True), (5, 2, True), (3, 2, False), (2, 3, True), (9, 1, False)],
)
def test_votes_go_to_logs_at_least_as_good(last_index: int, last_term: int, granted: bool) -> None:
    """Paper 5.4.1."""
    core = member(terms=(1, 1, 2))
    core.step(Vote(1, 2, 5, last_index, last_term, False, 1, 1))
    assert [m.granted for m in sent(core) if isinstance(m, VoteReply)] == [granted]


def test_a_member_that_is_no_voter_never_campaigns() -> None:
    core = member(4)
    for _ in range(100):
        core.tick()
    core.campaign()
    core.step(Heartbeat(4, 1, 1, 1, 0, 9))
    core.step(TimeoutNow(4, 1, 1))
    assert core.role is Role.FOLLOWER
    assert core.term == 1


def test_a_leader_of_an_older_term_steps_down_at_a_newer_one() -> None:
    core = leading()
    core.step(Append(1, 3, 9, 1, 1, 1, [], 0))
    assert core.role is Role.FOLLOWER
    assert (core.term, core.leader) == (9, 3)


# --- replication (Paper 5.3, 5.4.2) -----------------------------------------------------


def test_a_new_leader_begins_with_an_empty_entry_of_its_term() -> None:
    core = leading()
    first = core.log.entries[-1]
    assert (first.term, first.index, first.data) == (core.term, 2, b"")


def test_an_entry_is_committed_by_a_majority() -> None:
    core = leading()
    index = core.propose([b"a"])
    flush(core)
    assert core.commit == index - 1
    core.step(AppendReply(1, 3, core.term, index, True, 0, 0))
    assert core.commit == index


def test_entries_of_older_terms_are_not_committed_by_counting() -> None:
    """Paper 5.4.2, figure 8."""
    core = member(terms=(1, 1), state=HardState(1, 0, 1))
    core.campaign()
    flush(core)
    core.step(PreVoteReply(1, 2, 2, True, 0, 0))
    flush(core)
    core.step(VoteReply(1, 2, 2, True, 0, 0))
    flush(core)
    core.step(AppendReply(1, 2, 2, 3, True, 0, 0))
    assert core.commit == 1
    core.step(AppendReply(1, 2, 2, 4, True, 0, 0))
    assert core.commit == 4


def test_a_follower_refuses_what_does_not_fit_its_log() -> None:
    core = member(terms=(1, 1))
    core.step(Append(1, 2, 2, 5, 2, 1, [], 0))
    replies = [m for m in sent(core) if isinstance(m, AppendReply)]
    assert replies == [AppendReply(2, 1, 2, 5, False, 3, 1)]


@pytest.mark.parametrize(
    ("prev", "entries", "result"),
    [
        (3, [2], [1, 1, 2]),
        (2, [2], [1, 2]),
        (1, [1], [1, 1]),  # what is there and equal stays, also behind
        (1, [1, 1, 1], [1, 1, 1]),
        (1, [2, 2], [2, 2]),
        (1, [], [1, 1]),
    ],
)
def test_a_follower_makes_its_log_equal(prev: int, entries: list[int], result: list[int]) -> None:
    core = member(terms=(1, 1))
    new = [Entry(term, index, 0, b"x") for index, term in enumerate(entries, prev + 1)]
    core.step(Append(1, 2, 2, prev, 1, 1, new, 0))
    assert [entry.term for entry in core.log.entries] == result
    flush(core)
    assert core.log.durable == core.log.last


def test_a_follower_commits_no_further_than_the_append_reaches() -> None:
    core = member(terms=(1, 1, 1))
    core.step(Append(1, 2, 2, 2, 1, 9, [], 0))
    assert core.commit == 2


def test_an_acceptance_leaves_only_when_the_entries_are_durable() -> None:
    core = member()
    core.step(Append(1, 2, 1, 1, 1, 1, [Entry(1, 2, 0, b"a")], 0))
    ready = core.ready()
    assert ready.messages == []
    assert ready.persist is not None
    assert [type(m) for m in ready.persist.after] == [AppendReply]


def test_a_leader_sends_before_its_own_write_is_done() -> None:
    """Thesis 10.2.1."""
    core = leading()
    core.propose([b"a"])
    ready = core.ready()
    assert {m.to for m in ready.messages if isinstance(m, Append)} == {2}  # 3 is being probed
    assert ready.persist is not None


def test_one_write_is_outstanding_at_a_time() -> None:
    core = leading()
    core.propose([b"a"])
    first = core.ready().persist
    core.propose([b"b"])
    assert core.ready().persist is None
    assert first is not None
    core.persisted(first)
    second = core.ready().persist
    assert second is not None
    assert [entry.data for entry in second.entries] == [b"b"]


def test_a_truncated_entry_does_not_become_durable_by_an_old_write() -> None:
    core = member()
    core.step(Append(1, 2, 1, 1, 1, 1, [Entry(1, 2, 0, b"a"), Entry(1, 3, 0, b"b")], 0))
    persist = core.ready().persist
    assert persist is not None
    core.step(Append(1, 3, 2, 2, 1, 3, [Entry(2, 3, 0, b"c")], 0))
    core.persisted(persist)
    assert core.log.durable == 2
    assert [entry.index for entry in core.ready().committed] == [2]


# --- thesis -------------------------------------------------------------------------------


def test_pre_vote_changes_no_term() -> None:
    """Thesis 9.6."""
    core = member()
    core.campaign()
    assert core.term == 1
    core.step(PreVote(1, 2, 7, 1, 1, 1, 1))
    assert core.term == 1
    replies = [m for m in sent(core) if isinstance(m, PreVoteReply)]
    assert [(m.term, m.granted) for m in replies] == [(7, True)]


def test_a_granted_pre_vote_of_another_question_does_not_count() -> None:
    core = member()
    core.campaign()
    core.step(PreVoteReply(1, 2, 9, True, 0, 0))
    assert core.role is Role.PRE_CANDIDATE


def test_candidates_are_ignored_while_a_leader_is_heard() -> None:
    """Thesis 4.2.3."""
    core = member()
    core.step(Heartbeat(1, 2, 1, 1, 0, 9))
    core.step(Vote(1, 3, 9, 9, 9, False, 1, 1))
    core.step(PreVote(1, 3, 9, 9, 9, 1, 1))
    assert core.term == 1
    assert not any(isinstance(m, VoteReply | PreVoteReply) for m in sent(core))
    for _ in range(10):
        core.tick()
    core.step(Vote(1, 3, 9, 9, 9, False, 1, 1))
    assert core.vote == 3


def test_an_election_the_leader_asked_for_is_not_ignored() -> None:
    """Thesis 3.10."""
    core = member()
    core.step(Heartbeat(1, 2, 1, 1, 0, 9))
    core.step(Vote(1, 3, 2, 1, 1, True, 1, 1))
    assert core.vote == 3


def test_a_read_needs_a_majority_that_answers_after_it_came() -> None:
    """Thesis 6.4."""
    core = leading()
    core.step(HeartbeatReply(1, 2, core.term, 0))
    core.read_index(5)
    flush(core)
    core.step(HeartbeatReply(1, 2, core.term, 0))
    assert not core.has_ready() or core.ready().reads == []
    core.step(HeartbeatReply(1, 2, core.term, 1))
    assert [tuple(state) for state in core.ready().reads] == [(5, core.commit)]


def test_proposals_are_refused_by_followers_and_when_too_many_wait() -> None:
    with pytest.raises(NotLeader):
        member().propose([b"a"])
    core = leading(config=RaftConfig(1, max_uncommitted_bytes=1000))
    core.propose([b"a" * 2000])  # one is always possible
    last = core.log.last
    with pytest.raises(UncommittedFull):
        core.propose([b"b"])
    assert core.log.last == last


def test_the_window_bounds_what_is_sent_ahead() -> None:
    """Thesis 10.2.1."""
    config = RaftConfig(1, max_append_bytes=100, max_inflight_appends=3)
    core = leading(config=config)
    core.propose([b"x" * 90] * 10)
    messages = [m for ready in flush(core) for m in ready.messages]
    appends = [m for m in messages if isinstance(m, Append) and m.to == 2]
    assert [len(m.entries) for m in appends] == [1, 1, 1]
    core.step(AppendReply(1, 2, core.term, appends[0].entries[-1].index, True, 0, 0))
    more = [m for m in core.ready().messages if isinstance(m, Append) and m.to == 2]
    assert [m.entries[0].index for m in more] == [appends[2].entries[0].index + 1]


def test_repair_takes_one_round_per_term() -> None:
    """Paper 5.3, last paragraphs."""
    logs = {1: [1] * 50 + [4] * 50, 2: [1] * 50 + [2] * 50 + [3] * 50, 3: [1] * 50 + [4] * 50}
    cluster = Cluster((1, 2, 3), logs=logs)
    cluster.crash(2)
    cluster.elect(1)
    cluster.restart(2)
    cluster.sent.clear()
    cluster.tick(1)
    assert [entry.term for entry in cluster.core(2).log.entries] == [1] * 50 + [4] * 50 + [5]
    assert cluster.sent["Append"] <= 6
