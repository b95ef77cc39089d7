"""Starting and stopping leaves nothing behind: no tasks, timers, threads, descriptors, memory."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from kvraft.embedded.cluster import Cluster
from kvraft.embedded.node import Node

CLUSTERS = 100


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def timers(loop: asyncio.AbstractEventLoop) -> int:
    """Timers that are still to fire; only asyncio's own loop tells."""
    scheduled: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
    return sum(not handle.cancelled() for handle in scheduled)


async def used(cluster: Cluster) -> None:
    """What leaves something behind if anything does: writes, a watch, a client over TCP."""
    leader = cluster.leader()
    async with leader.watch("/a") as events, leader.client() as client:
        await client.set("/a", "1", ttl=60)
        await anext(events)
    if cluster.client_urls:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{cluster.client_urls[-1]}/v2/keys/a?quorum=true") as answer,
        ):
            assert answer.status == 200


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_hundred_clusters_leave_nothing_behind(
    record_property: Any, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Without debug mode of asyncio, which keeps the origin of each task."""
    starts_ms: list[float] = []

    async def one() -> None:
        began_s = time.perf_counter()
        async with Cluster(3) as cluster:
            starts_ms.append((time.perf_counter() - began_s) * 1000)
            await used(cluster)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await one()
        await asyncio.sleep(0.01)
        gc.collect()
        before = descriptors(), threading.active_count(), len(asyncio.all_tasks()), timers(loop)
        objects = len(gc.get_objects())
        for _ in range(CLUSTERS):
            await one()
        await asyncio.sleep(0.01)
        gc.collect()
        after = descriptors(), threading.active_count(), len(asyncio.all_tasks()), timers(loop)
        assert after == before
        growth = len(gc.get_objects()) - objects
        assert growth < 10 * CLUSTERS, Counter(
            type(each).__name__ for each in gc.get_objects()
        ).most_common(20)
        record_property("objects left behind by 100 clusters", growth)

    with asyncio.Runner(debug=False, loop_factory=loop_factory) as runner:
        runner.run(main())
    typical = sorted(starts_ms)[len(starts_ms) // 2]
    record_property("start of a cluster of three, median ms", round(typical, 1))


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_a_node_ends_its_threads_and_closes_its_files(where: str, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    data_dir = None if where == "memory" else tmp_path
    async with Node(data_dir) as node:  # whatever a first start loads or starts for good
        await node.set("/a", "1")
    before = descriptors(), timers(loop)
    names = {thread.name for thread in threading.enumerate()}
    for ending in ("stop", "kill"):
        node = Node(data_dir, client_url="http://127.0.0.1:0")
        await node.start()
        await node.set("/a", "1")
        assert any("kvraft" in t.name for t in threading.enumerate()) == (where == "disk")
        await getattr(node, ending)()
        await asyncio.sleep(0.01)
        assert (descriptors(), timers(loop)) == before
        assert {thread.name for thread in threading.enumerate()} <= names
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
@pytest.mark.parametrize("peer_sockets", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 30])
async def test_a_start_that_is_cancelled_leaves_nothing(turns: int, peer_sockets: bool) -> None:
    loop = asyncio.get_running_loop()
    before = descriptors(), timers(loop)
    cluster = Cluster(3, peer_sockets=peer_sockets)
    starting = asyncio.ensure_future(cluster.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await cluster.stop()
    await asyncio.sleep(0.01)
    assert not any(node.running for node in cluster.nodes)
    assert (descriptors(), timers(loop)) == before
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with cluster:  # and it may be started after all
        assert cluster.leader().is_leader
    await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_start_on_a_disk_that_is_cancelled_lets_go_of_the_data(tmp_path: Path) -> None:
    for turns in (0, 1, 2, 5, 20):
        node = Node(tmp_path)
        starting = asyncio.ensure_future(node.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await node.stop()
        async with Node(tmp_path) as other:
            await other.set("/a", "1")
