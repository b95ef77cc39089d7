"""Watches on a node lose nothing in silence, whatever happens to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvraft.client.errors import EventIndexCleared
from kvraft.client.model import Resync, WatchEvent
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.errors import NodeStopped
from kvraft.embedded.node import Node
from kvraft.embedded.watch import NodeWatch
from kvraft.limits import HISTORY_EVENTS, WATCH_QUEUE

pytestmark = pytest.mark.asyncio


async def take(watch: NodeWatch, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


async def write(node: Node, key: str, count: int) -> list[int]:
    results = await asyncio.gather(*(node.set(key, str(n)) for n in range(count)))
    return [result.etcd_index for result in results]


async def test_each_change_is_told_once_and_in_order() -> None:
    async with Node() as node, node.watch("/a", recursive=True) as events:
        indices = await write(node, "/a/b", 3)
        await node.set("/elsewhere", "x")
        await node.set("/a/_hidden", "x")
        await node.refresh("/a/b", 100)
        gone = await node.delete("/a", recursive=True)
        told = await take(events, 4)
        assert [event.index for event in told] == [*indices, gone.etcd_index]
        assert [event.action for event in told] == ["set", "set", "set", "delete"]
        assert told[1].prev_node.value == "0"
        assert (told[3].node.dir, told[3].value) == (True, None)
        assert events.index == gone.etcd_index


async def test_a_client_tells_the_same_events() -> None:
    async with Node() as node, node.client() as client:
        start = node.etcd_index
        await node.set("/a/1", "x", ttl=50)
        await node.compare_and_swap("/a/1", "y", prev_value="x")
        await node.create_in_order("/a", b"\xff")
        await node.make_dir("/a/d")
        await node.delete("/a/1")
        await node.delete_dir("/a", recursive=True)
        direct = await take(node.watch("/a", recursive=True, after_index=start), 6)
        async with client.watch("/a", recursive=True, after_index=start) as events:
            assert [await anext(events) for _ in range(6)] == direct


async def test_more_events_than_a_watcher_holds_are_taken_from_the_history() -> None:
    async with Node() as node, node.watch("/a") as events:
        indices = await write(node, "/a", 5 * WATCH_QUEUE)
        assert [event.index for event in await take(events, len(indices))] == indices


async def test_a_cleared_history_is_told_with_the_present_state() -> None:
    async with Node() as node, node.watch("/a", recursive=True) as events:
        await write(node, "/a/b", HISTORY_EVENTS + 2 * WATCH_QUEUE)
        first = await take(events, WATCH_QUEUE)
        assert all(isinstance(event, WatchEvent) for event in first)
        (resync,) = await take(events, 1)
        assert isinstance(resync, Resync)
        assert "history has been cleared" in resync.reason
        assert resync.index == node.etcd_index
        assert resync.node is not None
        assert resync.node.nodes[0].value == str(HISTORY_EVENTS + 2 * WATCH_QUEUE - 1)
        last = await node.set("/a/b", "last")
        assert [event.index for event in await take(events, 1)] == [last.etcd_index]


async def test_a_quiet_watch_needs_no_history() -> None:
    async with Node() as node, node.watch("/quiet") as events:
        await write(node, "/busy", HISTORY_EVENTS + 10)
        await node.set("/quiet", "x")
        assert [event.value for event in await take(events, 1)] == ["x"]


async def test_the_present_tree_may_come_first() -> None:
    async with Node() as node:
        missing = await take(node.watch("/a", initial=True), 1)
        assert missing == [Resync(None, node.etcd_index, "initial")]
        await node.set("/a/b", "1")
        watch = node.watch("/a", recursive=True, initial=True)
        (resync,) = await take(watch, 1)
        assert [child.value for child in resync.node.nodes] == ["1"]
        await node.set("/a/b", "2")
        assert [event.value for event in await take(watch, 1)] == ["2"]
        await watch.aclose()
        with pytest.raises(ValueError, match="either initial or after_index"):
            node.watch("/a", initial=True, after_index=1)
        with pytest.raises(ValueError, match="after_index"):
            node.watch("/a", after_index=-1)


async def test_a_watch_goes_on_after_its_node_was_killed() -> None:
    async with Cluster(3, sockets=False) as cluster:
        node = next(node for node in cluster.nodes if not node.is_leader)
        other = cluster.leader()
        watch = node.watch("/a")
        async with watch:
            await other.set("/a", "1")
            assert [event.value for event in await take(watch, 1)] == ["1"]
            pending = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await cluster.kill(node)
            with pytest.raises(NodeStopped):
                await pending
            await other.set("/a", "2")
            with pytest.raises(NodeStopped):
                await anext(watch)
            await cluster.restart(node)
            await other.set("/a", "3")
            assert [event.value for event in await take(watch, 2)] == ["2", "3"]


async def test_ending_a_watch_ends_who_waits_for_it() -> None:
    async with Node() as node:
        watch = node.watch("/a")
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="waited for already"):
            await anext(watch)
        await watch.aclose()
        assert await waiting is None
        assert node.life.member.store.hub.count == 0


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with Node() as node, node.watch("/a") as events:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        write_ = asyncio.ensure_future(node.set("/a", "1"))
        await asyncio.sleep(0)
        waiting.cancel()
        await write_
        await asyncio.gather(waiting, return_exceptions=True)
        if waiting.cancelled():
            assert [event.value for event in await take(events, 1)] == ["1"]


async def test_one_event_can_be_waited_for() -> None:
    async with Node() as node:
        index = (await node.set("/a", "1")).etcd_index
        assert (await node.wait("/a", after_index=index - 1)).value == "1"
        with pytest.raises(TimeoutError):
            await node.wait("/a", timeout_s=0.01)
        await write(node, "/b", HISTORY_EVENTS + 1)
        with pytest.raises(EventIndexCleared):
            await node.wait("/a", after_index=index - 1)
