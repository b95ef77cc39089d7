"""Clocks of their own: the wall clock jumps while a process runs, nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, wait_until
from jepsen_like.faults import clocks, probes
from jepsen_like.faults.clocks import Clocks

pytestmark = pytest.mark.skipif(bool(probes.missing("faketime")), reason=probes.missing("faketime"))

WATCHING = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Clocks]:
    with Clocks(tmp_path) as shown:
        yield shown


class Watcher:
    """A program that tells its clocks."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCHING],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ahead_s(self) -> float:
        """Of this process's clock. The other one must be the same."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        wall, before = time.time(), time.monotonic()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        shown, monotonic = map(float, self.process.stdout.readline().split())
        assert before <= monotonic <= time.monotonic()
        return shown - wall

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def watchers(shown: Clocks) -> Iterator[list[Watcher]]:
    made = [Watcher(shown.environment(number)) for number in range(2)]
    yield made
    for each in made:
        each.close()


def near(expected_s: float, watcher: Watcher) -> None:
    wait_until(
        f"{expected_s:+} s", lambda: abs(watcher.ahead_s() - expected_s) < 0.5, timeout_s=10.0
    )


def test_each_clock_is_right_until_it_is_set_and_after_healing(
    shown: Clocks, watchers: list[Watcher]
) -> None:
    near(0.0, watchers[0])
    shown.jump(0, 3600.0)
    near(3600.0, watchers[0])
    near(0.0, watchers[1])
    shown.jump(0, -3601.0)
    shown.jump(1, -7200.0)
    near(-1.0, watchers[0])
    near(-7200.0, watchers[1])
    assert shown.offset_s(1) == -7200.0
    shown.heal()
    near(0.0, watchers[0])
    near(0.0, watchers[1])


def test_a_clock_drifts(shown: Clocks, watchers: list[Watcher]) -> None:
    watchers[0].ahead_s()
    shown.drift(0, 2.0)
    wait_until("a second gained", lambda: watchers[0].ahead_s() > 1.0, timeout_s=20.0)
    shown.heal()
    near(0.0, watchers[0])


def test_the_clock_of_a_member_jumps_and_keys_live_on(tmp_path: Path, shown: Clocks) -> None:
    with Cluster(KVRAFT, 1, tmp_path) as cluster:
        member = cluster.members[0]
        member.environment = shown.environment(0)
        cluster.start()
        member.call("PUT", "/v2/keys/a", {"value": "1", "ttl": "120"})
        shown.jump(0, 3600.0)

        def date_s() -> float:
            shown_date = member.call("GET", "/version").headers["date"]
            return time.mktime(time.strptime(shown_date, "%a, %d %b %Y %H:%M:%S GMT"))

        began_s = time.mktime(time.gmtime())
        wait_until("the member believes it", lambda: date_s() > began_s + 3500)
        member.call("PUT", "/v2/keys/b", {"value": "1", "ttl": "1"})
        wait_until("b is gone", lambda: member.call("GET", "/v2/keys/b").status == 404)
        assert 60 < member.call("GET", "/v2/keys/a").body["node"]["ttl"] <= 120


def test_what_killed_processes_leave_in_shared_memory_is_removed(shown: Clocks) -> None:
    watcher = Watcher(shown.environment(0))
    watcher.ahead_s()
    pid = watcher.process.pid
    watcher.process.kill()
    watcher.close()
    # another run at the same moment may be the one that removes it
    clocks.remove_leftovers()
    assert not [path for path in Path("/dev/shm").iterdir() if path.name.endswith(f"_{pid}")]
