"""Members come and go while clients write: real processes, and the command line tool of etcd."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import ETCD, KVRAFT, Cluster, Member, call, free_ports, wait_until
from jepsen_like.procs.rolling import Operator, roll, table
from tests.integration.conftest import StartCluster
from tests.integration.ctl import etcdctl

pytestmark = pytest.mark.timeout(180)

REMOVED = (
    "etcdserver: the member has been permanently removed from the cluster",
    "etcdserver: the data-dir used by this member must be removed.",
)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    found = Operator(tmp_path, ("--snapshot-count=200",))
    yield found
    print(table(found.rows))
    print("".join(member.log_tail() for member in found.members))
    found.kill()


def run(member: Member) -> tuple[int, str]:
    """Start a member that is expected to end by itself; exit code and log."""
    done = subprocess.run(
        member.arguments(), capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


async def three(operator: Operator) -> None:
    await operator.found()
    await operator.grow()
    await operator.grow()


async def removed(operator: Operator, member: Member) -> None:
    """Remove a member whose process does not run."""
    operator.members.remove(member)
    path = "/" + operator.ids.pop(member.name)
    await operator.change(operator.members[0], "DELETE", path, None, 204)


def test_nothing_is_lost_while_all_members_are_replaced(operator: Operator) -> None:
    """Grow from one to five, replace three in turn, shrink to one, the leader first."""
    asyncio.run(roll(operator, rounds=1, size=3, largest=5))
    load = operator.load
    assert not load.failed
    assert not operator.lost_writes()
    assert len(load.acknowledged) > 100
    for row in operator.rows:
        assert row.writes, f"nothing was written during: {row.step}"
    (last,) = operator.members
    assert [member["name"] for member in operator.listed()] == [last.name]


def test_a_removed_member_ends_and_stays_out(operator: Operator) -> None:
    asyncio.run(three(operator))
    present, absent = operator.members[1:]
    absent.kill()
    asyncio.run(removed(operator, absent))
    assert asyncio.run(operator.shrink(present)) == 0
    log = present.log_file.read_text()
    assert all(log.count(line) == 1 for line in REMOVED)
    for member in (present, absent):
        code, log = run(member)
        assert code == 0, "it is told, or reads it in its own log"
        assert all(log.count(line) == 1 for line in REMOVED)


def test_the_last_member_ends_when_it_is_removed_without_the_check(tmp_path: Path) -> None:
    operator = Operator(tmp_path, ("--strict-reconfig-check=false",))
    asyncio.run(operator.found())
    (last,) = operator.members
    asyncio.run(operator.change(last, "DELETE", "/" + operator.ids[last.name], None, 204))
    assert last.process is not None
    assert last.process.wait(20) == 0
    last.process = None
    code, log = run(last)
    assert code == 0
    assert all(log.count(line) == 1 for line in REMOVED)


def test_a_wiped_member_has_to_be_replaced(start_cluster: StartCluster) -> None:
    """Its id stands for promises that went with its disk."""
    cluster = start_cluster(3)
    wiped, via = cluster.followers()[0], cluster.leader()
    assert call(via.client_url, "PUT", "/v2/keys/k", {"value": "kept"}).status == 201
    wiped.kill()
    shutil.rmtree(wiped.data_dir)
    for state in ("new", "existing"):
        wiped.initial_cluster_state = state
        code, log = run(wiped)
        assert code == 1
        assert "has already been bootstrapped" in log
    members = call(via.client_url, "GET", "/v2/members").body["members"]
    ids = {member["name"]: member["id"] for member in members}
    operator = Operator(wiped.data_dir.parent)
    operator.members = [via]
    asyncio.run(operator.change(via, "DELETE", "/" + ids[wiped.name], None, 204))
    body = {"peerURLs": [wiped.peer_url]}
    asyncio.run(operator.change(via, "POST", "", body, 201))
    wiped.start()
    wiped.wait_ready()
    wait_until("it has caught up", lambda: value_at(wiped, "k") == "kept")


def value_at(member: Member, key: str) -> str:
    return str(call(member.client_url, "GET", f"/v2/keys/{key}").body["node"]["value"])


def test_joining_needs_the_right_cluster(start_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = start_cluster(1)
    ports = free_ports(4)
    (host,) = cluster.members
    stranger = Member(host.command, "x", tmp_path, (ports[0], ports[1]))
    stranger.initial_cluster_state = "existing"
    stranger.initial_cluster = f"x={stranger.peer_url},m1={host.peer_url}"
    code, log = run(stranger)
    assert code == 1
    assert re.search(
        r"C \| etcdmain: error validating peerURLs \{ClusterID:[0-9a-f]+ Members:\[&\{ID:.* "
        r"RemovedMemberIDs:\[\]\}: member count is unequal",
        log,
    )
    stranger.initial_cluster = f"x={stranger.peer_url}"
    code, log = run(stranger)
    assert code == 1
    assert "unmatched member while checking PeerURLs" in log or "cannot fetch" in log
    stranger.initial_cluster = f"x={stranger.peer_url},y=http://127.0.0.1:{ports[2]}"
    code, log = run(stranger)
    assert code == 1
    assert (
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from "
        "the given urls"
    ) in log
    assert not stranger.data_dir.exists() or not list(stranger.data_dir.glob("member/wal/*.wal"))


@pytest.mark.realetcd
def test_a_cluster_of_etcd_members_is_no_place_to_join(tmp_path: Path) -> None:
    with Cluster(ETCD, 1, tmp_path) as cluster:
        (host,) = cluster.start().members
        ports = free_ports(2)
        stranger = Member(KVRAFT, "x", tmp_path, (ports[0], ports[1]))
        stranger.initial_cluster_state = "existing"
        stranger.initial_cluster = f"x={stranger.peer_url},m1={host.peer_url}"
        operator = Operator(tmp_path)
        operator.members = [host]
        asyncio.run(operator.change(host, "POST", "", {"peerURLs": [stranger.peer_url]}, 201))
        code, log = run(stranger)
        assert code == 1
        assert "incomptible with current running cluster" in log or "not of this kind" in log


@pytest.mark.etcdctl
def test_etcdctl_changes_members(start_cluster: StartCluster) -> None:
    cluster = start_cluster(1)
    (host,) = cluster.members

    def member(*arguments: str, status: int = 0) -> str:
        return etcdctl("--endpoints", host.client_url, "member", *arguments, status=status)

    text = member("add", "new", "http://127.0.0.1:9")
    found = re.match(r"Added member named new with ID ([0-9a-f]+) to cluster\n", text)
    assert found is not None, text
    assert f'ETCD_INITIAL_CLUSTER="m1={host.peer_url},new=http://127.0.0.1:9"' in text or (
        f'ETCD_INITIAL_CLUSTER="new=http://127.0.0.1:9,m1={host.peer_url}"' in text
    )
    assert f"{found[1]}[unstarted]: peerURLs=http://127.0.0.1:9\n" in member("list")
    text = member("update", found[1], "http://127.0.0.1:10")
    assert text == f"Updated member with ID {found[1]} in cluster\n"
    assert f"{found[1]}[unstarted]: peerURLs=http://127.0.0.1:10\n" in member("list")
    assert member("remove", found[1]) == f"Removed member {found[1]} from cluster\n"
    (line,) = member("list").splitlines()
    assert line.endswith(
        f" name=m1 peerURLs={host.peer_url} clientURLs={host.client_url} isLeader=true"
    )
    assert "Couldn't find a member" in member("remove", found[1], status=1)
