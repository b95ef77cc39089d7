"""Clusters within one program: start and end, faults of links, members that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks.members import free_ports
from kvraft.client.errors import DidNotHappen, MembershipError
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.errors import NodeFailed, NodeRemoved, NodeStopped, StartFailed
from kvraft.embedded.node import Node
from tests.conftest import Run


async def ask(method: str, url: str, **form: str) -> tuple[int, Any]:
    """One request over TCP: status and document."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=form or None) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def until(reached: Callable[[], bool]) -> None:
    """Let the loop work until it is so."""
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - what is waited for is whatever the test asks
            await asyncio.sleep(0.002)


def test_clients_reach_every_member_by_its_real_url(run: Run) -> None:
    async def main() -> None:
        async with Cluster(3) as cluster:
            first, second, third = cluster.client_urls
            status, _ = await ask("PUT", f"{first}/v2/keys/a", value="1")
            assert status == 201
            status, document = await ask("GET", f"{second}/v2/keys/a?quorum=true")
            assert document["node"]["value"] == "1"
            _, document = await ask("GET", f"{third}/v2/members")
            shown = {url for member in document["members"] for url in member["clientURLs"]}
            assert shown == set(cluster.client_urls)

    run(main())


@pytest.mark.parametrize("peer_sockets", [False, True])
def test_another_member_leads_when_the_leader_is_killed(run: Run, peer_sockets: bool) -> None:
    async def main() -> None:
        cluster = Cluster(3, peer_sockets=peer_sockets, tick_ms=10)
        async with cluster:
            killed = cluster.leader()
            url = killed.client_url
            await cluster.kill(killed)
            successor = await cluster.wait_leader(10)
            assert successor is not killed
            status, _ = await ask("PUT", f"{successor.client_url}/v2/keys/a", value="1")
            assert status == 201
            await cluster.restart(killed)
            assert killed.client_url == url
            await cluster.wait_ready(10)
            _, document = await ask("GET", f"{url}/v2/keys/a?quorum=true")
            assert document["node"]["value"] == "1"

    run(main())


@pytest.mark.asyncio
async def test_a_partition_keeps_the_majority_going() -> None:
    async with Cluster(3) as cluster:
        old = cluster.leader()
        rest = [node for node in cluster.nodes if node is not old]
        cluster.links.partition([old], rest)
        leader = await cluster.wait_leader(5, other_than=old)
        status, _ = await ask("PUT", f"{leader.client_url}/v2/keys/a", value="1")
        assert status == 201
        status, _ = await ask("GET", f"{old.client_url}/v2/keys/a")
        assert status == 404
        cluster.links.heal()
        _, document = await ask("GET", f"{old.client_url}/v2/keys/a?quorum=true")
        assert document["node"]["value"] == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize("peer_sockets", [False, True])
async def test_a_cluster_with_a_directory_goes_on_where_it_ended(
    tmp_path: Path, peer_sockets: bool
) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in free_ports(3)] if peer_sockets else None
    for number in range(2):
        async with Cluster(3, tmp_path, peer_sockets=peer_sockets, peer_urls=urls) as cluster:
            url = cluster.leader().client_url
            if not number:
                await ask("PUT", f"{url}/v2/keys/a", value="1")
            _, document = await ask("GET", f"{url}/v2/keys/a")
            assert document["node"]["value"] == "1"
        await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_follower_that_was_away_for_long_gets_a_snapshot() -> None:
    async with Cluster(3, snapshot_count=20) as cluster:
        leader = cluster.leader()
        away = next(node for node in cluster.nodes if node is not leader)
        leader.life.replica.config = leader.life.replica.config._replace(snapshot_keep_entries=0)
        await away.kill()
        for number in range(60):
            await ask("PUT", f"{leader.client_url}/v2/keys/a", value=str(number))
        await until(lambda: leader.life.replica.core.log.first >= 40)
        await cluster.restart(away)
        await until(lambda: away.raft_index == leader.raft_index)
        assert away.life.member.metrics.snapshots_received == 1
        _, document = await ask("GET", f"{away.client_url}/v2/keys/a")
        assert document["node"]["value"] == "59"


@pytest.mark.asyncio
async def test_a_second_start_is_refused() -> None:
    async with Cluster(1) as cluster:
        with pytest.raises(RuntimeError, match="running already"):
            await cluster.start()
        with pytest.raises(RuntimeError, match="'m1' is running already"):
            await cluster.nodes[0].start()


@pytest.mark.asyncio
async def test_a_taken_address_is_named_and_leaves_nothing_behind() -> None:
    async with Cluster(1) as cluster:
        taken = cluster.client_urls[0]
        with pytest.raises(StartFailed, match="address already in use"):
            await Node(client_url=taken).start()
        other = Cluster(2, client_urls=["http://127.0.0.1:0", taken])
        with pytest.raises(StartFailed):
            await other.start()
        assert not any(node.running for node in other.nodes)


@pytest.mark.asyncio
async def test_a_node_that_is_stopped_says_so() -> None:
    node = Node()
    with pytest.raises(NodeStopped, match="'default' is not running"):
        await node.health()
    assert issubclass(NodeStopped, DidNotHappen)
    await node.stop()


@pytest.mark.asyncio
async def test_a_member_that_was_removed_ends_by_itself() -> None:
    async with Cluster(3, sockets=False) as cluster:
        leader = cluster.leader()
        removed = next(node for node in cluster.nodes if node is not leader)
        async with leader.client() as client:
            await client.remove_member(removed.id)
        await until(lambda: not removed.running)
        assert isinstance(removed.failed, NodeRemoved)
        with pytest.raises(NodeFailed, match="removed from its cluster"):
            await removed.get("/")


@pytest.mark.parametrize("peer_sockets", [False, True])
def test_members_come_and_go(run: Run, peer_sockets: bool) -> None:
    async def main() -> None:
        async with Cluster(1, peer_sockets=peer_sockets, tick_ms=10) as cluster:
            await cluster.nodes[0].set("/a", "1")
            for size in (2, 3):
                added = await cluster.add()
                assert added.name == f"m{size}"
                assert (await added.get("/a", quorum=True)).value == "1"
                assert len(await added.members()) == size
            await cluster.wait_ready(10)
            await until(lambda: len(cluster.leader().life.replica.core.membership.voters) == 3)
            old = cluster.leader()
            await cluster.remove(old)
            assert old not in cluster.nodes
            assert not old.running
            leader = await cluster.wait_leader(10)
            assert (await leader.set("/a", "2")).prev_node is not None
            with pytest.raises(MembershipError):
                await cluster.remove(old)
        await asyncio.sleep(0.005)

    run(main())
