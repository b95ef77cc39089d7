"""One node: its data, its company, its end, and the program's own state in its log."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.members import free_ports
from kvraft.client.client import Client
from kvraft.client.errors import DidNotHappen, OutcomeUnknown
from kvraft.client.model import WatchEvent
from kvraft.clock import ShiftedClock
from kvraft.embedded import running
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.errors import NodeFailed, NodeStopped, StartFailed
from kvraft.embedded.node import Node
from kvraft.errors import Locked
from kvraft.store.machine import MachineMissing
from tests.conftest import Run
from tests.server.inprocess import FaultyFiles


class Counter:
    """The example of `kvraft.store.machine`, which refuses odd numbers of bytes."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, index: int) -> int:
        self.total += int(command)
        return self.total

    def snapshot(self) -> list[bytes]:
        return [str(self.total).encode()]

    def restore(self, parts: Iterable[bytes]) -> None:
        self.total = int(b"".join(parts))


def test_what_was_written_is_there_after_a_start(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        for ending in ("stop", "kill"):
            node = Node(tmp_path / "data", name="alone")
            await node.start()
            await node.set(f"/{ending}", "x")
            await getattr(node, ending)()
        async with Node(tmp_path / "data", name="alone") as node:
            shown = await node.get("/")
            assert [child.key for child in shown.node.nodes] == ["/stop", "/kill"]
            assert node.id == (await node.members())[0].id
            assert await node.leader() == (await node.members())[0]

    run(main())


@pytest.mark.asyncio
async def test_a_node_in_memory_keeps_its_data_from_start_to_start() -> None:
    node = Node(client_url="http://127.0.0.1:0")
    await node.start()
    url, own_id = node.client_url, node.id
    await node.set("/a", "1")
    await node.kill()
    await node.start()
    assert (node.client_url, node.id) == (url, own_id)
    assert (await node.get("/a")).value == "1"
    await node.stop()
    await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_data_that_another_node_uses_is_refused(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.set("/a", "1")
        with pytest.raises(Locked, match="another process uses this data directory"):
            await Node(tmp_path).start()
        with pytest.raises(Locked):
            await Node(tmp_path, peer_url="http://127.0.0.1:0").start()
        assert (await node.get("/a")).value == "1"


@pytest.mark.asyncio
async def test_a_broken_disk_ends_the_node_and_tells_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FaultyFiles()
    monkeypatch.setattr(running, "PosixFiles", lambda: files)
    async with Node(tmp_path, client_url="http://127.0.0.1:0") as node:
        await node.set("/a", "1")
        files.broken = "/wal/"
        watch = node.watch("/a")
        waiting = asyncio.ensure_future(anext(watch))
        with pytest.raises(OutcomeUnknown) as unknown:
            await node.set("/a", "2")
        assert "input/output error" in str(unknown.value.__cause__).lower()
        assert node.failed is unknown.value.__cause__
        assert not node.running
        for call in (node.get("/a"), node.set("/a", "3"), node.wait_ready()):
            with pytest.raises(NodeFailed, match="'default' has ended"):
                await call
        with pytest.raises(NodeFailed):
            await waiting
        with pytest.raises(OSError):  # noqa: PT011 - nobody listens any more
            await asyncio.open_connection("127.0.0.1", int(str(node.client_url).split(":")[2]))
    files.broken = ""
    async with node:
        assert node.failed is None
        assert (await node.get("/a")).value in ("1", "2")


def test_the_process_is_left_alone(run: Run) -> None:
    async def main() -> None:
        def process() -> tuple[object, ...]:
            logger = logging.getLogger("kvraft")
            signals = [signal.getsignal(number) for number in signal.valid_signals()]
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            return signals, logger.level, list(logger.handlers), gc.isenabled(), limit

        before = process()
        async with Node(client_url="http://127.0.0.1:0") as node:
            await node.set("/a", "1")
            assert process() == before
        assert process() == before

    run(main())


@pytest.mark.asyncio
async def test_waiting_calls_end_with_the_node() -> None:
    cluster = Cluster(3, sockets=False)
    async with cluster:
        leader = cluster.leader()
        cluster.links.isolate(leader)
        change = asyncio.ensure_future(leader.set("/a", "1"))
        read = asyncio.ensure_future(leader.get("/a", quorum=True))
        await asyncio.sleep(0.01)
        await leader.kill()
        with pytest.raises((OutcomeUnknown, DidNotHappen)):
            await change
        with pytest.raises(Exception, match="server stopped"):
            await read
        with pytest.raises(NodeStopped):
            await leader.set("/a", "1")


@pytest.mark.asyncio
async def test_keys_expire_when_the_clock_is_set_forward() -> None:
    clock = ShiftedClock()
    async with Cluster(3, clock=clock) as cluster:
        leader = cluster.leader()
        await leader.set("/a", "1", ttl=30)
        async with leader.watch("/a") as events:
            clock.advance(31 * 10**9)
            assert leader.life.member.expire_now()
            event = await anext(events)
        assert isinstance(event, WatchEvent)
        assert (event.action, event.key) == ("expire", "/a")
        assert (await leader.get("/")).node.nodes == ()


@pytest.mark.asyncio
async def test_a_node_joins_a_running_cluster_by_its_peer_urls(tmp_path: Path) -> None:
    one, two = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    options: dict[str, Any] = {"tick_ms": 10, "client_url": "http://127.0.0.1:0"}
    async with Node(tmp_path / "one", name="one", peer_url=one, **options) as first:
        await first.wait_ready(10)
        await first.set("/a", "1")
        async with Client(str(first.client_url)) as client:
            added = await client.add_member(two)
        second = Node(
            tmp_path / "two",
            name="two",
            peer_url=two,
            initial_cluster={"one": one, "two": two},
            initial_cluster_state="existing",
            **options,
        )
        async with second:
            await second.wait_ready(10)
            assert second.id == added.id
            assert (await second.get("/a", quorum=True)).value == "1"
            assert {member.name for member in await first.members()} >= {"one"}
    await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_the_data_of_another_cluster_is_refused(tmp_path: Path) -> None:
    url = "http://127.0.0.1:0"
    async with Node(tmp_path, peer_url=url) as node:
        await node.wait_ready(10)
        kept = str(node.peer_url)
    with pytest.raises(StartFailed, match="belongs to member"):
        await Node(tmp_path, peer_url=url, initial_cluster_token="another").start()
    async with Node(tmp_path, peer_url=kept) as node:
        await node.wait_ready(10)
    await asyncio.sleep(0.005)


# --- the program's own state ----------------------------------------------------------------


def test_commands_reach_the_machines_of_all_members(run: Run) -> None:
    async def main() -> None:
        async with Cluster(3, state_machine=Counter, sockets=False) as cluster:
            assert await cluster.nodes[0].submit(b"1") == 1
            assert await cluster.nodes[1].submit(b"41") == 42
            with pytest.raises(ValueError, match="invalid literal"):
                await cluster.nodes[2].submit(b"nonsense")
            assert await cluster.nodes[2].submit(b"0") == 42
            for node in cluster.nodes:
                await node.get("/", quorum=True)
                assert isinstance(node.state_machine, Counter)
                assert node.state_machine.total == 42

    run(main())


@pytest.mark.asyncio
@pytest.mark.parametrize("snapshot_count", [10, 10_000])
async def test_a_machine_is_restored_from_snapshot_and_log(
    tmp_path: Path, snapshot_count: int
) -> None:
    for expected in (50, 100):
        node = Node(tmp_path, state_machine=Counter(), snapshot_count=snapshot_count)
        async with node:
            for _ in range(50):
                total = await node.submit(b"1")
            assert total == expected
    with pytest.raises(MachineMissing):
        await Node(tmp_path).start()


@pytest.mark.asyncio
async def test_a_used_machine_is_not_used_again() -> None:
    node = Node(state_machine=Counter())
    await node.start()
    await node.stop()
    with pytest.raises(StartFailed, match="function that makes a new one"):
        await node.start()
    async with Node() as other:
        with pytest.raises(ValueError, match="without a state_machine"):
            await other.submit(b"1")


# --- bad arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": ""}, "name: "),
        ({"client_url": "127.0.0.1:80"}, "client_url: "),
        ({"client_url": "https://127.0.0.1:0"}, "client_url: .*TLS"),
        ({"peer_url": "http://127.0.0.1:1/path"}, "peer_url: "),
        ({"tick_ms": 0}, "tick_ms: 0"),
        ({"election_ticks": 1}, "election_ticks: 1"),
        ({"snapshot_count": 0}, "snapshot_count: 0"),
        ({"initial_cluster_state": "old"}, "initial_cluster_state: 'old'"),
        ({"initial_cluster_state": "existing"}, "initial_cluster: "),
        ({"initial_cluster": {"other": "http://127.0.0.1:1"}}, "initial_cluster: .*'default'"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Node(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "size: "),
        ({"client_urls": ["http://127.0.0.1:0"]}, "client_urls: 1 of them for 3 members"),
        ({"client_urls": [], "sockets": False}, "client_urls: "),
        ({"peer_urls": ["http://127.0.0.1:0"] * 3}, "peer_urls: "),
        ({"data_dir": "/x", "peer_sockets": True}, "peer_urls: "),
    ],
)
def test_bad_arguments_of_a_cluster_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Cluster(**options)  # type: ignore[arg-type]
