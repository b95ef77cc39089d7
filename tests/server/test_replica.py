"""One member without I/O: what is answered, when, and what never happens twice."""

from __future__ import annotations

import random
from functools import partial

import pytest

from kvraft import limits
from kvraft.raft.core import Role
from kvraft.raft.entry import EntryKind
from kvraft.raft.message import InstallSnapshot
from kvraft.server import replica as replica_module
from kvraft.server.bootstrap import restore_store
from kvraft.server.forwarding import Forward, ForwardReply, Verdict
from kvraft.server.logtime import LogTime
from kvraft.store.event import Event
from kvraft.store.request import Op, Request, decode_request
from tests.server.replicas import ELECTION_TICKS, MS, TICK_MS, TIMEOUT_MS, Cluster, Told

TIMEOUT_TICKS = TIMEOUT_MS // TICK_MS
SECOND = 10**9


def requests(cluster: Cluster, number: int) -> list[Request]:
    """The requests in a member's log."""
    core = cluster[number].core
    entries = core.log.slice(core.log.first, core.log.last + 1)
    return [decode_request(e.data)[1] for e in entries if e.kind == EntryKind.NORMAL and e.data]


def lose(rng: random.Random, share: float, _: object) -> bool:
    return rng.random() < share


def writes_of(cluster: Cluster, number: int, path: bytes) -> int:
    """How many entries of a member's log write this path."""
    return sum(request.path == path for request in requests(cluster, number))


# --- answers -----------------------------------------------------------------------------


def test_alone_a_write_is_answered_only_when_it_is_on_disk() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.slow.add(1)
    told = cluster.put(1, b"/a")
    cluster.settle()
    assert not told.outcomes
    cluster.write(1)
    assert isinstance(told.outcome, Event)
    assert cluster.value(1, b"/a") == b"v"


def test_a_write_is_answered_when_a_majority_has_it_on_disk() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.slow |= {1, 2, 3}
    told = cluster.put(1, b"/a")
    cluster.settle()
    cluster.write(2)
    assert not told.outcomes, "one of three"
    cluster.write(3)
    assert not told.outcomes, "committed, but the leader itself would lose it"
    cluster.write(1)
    assert isinstance(told.outcome, Event)


def test_a_follower_hands_its_writes_to_the_leader_and_answers_when_it_shows_them() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    told = [cluster.put(number, b"/%d" % number) for number in (2, 3)]
    cluster.settle()
    cluster.tick()
    assert all(isinstance(answer.outcome, Event) for answer in told)
    for number in (1, 2, 3):
        assert (cluster.value(number, b"/2"), cluster.value(number, b"/3")) == (b"v", b"v")
    assert cluster[1].store.digest() == cluster[2].store.digest() == cluster[3].store.digest()


def test_writes_wait_for_a_leader() -> None:
    cluster = Cluster(3)
    told = cluster.put(2, b"/a")
    cluster.settle()
    assert not told.outcomes
    cluster.elect(1)
    cluster.tick()
    assert isinstance(told.outcome, Event)


def test_without_a_leader_a_write_certainly_did_not_happen() -> None:
    cluster = Cluster(3)
    told = cluster.put(2, b"/a")
    cluster.drop = lambda _: True
    cluster.tick(TIMEOUT_TICKS)
    assert told.refusal == (replica_module.TIMED_OUT, True)


def test_what_was_handed_over_may_have_happened() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    told = cluster.put(2, b"/a")
    cluster.isolate(1)
    cluster.settle()
    cluster.tick(TIMEOUT_TICKS, only={2})
    assert told.refusal.definite is False


def test_an_entry_that_comes_after_the_timeout_is_applied_and_answered_no_more() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.slow.add(1)
    told = cluster.put(1, b"/a")
    cluster.settle()
    cluster.tick(TIMEOUT_TICKS)
    assert told.refusal.definite is False
    cluster.write(1)
    assert cluster.value(1, b"/a") == b"v"


def test_too_many_waiting_writes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_PROPOSALS", 2)
    cluster = Cluster(3)
    told = [cluster.put(1, b"/a") for _ in range(3)]
    assert [len(answer.outcomes) for answer in told] == [0, 0, 1]
    assert told[2].refusal == (replica_module.OVERLOADED, True)


def test_a_full_disk_refuses_writes_and_goes_on_reading() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.put(1, b"/a")
    cluster.settle()
    cluster[1].disk_full = True
    assert cluster.put(1, b"/a", b"2").refusal == (replica_module.DISK_FULL, True)
    read = cluster.read(1)
    cluster.settle()
    assert read.outcome is None
    assert cluster.value(1, b"/a") == b"v"
    cluster[1].disk_full = False
    told = cluster.put(1, b"/a", b"2")
    cluster.settle()
    assert isinstance(told.outcome, Event)


def test_a_leader_with_a_full_disk_takes_nothing_from_others() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster[1].disk_full = True
    told = cluster.put(2, b"/a")
    cluster.settle()
    cluster.tick(3)
    assert not told.outcomes
    assert writes_of(cluster, 1, b"/a") == 0
    cluster[1].disk_full = False
    cluster.tick(3)
    assert isinstance(told.outcome, Event)


def test_the_end_answers_everybody() -> None:
    cluster = Cluster(3)
    told, read = cluster.put(1, b"/a"), cluster.read(1)
    cluster[1].stop()
    assert told.refusal == read.refusal == (replica_module.STOPPED, False)


# --- lost and proposed again ---------------------------------------------------------------


def test_a_write_whose_frame_was_lost_is_repeated() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.drop = lambda frame: type(frame) is Forward
    told = cluster.put(2, b"/a")
    cluster.settle()
    assert cluster.lost
    cluster.heal()
    cluster.tick(5)
    assert isinstance(told.outcome, Event)
    assert writes_of(cluster, 1, b"/a") == 1


def test_a_write_whose_acknowledgement_was_lost_is_appended_once() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.drop = lambda frame: type(frame) is ForwardReply
    told = cluster.put(2, b"/a")
    cluster.settle()
    cluster.tick(10)
    cluster.heal()
    cluster.tick(10)
    assert isinstance(told.outcome, Event)
    assert writes_of(cluster, 1, b"/a") == 1


def test_what_an_isolated_leader_took_is_proposed_again_under_the_next() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    told = [cluster.put(1, b"/own"), cluster.put(1, b"/ttl", ttl=100)]
    cluster.settle()
    assert writes_of(cluster, 1, b"/own") == 1
    cluster.tick(3 * ELECTION_TICKS)
    assert all(not answer.outcomes for answer in told)
    assert cluster[2].core.leader in (2, 3)
    cluster.heal()
    cluster.tick(5)
    assert all(isinstance(answer.outcome, Event) for answer in told)
    leader = cluster[1].core.leader
    assert leader in (2, 3)
    assert writes_of(cluster, leader, b"/own") == writes_of(cluster, leader, b"/ttl") == 1


def test_a_write_that_reached_the_next_leader_is_not_proposed_again() -> None:
    """The old leader has appended and sent it, and heard nothing since."""
    cluster = Cluster(3)
    cluster.elect(1)
    told = cluster.put(1, b"/a")
    cluster.drop = lambda frame: frame[0] == 1
    cluster.settle()
    cluster.isolate(1)
    cluster.tick(3 * ELECTION_TICKS)
    assert cluster.value(2, b"/a") == b"v"
    assert not told.outcomes
    cluster.heal()
    cluster.tick(5)
    assert isinstance(told.outcome, Event)
    assert writes_of(cluster, cluster[1].core.leader, b"/a") == 1


@pytest.mark.parametrize("seed", range(25))
def test_every_write_happens_at_most_once_and_as_it_was_answered(seed: int) -> None:
    """Frames are lost at random, leaders change; every written path is in the log once."""
    rng = random.Random(seed)
    cluster = Cluster(3)
    told: dict[bytes, Told] = {}
    for number in range(150):
        path = b"/%d" % number
        told[path] = cluster.put(rng.randint(1, 3), path, ttl=rng.choice((None, None, 10_000)))
        loss = rng.choice((0.0, 0.0, 0.2, 0.6))
        cluster.drop = partial(lose, rng, loss)
        cluster.settle()
        if rng.random() < 0.5:
            cluster.tick(rng.randint(1, 4))
        if rng.random() < 0.03:
            cluster.isolate(rng.randint(1, 3))
            cluster.tick(3 * ELECTION_TICKS)
    cluster.heal()
    cluster.tick(TIMEOUT_TICKS + 3 * ELECTION_TICKS)
    assert cluster[1].store.digest() == cluster[2].store.digest() == cluster[3].store.digest()
    done = 0
    for path, answer in told.items():
        count = writes_of(cluster, 1, path)
        assert count <= 1, path
        if isinstance(answer.outcome, Event):
            done += 1
            assert count == 1, path
        elif answer.refusal.definite:
            assert count == 0, path
    assert done > 50


# --- log time ------------------------------------------------------------------------------


def ops_of(cluster: Cluster) -> list[Op]:
    return [Op(request.op) for request in requests(cluster, 1) if request.op != Op.PUT_RECORD]


@pytest.mark.parametrize("writer", [1, 2])
def test_a_stamp_precedes_what_has_a_ttl(writer: int) -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    plain, timed = cluster.put(writer, b"/a"), cluster.put(writer, b"/b", ttl=5)
    cluster.settle()
    cluster.tick()
    assert ops_of(cluster)[:3] == [Op.SYNC, Op.SET, Op.SET], "the batch is stamped once"
    assert isinstance(plain.outcome, Event)
    assert isinstance(timed.outcome, Event)
    assert b'"ttl":5' in timed.outcome.body()


def test_without_a_ttl_nothing_is_stamped() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.put(1, b"/a")
    cluster.settle()
    cluster.tick(20)
    assert Op.SYNC not in ops_of(cluster)


def test_keys_expire_within_a_sync_interval_and_not_early() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.put(2, b"/a", ttl=2)
    cluster.settle()
    cluster.tick(2000 // TICK_MS - 1)
    assert [cluster.value(number, b"/a") for number in (1, 2, 3)] == [b"v"] * 3
    cluster.tick(2 + limits.SYNC_INTERVAL_MS // TICK_MS)
    assert [cluster.value(number, b"/a") for number in (1, 2, 3)] == [None] * 3
    assert cluster[1].store.digest() == cluster[2].store.digest() == cluster[3].store.digest()


@pytest.mark.parametrize("hours", [-2, 2])
def test_wall_clock_jumps_expire_nothing_early_or_late(hours: int) -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.put(1, b"/a", ttl=10)
    cluster.settle()
    cluster.clock.jump(hours * 3600 * SECOND)
    cluster.tick(9000 // TICK_MS)
    assert cluster.value(1, b"/a") == b"v"
    cluster.tick(1000 // TICK_MS + 2 + limits.SYNC_INTERVAL_MS // TICK_MS)
    assert cluster.value(1, b"/a") is None


def test_a_jump_before_an_election_expires_nothing_early() -> None:
    """The next leader continues from the stamps that it has seen."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.put(1, b"/a", ttl=60)
    cluster.settle()
    cluster.tick()
    cluster.clock.jump(3600 * SECOND)
    cluster.isolate(1)
    cluster.tick(3 * ELECTION_TICKS)
    cluster.tick(10)
    assert cluster.value(2, b"/a") == b"v"
    cluster.tick(60_000 // TICK_MS)
    assert cluster.value(2, b"/a") is None


def test_a_restarted_member_takes_the_time_from_the_first_heartbeat() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.tick()
    cluster.clock.jump(3600 * SECOND)
    restarted = cluster[2]
    restarted.log_time = LogTime(cluster.clock, 0)
    assert restarted.now_ns() - cluster[1].now_ns() == 3600 * SECOND
    cluster.tick()
    assert restarted.now_ns() == cluster[1].now_ns()


# --- reads -------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [1, 2])
def test_a_barrier_waits_until_everything_acknowledged_is_shown(reader: int) -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.tick()
    cluster.slow.add(2)
    told = cluster.put(1, b"/a")
    cluster.settle()
    assert isinstance(told.outcome, Event), "member 3 has it"
    read = cluster.read(reader)
    cluster.settle()
    if reader == 2:
        assert not read.outcomes
        cluster.write(2)
        cluster.tick()
    assert read.outcome is None
    assert cluster.value(reader, b"/a") == b"v"


def test_an_isolated_leader_confirms_no_read() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    read = cluster.read(1)
    cluster.tick(TIMEOUT_TICKS - 1)
    assert not read.outcomes
    cluster.tick()
    assert read.refusal.definite is True


def test_reads_survive_a_change_of_the_leader() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    read = cluster.read(2)
    cluster.settle()
    cluster.tick(3 * ELECTION_TICKS)
    assert read.outcome is None


# --- snapshots ---------------------------------------------------------------------------


def snapshot(cluster: Cluster, number: int) -> int:
    """Take a snapshot at a member, make it durable, and keep it for transfers; its index."""
    job = cluster[number].begin_snapshot()
    cluster.snapshots[job.meta.index] = restore_store(job.chunks)
    cluster[number].snapshot_done(job.meta)
    return job.meta.index


def test_a_snapshot_is_due_after_so_many_entries_and_one_at_a_time() -> None:
    cluster = Cluster(1, snapshot_count=20)
    leader = cluster.elect(1)
    while not leader.snapshot_due():
        cluster.put(1, b"/a")
        cluster.settle()
    assert leader.applied_index == 21
    job = leader.begin_snapshot()
    assert not leader.snapshot_due()
    leader.snapshot_failed()
    assert leader.snapshot_due()
    job = leader.begin_snapshot()
    assert job.meta.index == 21
    cluster.put(1, b"/a", b"later")
    cluster.settle()
    store = restore_store(job.chunks)
    assert store.index == leader.store.index - 1, "it shows the moment it was begun"
    leader.snapshot_done(job.meta)
    assert not leader.snapshot_due()
    assert leader.core.log.first == 22


def lagging(cluster: Cluster) -> int:
    """Leader 1 goes on without member 3, which then needs a snapshot; its index."""
    cluster.elect(1)
    cluster.tick()
    cluster.isolate(3)
    for number in range(10):
        cluster.put(1, b"/new%d" % number)
        cluster.settle()
    return snapshot(cluster, 1)


def test_a_member_that_lags_gets_a_snapshot_and_goes_on_from_it() -> None:
    cluster = Cluster(3)
    index = lagging(cluster)
    assert cluster.value(3, b"/new0") is None
    cluster.heal()
    cluster.tick(3)
    assert cluster[3].applied_index >= index
    assert cluster.value(3, b"/new9") == b"v"
    cluster.put(3, b"/after")
    cluster.settle()
    cluster.tick(2)
    assert cluster[1].store.digest() == cluster[3].store.digest()
    assert cluster[3].members == cluster[1].members


def test_a_snapshot_leaves_sent_writes_uncertain_and_unsent_ones_waiting() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.tick()
    cluster.drop = lambda frame: frame[0] == 3
    sent = cluster.put(3, b"/sent")
    cluster.settle()
    assert cluster.value(1, b"/sent") == b"v"
    index = snapshot(cluster, 1)
    meta = cluster[1].core.snapshot
    assert meta is not None
    cluster.drop = lambda frame: frame[1] == 3 and type(frame) is Forward
    cluster[3].receive(ForwardReply(3, 1, cluster[1].core.term, 0, 0, Verdict.REFUSED))
    unsent = cluster.put(3, b"/unsent")  # held back until the next tick
    message = InstallSnapshot(3, 1, cluster[1].core.term, meta)
    cluster[3].receive_snapshot(message, cluster.snapshots[index])
    cluster.settle()
    assert not unsent.outcomes
    cluster.heal()
    cluster.tick(3)
    assert sent.refusal.definite is False, "it is in the snapshot, but with which outcome?"
    assert isinstance(unsent.outcome, Event)
    assert writes_of(cluster, 1, b"/unsent") == 1


def test_a_read_that_waits_for_an_index_in_the_snapshot_is_released() -> None:
    cluster = Cluster(3)
    lagging(cluster)
    read = cluster.read(3)
    cluster.settle()
    cluster.heal()
    cluster.tick(5)
    assert read.outcome is None


def test_an_old_snapshot_is_not_installed() -> None:
    cluster = Cluster(3)
    index = lagging(cluster)
    cluster.heal()
    cluster.tick(3)
    store, applied = cluster[3].store, cluster[3].applied_index
    meta = cluster[1].core.snapshot
    assert meta is not None
    message = InstallSnapshot(3, 1, cluster[1].core.term, meta)
    cluster[3].receive_snapshot(message, cluster.snapshots[index])
    cluster.settle()
    assert cluster[3].store is store
    assert cluster[3].applied_index == applied


# --- life --------------------------------------------------------------------------------


def test_every_member_publishes_itself_and_the_leader_sets_the_version() -> None:
    cluster = Cluster(3)
    cluster.elect(2)
    cluster.tick(2)
    for number in (1, 2, 3):
        members = cluster[number].members
        assert {n: m.client_urls for n, m in members.items()} == {
            n: (f"http://127.0.0.1:{4000 + n}",) for n in (1, 2, 3)
        }
        assert cluster[number].store.get_record(b"/0/version") == b"2.3.0"


def test_publishing_is_tried_again_when_it_was_refused() -> None:
    cluster = Cluster(1)
    cluster[1].disk_full = True
    cluster.elect(1)
    cluster.tick(3)
    assert cluster[1].members[1].client_urls == ()
    cluster[1].disk_full = False
    cluster.tick(2)
    assert cluster[1].members[1].client_urls != ()


def test_a_member_is_ready_when_what_it_knew_is_applied() -> None:
    cluster = Cluster(3)
    assert cluster[1].applied_index == 3
    assert cluster[1].accepting()


def test_the_highest_index_of_a_batch_is_visible_with_its_term() -> None:
    cluster = Cluster(1)
    leader = cluster.elect(1)
    assert leader.core.role is Role.LEADER
    assert leader.applied_index == leader.core.log.last
    assert leader.applied_term == leader.core.term


def test_time_that_is_shown_goes_on_between_stamps() -> None:
    cluster = Cluster(1)
    before = cluster[1].now_ns()
    cluster.clock.advance(5 * MS)
    assert cluster[1].now_ns() == before + 5 * MS
