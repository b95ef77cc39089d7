"""Watches: nothing lost, nothing twice, whatever the members do; or a resync that says so."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft import Client, KeyNode, Resync, WatchEvent
from kvraft.client import watcher
from kvraft.client.errors import EventIndexCleared, Unauthorized
from kvraft.client.scope import Scope
from kvraft.client.watcher import Watch, quiet_interval_s
from kvraft.limits import CLIENT_WATCH_QUIET_MAX_S, CLIENT_WATCH_SETTLED_S
from tests.client.fakecluster import Change, FakeCluster, Faults, in_scope
from tests.client.scripted import InOrder, Scripted, hangs, says
from tests.conftest import Run

KEY: Final = "/w"


class Follower:
    """Compares what a watch yields with what has happened."""

    def __init__(self, cluster: FakeCluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.events = 0
        self.resyncs: list[Resync] = []

    def take(self, item: WatchEvent | Resync) -> None:
        if isinstance(item, Resync):
            self.resyncs.append(item)
            tree = self.cluster.tree(item.index)
            wanted = {key: value for key, value in tree.items() if in_scope(key, KEY)}
            nodes = () if item.node is None else item.node.nodes
            assert {node.key: node.value for node in nodes} == wanted
            self.index = item.index
            return
        expected = self.next_change()
        assert expected is not None
        assert Change(item.index, item.action, item.key, item.value) == expected
        self.index = item.index
        self.events += 1

    def next_change(self) -> Change | None:
        for change in self.cluster.changes[self.index - self.cluster.first_index :]:
            if in_scope(change.key, KEY):
                return change
        return None

    async def follow(self, watch: Watch) -> None:
        """Until there is nothing more to come."""
        while self.next_change() is not None:
            self.take(await asyncio.wait_for(anext(watch), 20))


async def value_of(watch: Watch) -> str | None:
    """The value of the next event."""
    event = await anext(watch)
    assert isinstance(event, WatchEvent)
    return event.value


async def change_often(cluster: FakeCluster, times: int) -> None:
    for number in range(times):
        key = cluster.rng.choice(["/w", "/w/a", "/w/b", "/other", "/wide"])
        await cluster.change(key, None if cluster.rng.random() < 0.2 else str(number))
        if cluster.rng.random() < 0.1:
            await asyncio.sleep(0.002)
        if cluster.rng.random() < 0.05 and len(cluster.lag) > 1:
            await cluster.set_lag(cluster.rng.randrange(len(cluster.lag)), number % 7)
    for number in range(len(cluster.lag)):
        await cluster.set_lag(number, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("size", "streams", "history", "faults"),
    [
        (1, False, 1000, Faults()),
        (3, False, 1000, Faults(close=0.1, reset=0.05, error=0.05, empty=0.05, cut=0.1)),
        (3, True, 1000, Faults(close=0.05, reset=0.05, error=0.05, cut=0.05, overflow=0.1)),
        (3, False, 25, Faults(close=0.05, cut=0.1)),
        (1, True, 10, Faults(close=0.05, error=0.05, empty=0.1, overflow=0.1)),
    ],
)
def test_random_faults(size: int, streams: bool, history: int, faults: Faults, seed: int) -> None:
    async def main() -> None:
        fake = FakeCluster(size, seed=seed, history=history, faults=faults, streams=streams)
        async with fake as cluster:
            async with Client(cluster.urls, rng=InOrder()) as client:  # noqa: SIM117
                async with client.watch(KEY, recursive=True) as watch:
                    follower = Follower(cluster, watch.index)
                    changing = asyncio.create_task(change_often(cluster, 200))
                    while not changing.done():
                        await follower.follow(watch)
                        await asyncio.sleep(0.001)
                    await changing
                    await follower.follow(watch)
            if history == 1000:
                assert not follower.resyncs
                assert follower.events > 50
            assert all("cleared" in resync.reason for resync in follower.resyncs)

    asyncio.run(main())


def test_it_begins_where_it_says(run: Run) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:
            await cluster.change(KEY, "before")
            async with client.watch(KEY) as events:
                assert events.index == cluster.index
                await cluster.change(KEY, "1")
                await cluster.change(KEY, "2")
                assert [await value_of(events) for _ in range(2)] == ["1", "2"]

    run(main())


def test_after_an_index() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:
            first = await cluster.change(KEY, "1")
            await cluster.change(KEY, "2")
            async with aclosing(client.watch(KEY, after_index=first)) as events:
                event = await anext(events)
                assert isinstance(event, WatchEvent)
                assert (event.value, event.index) == ("2", first + 1)

    asyncio.run(main(), debug=True)


def test_the_present_first() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:
            await cluster.change("/w/a", "1")
            async with client.watch(KEY, recursive=True, initial=True) as events:
                present = await anext(events)
                nodes = (KeyNode("/w/a", "1"),)
                assert present == Resync(KeyNode(KEY, dir=True, nodes=nodes), 11, "initial")
                await cluster.change("/w/a", "2")
                assert (await anext(events)).index == 12

    asyncio.run(main(), debug=True)


def test_a_cleared_history() -> None:
    async def main() -> None:
        async with FakeCluster(history=5) as cluster, Client(cluster.urls) as client:
            for number in range(20):
                await cluster.change("/w/a", str(number))
            async with client.watch(KEY, recursive=True, after_index=12) as events:
                state = await anext(events)
                assert isinstance(state, Resync)
                assert state.index == 30
                assert state.reason == "the requested history has been cleared [26/13]"
                await cluster.change("/w/b", "x")
                assert (await anext(events)).index == 31
            with pytest.raises(EventIndexCleared, match="cleared"):
                await client.wait(KEY, after_index=12)

    asyncio.run(main(), debug=True)


def test_a_member_that_lags() -> None:
    """It may be asked for what it does not know yet; nothing comes twice when it catches up."""

    async def main() -> None:
        async with FakeCluster(2) as cluster:  # noqa: SIM117
            async with Client(cluster.urls, rng=InOrder()) as client:
                async with client.watch(KEY) as events:
                    await cluster.change(KEY, "1")
                    await anext(events)
                    await cluster.set_lag(1, 1)
                    await cluster.members[0].__aexit__()
                    waiting = asyncio.ensure_future(value_of(events))
                    await asyncio.sleep(0.1)
                    await cluster.set_lag(1, 0)
                    await asyncio.sleep(0.05)
                    assert not waiting.done()
                    await cluster.change(KEY, "2")
                    assert await waiting == "2"

    asyncio.run(main(), debug=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silences are short."""
    monkeypatch.setattr(watcher, "CLIENT_WATCH_SETTLED_S", 0.05)


@pytest.mark.usefixtures("hasty")
def test_a_store_that_came_back_empty() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:
            for number in range(20):
                await cluster.change("/w/a", str(number))
            async with client.watch(KEY, recursive=True) as events:
                await cluster.wipe()
                await cluster.change("/w/b", "new")
                state = await asyncio.wait_for(anext(events), 5)
                assert isinstance(state, Resync)
                assert "went back from 30 to 11" in state.reason
                assert state.node is not None
                assert [node.key for node in state.node.nodes] == ["/w/b"]
                await cluster.change("/w/b", "newer")
                assert (await anext(events)).index == 12

    asyncio.run(main(), debug=True)


def test_another_cluster_at_the_same_address() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:  # noqa: SIM117
            async with client.watch(KEY) as events:
                await cluster.change(KEY, "1")
                await anext(events)
                cluster.name = "def"
                state = await anext(events)
                assert isinstance(state, Resync)
                assert "another cluster" in state.reason
                await cluster.change(KEY, "2")
                assert (await anext(events)).index == 12

    asyncio.run(main(), debug=True)


@pytest.mark.usefixtures("hasty")
def test_a_quiet_key_in_a_busy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of changes elsewhere; the member fails; the watch still has its place."""
    monkeypatch.setattr(watcher, "CLIENT_WATCH_BEHIND", 20)
    monkeypatch.setattr(watcher, "CLIENT_WATCH_TOO_FAR", 80)

    async def main() -> None:
        async with FakeCluster(history=100) as cluster:
            client = Client(cluster.urls)
            async with client, client.watch(KEY) as events:
                waiting = asyncio.ensure_future(anext(events))
                for _ in range(40):
                    for _ in range(10):
                        await cluster.change("/other", "x")
                    await asyncio.sleep(0.05)
                assert cluster.polls[-1] > cluster.index - 100
                assert len(cluster.polls) > 3
                # The connection breaks: asked anew, the history still reaches back.
                cluster.faults = Faults(close=1.0)
                await cluster.change("/other", "x")
                cluster.faults = Faults()
                await cluster.change(KEY, "1")
                event = await waiting
                assert isinstance(event, WatchEvent)
                assert event.value == "1"

    asyncio.run(main(), debug=True)


@pytest.mark.usefixtures("hasty")
def test_a_store_that_is_too_busy_is_left_alone() -> None:
    """A poll that would find the history cleared is not given up for one."""

    async def main() -> None:
        async with FakeCluster(history=10) as cluster:
            client = Client(cluster.urls)
            async with client, client.watch(KEY) as events:
                waiting = asyncio.ensure_future(value_of(events))
                await asyncio.sleep(0.3)  # a silence or two
                asked = len(cluster.polls)
                for _ in range(1000):
                    await cluster.change("/other", "x")
                await asyncio.sleep(0.3)
                assert len(cluster.polls) == asked
                await cluster.change(KEY, "1")
                assert await waiting == "1"

    asyncio.run(main(), debug=True)


@pytest.mark.usefixtures("hasty")
def test_a_member_that_stopped_and_keeps_its_connections() -> None:
    async def main() -> None:
        async with FakeCluster(2) as cluster:
            client = Client(cluster.urls, rng=InOrder(), timeout_s=0.5)
            async with client, client.watch(KEY) as events:
                waiting = asyncio.ensure_future(value_of(events))
                await asyncio.sleep(0.02)
                await cluster.set_lag(0, 1)  # it hears of nothing any more
                cluster.members[0].act = hangs()
                await cluster.change(KEY, "1")
                assert await asyncio.wait_for(waiting, 10) == "1"
                assert client.endpoints[0] == cluster.urls[1]

    asyncio.run(main(), debug=True)


def test_one_request_for_many_events() -> None:
    async def main() -> None:
        async with FakeCluster(streams=True) as cluster:
            client = Client(cluster.urls)
            async with client, client.watch(KEY) as events:
                for number in range(50):
                    await cluster.change(KEY, str(number))
                assert [await value_of(events) for _ in range(50)] == [str(n) for n in range(50)]
                assert len(cluster.polls) == 1

    asyncio.run(main(), debug=True)


@given(st.floats(5, 60), st.integers(-5, 10**6))
def test_how_often_a_quiet_watch_looks_up(last_s: float, behind: int) -> None:
    interval_s = quiet_interval_s(last_s, behind)
    assert CLIENT_WATCH_SETTLED_S <= interval_s <= CLIENT_WATCH_QUIET_MAX_S
    assert interval_s <= 2 * last_s


def test_a_cancelled_wait_loses_nothing(run: Run) -> None:
    async def main() -> None:
        async with FakeCluster(seed=3) as cluster, Client(cluster.urls) as client:  # noqa: SIM117
            async with client.watch(KEY, recursive=True) as watch:
                follower = Follower(cluster, watch.index)
                changing = asyncio.create_task(change_often(cluster, 150))
                while follower.next_change() is not None or not changing.done():
                    try:
                        item = await asyncio.wait_for(anext(watch), cluster.rng.random() / 200)
                    except TimeoutError:
                        continue
                    follower.take(item)
                assert follower.events > 50
                assert not follower.resyncs

    run(main())


def test_the_end_of_a_watch(run: Run) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            client = Client(cluster.urls)
            for closing in ("watch", "client"):
                events = client.watch(KEY)
                waiting = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0.05)
                await (events.aclose() if closing == "watch" else client.close())
                with pytest.raises(StopAsyncIteration):
                    await waiting
                with pytest.raises(StopAsyncIteration):
                    await anext(events)
                await events.aclose()
            with pytest.raises(RuntimeError, match="closed"):
                await client.get(KEY)

    run(main())


def test_two_tasks_cannot_share_one() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, Client(cluster.urls) as client:  # noqa: SIM117
            async with client.watch(KEY) as events:
                waiting = asyncio.ensure_future(value_of(events))
                await asyncio.sleep(0.01)
                with pytest.raises(RuntimeError, match="waited for already"):
                    await anext(events)
                await cluster.change(KEY, "1")
                assert await waiting == "1"

    asyncio.run(main(), debug=True)


def test_a_watch_that_never_began_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with Scripted(hangs()) as server, Client(server.url) as client:
            tasks = asyncio.all_tasks()

            async def enter() -> None:
                async with client.watch(KEY):
                    raise AssertionError

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(enter(), 0.1)
            assert asyncio.all_tasks() - tasks <= server._tasks

    asyncio.run(main(), debug=True)


def test_what_waiting_cannot_cure_is_raised() -> None:
    async def main() -> None:
        refusal = {"errorCode": 110, "message": "no", "cause": "Insufficient", "index": 0}
        async with Scripted(says(401, refusal)) as server, Client(server.url) as client:
            for after_index, initial in ((None, False), (3, False), (None, True)):
                with pytest.raises(Unauthorized):
                    await anext(client.watch(KEY, after_index=after_index, initial=initial))

    asyncio.run(main(), debug=True)


def test_it_says_what_is_wrong() -> None:
    async def main() -> None:
        async with Scripted(says(502, b"bad day")) as server, Client(server.url) as client:
            events = client.watch(KEY, after_index=3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.3)
            assert events.problem == "status 502: bad day"
            assert 2 < len(server.seen) < 12  # with pauses in between

    asyncio.run(main(), debug=True)


def test_arguments() -> None:
    client = Client()
    with pytest.raises(ValueError, match="after_index"):
        client.watch(KEY, after_index=-1)
    with pytest.raises(ValueError, match="either initial or after_index"):
        client.watch(KEY, after_index=1, initial=True)


@pytest.mark.parametrize(
    ("watched", "recursive", "key", "action", "wanted"),
    [
        ("/a", False, "/a", "set", True),
        ("/a", False, "/a/b", "set", False),
        ("/a", True, "/a/b", "set", True),
        ("/a", True, "/ab", "set", False),
        ("/ab", True, "/a", "delete", False),  # etcd: a prefix of the text is enough
        ("/a/b", False, "/a", "delete", True),
        ("/a/b", False, "/a", "expire", True),
        ("/a/b", False, "/a", "set", False),
        ("/a", True, "/a/_h", "set", False),
        ("/a", True, "/a/b/_h/c", "set", False),
        ("/a/_h", True, "/a/_h/c", "set", True),
        ("/", True, "/a/b", "set", True),
        ("/", True, "/_a", "set", False),
        ("/", False, "/a", "set", False),
        ("/a/", True, "/a/b", "set", True),
    ],
)
def test_scope(watched: str, recursive: bool, key: str, action: str, wanted: bool) -> None:
    event = WatchEvent(action, KeyNode(key), None, 1)
    assert Scope(watched, recursive).wants(event) is wanted
