"""Founding a cluster, and returning from a data directory."""

from __future__ import annotations

import random

import pytest

from kvraft.clock import ManualClock
from kvraft.raft.core import Role
from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    decode_conf_change,
)
from kvraft.server import bootstrap, ids, membership
from kvraft.server.replica import Replica
from kvraft.storage import Identity, Recovered
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.request import Op, Request, encode_request
from kvraft.store.store import Store
from tests.server.replicas import ELECTION_TICKS, MS, TICK_MS, Cluster, config, infos

CLUSTER = {
    "b": ("http://10.0.0.2:2380",),
    "a": ("http://10.0.0.1:2380", "http://10.0.0.1:7001"),
    "c": ("http://10.0.0.3:2380",),
}


def test_founders_agree_without_talking() -> None:
    foundings = [bootstrap.found(CLUSTER, "token", name) for name in "abc"]
    assert len({founding.identity.cluster_id for founding in foundings}) == 1
    assert len({founding.members for founding in foundings}) == 1
    assert len({founding.identity.member_id for founding in foundings}) == 3
    logs = [bootstrap.initial_entries(founding.members) for founding in foundings]
    assert logs[0] == logs[1] == logs[2]
    for name, founding in zip("abc", foundings, strict=True):
        own = next(m for m in founding.members if m.id == founding.identity.member_id)
        assert (own.name, own.peer_urls) == (name, CLUSTER[name])
        assert own.id == ids.member_id(CLUSTER[name], "token")


def test_another_token_makes_another_cluster() -> None:
    one, other = (bootstrap.found(CLUSTER, token, "a").identity for token in ("x", "y"))
    assert one.cluster_id != other.cluster_id
    assert one.member_id != other.member_id


def test_the_log_begins_with_the_members_in_the_order_of_their_ids() -> None:
    members = bootstrap.found(CLUSTER, "token", "a").members
    entries, state = bootstrap.initial_entries(reversed(members))
    assert state == HardState(term=1, vote=0, commit=3)
    assert [entry.index for entry in entries] == [1, 2, 3]
    changes = [decode_conf_change(entry.data) for entry in entries]
    assert {entry.kind for entry in entries} == {EntryKind.CONFIG}
    assert {change.kind for change in changes} == {ConfChangeKind.ADD_VOTER}
    assert [change.member for change in changes] == sorted(member.id for member in members)


def restarted(recovered: Recovered, store: Store, clock: ManualClock | None = None) -> Replica:
    return bootstrap.build_replica(
        config(1),
        bootstrap.raft_config(1, ELECTION_TICKS),
        random.Random(1),
        clock or ManualClock(),
        101,
        recovered,
        store,
    )


def recovered_log(values: int, commit: int) -> Recovered:
    """Founded by one member, led by it, with so many writes."""
    entries, _ = bootstrap.initial_entries(infos(1))
    entries.append(Entry(2, 2, EntryKind.NORMAL, b""))
    for number in range(values):
        data = encode_request(number + 1, Request(Op.SET, b"/%d" % number, b"v"))
        entries.append(Entry(2, 3 + number, EntryKind.NORMAL, data))
    return Recovered(Identity(1, 9), HardState(2, 1, commit), None, entries, [])


def work_off(replica: Replica) -> None:
    while replica.busy():
        work = replica.take_work()
        if work.persist is not None:
            replica.persisted(work.persist)
        replica.apply(work.committed)


def test_a_restarted_member_applies_what_it_knew_to_be_committed() -> None:
    replica = restarted(recovered_log(5, commit=7), Store())
    assert not replica.accepting()
    work_off(replica)
    assert replica.applied_index == 7
    assert replica.core.role is Role.FOLLOWER
    assert replica.accepting()
    assert replica.store.index == 1 + 5
    assert list(replica.members) == [1]


def test_what_may_have_been_committed_is_waited_for_but_not_for_ever() -> None:
    clock = ManualClock()
    replica = restarted(recovered_log(5, commit=4), Store(), clock)
    work_off(replica)
    assert replica.applied_index == 4
    clock.advance((2 * ELECTION_TICKS * TICK_MS - 1) * MS)
    assert not replica.accepting()
    clock.advance(MS)
    assert replica.accepting()


def test_the_tail_is_there_once_a_leader_has_committed_it() -> None:
    replica = restarted(recovered_log(5, commit=4), Store())
    work_off(replica)
    replica.core.campaign()
    work_off(replica)
    assert replica.applied_index >= 7
    assert replica.accepting()


def test_a_member_goes_on_behind_its_snapshot() -> None:
    cluster = Cluster(1)
    leader = cluster.elect(1)
    for number in range(5):
        cluster.put(1, b"/%d" % number)
        cluster.settle()
    job = leader.begin_snapshot()
    store = bootstrap.restore_store(job.chunks)
    assert store.digest() == leader.store.digest()
    after = Entry(9, job.meta.index + 1, EntryKind.NORMAL, b"")
    state = HardState(9, 1, job.meta.index)
    replica = restarted(Recovered(Identity(1, 9), state, job.meta, [after], []), store)
    assert replica.applied_index == job.meta.index
    assert replica.members == leader.members
    assert replica.core.membership.voters == (1,)
    replica.core.campaign()
    work_off(replica)
    assert replica.applied_index > after.index


@pytest.mark.parametrize("other", [(1, 101), (0x10001, 100)], ids=["next life", "similar id"])
def test_every_life_of_every_member_has_request_ids_of_its_own(other: tuple[int, int]) -> None:
    first = ids.first_request_id(1, 100)
    apart = (ids.first_request_id(*other) - first) % (1 << 64)
    assert 1 << 40 < apart < (1 << 64) - (1 << 40), "further than a life gets"


def test_peer_urls_are_found_in_the_log_and_in_the_records() -> None:
    recovered = recovered_log(0, commit=2)
    assert bootstrap.stored_peer_urls(recovered, Store()) == infos(1)[0].peer_urls
    store = Store()
    add = ConfChange(ConfChangeKind.ADD_VOTER, 1, b"")
    context = membership.Context(infos(1)[0].peer_urls, "m1")
    for write in membership.writes_of(add, context, store.get_record):
        store.apply(write)
    empty = recovered._replace(entries=[])
    assert bootstrap.stored_peer_urls(empty, store) == infos(1)[0].peer_urls
    assert bootstrap.stored_peer_urls(empty, Store()) == ()


def test_a_damaged_snapshot_is_told_as_such() -> None:
    for chunks in ([b"\xc1"], [], [b"not a chunk", b""]):
        with pytest.raises(CorruptSnapshot):
            bootstrap.restore_store(chunks)
