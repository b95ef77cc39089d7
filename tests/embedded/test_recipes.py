"""Locks, elections and leases on members in this process, without HTTP."""

from __future__ import annotations

import asyncio

import pytest

import kvraft
from kvraft.client.errors import LockLost

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def test_lock_moves_from_member_to_member() -> None:
    async with kvraft.Cluster(3, sockets=False) as cluster:
        fences: list[int] = []
        locks = [node.lock("work", ttl=20) for node in cluster.nodes]

        async def work(number: int) -> None:
            for _ in range(5):
                async with locks[number] as lock:
                    assert [other for other in locks if other.held] == [lock]
                    assert not fences or lock.fencing_index > fences[-1]
                    fences.append(lock.fencing_index)

        await asyncio.gather(*(work(number) for number in range(3)))
        assert len(fences) == 15
        # the same lock for a client of these members, with HTTP in between
        holder = await locks[0].acquire()
        async with cluster.client() as client:
            assert not await client.lock("work").try_acquire()
            await holder.release()
            assert await client.lock("work").try_acquire()


async def test_lock_ends_with_its_node() -> None:
    async with kvraft.Cluster(3, sockets=False) as cluster:
        node = cluster.nodes[0]

        async def hold() -> None:
            async with node.lock("work", ttl=2):
                await node.kill()
                await asyncio.sleep(30)

        with pytest.raises(LockLost):
            await hold()
        async with asyncio.timeout(20):
            await cluster.nodes[1].lock("work").acquire()


async def test_election_and_lease() -> None:
    async with kvraft.Node() as node:
        async with node.election("boss", "me") as leadership:
            leader = await node.election("boss").leader()
            assert leader is not None
            assert (leader.value, leader.key) == ("me", leadership.key)
        async for leader in node.election("boss").observe():
            assert leader is None
            break
        async with node.lease(5) as lease:
            await lease.create("/services/a", "here")
            assert (await node.get("/services/a")).node.ttl == 5
        assert (await node.get("/services")).node.nodes == ()
