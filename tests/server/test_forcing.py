"""A member of a lost cluster becomes its only member, with all it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvraft.api.service import MemberInfo
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
from kvraft.server import bootstrap, membership
from kvraft.server.forcing import (
    ForcingRefused,
    Leading,
    Probe,
    ask_members,
    force_new_cluster,
    forced_log,
)
from kvraft.server.membership import Context
from kvraft.server.replay import committed_index, last_index, replay
from kvraft.server.replica import Replica
from kvraft.storage import Identity, PosixFiles, Recovered, Storage
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request, encode_request
from kvraft.store.store import Store
from tests.server.inprocess import Cluster, running
from tests.server.replicas import infos

FALLBACK = ("http://localhost:2380", "http://localhost:7001")


def conf(kind: ConfChangeKind, member: int, urls: Sequence[str] = ()) -> bytes:
    context = membership.encode_context(Context(tuple(urls))) if urls else b""
    return encode_conf_change(ConfChange(kind, member, context))


def put(key: str) -> bytes:
    return encode_request(7, Request(Op.SET, b"/" + key.encode(), b"v"))


def log(
    count: int, payloads: list[bytes], *, commit: int | None = None, own_id: int = 1
) -> Recovered:
    """A log of so many founders, then the payloads in term 2."""
    entries, _ = bootstrap.initial_entries(infos(count))
    for index, data in enumerate(payloads, count + 1):
        is_put = data == b"" or data[0] == 0x99
        kind = EntryKind.NORMAL if is_put else EntryKind.CONFIG
        entries.append(Entry(2, index, kind, data))
    state = HardState(2, 2, len(entries) if commit is None else commit)
    return Recovered(Identity(own_id, 9), state, None, entries, [])


def outcome(recovered: Recovered, store: Store | None = None) -> Replica:
    """The member as it starts from a forced log."""
    forced = forced_log(recovered, Store() if store is None else store, FALLBACK)
    assert forced.entries[: len(recovered.entries)] == recovered.entries
    assert forced.hard_state.commit == last_index(forced)
    assert forced.hard_state.term == forced.entries[-1].term == recovered.hard_state.term + 1
    return replay(forced, Store() if store is None else store, forced.hard_state.commit)


def has(store: Store, key: str) -> bool:
    try:
        store.get(b"/" + key.encode())
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("own_id", [1, 2, 3])
def test_the_others_are_removed_for_good(own_id: int) -> None:
    recovered = log(3, [b"", put("a")], own_id=own_id)
    replica = outcome(recovered)
    assert list(replica.members) == [own_id]
    assert replica.members[own_id] == infos(3)[own_id - 1]
    assert replica.core.membership == ((own_id,), ())
    assert [replica.is_removed(member) for member in (1, 2, 3)] == [
        member != own_id for member in (1, 2, 3)
    ]
    assert has(replica.store, "a")


def test_what_may_have_been_acknowledged_is_kept() -> None:
    replica = outcome(log(3, [b"", put("a"), put("b")], commit=5))
    assert has(replica.store, "a")
    assert has(replica.store, "b")


def test_a_lone_member_only_starts_a_new_term() -> None:
    recovered = log(1, [b"", put("a")])
    forced = forced_log(recovered, Store(), FALLBACK)
    assert forced.entries == recovered.entries
    assert forced.hard_state == HardState(3, 1, 3)


def test_changes_of_the_members_that_were_under_way_are_undone() -> None:
    payloads = [
        b"",
        conf(ConfChangeKind.ADD_LEARNER, 4, ["http://four:1"]),
        conf(ConfChangeKind.REMOVE, 1),
    ]
    replica = outcome(log(3, payloads, commit=4))
    assert list(replica.members) == [1]
    assert not replica.is_removed(1)
    assert replica.removals.own_ns is None, "else it ends as if it were removed"
    assert replica.members[1].peer_urls == FALLBACK  # its own were removed with it
    assert all(map(replica.is_removed, (2, 3, 4)))


def test_a_member_that_is_not_in_the_cluster_is_added() -> None:
    """As with a backup directory, whose ids are new."""
    replica = outcome(log(3, [b"", put("a")], own_id=77))
    assert list(replica.members) == [77]
    assert replica.members[77].peer_urls == FALLBACK
    assert replica.core.membership == ((77,), ())


def test_an_address_may_be_taken_over_from_a_removed_member() -> None:
    recovered = log(1, [b"", put("a")], own_id=77)
    urls = infos(1)[0].peer_urls
    forced = forced_log(recovered, Store(), urls)
    replica = replay(forced, Store(), forced.hard_state.commit)
    assert list(replica.members) == [77]
    assert replica.members[77].peer_urls == urls


def test_a_learner_is_promoted() -> None:
    payloads = [b"", conf(ConfChangeKind.ADD_LEARNER, 5, ["http://five:1"])]
    replica = outcome(log(3, payloads, own_id=5))
    assert list(replica.members) == [5]
    assert replica.core.membership == ((5,), ())
    assert replica.members[5].peer_urls == ("http://five:1",)


def test_members_known_only_to_the_snapshot_are_removed() -> None:
    before = replay(log(3, [b"", put("a")]), Store(), 5)
    meta = SnapshotMeta(5, 2, Membership((1, 2, 3), ()))
    recovered = Recovered(Identity(2, 9), HardState(2, 0, 5), meta, [], [])
    index = before.store.index
    forced = forced_log(recovered, before.store, FALLBACK)
    assert before.store.index == index
    replica = replay(forced, before.store, forced.hard_state.commit)
    assert list(replica.members) == [2]
    assert has(replica.store, "a")


def test_what_a_lone_voter_has_on_disk_is_committed() -> None:
    assert committed_index(log(1, [b"", put("a")], commit=1), Store()) == 3
    assert committed_index(log(3, [b"", put("a")], commit=4), Store()) == 4
    learner = conf(ConfChangeKind.ADD_LEARNER, 4, ["http://four:1"])
    assert committed_index(log(1, [b"", learner, put("a")], commit=1), Store()) == 3


# --- durable, and only if the others are gone ----------------------------------------------


def founded(path: Path) -> tuple[Storage, Recovered]:
    recovered = log(3, [b"", put("a")])
    Storage.create(
        PosixFiles(), str(path), recovered.identity, recovered.entries, recovered.hard_state
    ).close()
    return Storage.open(PosixFiles(), str(path))


def answering(*found: Leading) -> Probe:
    async def probe(cluster_id: int, others: Sequence[MemberInfo]) -> list[Leading]:
        assert cluster_id == 9
        assert [info.id for info in others] == [2, 3]
        return list(found)

    return probe


@pytest.mark.asyncio
async def test_a_forced_log_is_durable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage, recovered = founded(tmp_path / "a")
    caplog.set_level("INFO", "kvraft")
    forced = await force_new_cluster(storage, recovered, Store(), FALLBACK, answering())
    storage.close()
    assert "forcing restart of member 1 in cluster 9 at commit index 7" in caplog.text
    again, found = Storage.open(PosixFiles(), str(tmp_path / "a"))
    assert (found.entries, found.hard_state) == (forced.entries, forced.hard_state)
    again.close()


@pytest.mark.asyncio
async def test_a_living_cluster_is_not_parted_in_two(tmp_path: Path) -> None:
    storage, recovered = founded(tmp_path / "a")
    probe = answering(Leading(2, "http://two:1", 3))
    with pytest.raises(ForcingRefused, match=r"2 \(http://two:1\) answered and follow leader 3"):
        await force_new_cluster(storage, recovered, Store(), FALLBACK, probe)
    storage.close()
    again, found = Storage.open(PosixFiles(), str(tmp_path / "a"))
    assert (found.entries, found.hard_state) == (recovered.entries, recovered.hard_state)
    again.close()


@pytest.mark.asyncio
async def test_the_probe_hears_members_that_follow_a_leader(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        await cluster.leader()
        await cluster.settled()
        found = await ask(cluster)
        leader = (await cluster.leader()).member.member_id
        assert {item.leader for item in found} == {leader}
        assert len(found) == 3
        assert await ask(cluster, cluster_id=1) == []


@pytest.mark.asyncio
async def test_a_member_without_a_leader_does_not_count(tmp_path: Path) -> None:
    cluster = Cluster(3, tmp_path)
    only = cluster.members[0]
    await only.start()
    try:
        assert await ask(cluster, cluster_id=only.member.cluster_id) == []
    finally:
        await only.stop()
        await asyncio.sleep(0.005)


async def ask(cluster: Cluster, cluster_id: int | None = None) -> list[Leading]:
    own = cluster.members[0].member
    others = [MemberInfo(n, name, urls, ()) for n, (name, urls) in enumerate(cluster.urls.items())]

    def context() -> object:
        raise AssertionError("no https here")

    number = own.cluster_id if cluster_id is None else cluster_id
    return await ask_members(number, others, context)  # type: ignore[arg-type]
