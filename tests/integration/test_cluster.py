"""Members as a user meets them: processes, signals, data directories, and HTTP from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from benchmarks.members import Answer, Cluster, Member, call, wait_until
from tests.integration.conftest import StartCluster

pytestmark = pytest.mark.timeout(180)


def put(member: Member, key: str, value: str, timeout_s: float = 10.0) -> Answer:
    form = {"value": value}
    return call(member.client_url, "PUT", f"/v2/keys/{key}", form, timeout_s)


def get(member: Member, key: str, query: str = "") -> Answer:
    return call(member.client_url, "GET", f"/v2/keys/{key}{query}")


def value_of(member: Member, key: str, query: str = "") -> str | None:
    answer = get(member, key, query)
    return str(answer.body["node"]["value"]) if answer.status == 200 else None


def wait_value(member: Member, key: str, value: str) -> None:
    """Plain reads are local: a follower may be a moment behind."""
    wait_until(f"{member.name} has {key}={value}", lambda: value_of(member, key) == value)


def write_until_accepted(cluster: Cluster, key: str, value: str) -> float:
    """Try the running members in turn until one accepts the write; seconds it took."""
    start = time.monotonic()

    def attempt() -> bool:
        for member in cluster.members:
            if member.process is not None and put(member, key, value, 1.0).status in (200, 201):
                return True
        return False

    wait_until(f"{key}={value} is accepted", attempt)
    return time.monotonic() - start


def test_every_member_takes_writes_and_all_members_show_them(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    for member in cluster.members:
        answer = put(member, f"from/{member.name}", "hello")
        assert answer.status == 201
        assert answer.body["action"] == "set"
    for reader in cluster.members:
        for writer in cluster.members:
            # a quorum read is never behind, whoever answers it
            assert value_of(reader, f"from/{writer.name}", "?quorum=true") == "hello"
            wait_value(reader, f"from/{writer.name}", "hello")
    indices = {get(member, "from").body["node"]["createdIndex"] for member in cluster.members}
    assert len(indices) == 1


def test_new_member_takes_its_first_write(
    start_cluster: StartCluster, record_property: Callable[[str, object], None]
) -> None:
    """How long that takes is recorded, not asserted: the machine may be busy."""
    cluster = start_cluster(1)
    cluster.kill()
    member = cluster.members[0]
    member.data_dir = member.data_dir.with_name("new")
    start = time.monotonic()
    member.start()
    write_until_accepted(cluster, "first", "write")
    took_s = time.monotonic() - start
    record_property("first_write_after_s", round(took_s, 3))
    print(f"the first write was accepted {took_s:.3f} s after the start")


def test_lone_member_keeps_everything_over_a_restart(start_cluster: StartCluster) -> None:
    cluster = start_cluster(1)
    member = cluster.members[0]
    for number in range(50):
        assert put(member, f"kept/{number}", str(number)).status == 201
    before = get(member, "kept", "?recursive=true&sorted=true")
    assert member.terminate() in (0, -15)
    member.start()
    member.wait_ready()
    after = get(member, "kept", "?recursive=true&sorted=true")
    assert after.body == before.body


def test_lone_member_keeps_acknowledged_writes_when_killed(start_cluster: StartCluster) -> None:
    cluster = start_cluster(1)
    member = cluster.members[0]
    for number in range(50):
        assert put(member, f"kept/{number}", str(number)).status == 201
    member.kill()
    member.start()
    member.wait_ready()
    nodes = get(member, "kept").body["node"]["nodes"]
    assert {node["key"]: node["value"] for node in nodes} == {
        f"/kept/{number}": str(number) for number in range(50)
    }


def test_second_process_on_a_data_directory_is_refused(start_cluster: StartCluster) -> None:
    member = start_cluster(1).members[0]
    second = subprocess.run(
        member.arguments(), capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert put(member, "still", "serving").status == 201


def test_data_directory_of_another_cluster_is_refused(start_cluster: StartCluster) -> None:
    one, other = start_cluster(3), start_cluster(3)
    stranger, host = other.members[0], one.followers()[0]
    assert put(host, "mine", "1").status == 201
    host.terminate()
    stranger.terminate()
    # the same name and addresses, but data of the other cluster: its peers must not talk to it
    own_data, host.data_dir = host.data_dir, stranger.data_dir
    host.start()
    others = [member for member in one.members if member is not host]
    assert put(others[0], "mine", "2").status == 200
    for _ in range(20):
        if not host.running:
            break  # refusing to start is as good as staying alone
        try:
            assert value_of(host, "mine") is None
        except OSError:
            pass  # it need not serve
        time.sleep(0.05)
    if host.running:
        host.kill()
    host.process, host.data_dir = None, own_data
    host.start()
    host.wait_ready()
    wait_value(host, "mine", "2")


def test_killing_the_leader_loses_nothing(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    for number in range(20):
        assert put(cluster.members[number % 3], f"n/{number}", str(number)).status == 201
    old = cluster.leader()
    old.kill()
    write_until_accepted(cluster, "after", "the kill")
    assert cluster.leader() is not old
    old.start()
    old.wait_ready()
    wait_value(old, "after", "the kill")
    for member in cluster.members:
        nodes = get(member, "n", "?quorum=true").body["node"]["nodes"]
        assert {node["value"] for node in nodes} == {str(number) for number in range(20)}


def test_all_members_killed_at_once_come_back_with_everything(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    for number in range(20):
        assert put(cluster.members[number % 3], f"n/{number}", str(number)).status == 201
    cluster.kill()
    cluster.start()
    for member in cluster.members:
        nodes = get(member, "n", "?quorum=true").body["node"]["nodes"]
        assert {node["value"] for node in nodes} == {str(number) for number in range(20)}


def test_no_quorum_no_writes_but_local_reads(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    assert put(cluster.members[0], "k", "before").status == 201
    lone = cluster.members[2]
    wait_value(lone, "k", "before")
    cluster.members[0].kill()
    cluster.members[1].kill()
    assert value_of(lone, "k") == "before"
    try:
        assert put(lone, "k", "never", 15.0).status == 500
    except TimeoutError:
        pass  # no answer is an honest answer, too
    assert value_of(lone, "k") == "before"
    cluster.members[0].start()
    cluster.wait_ready()
    write_until_accepted(cluster, "k", "after")


def test_leader_hands_over_when_it_is_told_to_stop(
    start_cluster: StartCluster, record_property: Callable[[str, object], None]
) -> None:
    """How long writes were refused is recorded, not asserted: the machine may be busy."""
    cluster = start_cluster(3)
    old = cluster.leader()
    assert put(old, "k", "before").status == 201
    assert old.process is not None
    stopping, old.process = old.process, None
    stopping.terminate()
    took_s = write_until_accepted(cluster, "k", "after")
    record_property("writes_accepted_again_after_s", round(took_s, 3))
    print(f"writes were accepted again {took_s:.3f} s after SIGTERM of the leader")
    assert stopping.wait(15) in (0, -15)
    assert cluster.leader() is not old
    old.start()
    old.wait_ready()
    wait_value(old, "k", "after")


def test_watch_through_a_follower_sees_a_write_at_the_leader(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    follower, leader = cluster.followers()[0], cluster.leader()
    index = put(leader, "watched", "1").body["node"]["modifiedIndex"]
    assert put(leader, "watched", "2").status == 200
    seen = get(follower, "watched", f"?wait=true&waitIndex={index + 1}")
    assert (seen.body["action"], seen.body["node"]["value"]) == ("set", "2")
