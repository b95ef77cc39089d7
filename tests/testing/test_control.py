"""A cluster that is broken and mended, in the test's own event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.members import free_ports
from kvraft.client.client import Client
from kvraft.client.errors import ClientError, KeyNotFound
from kvraft.client.model import WatchEvent
from kvraft.testing.control import AsyncCluster, ControlError, NoLeader

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def running(size: int = 3) -> AsyncIterator[tuple[AsyncCluster, Client]]:
    async with AsyncCluster(size) as cluster, cluster.client(timeout_s=30) as client:
        yield cluster, client


@asynccontextmanager
async def client_of(
    cluster: AsyncCluster, name: str, timeout_s: float = 10
) -> AsyncIterator[Client]:
    """A client of one member only."""
    async with Client(cluster.url(name), timeout_s=timeout_s) as client:
        yield client


async def others(cluster: AsyncCluster, name: str) -> list[str]:
    return [member for member in cluster.members if member != name]


async def holds(cluster: AsyncCluster, name: str, key: str, value: str | None) -> bool:
    """What one member has itself."""
    async with client_of(cluster, name) as client:
        try:
            return (await client.get(key)).value == value
        except KeyNotFound:
            return value is None


async def until_holds(cluster: AsyncCluster, name: str, key: str, value: str | None) -> None:
    async with asyncio.timeout(10):
        while not await holds(cluster, name, key, value):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_it_serves_at_real_urls() -> None:
    async with running() as (cluster, client):
        assert cluster.members == ("m1", "m2", "m3")
        assert len(set(cluster.urls)) == 3
        assert cluster.leader in cluster.members
        await client.set("/a", "1")
        for name in cluster.members:
            await until_holds(cluster, name, "/a", "1")
            status = cluster.status(name)
            assert status.state == ("leader" if name == cluster.leader else "follower")
            assert status.url == cluster.url(name)
            assert status.term >= 2
            assert status.applied > 3
        assert await client.health()


async def test_the_leader_is_killed_and_comes_back_with_what_it_had() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1")
        killed = await cluster.kill_leader()
        assert cluster.status(killed) == (killed, cluster.url(killed), "stopped", 0, 0)
        assert not cluster.status(killed).running
        async with client_of(cluster, killed, timeout_s=0.1) as client_of_nobody:
            with pytest.raises(ClientError):
                await client_of_nobody.get("/a")
        assert await cluster.wait_leader() != killed
        await client.set("/b", "2")
        await cluster.restart(killed)
        await until_holds(cluster, killed, "/a", "1")
        await until_holds(cluster, killed, "/b", "2")


async def test_everybody_is_killed_and_nothing_is_lost() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1")
        for name in cluster.members:
            await cluster.kill(name)
        assert cluster.leader is None
        with pytest.raises(NoLeader, match="m1 stopped"):
            await cluster.wait_leader(timeout_s=0.01)
        for name in cluster.members:
            await cluster.restart(name)
        await cluster.wait_leader()
        assert (await client.get("/a", quorum=True)).value == "1"


async def test_stop_hands_over_and_restart_of_a_running_member_does_so_first() -> None:
    async with running() as (cluster, client):
        leader = await cluster.wait_leader()
        term = cluster.status(leader).term
        await cluster.stop(leader)
        # somebody has begun to take over before it stopped, and not after an election timeout
        assert max(cluster.status(name).term for name in cluster.members) > term
        assert await cluster.wait_leader() != leader
        await cluster.restart(leader)
        second = await cluster.wait_leader()
        await cluster.restart(second)
        await cluster.wait_leader()
        assert all(cluster.status(name).running for name in cluster.members)
        await client.set("/a", "1")


async def test_an_isolated_leader_is_replaced_and_serves_old_data_until_it_is_healed() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1")
        old = await cluster.wait_leader()
        await until_holds(cluster, old, "/a", "1")
        rest = tuple(await others(cluster, old))
        assert await cluster.partition() == ((old,), rest)
        new = await cluster.wait_leader()
        assert new != old
        async with client_of(cluster, new) as of_the_rest:
            await of_the_rest.set("/a", "2")
        assert await holds(cluster, old, "/a", "1")
        async with client_of(cluster, old, timeout_s=0.1) as of_the_old:
            with pytest.raises(ClientError):
                await of_the_old.get("/a", quorum=True)
        await cluster.heal()
        await until_holds(cluster, old, "/a", "2")


async def test_partitions_into_groups() -> None:
    async with running(5) as (cluster, client):
        assert await cluster.partition(["m1", "m2"]) == (("m1", "m2"), ("m3", "m4", "m5"))
        assert await cluster.wait_leader() in ("m3", "m4", "m5")
        assert await cluster.partition("m3", ["m4"]) == (("m3",), ("m4",), ("m1", "m2", "m5"))
        assert await cluster.wait_leader() in ("m1", "m2", "m5")
        await cluster.partition(["m1", "m2"], ["m3", "m4"])
        with pytest.raises(NoLeader):
            await cluster.wait_leader(timeout_s=0.3)
        await cluster.heal()
        await cluster.wait_leader()
        await client.set("/a", "1")


async def test_a_killed_member_comes_back_on_its_side_of_a_partition() -> None:
    async with running() as (cluster, _):
        await cluster.partition("m1")
        await cluster.kill("m1")
        await cluster.wait_leader()
        await cluster.restart("m1")
        assert await cluster.wait_leader() != "m1"
        term = cluster.status("m1").term
        await asyncio.sleep(0.2)
        assert cluster.status("m1").term == term  # it hears nobody, and nobody heeds it
        assert cluster.leader != "m1"


async def test_a_paused_leader_is_replaced_and_its_clients_wait() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1")
        paused = await cluster.pause()
        assert await cluster.pause(paused) == paused
        assert cluster.status(paused).state == "paused"
        assert cluster.leader is None
        async with Client(cluster.url(paused), timeout_s=10) as waiting:
            write = asyncio.ensure_future(waiting.set("/b", "2"))
            assert await cluster.wait_leader() != paused
            async with client_of(cluster, await cluster.wait_leader()) as elsewhere:
                await elsewhere.set("/a", "3")
            assert not write.done()
            assert await cluster.resume() == (paused,)
            assert await cluster.resume() == ()
            await write
        await until_holds(cluster, paused, "/a", "3")
        assert cluster.status(paused).state == "follower"


async def test_a_paused_member_can_be_killed_and_stopped() -> None:
    async with running() as (cluster, client):
        for end in (cluster.kill, cluster.stop):
            await cluster.pause("m2")
            await end("m2")
            assert cluster.status("m2").state == "stopped"
            assert await cluster.resume() == ()
            await cluster.restart("m2")
            await cluster.wait_leader()
        await client.set("/a", "1")


async def test_time_advances_and_keys_expire_on_all_members() -> None:
    async with running() as (cluster, client):
        await client.set("/short", "1", ttl=30)
        await client.set("/long", "1", ttl=3600)
        await client.set("/ever", "1")
        async with client.watch("/short") as events:
            began = time.monotonic()
            await cluster.advance(30)
            assert time.monotonic() - began < 5
            for name in cluster.members:
                assert await holds(cluster, name, "/short", None)
                assert await holds(cluster, name, "/long", "1")
            event = await anext(events)
            assert isinstance(event, WatchEvent)
            assert event.action == "expire"
        ttl = (await client.get("/long")).node.ttl
        assert ttl is not None
        assert 3560 < ttl <= 3570
        await cluster.advance(3570)
        for name in cluster.members:
            assert await holds(cluster, name, "/long", None)
            assert await holds(cluster, name, "/ever", "1")


async def test_a_jump_ends_no_request_and_no_leadership() -> None:
    async with running() as (cluster, client):
        leader = await cluster.wait_leader()
        term = cluster.status(leader).term
        writes = [asyncio.ensure_future(client.set(f"/{n}", "1", ttl=90)) for n in range(30)]
        for _ in range(20):
            await cluster.advance(3)
            await asyncio.sleep(0)
        await asyncio.gather(*writes)
        assert (cluster.leader, cluster.status(leader).term) == (leader, term)


async def test_time_advances_for_those_who_are_away_too() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1", ttl=30)
        for name in cluster.members:
            await until_holds(cluster, name, "/a", "1")
        away = await others(cluster, await cluster.wait_leader())
        await cluster.kill(away[0])
        await cluster.advance(31)
        await cluster.restart(away[0])
        await until_holds(cluster, away[0], "/a", None)
        await client.set("/b", "1", ttl=30)
        await cluster.kill_leader()
        await cluster.advance(20)  # the next leader counts on from there
        assert (await client.get("/b", quorum=True)).value == "1"
        await cluster.advance(20)
        with pytest.raises(KeyNotFound):
            await client.get("/b", quorum=True)


async def test_without_a_majority_nothing_expires_before_there_is_one() -> None:
    async with running() as (cluster, client):
        await client.set("/a", "1", ttl=30)
        for name in cluster.members:
            await until_holds(cluster, name, "/a", "1")
        await cluster.kill("m1")
        await cluster.kill("m2")
        await cluster.advance(31)
        assert await holds(cluster, "m3", "/a", "1")
        await cluster.restart("m1")
        await cluster.wait_leader()
        await until_holds(cluster, "m3", "/a", None)


async def test_many_keys_expire_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.store.store.EXPIRE_BATCH", 10)
    async with running() as (cluster, client):
        await asyncio.gather(*(client.set(f"/a/{n}", "1", ttl=5) for n in range(35)))
        await cluster.advance(6)
        assert (await client.get("/a")).node.nodes == ()


async def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ControlError, match="at least one"):
        AsyncCluster(0)
    async with running(2) as (cluster, _):
        with pytest.raises(ControlError, match="no member 'm9'; there are m1, m2"):
            await cluster.kill("m9")
        with pytest.raises(ControlError, match="no member 'x'"):
            await cluster.partition("m1", "x")
        with pytest.raises(ControlError, match="one group only"):
            await cluster.partition(["m1", "m2"], "m1")
        await cluster.kill("m1")
        for operation in (cluster.kill, cluster.pause, cluster.resume, cluster.stop):
            with pytest.raises(ControlError, match="m1 does not run"):
                await operation("m1")
        for seconds in (-1, 1e10, float("nan")):
            with pytest.raises(ControlError, match="cannot be advanced"):
                await cluster.advance(seconds)


async def test_chosen_ports_and_one_that_is_taken() -> None:
    (port,) = free_ports(1)
    async with AsyncCluster(1, ports=[port]) as cluster:
        assert cluster.urls == (f"http://127.0.0.1:{port}",)
        for _ in range(3):
            await cluster.kill("m1")
            await cluster.restart("m1")
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"):
            await AsyncCluster(2, ports=[0, port]).start()
        assert await cluster.wait_leader() == "m1"


async def test_data_are_kept_in_a_directory(tmp_path: Path) -> None:
    for value in (None, "1"):
        async with AsyncCluster(2, data_dir=str(tmp_path)) as cluster, cluster.client() as client:
            if value is None:
                await client.set("/a", "1")
            else:
                assert (await client.get("/a", quorum=True)).value == value
        assert (tmp_path / "m2" / "member").is_dir()
