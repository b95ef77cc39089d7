"""The operations on keys give the same answers, whichever way they are called."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from kvraft.client.client import Client
from kvraft.client.errors import ClientError
from kvraft.client.model import KeyNode, Result
from kvraft.client.operations import KeyOperations
from kvraft.embedded import values
from kvraft.embedded.node import Node
from tests.conftest import Run

WAYS = ("direct", "memory", "tcp")


@contextlib.asynccontextmanager
async def operations(way: str) -> AsyncIterator[KeyOperations]:
    """A node of its own, asked in one of the ways."""
    async with Node(client_url="http://127.0.0.1:0" if way == "tcp" else None) as node:
        if way == "direct":
            yield node
            return
        client = node.client() if way == "memory" else Client(str(node.client_url))
        async with client:
            yield client
    await asyncio.sleep(0.005)  # sockets are closed a turn of the loop later


def comparable(result: Result) -> Result:
    """Without what depends on the moment; the log has further entries while keys have a TTL."""

    def timeless(node: KeyNode | None) -> KeyNode | None:
        if node is None:
            return None
        moment = None if node.expiration is None else "some time"
        nodes = tuple(child for child in map(timeless, node.nodes) if child is not None)
        return replace(node, expiration=moment, nodes=nodes)

    node = timeless(result.node)
    assert node is not None
    assert result.raft_index > 0
    assert result.raft_term > 0
    return replace(
        result, node=node, prev_node=timeless(result.prev_node), raft_index=0, raft_term=0
    )


Call = Callable[[KeyOperations], Awaitable[Result]]

SCRIPT: list[Call] = [
    lambda k: k.set("/a", "1"),
    lambda k: k.set("a", "2", ttl=100),
    lambda k: k.get("/a"),
    lambda k: k.get("/a/"),
    lambda k: k.get("//a"),
    lambda k: k.set("/a/", "3"),
    lambda k: k.get("/missing"),
    lambda k: k.get("/a/below"),
    lambda k: k.set("/a/below", "x"),
    lambda k: k.create("/a", "x"),
    lambda k: k.create("/b", "x", ttl=5),
    lambda k: k.update("/b", "y"),
    lambda k: k.update("/missing", "y"),
    lambda k: k.refresh("/b", 60),
    lambda k: k.refresh("/b", 60, prev_index=3),
    lambda k: k.refresh("/missing", 60),
    lambda k: k.compare_and_swap("/b", "z", prev_value="y"),
    lambda k: k.compare_and_swap("/b", "z", prev_value="y"),
    lambda k: k.compare_and_swap("/b", "z", prev_index=2, ttl=9),
    lambda k: k.compare_and_swap("/b", "z", prev_value=""),
    lambda k: k.compare_and_swap("/b", "z"),
    lambda k: k.compare_and_swap("/missing", "z", prev_value="y"),
    lambda k: k.compare_and_delete("/b", prev_value="nope", prev_index=7),
    lambda k: k.compare_and_delete("/b", prev_value="z"),
    lambda k: k.create_in_order("/queue", "first"),
    lambda k: k.create_in_order("/queue", "second", ttl=50),
    lambda k: k.get("/queue", sorted=True),
    lambda k: k.make_dir("/dir"),
    lambda k: k.make_dir("/dir"),
    lambda k: k.set_dir("/dir"),
    lambda k: k.set_dir("/a"),
    lambda k: k.update_dir("/dir", ttl=70),
    lambda k: k.update_dir("/missing"),
    lambda k: k.set("/dir/x/y", "deep"),
    lambda k: k.set("/dir/_hidden/y", "not shown"),
    lambda k: k.set("/dir/b", ""),
    lambda k: k.set("/dir/c", b"\xff\xfe bytes \xc3\xa4"),
    lambda k: k.set("/dir/Ä ö%?#&=+;", "odd; key & value=%41+ \n"),
    lambda k: k.get("/dir/Ä ö%?#&=+;"),
    lambda k: k.get("/dir"),
    lambda k: k.get("/dir", recursive=True, sorted=True),
    lambda k: k.get("/", quorum=True, recursive=True, sorted=True),
    lambda k: k.get("/dir/_hidden"),
    lambda k: k.delete("/dir"),
    lambda k: k.delete("/dir", dir=True),
    lambda k: k.delete_dir("/dir"),
    lambda k: k.delete_dir("/dir", recursive=True),
    lambda k: k.delete("/a"),
    lambda k: k.delete("/a"),
    lambda k: k.delete("/", recursive=True),
    lambda k: k.set("/", "x"),
    lambda k: k.set("/x", "y", ttl=-1),
    lambda k: k.set("/../x", "y"),
    lambda k: k.set("/x", 5),  # type: ignore[arg-type]
    lambda k: k.set("/" + "d/" * 200, "too deep"),
    lambda k: k.set("/x", "y", ttl=0),
]


def test_all_ways_give_the_same_answers(run: Run) -> None:
    async def main() -> None:
        told: dict[str, list[object]] = {}
        for way in WAYS:
            told[way] = []
            async with operations(way) as keys:
                for call in SCRIPT:
                    told[way].append(await outcome(call, keys))
        for step, answers in enumerate(zip(*told.values(), strict=True)):
            assert answers[0] == answers[1] == answers[2], step
        assert sum(isinstance(answer, Result) for answer in told["direct"]) > 25

    run(main())


async def outcome(call: Call, keys: KeyOperations) -> object:
    try:
        return comparable(await call(keys))
    except ClientError as error:
        return type(error), vars(error)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.asyncio
async def test_long_listings_do_not_change_while_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(values, "GET_INLINE_NODES", 100)
    monkeypatch.setattr(values, "VIEW_SLICE_NODES", 10)
    size = 500
    async with Node() as node:
        await asyncio.gather(*(node.set(f"/d/{n % 7}/{n:05}", str(n)) for n in range(size)))
        before = await node.get("/d", recursive=True, sorted=True)
        reading = asyncio.ensure_future(node.get("/d", recursive=True, sorted=True))
        await asyncio.sleep(0)  # it has begun
        writes = [node.set(f"/d/{n % 7}/{n:05}", "other") for n in range(100)]
        await asyncio.gather(*writes, node.delete("/d/3", recursive=True))
        during = await reading
        assert during.etcd_index == before.etcd_index
        assert during.node == before.node
        assert sum(not child.dir for child in during.node.walk()) == size
        async with node.client() as client:
            assert (await client.get("/d", recursive=True)) == await node.get("/d", recursive=True)


@pytest.mark.asyncio
async def test_direct_calls_need_no_login() -> None:
    async with Node() as node, node.client(username="root", password="secret") as client:
        await client.auth.add_user("root", "secret")
        await client.auth.enable()
        await client.auth.revoke("guest", read=["/*"], write=["/*"])
        async with node.client() as stranger:
            with pytest.raises(ClientError):
                await stranger.set("/a", "1")
        assert (await node.set("/a", "1")).created


@pytest.mark.asyncio
async def test_who_gives_up_waiting_disturbs_nobody() -> None:
    async with Node() as node:
        node.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await node.set("/a", "1")
        waiting: asyncio.Future[Any] = asyncio.ensure_future(node.set("/b", "1"))
        await asyncio.sleep(0.01)
        await node.resume()
        assert (await waiting).created
        assert (await node.get("/a")).value == "1"
