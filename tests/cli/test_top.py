"""top: rows out of what members say, and what is printed."""

from __future__ import annotations

import json
import os
import signal
import threading

from kvraft_cli.standing import Answers, metric_values, rows_of, summary, table
from tests.cli.conftest import StartMember, kvraftctl

METRICS = """\
# TYPE kvraft_term gauge
kvraft_term 7.0
# TYPE kvraft_commit_index gauge
kvraft_commit_index 120.0
# TYPE kvraft_applied_index gauge
kvraft_applied_index 118.0
# TYPE kvraft_peer_connected gauge
kvraft_peer_connected{remoteID="1"} 1.0
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 4.2e+07
"""


def answers(name: str, **what: object) -> Answers:
    return Answers(name, f"http://{name}", 10.0, **what)  # type: ignore[arg-type]


def ours(name: str, state: str = "StateFollower", sets: int = 50) -> Answers:
    return answers(
        name,
        version={"etcdserver": "2.3.8"},
        self_stats={"state": state, "leaderInfo": {"leader": "ab"}},
        store_stats={"setsSuccess": sets, "getsSuccess": 9, "expireCount": 2, "watchers": 3},
        headers={"x-raft-index": "5", "x-raft-term": "1"},
        metrics=METRICS,
        healthy=True,
    )


def test_a_member_of_kvraft_tells_everything() -> None:
    before = {"http://a": ours("a", sets=30)}
    before["http://a"].taken_s = 8.0
    (row,) = rows_of([ours("a", "StateLeader")], before)
    assert (row.state, row.term, row.commit, row.applied, row.lag) == ("leader", 7, 120, 118, 2)
    assert (row.writes_per_s, row.watchers, row.memory_bytes) == (10.0, 3, 42_000_000)
    assert row.leader == "ab"
    assert summary([row]) == "1 members, 1 reachable, leader a, term 7"


def test_an_etcd_tells_less_and_a_dead_member_nothing() -> None:
    etcd = ours("b")
    etcd.metrics = "no metrics at all {"
    etcd.healthy = False
    rows = rows_of([etcd, answers("c")], {})
    assert (rows[0].state, rows[0].term, rows[0].applied) == ("follower, unhealthy", 1, 5)
    assert rows[0].commit is None
    assert rows[1].state == "unreachable"
    lines = table(rows)
    assert (
        lines[0].split()
        == (
            "member state term commit applied lag writes/s watchers keys memory version endpoint"
        ).split()
    )
    assert lines[2].split() == ["c", "unreachable", *"-" * 9, "http://c"]
    assert summary(rows) == "2 members, 1 reachable, NO LEADER, term 1"


def test_two_leaders_are_told_loudly() -> None:
    rows = rows_of([ours("a", "StateLeader"), ours("b", "StateLeader")], {})
    assert "2 LEADERS: a, b" in summary(rows)


def test_metrics_without_labels_are_read() -> None:
    assert metric_values(METRICS)["kvraft_term"] == 7
    assert "kvraft_peer_connected" not in metric_values(METRICS)


def test_one_table_is_printed_without_a_terminal(start_member: StartMember) -> None:
    member = start_member()
    ran = member.ctl("top", "--interval", "0.1")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("1 members, 1 reachable, leader n0, term ")
    assert lines[2].split()[:2] == ["n0", "leader"]
    document = json.loads(member.ctl("top", "--json", "--interval", "0.1").out)
    (row,) = document["members"]
    assert row["state"] == "leader"
    assert row["lag"] == 0
    assert row["writes_per_s"] is not None


def test_on_a_terminal_it_goes_on_until_ctrl_c(start_member: StartMember) -> None:
    member = start_member()
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    ran = member.ctl("top", "--interval", "0.1", terminal=True)
    assert ran.code == 0
    assert ran.out.count("1 members") >= 2


def test_nobody_there_and_bad_arguments() -> None:
    ran = kvraftctl("--endpoints", "http://127.0.0.1:1", "top")
    assert (ran.code, ran.out) == (2, "")
    assert "connection refused" in ran.err
    ran = kvraftctl("top", "--interval", "0")
    assert ran.code == 2
    assert "argument --interval: '0' has to be seconds, at least 0.1" in ran.err
