"""Locks, elections and leases on real members: kvraft, a real etcd, and beside python-etcd."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import etcd
import pytest
import pytest_asyncio

from benchmarks.members import ETCD, KVRAFT, Cluster, Member
from kvraft import Client, SyncClient
from kvraft.client.errors import LeaseLost, LockLost, LockTimeout
from kvraft.client.lock import Lock
from kvraft.client.syncrecipes import SyncLock

pytestmark = [pytest.mark.timeout(120)]

SERVERS: Final = [
    pytest.param(KVRAFT, id="kvraft"),
    pytest.param(ETCD, id="etcd", marks=pytest.mark.realetcd),
]
PATIENCE_S: Final = 30


@pytest.fixture(scope="module", params=SERVERS)
def member(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Member]:
    with Cluster(request.param, 1, tmp_path_factory.mktemp("recipes")) as cluster:
        yield cluster.start().members[0]


@pytest_asyncio.fixture
async def client(member: Member) -> AsyncIterator[Client]:
    async with Client(member.client_url) as client:
        yield client


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:8]


# --- one member ---------------------------------------------------------------------------------


async def work(locks: list[Lock], number: int, fences: list[int], rng: random.Random) -> None:
    """Take the lock a few times; some of these are given up while they wait."""
    for _ in range(4):
        lock = locks[number]
        try:
            await lock.acquire(timeout_s=rng.choice([0.05, None, None]))
        except LockTimeout:
            continue
        assert [other for other in locks if other.held] == [lock]
        assert not fences or lock.fencing_index > fences[-1]
        fences.append(lock.fencing_index)
        await asyncio.sleep(rng.random() / 50)
        assert lock.held
        await lock.release()


@pytest.mark.asyncio
async def test_one_holder_at_a_time(client: Client, name: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    locks = [client.lock(name, ttl=20) for _ in range(8)]
    fences: list[int] = []
    await asyncio.gather(*(work(locks, number, fences, rng) for number in range(8)))
    assert len(fences) > 8
    listing = await client.get(f"/_locks/{name}", quorum=True)
    assert listing.node.nodes == ()


@pytest.mark.asyncio
async def test_lock_is_kept_beyond_its_ttl(client: Client, name: str) -> None:
    async with client.lock(name, ttl=2) as lock:
        end_s = time.monotonic() + 4
        created = (await client.get(lock.key)).node.created_index
        while time.monotonic() < end_s:
            await asyncio.sleep(0.1)
            lock.check()
            assert not await client.lock(name).try_acquire()
        assert (await client.get(lock.key)).node.created_index == created == lock.fencing_index


@pytest.mark.asyncio
async def test_deleted_lock_interrupts_its_block(client: Client, name: str) -> None:
    async def hold() -> None:
        async with client.lock(name, ttl=3) as lock:
            await client.delete(lock.key)
            await asyncio.sleep(60)

    with pytest.raises(LockLost, match="expired or was deleted"):
        await asyncio.wait_for(hold(), PATIENCE_S)


@pytest.mark.asyncio
async def test_shares_its_queue_with_python_etcd(member: Member, client: Client, name: str) -> None:
    """Each of the two waits for the other."""
    target = urllib.parse.urlsplit(member.client_url)
    theirs: Any = etcd.Lock(etcd.Client(target.hostname, target.port), name)
    ours = await client.lock(name).acquire()
    assert not await asyncio.to_thread(theirs.acquire, blocking=False, lock_ttl=60)
    waiting = asyncio.create_task(asyncio.to_thread(theirs.acquire, lock_ttl=60))
    await asyncio.sleep(0.1)
    await ours.release()
    assert await asyncio.wait_for(waiting, PATIENCE_S)
    assert not await ours.try_acquire()
    acquiring = asyncio.create_task(ours.acquire())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(theirs.release)
    await asyncio.wait_for(acquiring, PATIENCE_S)
    assert ours.held
    await ours.release()


@pytest.mark.asyncio
async def test_leaders_follow_each_other(client: Client, name: str) -> None:
    candidates = [client.election(name, f"host {number}") for number in range(3)]
    seen: list[str | None] = []
    begun = asyncio.Event()

    async def observe() -> None:
        async for leader in client.election(name).observe():
            seen.append(leader.value if leader else None)
            begun.set()
            if len(seen) == 5:
                return

    observing = asyncio.create_task(observe())
    await begun.wait()
    assert await client.election(name).leader() is None
    tasks = []
    for candidate in candidates:
        tasks.append(asyncio.create_task(candidate.campaign()))
        await asyncio.sleep(0.2)
    for candidate, task in zip(candidates, tasks, strict=True):
        await asyncio.wait_for(task, PATIENCE_S)
        leader = await client.election(name).leader()
        assert leader is not None
        assert leader.fencing_index == candidate.fencing_index
        await candidate.resign()
    await asyncio.wait_for(observing, PATIENCE_S)
    assert seen == [None, "host 0", "host 1", "host 2", None]


@pytest.mark.asyncio
async def test_leased_keys_live_and_go_together(client: Client, name: str) -> None:
    async with client.lease(2) as lease:
        for number in range(5):
            await lease.set(f"/{name}/{number}", "here")
        end_s = time.monotonic() + 4
        while time.monotonic() < end_s:
            await asyncio.sleep(0.1)
            assert len((await client.get(f"/{name}")).node.nodes) == 5
        await client.set(f"/{name}/3", "somebody else's")
        await client.delete(f"/{name}/4")
        while len(lease.lost_keys) < 2:
            await asyncio.wait_for(lease.lost.wait(), PATIENCE_S)
            await asyncio.sleep(0.05)
        with pytest.raises(LeaseLost) as caught:
            lease.check()
        assert caught.value.keys == {
            f"/{name}/3": "somebody else has changed it",
            f"/{name}/4": "it has expired or was deleted",
        }
        assert lease.keys == tuple(f"/{name}/{number}" for number in range(3))
    (left,) = (await client.get(f"/{name}")).node.nodes
    assert left.value == "somebody else's"


def lose(client: SyncClient, lock: SyncLock) -> None:
    with lock:
        client.delete(lock.key)
        assert lock.wait_lost(PATIENCE_S)


def test_without_an_event_loop(member: Member, name: str) -> None:
    with SyncClient(member.client_url) as client:
        with client.lock(name, ttl=2) as lock:
            time.sleep(3)  # the thread behind it goes on refreshing
            lock.check()
            assert lock.held
            assert not lock.lost
            assert lock.remaining_s() > 0
            assert not lock.wait_lost(0.01)
            assert not client.lock(name).try_acquire()
            with pytest.raises(LockTimeout):
                client.lock(name).acquire(timeout_s=0.1)
            fence = lock.fencing_index
        other = client.lock(name)
        assert other.acquire().fencing_index > fence
        other.release()
        with pytest.raises(LockLost):
            lose(client, client.lock(name, ttl=2))
        with client.lease(2) as lease:
            lease.set(f"/{name}/a", "1")
            lease.create(f"/{name}/b", "2")
            lease.detach(f"/{name}/b")
            assert lease.keys == (f"/{name}/a",)
            lease.check()
            client.delete(f"/{name}/a")
            assert lease.wait_lost(PATIENCE_S)
            assert list(lease.lost_keys) == [f"/{name}/a"]


def test_election_without_an_event_loop(member: Member, name: str) -> None:
    with SyncClient(member.client_url) as client:
        seen = []

        def observe() -> None:
            with client.election(name).observe() as leaders:
                for leader in leaders:
                    seen.append(leader.value if leader else None)
                    if leader is None and len(seen) > 1:
                        return

        observer = threading.Thread(target=observe)
        observer.start()
        while not seen:
            time.sleep(0.01)
        with client.election(name, "me") as leadership:
            leader = leadership.leader()
            assert leader is not None
            assert (leader.value, leader.key) == ("me", leadership.key)
        observer.join(PATIENCE_S)
        assert seen == [None, "me", None]


# --- members that fail --------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("server", SERVERS)
async def test_one_holder_at_a_time_while_leaders_die(
    server: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    with Cluster(server, 3, tmp_path) as cluster:
        await asyncio.to_thread(cluster.start)
        urls = [member.client_url for member in cluster.members]
        clients = [Client(urls, rng=random.Random(number)) for number in range(4)]
        locks = [client.lock(name, ttl=5) for client in clients]
        fences: list[int] = []
        lost = 0
        ended = asyncio.Event()

        async def contend(lock: Lock) -> None:
            nonlocal lost
            while not ended.is_set():
                try:
                    async with lock:
                        assert [other for other in locks if other.held] == [lock]
                        assert not fences or lock.fencing_index > fences[-1]
                        fences.append(lock.fencing_index)
                        await asyncio.sleep(0.1)
                except LockLost:
                    lost += 1

        async with asyncio.TaskGroup() as group:
            for lock in locks:
                group.create_task(contend(lock))
            for number in (signal.SIGKILL, signal.SIGSTOP):
                await asyncio.sleep(1)
                leader = await asyncio.to_thread(cluster.leader)
                await _strike(leader, number)
                goal = len(fences) + 4
                async with asyncio.timeout(PATIENCE_S):
                    while len(fences) < goal:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            ended.set()
        print(f"{len(fences)} holders, {lost} interrupted")
        for client in clients:
            await client.close()


async def _strike(member: Member, number: signal.Signals) -> None:
    if number == signal.SIGKILL:
        await asyncio.to_thread(member.kill)
        member.start()
    else:
        assert member.process is not None
        member.process.send_signal(number)
        await asyncio.sleep(3)
        member.process.send_signal(signal.SIGCONT)
