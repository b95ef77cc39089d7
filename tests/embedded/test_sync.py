"""Nodes and clusters from programs without an event loop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import kvraft
from kvraft.client.errors import KeyNotFound
from kvraft.embedded.errors import NodeStopped, StartFailed


def test_a_node_is_called_from_any_thread(tmp_path: Path) -> None:
    with kvraft.SyncNode(tmp_path, client_url="http://127.0.0.1:0") as node:
        assert node.set("/a", "1").created
        threads = [threading.Thread(target=node.set, args=(f"/t/{n}", "x")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(node.get("/t").node.nodes) == 4
        with pytest.raises(KeyNotFound):
            node.get("/missing")
        assert node.is_leader
        assert node.health()
        assert [member.name for member in node.members()] == ["default"]
        with kvraft.SyncClient(str(node.client_url)) as client:
            assert client.get("/a").value == "1"
        with node.client() as client:
            assert client.get("/a").value == "1"
    with kvraft.SyncNode(tmp_path) as node:
        assert node.get("/a").value == "1"
    assert not any("kvraft" in thread.name for thread in threading.enumerate())


def test_watching_blocks_until_something_happens() -> None:
    with kvraft.SyncNode() as node, node.watch("/a", recursive=True) as events:
        timer = threading.Timer(0.01, node.set, args=("/a/b", "x"))
        timer.start()
        assert next(events).node.value == "x"  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            events.next(timeout_s=0.01)
        timer.join()


def test_a_cluster_survives_its_leader() -> None:
    with kvraft.SyncCluster(3, sockets=False) as cluster:
        leader = cluster.leader()
        with cluster.client() as client:
            client.set("/a", "1")
            cluster.kill(leader)
            successor = cluster.wait_leader(10)
            assert successor is not leader
            assert client.set("/a", "2").prev_node is not None
            cluster.restart(leader)
            cluster.wait_ready(10)
            assert cluster[leader.name].get("/a", quorum=True).value == "2"


def test_links_are_blocked_by_name_or_node() -> None:
    with kvraft.SyncCluster(3, sockets=False) as cluster:
        old = cluster.leader()
        cluster.links.isolate(old)
        new = cluster.wait_leader(10, other_than=old)
        assert new.name != old.name
        cluster.links.heal()
        cluster.links.block(old, new.name, both=False)
        cluster.links.unblock(old.name, new)
        cluster.links.partition(["m1", "m2", "m3"])
        assert old.get("/", quorum=True).node.dir


def test_a_node_may_be_started_again_until_it_is_closed() -> None:
    node = kvraft.SyncNode()
    with pytest.raises(NodeStopped):
        node.get("/")
    for number in range(2):
        node.start()
        node.set(f"/{number}", "x")
        node.stop()
    node.start()
    assert len(node.get("/").node.nodes) == 2
    node.close()
    node.close()
    with pytest.raises(RuntimeError, match="closed"):
        node.get("/")


def test_a_start_that_fails_ends_the_thread() -> None:
    with kvraft.SyncNode(client_url="http://127.0.0.1:0") as node:
        with pytest.raises(StartFailed), kvraft.SyncNode(client_url=node.client_url):
            pass
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("kvraft-node") == 1
