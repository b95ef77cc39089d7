"""The usual client, and aiohttp itself, on connections without sockets."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from kvraft.client.errors import ClientError, DidNotHappen
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.connector import MemoryConnector
from kvraft.embedded.node import Node
from kvraft.limits import PIPE_HIGH_WATER_BYTES
from tests.conftest import Run


def test_large_bodies_and_long_listings_pass(run: Run) -> None:
    async def main() -> None:
        async with Node() as node, node.client(timeout_s=60) as client:
            large = "x" * (15 * PIPE_HIGH_WATER_BYTES)
            await client.set("/large/a", large)
            assert (await client.get("/large/a")).value == large
            await asyncio.gather(*(client.set(f"/large/{n}", "y" * 50_000) for n in range(30)))
            listing = await client.get("/large", recursive=True)
            assert len(listing.node.nodes) == 31
            assert listing == await node.get("/large", recursive=True)

    run(main())


def test_many_requests_at_the_same_time(run: Run) -> None:
    async def main() -> None:
        async with Node() as node, node.client(timeout_s=60) as client:
            writes = (client.create_in_order("/queue", str(n)) for n in range(100))
            made = await asyncio.gather(*writes)
            assert len({result.key for result in made}) == 100
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    run(main())


@pytest.mark.asyncio
async def test_a_node_that_is_not_there_refuses_connections() -> None:
    node = Node()
    async with node.client(timeout_s=1) as client:
        with pytest.raises(DidNotHappen):
            await client.set("/a", "1")
        await node.start()
        assert (await client.set("/a", "1")).created
        await node.kill()
        with pytest.raises(ClientError):
            await client.set("/a", "2")
        await node.start()
        assert (await client.get("/a")).value == "1"
        await node.stop()


@pytest.mark.asyncio
async def test_a_client_of_all_members_survives_the_loss_of_one() -> None:
    async with Cluster(3, sockets=False) as cluster, cluster.client() as client:
        await client.set("/a", "1")
        async with client.watch("/a") as events:
            await cluster.kill(cluster.leader())
            await client.set("/a", "2")
            event = await anext(events)
            assert event.node is not None
            assert event.node.value == "2"
        assert len(await client.members()) == 3
        assert await client.health()


@pytest.mark.asyncio
async def test_any_route_can_be_asked() -> None:
    async with Node() as node:
        connector = MemoryConnector({"node": node.accept})
        async with aiohttp.ClientSession("http://node", connector=connector) as session:
            async with session.get("/version") as answer:
                assert (await answer.json())["etcdserver"]
            async with session.get("/v2/keys/?wait=true") as answer:
                assert answer.status == 200  # nobody waits for its end
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://elsewhere/version")


@pytest.mark.asyncio
async def test_a_paused_node_answers_when_it_goes_on() -> None:
    async with Node() as node, node.client() as client:
        await client.set("/a", "1")
        node.pause()
        waiting = asyncio.ensure_future(client.get("/a"))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await node.resume()
        assert (await waiting).value == "1"
