"""Losing members, data and whole clusters, and getting them back: with real processes."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.members import KVRAFT, Cluster, Member, call, free_ports, wait_until
from tests.integration.conftest import StartCluster

pytestmark = pytest.mark.timeout(180)


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KVRAFT, *words], capture_output=True, text=True, timeout=60, check=False
    )


def put(member: Member, key: str, value: str, **more: str) -> int:
    """Write a key; its index."""
    form = {"value": value, **more}
    answer = call(member.client_url, "PUT", f"/v2/keys/{key}", form)
    assert answer.status in (200, 201), answer
    return int(answer.body["node"]["modifiedIndex"])


def tree(member: Member) -> dict[str, tuple[Any, ...]]:
    """All keys with value, indices and expiration."""
    found = {}
    waiting = [call(member.client_url, "GET", "/v2/keys/?recursive=true&quorum=true").body["node"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("nodes", ())
        if "key" in node:
            found[node["key"]] = tuple(
                node.get(field)
                for field in ("value", "dir", "createdIndex", "modifiedIndex", "expiration")
            )
    return found


def member_names(member: Member) -> list[str]:
    members = call(member.client_url, "GET", "/v2/members").body["members"]
    return sorted(info["name"] for info in members)


def has_member(member: Member, name: str) -> bool:
    return name in member_names(member)


class Writer:
    """Writes as fast as one client can, and remembers what was acknowledged."""

    def __init__(self, member: Member) -> None:
        self.acknowledged: dict[str, int] = {}
        self._member = member
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def has_written(self, count: int) -> bool:
        return len(self.acknowledged) >= count

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"load/{number % 50}/{number}"
            self.acknowledged[f"/{key}"] = put(self._member, key, str(number))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Member]:
    """A member on ports of its own, to be started by the test."""
    ports = free_ports(2)
    member = Member(KVRAFT, "alone", tmp_path, (ports[0], ports[1]))
    yield member
    if member.process is not None:
        member.kill()


def test_the_last_member_of_a_lost_cluster_goes_on_and_grows_again(
    start_cluster: StartCluster,
) -> None:
    cluster = start_cluster(3)
    lost, also_lost, last = cluster.members
    acknowledged = {f"/kept/{number}": put(last, f"kept/{number}", "v") for number in range(60)}
    put(last, "soon", "gone", ttl="1000")
    before = tree(last)
    cluster_id = call(last.client_url, "GET", "/v2/keys/").headers["x-etcd-cluster-id"]
    for member in (lost, also_lost):
        member.kill()
    rescue = last.data_dir.with_name("rescue.backup")
    saved = tool("backup", "--endpoint", last.client_url, "--local", "--out", str(rescue))
    assert saved.returncode == 0, saved.stderr
    assert "keys            61" in tool("verify", str(rescue)).stdout
    last.kill()

    last.extra_flags = ("--force-new-cluster",)
    last.start()
    last.wait_ready()
    after = tree(last)
    assert after == before
    assert all(after[key][3] == index for key, index in acknowledged.items())
    assert member_names(last) == [last.name]
    answer = call(last.client_url, "GET", "/v2/keys/")
    assert answer.headers["x-etcd-cluster-id"] == cluster_id
    text = last.log_file.read_text()
    assert "forcing restart of member" in text
    assert f"in cluster {cluster_id} at commit index" in text
    put(last, "new", "life")
    last.terminate()
    last.extra_flags = ()
    last.start()
    last.wait_ready()
    assert "/new" in tree(last)

    # One that was lost comes back: it is told, and ends.
    also_lost.start()
    assert also_lost.process is not None
    assert also_lost.process.wait(30) == 0
    also_lost.process = None
    assert "permanently removed from the cluster" in also_lost.log_file.read_text()

    for member in (lost, also_lost):
        shutil.rmtree(member.data_dir)
        added = call_json(last, "POST", "/v2/members", {"peerURLs": [member.peer_url]})
        assert added == 201
        known = [m for m in cluster.members if m.process is not None or m is member]
        member.initial_cluster = ",".join(f"{m.name}={m.peer_url}" for m in known)
        member.initial_cluster_state = "existing"
        member.start()
        member.wait_ready()
        wait_until("all have joined", partial(has_member, last, member.name))
    for member in cluster.members:
        assert tree(member).keys() == after.keys() | {"/new"}


def call_json(member: Member, method: str, path: str, document: dict[str, Any]) -> int:
    target = urlsplit(member.client_url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=10)
    try:
        body = json.dumps(document)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_living_cluster_is_not_forced(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    stopped = cluster.followers()[0]
    put(stopped, "a", "1")
    stopped.terminate()
    stopped.extra_flags = ("--force-new-cluster",)
    stopped.start()
    assert stopped.process is not None
    assert stopped.process.wait(30) == 1
    stopped.process = None
    text = stopped.log_file.read_text()
    assert "--force-new-cluster refused: the cluster is not lost" in text
    assert "etcdctl member remove" in text
    stopped.extra_flags = ()
    stopped.start()
    stopped.wait_ready()
    assert len(member_names(stopped)) == 3


def test_a_backup_under_load_restores_to_a_cluster_of_three(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(3)
    source = cluster.followers()[0]
    put(cluster.leader(), "fixed", "v", ttl="10000")
    file = tmp_path / "x.backup"
    with Writer(cluster.leader()) as writer:
        wait_until("there is load", lambda: len(writer.acknowledged) > 100)
        sure = dict(writer.acknowledged)
        saved = tool("backup", "--endpoint", source.client_url, "--out", str(file))
        assert saved.returncode == 0, saved.stderr
    index = int(saved.stdout.split("etcd index ")[1].split(",")[0])
    assert sure.items() <= {k: i for k, i in writer.acknowledged.items() if i <= index}.items()
    full = tree(source)
    expected = {k for k, row in full.items() if row[1] or row[3] <= index}
    expected = {k for k in expected if not full[k][1] or full[k][2] <= index}

    directory = tmp_path / "restored"
    directory.mkdir()
    restored = Cluster(KVRAFT, 3, directory)
    with restored:
        for member in restored.members:
            done = tool(
                *("restore", str(file), "--data-dir", str(member.data_dir)),
                *("--name", member.name, "--initial-cluster", member.initial_cluster),
                *("--initial-advertise-peer-urls", member.peer_url),
            )
            assert done.returncode == 0, done.stderr
        restored.start()
        for member in restored.members:
            found = tree(member)
            assert found.keys() == expected
            assert all(found[key] == full[key] for key in expected if not full[key][1])
            assert member_names(member) == ["m1", "m2", "m3"]
        ids = {
            call(m.client_url, "GET", "/v2/keys/").headers["x-etcd-cluster-id"]
            for m in (*restored.members, source)
        }
        assert len(ids) == 2  # the restored cluster's, and the old one's
        assert put(restored.members[0], "more", "v") > index
        restored.members[1].terminate()
        restored.members[1].start()
        restored.members[1].wait_ready()


def test_a_wiped_disk_of_the_only_member(alone: Member, tmp_path: Path) -> None:
    alone.start()
    alone.wait_ready()
    for number in range(20):
        put(alone, f"k/{number}", "v")
    before = tree(alone)
    file = tmp_path / "x.backup"
    assert tool("backup", "--endpoint", alone.client_url, "--out", str(file)).returncode == 0
    alone.kill()
    shutil.rmtree(alone.data_dir)
    done = tool(
        *("restore", str(file), "--data-dir", str(alone.data_dir), "--name", alone.name),
        *("--initial-cluster", alone.initial_cluster),
        *("--initial-advertise-peer-urls", alone.peer_url),
    )
    assert done.returncode == 0, done.stderr
    alone.start()
    alone.wait_ready()
    assert tree(alone) == before


def test_a_backup_directory_starts_only_by_force(alone: Member, tmp_path: Path) -> None:
    alone.start()
    alone.wait_ready()
    for number in range(20):
        put(alone, f"k/{number}", "v")
    before = tree(alone)
    copy = tmp_path / "copy"
    words = ("--data-dir", str(alone.data_dir), "--backup-dir", str(copy))
    assert tool("backup", *words).returncode == 0
    assert tool("backup", *words).returncode == 1
    alone.kill()
    alone.data_dir = copy
    alone.extra_flags = ("--force-new-cluster",)
    alone.start()
    alone.wait_ready()
    assert tree(alone) == before
    assert member_names(alone) == [alone.name]
    alone.terminate()
    alone.extra_flags = ()
    alone.start()
    alone.wait_ready()
    assert tree(alone) == before


def test_the_files_of_a_busy_member_are_verified_and_copied(alone: Member, tmp_path: Path) -> None:
    alone.extra_flags = ("--snapshot-count", "100", "--max-snapshots", "2", "--max-wals", "1")
    alone.start()
    alone.wait_ready()
    with Writer(alone) as writer:
        for number in range(2):
            wait_until("there is load", partial(writer.has_written, 150 * (number + 1)))
            verified = tool("verify", str(alone.data_dir))
            assert (verified.returncode, verified.stderr) == (0, "")
            sure = set(writer.acknowledged)
            file = tmp_path / f"{number}.backup"
            saved = tool("backup", "--data-dir", str(alone.data_dir), "--out", str(file))
            assert saved.returncode == 0, saved.stderr
            proved = tool("verify", str(file))
            assert proved.returncode == 0
            keys = int(proved.stdout.split("keys")[1].split()[0])
            assert keys >= len(sure)
    assert len(list((alone.data_dir / "member" / "snap").glob("*.snap"))) >= 2


def test_damage_is_refused_with_the_next_command(alone: Member, tmp_path: Path) -> None:
    alone.start()
    alone.wait_ready()
    for number in range(20):
        put(alone, f"k/{number}", "v")
    alone.kill()
    (segment,) = (alone.data_dir / "member" / "wal").glob("*.wal")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x10
    segment.write_bytes(data)
    alone.start()
    assert alone.process is not None
    assert alone.process.wait(30) == 1
    alone.process = None
    text = alone.log_file.read_text()
    assert str(segment) in text
    assert f"kvraft verify {alone.data_dir}" in text
    verified = tool("verify", str(alone.data_dir))
    assert verified.returncode == 1
    assert str(segment) in verified.stderr
    assert "kvraft restore BACKUP-FILE" in verified.stderr


def test_old_files_are_purged_without_a_snapshot_to_trigger_it(alone: Member) -> None:
    alone.extra_flags = ("--snapshot-count", "50", "--max-snapshots", "0")
    alone.start()
    alone.wait_ready()
    for number in range(400):
        put(alone, "k", str(number))
    wait_until(
        "there are snapshots",
        lambda: len(list((alone.data_dir / "member" / "snap").glob("*.snap"))) > 3,
    )
    alone.terminate()
    alone.extra_flags = ("--max-snapshots", "2")
    alone.start()
    alone.wait_ready()
    snap = alone.data_dir / "member" / "snap"
    wait_until("purged", lambda: len(list(snap.glob("*.snap"))) == 2)
    line = re.compile(r"I \| fileutil: purged file \S+ successfully")
    wait_until("it is said", lambda: line.search(alone.log_file.read_text()) is not None)


def test_force_without_data_is_refused(alone: Member) -> None:
    alone.extra_flags = ("--force-new-cluster",)
    alone.start()
    assert alone.process is not None
    assert alone.process.wait(30) == 1
    alone.process = None
    assert "--force-new-cluster needs the data of a member" in alone.log_file.read_text()
