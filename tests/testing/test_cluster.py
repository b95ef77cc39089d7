"""A cluster in a background thread: blocking and awaitable calls, foreign clients, no remains."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import etcd
import pytest

from benchmarks.members import call
from kvraft.client.errors import KeyNotFound
from kvraft.testing import Cluster, ControlError, Server


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster


def get(url: str, key: str) -> Any:
    with urllib.request.urlopen(f"{url}/v2/keys{key}", timeout=10) as answer:
        return json.load(answer)["node"]


def test_every_operation_blocks(cluster: Cluster) -> None:
    assert cluster.members == ("m1", "m2", "m3")
    client = cluster.client()
    client.set("/a", "1", ttl=30)
    assert [get(url, "/a")["value"] for url in cluster.urls[:1]] == ["1"]
    leader = cluster.wait_leader()
    assert cluster.leader == leader
    assert cluster.status(leader).state == "leader"
    assert cluster.url(leader) in cluster.urls
    assert cluster.partition()[0] == (leader,)
    second = cluster.wait_leader()
    assert second != leader
    cluster.heal()
    assert cluster.pause() in (leader, second)
    cluster.wait_leader()
    assert len(cluster.resume()) == 1
    killed = cluster.kill_leader()
    cluster.wait_leader()
    cluster.restart(killed)
    cluster.stop(killed)
    cluster.restart(killed)
    assert cluster.kill(killed) == killed
    cluster.advance(31)
    with pytest.raises(KeyNotFound):
        client.get("/a", quorum=True)
    with pytest.raises(ControlError, match="no member 'm7'"):
        cluster.url("m7")


def test_operations_can_be_awaited(cluster: Cluster) -> None:
    async def scenario() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.ensure_future(tick())
        async with cluster.async_client() as client:
            await client.set("/a", "1", ttl=30)
            leader = await cluster.aio.wait_leader()
            assert (await cluster.aio.partition())[0] == (leader,)
            before = ticks
            await cluster.aio.wait_leader()
            assert ticks > before  # this loop went on meanwhile
            await cluster.aio.heal()
            paused = await cluster.aio.pause()
            assert await cluster.aio.resume() == (paused,)
            await cluster.aio.wait_leader()
            killed = await cluster.aio.kill_leader()
            await cluster.aio.wait_leader()
            await cluster.aio.restart(killed)
            await cluster.aio.stop(killed)
            assert await cluster.aio.kill(await cluster.aio.wait_leader()) != killed
            await cluster.aio.restart(killed)
            await cluster.aio.wait_leader()
            await cluster.aio.advance(31)
            with pytest.raises(KeyNotFound):
                await client.get("/a", quorum=True)
        ticking.cancel()

    asyncio.run(scenario())


def test_a_failing_start_leaves_nothing() -> None:
    threads = set(threading.enumerate())
    with Server() as server:
        with pytest.raises(OSError, match=f"127.0.0.1:{server.port}"):
            Cluster(2, ports=[0, server.port])
        with pytest.raises(ControlError):
            Cluster(0)
    assert set(threading.enumerate()) <= threads


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_nothing_is_left_behind() -> None:
    def one_life() -> None:
        with Cluster(3) as cluster:
            client = cluster.client()
            client.set("/a", "1", ttl=60)
            events = client.watch("/a")
            cluster.pause("m1")
            cluster.partition("m2")
            cluster.kill("m3")
            events.close()

    one_life()
    gc.collect()
    threads, open_before = threading.active_count(), descriptors()
    for _ in range(5):
        one_life()
    gc.collect()
    assert threading.active_count() == threads
    assert descriptors() == open_before


def test_a_cluster_of_three_starts_at_once() -> None:
    took_ms = []
    for _ in range(10):
        began_s = time.perf_counter()
        with Cluster(3):
            took_ms.append((time.perf_counter() - began_s) * 1000)
    assert min(took_ms) < 100, took_ms


def test_a_forgotten_cluster_ends_itself() -> None:
    threads = set(threading.enumerate())
    cluster = Cluster(1)
    cluster.shared_client.set("/a", "1")
    del cluster
    gc.collect()
    assert set(threading.enumerate()) <= threads


def test_closing_twice_and_calls_afterwards() -> None:
    cluster = Cluster(1)
    cluster.close()
    cluster.close()
    with pytest.raises(RuntimeError, match="closed"):
        cluster.wait_leader()


def test_one_server() -> None:
    with Server() as server:
        assert server.url == f"http://{server.host}:{server.port}"
        server.shared_client.set("/a", "1", ttl=30)
        server.kill()
        server.restart()
        assert server.client().get("/a").value == "1"
        server.pause()
        server.resume()
        server.advance(31)
        with pytest.raises(KeyNotFound):
            server.client().get("/a", quorum=True)

        async def scenario() -> None:
            async with server.async_client() as client:
                await client.set("/b", "2")

        asyncio.run(scenario())
        assert server.shared_client.get("/b").value == "2"


def test_data_in_a_directory(tmp_path: Path) -> None:
    with Server(data_dir=str(tmp_path)) as server:
        server.shared_client.set("/a", "1")
        port = server.port
    with Server(data_dir=str(tmp_path), port=port) as server:
        assert server.shared_client.get("/a").value == "1"


# --- clients of others --------------------------------------------------------------------


def test_python_etcd(cluster: Cluster) -> None:
    hosts = tuple(("127.0.0.1", int(url.rpartition(":")[2])) for url in cluster.urls)
    client = etcd.Client(host=hosts, allow_reconnect=True, read_timeout=10)
    client.write("/a", "1", ttl=30)
    for member in client.members.values():
        assert member["clientURLs"][0] in cluster.urls
    cluster.kill_leader()
    cluster.wait_leader()
    assert client.read("/a", quorum=True).value == "1"
    cluster.advance(30)
    with pytest.raises(etcd.EtcdKeyNotFound):
        client.read("/a", quorum=True)


def test_curl(cluster: Cluster) -> None:
    def curl(*words: str) -> str:
        done = subprocess.run(
            ["curl", "-sS", *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    written = curl(f"{cluster.urls[0]}/v2/keys/a", "-XPUT", "-d", "value=hello")
    assert json.loads(written)["node"]["value"] == "hello"
    watching = subprocess.Popen(
        ["curl", "-sS", f"{cluster.urls[1]}/v2/keys/a?wait=true"], stdout=subprocess.PIPE, text=True
    )
    while not call(cluster.urls[1], "GET", "/v2/stats/store").body["watchers"]:
        time.sleep(0.01)
    paused = cluster.pause("m3")
    curl(f"{cluster.urls[0]}/v2/keys/a", "-XDELETE")
    told, _ = watching.communicate(timeout=20)
    assert json.loads(told)["action"] == "delete"
    assert cluster.resume() == (paused,)


@pytest.mark.etcdctl
def test_etcdctl(cluster: Cluster) -> None:
    def etcdctl(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            ["etcdctl", "--endpoints", ",".join(cluster.urls), *words],
            env={**os.environ, "ETCDCTL_API": "2"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert etcdctl("set", "/a", "hello", "--ttl", "20") == "hello\n"
    assert etcdctl("member", "list").count("clientURLs=http://127.0.0.1:") == 3
    leader = cluster.kill_leader()
    cluster.wait_leader()
    assert etcdctl("get", "--quorum", "/a") == "hello\n"
    cluster.restart(leader)
    cluster.advance(21)
    assert "Key not found" in etcdctl("get", "--quorum", "/a", status=4)
