"""Members over real sockets and files: order of disk and answers, faults of the disk, snapshots."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kvraft import limits
from kvraft.api.service import Unavailable
from kvraft.errors import DiskFailed
from kvraft.raft.entry import SnapshotMeta
from kvraft.raft.message import InstallSnapshot
from kvraft.server.frames import FRAME_NUMBERS
from kvraft.storage import Storage
from kvraft.store.event import Event
from kvraft.transport import hub
from kvraft.transport.codec import FrameEncoder
from kvraft.transport.handshake import HandshakeError, Hello
from kvraft.transport.snapshot import send_snapshot
from tests.server.inprocess import Running, running, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISK_FULL_RETRY_MS", 10)
    monkeypatch.setattr(limits, "PEER_RECONNECT_MS", 10)


async def test_writes_through_every_member_are_seen_through_every_member(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        await cluster.leader()
        await asyncio.gather(
            *(m.put(f"{m.name}/{n}", b"%d" % n) for m in cluster.members for n in range(50))
        )
        for member in cluster.members:
            assert await member.read() is None
            assert member.value("m1/49") == member.value("m2/49") == member.value("m3/49") == b"49"
        await cluster.settled()
        assert [len(member.member.members()) for member in cluster.members] == [3, 3, 3]
        assert all(member.member.cluster_version == "2.3.0" for member in cluster.members)
        assert not any(member.fatal for member in cluster.members)


async def test_a_member_returns_with_what_it_had_and_gets_the_rest(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("before")
        await cluster.settled()
        away = next(member for member in cluster.members if member is not leader)
        await away.stop()
        await leader.put("meanwhile")
        await away.start()
        await until(lambda: away.replica.core.leader != 0)
        assert await away.read() is None
        assert (away.value("before"), away.value("meanwhile")) == (b"v", b"v")
        await cluster.settled()


async def test_the_last_word_of_a_whole_cluster_is_kept(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await asyncio.gather(*(leader.put(f"{number}") for number in range(20)))
        for member in cluster.members:
            await member.stop()
        for member in cluster.members:
            await member.start()
        await cluster.leader()
        for member in cluster.members:
            assert await member.read() is None
            assert all(member.value(f"{number}") == b"v" for number in range(20))


async def test_nothing_is_acknowledged_while_the_disk_is_busy(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        member = await cluster.leader()
        await member.put("a")
        member.files.syncing.clear()
        outcome = member.propose("b")
        for _ in range(5):
            assert await member.read() is None, "reads go on"
            await asyncio.sleep(0.01)
        assert not outcome.done()
        member.files.syncing.set()
        assert isinstance(await outcome, Event)


async def test_a_leader_keeps_leading_while_its_disk_is_busy(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        term = leader.replica.core.term
        leader.files.syncing.clear()
        outcome = leader.propose("b")
        await asyncio.sleep(0.7)  # two election timeouts
        assert leader.leads
        assert leader.replica.core.term == term
        follower = next(member for member in cluster.members if not member.leads)
        assert follower.replica.core.commit == leader.replica.core.log.last, "the others have it"
        leader.files.syncing.set()
        assert isinstance(await outcome, Event)


# --- the disk is full --------------------------------------------------------------------


async def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        member = await cluster.leader()
        await member.put("a", b"1")
        member.files.full = "wal"
        waiting = member.propose("a", b"2")
        await until(lambda: member.replica.disk_full)
        assert not waiting.done(), "nobody knows yet"
        refusal = await member.propose("a", b"3")
        assert isinstance(refusal, Unavailable)
        assert refusal.definite
        assert await member.read() is None
        assert member.value("a") == b"1"
        member.files.full = ""
        assert isinstance(await waiting, Event)
        assert member.value("a") == b"2"
        await member.put("a", b"4")
        assert not member.fatal
        await member.stop()
        await member.start()
        await cluster.leader()
        assert await member.read() is None
        assert member.value("a") == b"4"


async def test_a_leader_with_a_full_disk_lets_another_lead(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        leader.files.full = "wal"
        waiting = leader.propose("b")
        await until(lambda: any(m.leads for m in cluster.members if m is not leader))
        successor = next(m for m in cluster.members if m.leads and m is not leader)
        await successor.put("c")
        assert await successor.read() is None
        leader.files.full = ""
        outcome = await waiting
        assert isinstance(outcome, Event)
        await until(lambda: not leader.replica.disk_full)
        await leader.put("d")
        await cluster.settled()
        assert not any(member.fatal for member in cluster.members)


async def test_a_snapshot_that_finds_no_space_is_taken_later(tmp_path: Path) -> None:
    async with running(1, tmp_path, snapshot_count=10) as cluster:
        member = await cluster.leader()
        member.files.full = "/snap/"
        for number in range(30):
            await member.put(f"{number}")
        assert member.replica.core.snapshot is None
        assert not member.replica.disk_full, "the log has space"
        member.files.full = ""
        await member.put("more")
        await until(lambda: member.replica.core.snapshot is not None)
        assert not member.fatal


# --- the disk is broken ------------------------------------------------------------------


async def test_after_a_failed_sync_nothing_is_acknowledged(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        member = await cluster.leader()
        await member.put("a")
        member.files.broken = "wal"
        outcomes = [member.propose(f"{number}") for number in range(3)]
        await until(lambda: bool(member.fatal))
        member.files.broken = ""
        outcomes.append(member.propose("after"))
        await asyncio.sleep(0.1)
        assert isinstance(member.fatal[0], DiskFailed)
        assert not any(outcome.done() for outcome in outcomes), "a second sync proves nothing"
        await member.stop()
        for outcome in outcomes:
            refusal = await outcome
            assert isinstance(refusal, Unavailable)
            assert not refusal.definite
        await member.start()


async def test_the_others_go_on_without_a_member_whose_disk_failed(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        leader.files.broken = "wal"
        lost = leader.propose("b")
        await until(lambda: bool(leader.fatal))
        assert not lost.done()
        await leader.stop()
        others = [member for member in cluster.members if member is not leader]
        await until(lambda: any(member.leads for member in others))
        for member in others:
            await member.put(member.name)
            assert await member.read() is None
        assert isinstance(await lost, Unavailable)
        leader.files.broken = ""
        await leader.start()
        await cluster.settled()


async def test_a_snapshot_that_cannot_be_synced_ends_the_member(tmp_path: Path) -> None:
    async with running(1, tmp_path, snapshot_count=10) as cluster:
        member = await cluster.leader()
        member.files.broken = "/snap/"
        outcomes = [member.propose(f"{number}") for number in range(15)]
        await until(lambda: bool(member.fatal))
        assert isinstance(member.fatal[0], DiskFailed)
        answers = await asyncio.gather(*outcomes)
        assert all(isinstance(answer, Event) for answer in answers), "the log is sound"


# --- snapshots ---------------------------------------------------------------------------


def snapshot_files(member: Running) -> list[str]:
    return sorted(path.name for path in Path(member.data_dir, "member", "snap").iterdir())


async def test_a_member_that_was_away_too_long_gets_a_snapshot(tmp_path: Path) -> None:
    async with running(3, tmp_path, snapshot_count=50, snapshot_keep_entries=10) as cluster:
        leader = await cluster.leader()
        await cluster.settled()
        away = next(member for member in cluster.members if member is not leader)
        await away.stop()
        for number in range(200):
            await leader.put(f"dir/{number % 70}", b"%d" % number)
        first = leader.replica.core.log.first
        assert first > 100, "the log does not reach back"
        await away.start()
        await until(lambda: away.replica.applied_index >= first)
        await cluster.settled()
        assert any(name.endswith(".snap") for name in snapshot_files(away))
        assert not any(name.endswith(".tmp") for name in snapshot_files(away))
        await away.put("after")
        await away.stop()
        await away.start()
        await until(lambda: away.replica.core.leader != 0)
        assert await away.read() is None
        assert away.value("after") == b"v"
        await cluster.settled()
        assert not any(member.fatal for member in cluster.members)


async def test_a_member_with_a_full_disk_takes_its_snapshot_when_there_is_space(
    tmp_path: Path,
) -> None:
    async with running(3, tmp_path, snapshot_count=20, snapshot_keep_entries=0) as cluster:
        leader = await cluster.leader()
        await cluster.settled()
        away = next(member for member in cluster.members if member is not leader)
        await away.stop()
        for number in range(60):
            await leader.put(f"{number}")
        await away.start()
        away.files.full = "/snap/"
        await asyncio.sleep(0.2)
        assert away.replica.core.log.first < leader.replica.core.log.first
        away.files.full = ""
        await leader.put("more")
        await cluster.settled()
        assert not away.fatal


async def test_a_transfer_that_fails_in_an_unknown_way_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the receiver is killed, and the loop's transport says so with a RuntimeError."""
    transfers: list[object] = []

    async def transfer(*given: Any) -> None:
        transfers.append(given)
        if len(transfers) == 1:
            raise RuntimeError("the handler is closed")
        await send_snapshot(*given)

    monkeypatch.setattr(hub, "send_snapshot", transfer)
    # The loop reports what its tasks did not catch; here that is the point.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with running(3, tmp_path, snapshot_count=20, snapshot_keep_entries=0) as cluster:
        leader = await cluster.leader()
        await cluster.settled()
        away = next(member for member in cluster.members if member is not leader)
        await away.stop()
        for number in range(60):
            await leader.put(f"{number}")
        await away.start()
        await cluster.settled()
        assert len(transfers) == 2


async def send(target: Running, message: InstallSnapshot, chunks: list[bytes]) -> None:
    """As another member would."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    url = urlsplit(target.cluster.urls[target.name][0])
    hello = Hello(target.member.cluster_id, message.sender, target.member.member_id)
    await send_snapshot(url, hello, message, stream(), FrameEncoder(FRAME_NUMBERS))


async def test_a_snapshot_that_makes_no_sense_is_not_taken(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        victim = next(member for member in cluster.members if member is not leader)
        store, own = victim.replica.store, victim.member.member_id
        voters = victim.replica.core.membership
        meta = SnapshotMeta(10_000, leader.replica.core.term, voters)
        message = InstallSnapshot(own, leader.member.member_id, leader.replica.core.term, meta)
        whole = list(leader.replica.store.snapshot().chunks(100))
        for chunks in ([b"nonsense"], whole[:-1], [*whole, whole[0]], whole[::-1], []):
            with pytest.raises((HandshakeError, ConnectionError)):
                await send(victim, message, chunks)
        with pytest.raises((HandshakeError, ConnectionError)):
            await send(victim, message._replace(to=own + 1), whole)
        assert victim.replica.store is store
        assert snapshot_files(victim) == []
        await victim.put("b")
        await cluster.settled()
        assert not victim.fatal


# --- the end, and what is shown --------------------------------------------------------------


async def test_stopping_answers_everybody(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        for member in cluster.members:
            if member is not leader:
                await member.stop()
        outcome = leader.propose("a")
        read = asyncio.ensure_future(leader.read())
        await asyncio.sleep(0.05)
        await leader.stop()
        for answer in (await outcome, await read):
            assert isinstance(answer, Unavailable)


async def test_a_leader_that_stops_hands_over(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        term = leader.replica.core.term
        await leader.member.transfer_leadership()
        assert not leader.leads
        successor = await cluster.leader()
        assert successor is not leader
        assert successor.replica.core.term == term + 1


async def document(member: Running, path: str) -> tuple[str, bytes]:
    """Head and body of a plain GET on the peer port."""
    url = urlsplit(member.cluster.urls[member.name][0])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.splitlines() if line.startswith("Content-Length"))
        return head, await reader.readexactly(int(length.split()[1]))
    finally:
        writer.transport.abort()


async def test_documents_of_the_peer_port(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await until(lambda: all(m.client_urls for m in leader.member.members()))
        head, body = await document(leader, "/members")
        assert f"X-Etcd-Cluster-Id: {leader.member.cluster_id:x}" in head
        members = json.loads(body)
        assert sorted(m["name"] for m in members) == ["m1", "m2", "m3"]
        assert [m["id"] for m in members] == sorted(m["id"] for m in members)
        assert all(tuple(m["peerURLs"]) == cluster.urls[m["name"]] for m in members)
        _, body = await document(leader, "/version")
        assert json.loads(body) == {"etcdserver": "2.3.8", "etcdcluster": "2.3.0"}
        _, body = await document(leader, "/raft/probing")
        assert json.loads(body)["OK"] is True
        head, _ = await document(leader, "/elsewhere")
        assert head.startswith("HTTP/1.1 404 ")


async def test_statistics_of_leader_and_followers(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        while True:
            leader = await cluster.leader()
            for number in range(5):
                await leader.put(f"{number}")
            await cluster.settled()
            if leader.leads:
                break  # else this machine has stalled for longer than an election timeout
        own = leader.member.self_stats()
        assert (own["state"], own["name"]) == ("StateLeader", leader.name)
        sent = own["sendAppendRequestCnt"]
        assert isinstance(sent, int)
        assert sent >= 10
        document = leader.member.leader_stats()
        assert document is not None
        followers = document["followers"]
        assert isinstance(followers, dict)
        assert sorted(followers) == sorted(
            f"{m.member.member_id:x}" for m in cluster.members if m is not leader
        )
        follower = next(member for member in cluster.members if member is not leader)
        assert follower.member.leader_stats() is None
        shown = follower.member.self_stats()
        assert shown["state"] == "StateFollower"
        healthy = asyncio.get_running_loop().create_future()
        follower.member.health(healthy.set_result)
        assert await healthy is True


# --- old files ---------------------------------------------------------------------------


async def test_old_files_go_at_the_start_and_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "PURGE_INTERVAL_S", 0.02)
    caplog.set_level("INFO", "kvraft.fileutil")
    async with running(1, tmp_path, snapshot_count=20) as cluster:
        member = await cluster.leader()
        snap = tmp_path / member.name / "member" / "snap"
        for number in range(60):
            await member.put(f"{number}")
        await until(lambda: len(list(snap.glob("*.snap"))) > 1)
        member.replica.config = member.replica.config._replace(snapshot_count=1 << 30)
        kept = set(snap.glob("*.snap"))

        def add_old(first: int) -> set[Path]:
            paths = {snap / f"{1:016x}-{number:016x}.snap" for number in range(first, first + 5)}
            for path in paths:
                path.write_bytes(b"old")
                path.chmod(0o600)
            return paths

        for first in (1, 6):
            old = add_old(first)
            await until(lambda: len(list(snap.glob("*.snap"))) == 5)
            assert kept <= set(snap.glob("*.snap"))
            lines = {f"purged file {path} successfully" for path in old if not path.exists()}
            assert lines
            await until(lambda: lines <= set(caplog.messages))  # noqa: B023
        await member.stop()
        add_old(1)
        caplog.clear()
        monkeypatch.setattr(limits, "PURGE_INTERVAL_S", 1000)
        await member.start()
        await until(lambda: len(list(snap.glob("*.snap"))) == 5)
        assert kept <= set(snap.glob("*.snap"))


async def test_a_disk_that_breaks_while_purging_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PURGE_INTERVAL_S", 0.02)

    def broken(*_: object) -> list[str]:
        raise DiskFailed("/data: Input/output error")

    async with running(1, tmp_path) as cluster:
        (member,) = cluster.members
        monkeypatch.setattr(Storage, "purge", broken)
        await until(lambda: bool(member.fatal))
        assert isinstance(member.fatal[0], DiskFailed)


@pytest.mark.parametrize("name", ["receive", "tick", "apply", "persisted"])
async def test_a_broken_replica_ends_the_member(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises, and wherever: nothing of it may go on."""

    def broken(*_: object) -> None:
        raise AssertionError(f"broken in {name}")

    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        monkeypatch.setattr(leader.replica, name, broken)
        asked = leader.propose("b")
        await until(lambda: bool(leader.fatal))
        assert str(leader.fatal[0]) == f"broken in {name}"
        others = [member for member in cluster.members if member is not leader]
        await until(lambda: any(member.leads for member in others))
        await leader.stop()
        await asked  # a write may have come through before the first tick, say
