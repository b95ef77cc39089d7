"""A mirror between two servers in memory: copies, follows, survives, and gets TTLs right."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from kvraft.client.errors import (
    DidNotHappen,
    EtcdError,
    KeyNotFound,
    OutcomeUnknown,
    Unauthorized,
)
from kvraft.store.request import Request
from kvraft_cli.mirror import carry
from kvraft_cli.mirror.engine import Mirror, Options
from kvraft_cli.mirror.tree import Difference, Kind, Tree, compare, flatten
from tests.cli.mirror.server import Server

QUICK = Options(grace_s=30, poll_s=0.01, check_s=0.05)


class Pair:
    """Source, target, and a mirror between them."""

    def __init__(self, options: Options = QUICK) -> None:
        self.source = Server()
        self.target = Server()
        self.mirror = Mirror(self.source, self.target, options, self.clock)

    def clock(self) -> float:
        return time.monotonic() + self.source.now

    async def pass_time(self, seconds: float) -> None:
        await self.source.pass_time(seconds)
        await self.target.pass_time(seconds)

    async def trees(self, root: str = "/") -> tuple[Tree, Tree]:
        source, _ = await carry.read(self.source, root)
        target, _ = await carry.read(self.target, root)
        return flatten(source, 0), flatten(target, 0)

    async def differences(self, tolerance_s: float = 1.0) -> list[Difference]:
        return list(compare(*await self.trees(), tolerance_s))

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        await self.mirror.begin(live=True)
        try:
            await self.mirror.drained()
            yield
        finally:
            await self.mirror.stop()

    async def copy(self) -> list[Difference]:
        await self.mirror.begin(live=False)
        try:
            return await self.mirror.settle(5)
        finally:
            await self.mirror.stop()

    async def until(self, what: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        async with asyncio.timeout(10):
            while not await what():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def fill(server: Server) -> None:
    await server.set("/a/file", "1")
    await server.set("/a/short", "2", ttl=100)
    await server.make_dir("/empty")
    await server.make_dir("/dies", ttl=500)
    await server.set("/dies/below", "3")
    await server.create_in_order("/queue", "4")


@pytest.mark.asyncio
async def test_a_copy_is_the_same_with_ttls_and_empty_directories() -> None:
    pair = Pair()
    await fill(pair.source)
    found = await pair.mirror.survey()
    assert {each.kind for each in found} == {Kind.MISSING}
    assert pair.target.changes == 0
    assert await pair.copy() == []
    assert await pair.differences() == []
    source, target = await pair.trees()
    assert list(source) == list(target)
    assert pair.mirror.figures.difference == 0


@pytest.mark.asyncio
async def test_a_copy_that_was_broken_off_writes_the_rest_only() -> None:
    pair = Pair()
    for number in range(20):
        await pair.source.set(f"/k/{number}", "v")
    await pair.target.set("/k/3", "v")
    before = pair.target.changes
    assert await pair.copy() == []
    assert pair.target.changes - before == 19


@pytest.mark.asyncio
async def test_changes_are_followed() -> None:
    pair = Pair()
    await fill(pair.source)
    async with pair.live():
        await pair.source.set("/a/file", "new")
        await pair.source.compare_and_swap("/a/file", "newer", prev_value="new")
        await pair.source.delete("/dies", recursive=True)
        await pair.source.set("/dies", "a file now")
        await pair.source.set_dir("/a/short")
        await pair.source.set("/a/short/below", "")
        await pair.source.create_in_order("/queue", "5")

        async def same() -> bool:
            return await pair.differences() == []

        await pair.until(same)
        assert await pair.mirror.settle(5) == []
        assert pair.mirror.figures.mended == 0


@pytest.mark.asyncio
async def test_a_key_that_is_kept_alive_at_the_source_stays_at_the_target() -> None:
    pair = Pair()
    await pair.source.set("/lock", "owner", ttl=10)
    async with pair.live():
        for _ in range(20):
            await pair.pass_time(8)
            await pair.source.refresh("/lock", 10)
            await asyncio.sleep(0.05)
            assert (await pair.target.get("/lock")).value == "owner"
        assert pair.mirror.figures.retimes >= 3
        assert await pair.mirror.settle(5) == []
        assert await pair.differences() == []


@pytest.mark.asyncio
async def test_what_expires_at_the_source_goes_at_the_target_at_once() -> None:
    pair = Pair()
    await pair.source.set("/lock", "owner", ttl=10)
    await pair.source.make_dir("/dir", ttl=10)
    await pair.source.set("/dir/file", "x", ttl=1000)
    async with pair.live():
        assert (await pair.target.get("/lock")).node.ttl == 40
        await pair.source.pass_time(10)  # the target's clock has not moved at all

        async def empty() -> bool:
            return (await pair.target.get("/")).node.nodes == ()

        await pair.until(empty)


@pytest.mark.asyncio
async def test_exact_times_are_set_in_the_end() -> None:
    pair = Pair()
    await pair.source.set("/a", "x", ttl=100)
    await pair.source.make_dir("/d", ttl=100)
    await pair.target.set("/stays", "y")
    await pair.source.set("/stays", "y", ttl=50)
    await pair.target.set("/goes", "z", ttl=50)
    await pair.source.set("/goes", "z")
    async with pair.live():
        assert (await pair.target.get("/a")).node.ttl == 130
        assert await pair.mirror.settle(5) == []
        for key, ttl in (("/a", 100), ("/d", 100), ("/stays", 50), ("/goes", None)):
            found = (await pair.target.get(key)).node.ttl
            assert found == ttl or (ttl and found in (ttl, ttl + 1))


@pytest.mark.asyncio
async def test_what_others_do_at_the_target_is_found_and_mended() -> None:
    pair = Pair()
    await fill(pair.source)
    async with pair.live():
        await pair.target.set("/a/file", "other")
        await pair.target.delete("/dies", recursive=True)
        await pair.target.delete("/empty", recursive=True)
        await pair.target.set("/empty", "a file")
        await pair.target.set("/mine", "stays")

        async def mended() -> bool:
            await pair.mirror.check()
            await pair.mirror.drained()
            return [each.key for each in await pair.differences(100)] == ["/mine"]

        await pair.until(mended)
        assert pair.mirror.figures.extra == 1
        assert pair.mirror.figures.mended >= 4


@pytest.mark.asyncio
async def test_extra_keys_go_only_when_that_is_asked_for() -> None:
    pair = Pair(replace(QUICK, delete_extra=True))
    await pair.source.set("/file", "1")
    await pair.target.set("/file/in/the/way", "2")
    await pair.target.set("/x/y", "2")
    assert await pair.copy() == []
    assert await pair.differences() == []


@pytest.mark.asyncio
async def test_a_directory_in_the_way_is_told_and_counted() -> None:
    pair = Pair()
    await pair.source.set("/file", "1")
    await pair.source.set("/other", "1")
    await pair.target.set("/file/below", "2")
    found = await pair.copy()
    assert [each.key for each in found] == ["/file"]
    assert pair.mirror.figures.difference == 1
    assert "--delete" in pair.mirror.figures.conflicts["/file"]
    assert (await pair.target.get("/other")).value == "1"
    assert (await pair.target.get("/file/below")).value == "2"


@pytest.mark.asyncio
async def test_a_file_in_the_way_gives_way_to_a_directory() -> None:
    pair = Pair()
    await pair.source.set("/a/b/c", "1")
    await pair.target.set("/a", "file")
    assert await pair.copy() == []
    assert await pair.differences() == []


@pytest.mark.asyncio
async def test_nothing_happens_outside_the_prefix() -> None:
    pair = Pair(replace(QUICK, roots=("/app",), delete_extra=True))
    await fill(pair.source)
    await pair.source.set("/app/x", "1")
    await pair.target.set("/other/key", "2")
    await pair.target.set("/apple", "3")
    await pair.target.set("/app/extra", "4")
    async with pair.live():
        await pair.source.set("/a/file", "9")
        await pair.source.delete("/app", recursive=True)
        await pair.source.set("/app/y", "5")

        async def same() -> bool:
            return not list(compare(*await pair.trees("/app"), 1))

        await pair.until(same)
    assert set((await pair.trees())[1]) == {"/other", "/other/key", "/apple", "/app", "/app/y"}


@pytest.mark.asyncio
async def test_hidden_keys_are_followed_if_they_are_named() -> None:
    pair = Pair(replace(QUICK, roots=("/", "/_hidden", "/a/_b")))
    await pair.source.set("/_hidden/x", "1")
    await pair.source.set("/_other/x", "1")
    await pair.source.set("/a/_b/c", "1")
    async with pair.live():
        await pair.source.set("/_hidden/y", "2")
        await pair.source.delete("/a", recursive=True)
        assert await pair.mirror.settle(9) == []
        assert {n.key for n in (await pair.target.get("/_hidden")).node.nodes} == {
            "/_hidden/x",
            "/_hidden/y",
        }
        for key in ("/_other", "/a"):
            with pytest.raises(KeyNotFound):
                await pair.target.get(key)


@pytest.mark.asyncio
async def test_a_cleared_history_is_a_resync_and_loses_nothing() -> None:
    pair = Pair()
    await pair.source.set("/gone/soon", "x")
    async with pair.live():
        # no other task runs meanwhile, so the watch is left behind
        for number in range(1100):
            pair.source.store.apply(Request(1, b"/k/%d" % (number % 50), b"%d" % number))
        pair.source.store.apply(Request(5, b"/gone", recursive=True, directory=True))
        await pair.source.stir()

        async def same() -> bool:
            return await pair.differences() == []

        await pair.until(same)
        assert pair.mirror.figures.resyncs == 1


@pytest.mark.asyncio
async def test_a_refusal_that_cannot_be_helped_is_told() -> None:
    pair = Pair()
    await pair.source.set("/bad", "1")
    await pair.source.set("/good", "1")

    def refuse(request: Request) -> None:
        if request.path == b"/bad":
            raise EtcdError(209, "Invalid field", "too long")

    pair.target.before = refuse
    assert [each.key for each in await pair.copy()] == ["/bad"]
    assert "too long" in pair.mirror.figures.conflicts["/bad"]


@pytest.mark.asyncio
async def test_a_source_that_is_away_is_told() -> None:
    pair = Pair()
    async with pair.live():
        (watch,) = pair.source.watches
        pair.mirror.look_at_the_source()
        assert "no events" not in pair.mirror.figures.line()
        watch.problem = "connection refused"
        pair.mirror.look_at_the_source()
        assert pair.mirror.figures.line().endswith("(no events: connection refused)")


@pytest.mark.asyncio
async def test_wrong_credentials_end_the_mirror() -> None:
    pair = Pair()
    await pair.source.set("/a", "1")

    def refuse(request: Request) -> None:
        raise Unauthorized(110, "no")

    pair.target.before = refuse
    await pair.mirror.begin(live=False)
    with pytest.raises(Unauthorized):
        await pair.mirror.drained()
    await pair.mirror.stop()


def random_change(server: Server, rng: random.Random) -> Coroutine[Any, Any, object]:
    key = "/" + "/".join(rng.choices("abcd", k=rng.randint(1, 4)))
    ttl = rng.choice([None, None, None, 1, 20, 300])
    changes: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: server.set(key, str(rng.random()), ttl=ttl),
        lambda: server.set(key, "same", ttl=ttl),
        lambda: server.create(key, "made", ttl=ttl),
        lambda: server.set_dir(key, ttl=ttl),
        lambda: server.update_dir(key, ttl=ttl),
        lambda: server.create_in_order(key, "job"),
        lambda: server.delete(key, recursive=rng.random() < 0.6),
        lambda: server.refresh(key, 50),
        lambda: server.pass_time(rng.random()),
    ]
    return rng.choice(changes)()


class Faults:
    """Now and then a request fails, before it has happened or after."""

    def __init__(self, pair: Pair, rng: random.Random) -> None:
        self.rng = rng
        pair.target.before, pair.target.after = self.before, self.after
        self.on = True

    def before(self, request: Request) -> None:
        if self.on and self.rng.random() < 0.05:
            raise DidNotHappen("not now")

    def after(self, request: Request) -> None:
        if self.on and self.rng.random() < 0.05:
            raise OutcomeUnknown("who knows")


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_under_random_changes_and_failures_both_end_up_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {seed}")
    monkeypatch.setattr("kvraft_cli.mirror.engine.FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr("kvraft_cli.mirror.engine.MIRROR_MAX_BACKOFF_S", 0.002)
    monkeypatch.setattr("kvraft_cli.mirror.engine.MIRROR_LATE_S", 0.0)
    if seed % 2:  # TTLs are polled by reading the tree, at the same time as it is checked
        monkeypatch.setattr("kvraft_cli.mirror.engine.MIRROR_INDIVIDUAL_TTLS", 0)
    rng = random.Random(seed)
    pair = Pair(replace(QUICK, poll_s=0.1 if seed % 2 == 0 else 0.01))
    for _ in range(50):
        await quietly(random_change(pair.source, rng))
    faults = Faults(pair, rng)
    async with pair.live():
        for _ in range(300):
            await quietly(random_change(pair.source, rng))
            pair.target.now = pair.source.now
            if seed % 2 and rng.random() < 0.05:
                await asyncio.gather(pair.mirror.check(), pair.mirror.check())
        faults.on = False
        assert await pair.mirror.settle(6) == []
        assert pair.mirror.figures.retries > 0
        assert pair.mirror.figures.mended == 0
        await pair.target.pass_time(0)
        await pair.source.pass_time(0)
        assert await pair.differences(3.0) == []


async def quietly(change: Coroutine[Any, Any, object]) -> None:
    try:
        await change
    except EtcdError:
        pass
