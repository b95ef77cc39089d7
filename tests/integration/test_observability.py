"""What operators see of real processes: metrics, slow requests, the log level, damaged data."""

from __future__ import annotations

import http.client
import json
import re
import signal
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, Member, call, wait_until

pytestmark = pytest.mark.timeout(120)

DAMAGED = """
from kvraft.server.main import main
from kvraft.store.store import Store

def damaging(self, request, apply=Store.apply):
    if request.path == b"/poison":  # a bit that flips on its way into the memory of this one
        request = request._replace(value=request.value[:-1] + bytes([request.value[-1] ^ 1]))
    return apply(self, request)

Store.apply = damaging
main()
"""


def metric(member: Member, name: str) -> float:
    """The value of one sample."""
    text = member.call("GET", "/metrics").body.decode()
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def log_of(member: Member) -> str:
    return member.log_file.read_text("utf-8", "replace")


def test_figures_and_explanations(tmp_path: Path) -> None:
    with Cluster(KVRAFT, 3, tmp_path) as cluster:
        for member in cluster.members:
            member.extra_flags = ("--slow-request-ms", "300", "--enable-pprof")
        cluster.start()
        leader, followers = cluster.leader(), cluster.followers()

        before = metric(leader, "etcd_wal_last_index_saved")
        for number in range(10):
            assert leader.call("PUT", f"/v2/keys/k{number}", {"value": "v"}).status == 201
        assert leader.call("GET", "/v2/keys/none").status == 404
        assert metric(leader, "etcd_wal_last_index_saved") >= before + 10
        assert metric(leader, 'etcd_http_received_total{method="PUT"}') == 10
        assert metric(leader, 'etcd_http_successful_duration_second_count{method="PUT"}') == 10
        assert metric(leader, 'etcd_http_failed_total{code="404",method="GET"}') == 1
        assert metric(leader, "kvraft_db_keys") == 10
        assert metric(leader, "etcd_server_file_descriptors_used_total") > 10
        assert metric(followers[0], "process_open_fds") > 10
        assert sum(metric(member, "kvraft_is_leader") for member in cluster.members) == 1
        text = leader.call("GET", "/metrics").body.decode()
        assert len(re.findall(r"^kvraft_peer_connected\{.*\} 1$", text, re.MULTILINE)) == 2
        assert re.search(r'message_sent_latency_seconds_count\{msgType="MsgApp"', text)
        assert leader.call("GET", "/debug/pprof/goroutine").status == 200

        status = leader.call("GET", "/debug/vars").body["raft.status"]
        assert (status["raftState"], len(status["progress"])) == ("StateLeader", 3)

        changed = call(leader.client_url, "PUT", "/config/local/log")
        assert changed.status == 400
        check_slow_write(leader, followers)


def check_slow_write(leader: Member, followers: list[Member]) -> None:
    """A write that has to wait for a quorum is logged, with the reason and without its value."""
    for follower in followers:
        follower.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        writer = threading.Thread(
            target=leader.call, args=("PUT", "/v2/keys/slow", {"value": "confidential"})
        )
        writer.start()
        time.sleep(0.4)
    finally:
        for follower in followers:
            follower.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    writer.join()
    wait_until("the slow write is logged", lambda: "slow request: PUT" in log_of(leader))
    (line,) = re.findall(r"^.* W \| etcdhttp: slow request: PUT .*$", log_of(leader), re.M)
    assert re.search(
        r"PUT /v2/keys/slow took 0\.\d{3}s: waited for a quorum \(\d of 3 members are connected\)",
        line,
    )
    assert "confidential" not in log_of(leader)
    assert metric(leader, "kvraft_slow_requests_total") == 1


def test_a_member_with_other_data_is_found_and_ends(tmp_path: Path) -> None:
    with Cluster(KVRAFT, 3, tmp_path) as cluster:
        victim = cluster.members[2]
        victim.command = (sys.executable, "-c", DAMAGED)
        for member in cluster.members:
            member.extra_flags = ("--corrupt-check-interval", "1")
        cluster.start()
        cluster.members[0].call("PUT", "/v2/keys/sound", {"value": "a"})
        cluster.members[0].call("PUT", "/v2/keys/poison", {"value": "a"})
        wait_until("the damaged member ends", lambda: not victim.running)
        assert victim.process is not None
        assert victim.process.wait() == 1
        victim.process = None
        assert re.search(
            r"^.* C \| etcdserver: the data of this member differs from that of the majority "
            r"after log entry \d+ .*: it stops rather than serve it; remove this member",
            log_of(victim),
            re.MULTILINE,
        )
        survivors = cluster.members[:2]
        wait_until("the others lead on", lambda: all(m.ready() for m in survivors))
        for member in survivors:
            answer = member.call("GET", "/v2/keys/poison?quorum=true")
            assert answer.body["node"]["value"] == "a"


def test_log_level_at_run_time(tmp_path: Path) -> None:
    with Cluster(KVRAFT, 1, tmp_path) as cluster:
        (member,) = cluster.start().members
        assert set_level(member, "debug") == 204
        assert 'N | etcdhttp: globalLogLevel set to "DEBUG"' in log_of(member)
        assert set_level(member, "CRITICAL") == 204
        assert set_level(member, "loud") == 400
        assert "CRITICAL" not in log_of(member), "that line is below the level it sets"
        assert set_level(member, "INFO") == 204
        assert 'globalLogLevel set to "INFO"' in log_of(member)


def set_level(member: Member, level: str) -> int:
    target = urllib.parse.urlsplit(member.client_url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=10)
    try:
        body = json.dumps({"Level": level})
        connection.request("PUT", "/config/local/log", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
