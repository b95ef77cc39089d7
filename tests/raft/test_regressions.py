"""Bugs that other implementations of Raft had; the name of each test is the bug."""

from __future__ import annotations

import pytest

from kvraft.errors import DataLost
from kvraft.raft.config import RaftConfig
from kvraft.raft.core import Role
from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    Membership,
    SnapshotMeta,
    encode_conf_change,
)
from kvraft.raft.errors import ConfChangePending, NoOwnTermCommit
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
    VoteReply,
)
from tests.raft.cluster import Cluster
from tests.raft.test_paper import flush, leading, member, sent


def change_entry(term: int, index: int, kind: ConfChangeKind, subject: int) -> Entry:
    return Entry(term, index, EntryKind.CONFIG, encode_conf_change(ConfChange(kind, subject, b"")))


def test_membership_change_by_a_fresh_leader() -> None:
    core = leading()
    core.step(Heartbeat(1, 2, 8, 1, 0, 9))  # lead again later, with nothing committed yet
    flush(core)
    for _ in range(20):
        core.tick()
    flush(core)
    core.step(PreVoteReply(1, 3, core.term + 1, True, 0, 0))
    flush(core)
    core.step(VoteReply(1, 3, core.term, True, 0, 0))
    flush(core)
    assert core.role is Role.LEADER
    with pytest.raises(NoOwnTermCommit):
        core.propose_conf_change(ConfChange(ConfChangeKind.ADD_VOTER, 4, b""))


def test_membership_change_before_the_previous_one_is_applied() -> None:
    core = leading()
    change = ConfChange(ConfChangeKind.ADD_VOTER, 4, b"")
    index = core.propose_conf_change(change)
    persist = core.ready().persist
    assert persist is not None
    core.persisted(persist)
    core.step(AppendReply(1, 2, core.term, index, True, 0, 0))
    assert core.commit == index  # committed, but not applied
    with pytest.raises(ConfChangePending):
        core.propose_conf_change(ConfChange(ConfChangeKind.ADD_VOTER, 5, b""))
    core.ready()
    core.apply_conf_change(change)
    core.applied_to(index)
    core.propose_conf_change(ConfChange(ConfChangeKind.ADD_VOTER, 5, b""))


def test_candidate_two_membership_changes_behind() -> None:
    """With the voters it has applied it would win with votes that others do not depend on."""
    core = member(3, state=HardState(1, 0, 1))
    first = change_entry(1, 2, ConfChangeKind.ADD_VOTER, 4)
    second = change_entry(1, 3, ConfChangeKind.ADD_VOTER, 5)
    core.step(Append(3, 1, 1, 1, 1, 1, [first], 0))
    assert core.commit == 1
    core.step(Append(3, 1, 1, 2, 1, 1, [second], 0))
    assert core.commit == 2  # the second change proves the first
    for _ in range(30):
        core.tick()
    assert core.role.name == "FOLLOWER"  # not before the first is applied
    flush(core)
    core.apply_conf_change(ConfChange(ConfChangeKind.ADD_VOTER, 4, b""))
    core.tick()
    core.step(PreVoteReply(3, 2, 2, True, 0, 0))
    assert core.membership.voters == (1, 2, 3, 4)
    assert core.role is Role.PRE_CANDIDATE  # two of four are not enough


def test_candidate_two_membership_changes_behind_after_a_restart() -> None:
    cluster = Cluster((1, 2, 3))
    disk = cluster.hosts[3].disk
    disk.entries = [
        change_entry(1, 2, ConfChangeKind.ADD_VOTER, 4),
        change_entry(1, 3, ConfChangeKind.ADD_VOTER, 5),
    ]
    cluster.hosts[3].start()
    assert cluster.core(3).commit == 2


def test_removed_member_with_the_longer_log_blocks_the_last_voter() -> None:
    """It refuses its vote for ever, but tells that its own removal is committed."""
    cluster = Cluster((1, 2))
    cluster.elect(1)
    core = cluster.core(1)
    cluster.dropped_kinds |= {"TimeoutNow", "Heartbeat"}
    core.propose_conf_change(ConfChange(ConfChangeKind.REMOVE, 1, b""))
    core.propose([b"a"])
    while core.role is Role.LEADER:
        cluster.work(cluster.hosts[1])
        while cluster.queue:
            message = cluster.queue.popleft()
            # 2 takes the removal only, and never hears that it is committed
            if isinstance(message, Append) and message.entries:
                message = message._replace(entries=message.entries[:1], commit=0)
                cluster.deliver(message)
            elif isinstance(message, AppendReply):
                cluster.deliver(message)
        cluster.work(cluster.hosts[2])
    assert core.log.last > cluster.core(2).log.last
    while cluster.work(cluster.hosts[1]):
        cluster.queue.clear()  # so is its farewell
    assert cluster.core(2).membership == Membership((1, 2), ())
    cluster.heal()
    cluster.tick(45)
    assert cluster.core(2).role is Role.LEADER
    assert cluster.core(2).membership == Membership((2,), ())


def test_old_term_entries_counted_as_committed() -> None:
    core = member(terms=(1,), config=RaftConfig(1, pre_vote=False))
    core.campaign()
    flush(core)
    core.step(VoteReply(1, 2, 2, True, 0, 0))
    flush(core)
    core.step(AppendReply(1, 2, 2, 2, True, 0, 0))
    core.step(AppendReply(1, 3, 2, 2, True, 0, 0))
    assert core.commit == 1


def test_stale_leader_read() -> None:
    cluster = Cluster((1, 2, 3), config=RaftConfig(1, check_quorum=False))
    cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(25, 2, 3)
    cluster.propose(cluster.leader().member_id, b"new")
    cluster.core(1).read_index(1)
    cluster.tick(5, 1)
    assert 1 not in cluster.hosts[1].reads
    cluster.heal()
    cluster.tick(2)
    assert cluster.hosts[1].reads == {1: None}


def test_stale_answer_to_a_read_from_before_the_restart() -> None:
    cluster = Cluster((1, 2, 3))
    cluster.elect(1)
    cluster.dropped_kinds.add("ReadReply")
    cluster.core(3).read_index(1)
    [request] = [m for m in sent(cluster.core(3)) if isinstance(m, ReadRequest)]
    old = ReadReply(3, 1, 2, request.ctx, 2)
    cluster.restart(3)
    cluster.tick(1)
    cluster.core(3).read_index(1)
    cluster.settle()
    cluster.core(3).step(old)
    cluster.settle()
    assert 1 not in cluster.hosts[3].reads


def test_single_member_early_acknowledgement() -> None:
    cluster = Cluster((1,))
    cluster.elect(1)
    cluster.hosts[1].slow = True
    cluster.propose(1, b"a")
    assert cluster.core(1).commit == 2
    cluster.crash(1)
    cluster.restart(1)
    assert cluster.hosts[1].payloads() == []


def test_pre_vote_from_a_lower_term_ignored() -> None:
    core = member(state=HardState(5, 0, 1))
    core.step(PreVote(1, 2, 3, 9, 2, 1, 1))
    assert sent(core) == [PreVoteReply(2, 1, 5, False, 1, 1)]


@pytest.mark.parametrize(
    "message",
    [Append(1, 2, 3, 1, 1, 1, [], 0), Heartbeat(1, 2, 3, 1, 0, 9)],
    ids=["append", "beat"],
)
def test_lower_term_append_ignored_under_check_quorum(message: Append | Heartbeat) -> None:
    core = member(state=HardState(5, 0, 1))
    core.step(message)
    assert sent(core) == [AppendReply(2, 1, 5, 0, False, 0, 0)]
    leader = leading()
    leader.step(AppendReply(1, 2, 5, 0, False, 0, 0))
    assert (leader.role, leader.term) == (Role.FOLLOWER, 5)


@pytest.mark.parametrize("pre_vote", [False, True])
@pytest.mark.parametrize("check_quorum", [False, True])
def test_long_log_of_a_low_term_against_short_log_of_a_high_term(
    pre_vote: bool, check_quorum: bool
) -> None:
    config = RaftConfig(1, pre_vote=pre_vote, check_quorum=check_quorum)
    cluster = Cluster((1, 2), config=config, logs={1: [2, 2, 2], 2: []})
    cluster.hosts[2].disk.hard_state = HardState(9, 2, 1)
    cluster.hosts[2].start()
    cluster.tick(80)
    assert cluster.leader().member_id == 1


def test_commit_beyond_the_log_after_data_loss() -> None:
    core = member(terms=(1, 1))
    with pytest.raises(DataLost, match="up to 9, but its log ends at"):
        core.step(Heartbeat(1, 2, 1, 9, 0, 9))
    with pytest.raises(AssertionError, match="lost"):
        member(state=HardState(1, 0, 9))


def test_hard_state_saved_but_snapshot_not() -> None:
    """The snapshot and the commit it implies are one write."""
    cluster = Cluster((1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    cluster.snapshot(1)
    cluster.heal()
    cluster.hosts[3].slow = True
    cluster.tick(2)
    cluster.sync(cluster.hosts[3])  # a write from before the snapshot
    cluster.settle()
    persist = cluster.hosts[3].writing
    assert persist is not None
    assert persist.snapshot is not None
    assert persist.hard_state is not None
    assert persist.hard_state.commit == persist.snapshot.index
    cluster.crash(3)
    cluster.hosts[3].slow = False
    cluster.restart(3)
    cluster.tick(2)
    assert cluster.hosts[3].payloads() == [b"a"]


def test_two_quick_snapshots() -> None:
    cluster = Cluster((1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    first = cluster.snapshot(1)
    cluster.heal()
    cluster.hosts[3].slow = True
    cluster.tick(2)
    cluster.sync(cluster.hosts[3])  # a write from before the snapshot
    cluster.settle()
    cluster.propose(1, b"b")
    second = cluster.snapshot(1)
    core = cluster.core(3)
    core.step(InstallSnapshot(3, 1, core.term, second))
    assert core.installing == second
    cluster.sync(cluster.hosts[3])
    assert core.applied == first.index
    assert core.installing == second  # nothing is applied in between
    cluster.hosts[3].slow = False
    cluster.settle()
    assert core.installing is None
    assert core.applied == second.index


def test_campaign_while_a_snapshot_is_being_installed() -> None:
    core = member(1)
    meta = SnapshotMeta(9, 1, Membership((1, 2, 3), ()))
    core.step(InstallSnapshot(1, 2, 1, meta))
    persist = core.ready().persist
    assert persist is not None
    for _ in range(30):
        core.tick()
    assert core.role.name == "FOLLOWER"
    core.snapshot_restored(meta)
    core.persisted(persist)
    core.tick()
    assert core.role is Role.PRE_CANDIDATE


def test_state_served_while_replaying() -> None:
    """What is known to be committed is handed out before there is a leader."""
    core = member(terms=(1, 1, 1), state=HardState(1, 0, 3))
    assert [entry.index for entry in core.ready().committed] == [2, 3]


def test_heartbeat_answer_shows_a_term_that_is_not_durable() -> None:
    core = member()
    core.step(Heartbeat(1, 2, 7, 1, 4, 9))
    ready = core.ready()
    assert ready.messages == []
    assert ready.persist is not None
    assert ready.persist.after == [HeartbeatReply(2, 1, 7, 4)]


def test_promise_added_to_a_write_that_is_already_on_its_way() -> None:
    core = member()
    core.step(Append(1, 2, 1, 1, 1, 1, [Entry(1, 2, 0, b"a")], 0))
    flush(core)
    core.step(Append(1, 2, 1, 2, 1, 2, [], 0))
    flush(core)
    core.tick()  # writes the commit index, and nothing else
    persist = core.ready().persist
    assert persist is not None
    core.step(Append(1, 2, 1, 2, 1, 2, [Entry(1, 3, 0, b"b")], 0))
    assert persist.after == []
