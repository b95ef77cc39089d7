"""Debian's etcdctl, speaking v2, works on a cluster of three without noticing whose it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, call, wait_until
from tests.integration import ctl

pytestmark = [pytest.mark.etcdctl, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here: each uses keys of its own."""
    with Cluster(KVRAFT, 3, tmp_path_factory.mktemp("etcdctl")) as running:
        yield running.start()


def command(cluster: Cluster, *arguments: str) -> tuple[list[str], dict[str, str]]:
    endpoints = ",".join(member.client_url for member in cluster.members if member.running)
    return ["etcdctl", "--endpoints", endpoints, *arguments], {**os.environ, "ETCDCTL_API": "2"}


def etcdctl(cluster: Cluster, *arguments: str, status: int = 0) -> str:
    """What the command printed on both streams."""
    words, _ = command(cluster, *arguments)
    return ctl.etcdctl(*words[1:], status=status)


def start(cluster: Cluster, *arguments: str) -> subprocess.Popen[str]:
    words, environment = command(cluster, *arguments)
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def watchers(cluster: Cluster) -> int:
    """Watches that wait somewhere in the cluster: a watch has begun once it is counted."""
    running = [member for member in cluster.members if member.running]
    return sum(
        call(member.client_url, "GET", "/v2/stats/store").body["watchers"] for member in running
    )


def test_set_get_update_rm(cluster: Cluster) -> None:
    assert etcdctl(cluster, "set", "/a/b", "hello") == "hello\n"
    assert etcdctl(cluster, "get", "--quorum", "/a/b") == "hello\n"
    assert etcdctl(cluster, "update", "/a/b", "world") == "world\n"
    assert etcdctl(cluster, "rm", "/a/b") == "PrevNode.Value: world\n"
    gone = etcdctl(cluster, "get", "--quorum", "/a/b", status=4)
    assert gone.startswith("Error:  100: Key not found (/a/b) [")


def test_mk_refuses_what_exists(cluster: Cluster) -> None:
    assert etcdctl(cluster, "mk", "/mk/a", "1") == "1\n"
    again = etcdctl(cluster, "mk", "/mk/a", "2", status=4)
    assert again.startswith("Error:  105: Key already exists (/mk/a) [")


def test_swap_only_with_the_expected_value(cluster: Cluster) -> None:
    etcdctl(cluster, "set", "/swap", "1")
    refused = etcdctl(cluster, "set", "/swap", "3", "--swap-with-value", "2", status=4)
    assert refused.startswith("Error:  101: Compare failed ([2 != 1]) [")
    assert etcdctl(cluster, "set", "/swap", "3", "--swap-with-value", "1") == "3\n"


def test_mkdir_ls_rmdir(cluster: Cluster) -> None:
    assert etcdctl(cluster, "mkdir", "/dir") == ""
    assert etcdctl(cluster, "mkdir", "/dir", status=4).startswith("Error:  105: Key already exists")
    etcdctl(cluster, "set", "/dir/sub/key", "1")
    listed = etcdctl(cluster, "ls", "--recursive", "-p", "--sort", "--quorum", "/dir")
    assert listed == "/dir/sub/\n/dir/sub/key\n"
    assert etcdctl(cluster, "rmdir", "/dir", status=4).startswith(
        "Error:  108: Directory not empty"
    )
    assert etcdctl(cluster, "rm", "--recursive", "/dir") == ""
    assert etcdctl(cluster, "ls", "--quorum", "/dir", status=4).startswith("Error:  100:")


def test_extended_output_shows_ttl_and_indices(cluster: Cluster) -> None:
    etcdctl(cluster, "set", "/timed", "v", "--ttl", "100")
    shown = etcdctl(cluster, "-o", "extended", "get", "--quorum", "/timed").splitlines()
    assert shown[0] == "Key: /timed"
    assert shown[3] in ("TTL: 100", "TTL: 99", "TTL: 98")
    assert shown[-1] == "v"


def test_watch_prints_the_change(cluster: Cluster) -> None:
    before = watchers(cluster)
    watch = start(cluster, "watch", "/watched")
    wait_until("the watch waits", lambda: watchers(cluster) > before)
    etcdctl(cluster, "set", "/watched", "seen")
    assert watch.communicate(timeout=30)[0] == "seen\n"
    assert watch.returncode == 0


def test_exec_watch_runs_the_command_for_each_change(cluster: Cluster, tmp_path: Path) -> None:
    script = 'echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE" >> "$0"'
    output = tmp_path / "changes"
    before = watchers(cluster)
    watch = start(
        cluster, "exec-watch", "--recursive", "/execd", "--", "sh", "-c", script, str(output)
    )
    try:
        wait_until("the watch waits", lambda: watchers(cluster) > before)
        etcdctl(cluster, "set", "/execd/a", "1")
        etcdctl(cluster, "set", "/execd/b", "2")
        etcdctl(cluster, "rm", "/execd/a")
        expected = ["set /execd/a 1", "set /execd/b 2", "delete /execd/a "]
        wait_until(
            "the command ran three times",
            lambda: output.exists() and output.read_text().splitlines() == expected,
        )
    finally:
        watch.kill()
        watch.communicate()


def test_cluster_health(cluster: Cluster) -> None:
    lines = etcdctl(cluster, "cluster-health").splitlines()
    assert lines[-1] == "cluster is healthy"
    healthy = {line.rpartition(" ")[2] for line in lines[:-1] if "is healthy: got healthy" in line}
    assert healthy == {member.client_url for member in cluster.members}


def test_member_list(cluster: Cluster) -> None:
    lines = etcdctl(cluster, "member", "list").splitlines()
    assert len(lines) == 3
    leader = cluster.leader()
    for member in cluster.members:
        [line] = [line for line in lines if f"name={member.name} " in line]
        assert f" peerURLs={member.peer_url} " in line
        assert f" clientURLs={member.client_url} " in line
        assert line.endswith(f" isLeader={str(member is leader).lower()}")


def test_works_on_while_one_member_is_down(cluster: Cluster) -> None:
    down = cluster.leader()
    down.kill()
    try:
        cluster.leader()
        assert etcdctl(cluster, "set", "/one/down", "fine") == "fine\n"
        health = etcdctl(cluster, "cluster-health", status=5)
        assert "is unreachable" in health
        assert "cluster is degraded" in health
    finally:
        down.start()
        down.wait_ready()
