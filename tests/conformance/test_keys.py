"""Replays the recorded cases of the keys API against real members, byte for byte.

The cases and the replayer are kept as they were recorded; ``replay.py --help`` explains both. The
cases are dealt out to several servers, as most of their time is spent waiting for keys to expire
and for watches to stay silent. On one server they run one after the other: indices are compared.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from benchmarks.members import KVRAFT, Cluster, Member

REPLAY: Final = Path(__file__).with_name("replay.py")
CASES: Final = Path(__file__).with_name("keys.jsonl").read_text("utf-8").splitlines()
CASE_COUNT: Final = 352
SERVERS: Final = 4
FRESH: Final = shlex.join(KVRAFT) + (
    " --name default --data-dir {dir} --listen-client-urls {client}"
    " --advertise-client-urls {client} --listen-peer-urls {peer}"
    " --initial-advertise-peer-urls {peer} --initial-cluster default={peer}"
)

pytestmark = pytest.mark.timeout(400)


def cases(*, fresh: bool) -> list[str]:
    assert len(CASES) == CASE_COUNT
    return [line for line in CASES if json.loads(line).get("fresh", False) == fresh]


def run_replay(lines: Sequence[str], directory: Path, *options: str) -> str:
    """What the replayer has to complain about; empty if every case passed."""
    file = directory / "cases.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    run = subprocess.run(
        [sys.executable, str(REPLAY), *options, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if run.stdout == f"{len(lines)} passed, 0 failed\n" else run.stdout + run.stderr


def replay_on_clusters(size: int, entry: Callable[[Cluster], Member], directory: Path) -> None:
    """Deal the cases out to clusters of that size; ``entry`` chooses the member to talk to."""
    lines = cases(fresh=False)

    def replay_share(number: int) -> str:
        place = directory / str(number)
        place.mkdir()
        with Cluster(KVRAFT, size, place) as cluster:
            member = entry(cluster.start())
            return run_replay(lines[number::SERVERS], place, "--url", member.client_url)

    with ThreadPoolExecutor(SERVERS) as pool:
        complaints = "".join(pool.map(replay_share, range(SERVERS)))
    if complaints:
        pytest.fail(complaints, pytrace=False)


def test_one_member_answers_as_recorded(tmp_path: Path) -> None:
    replay_on_clusters(1, lambda cluster: cluster.members[0], tmp_path)


def test_follower_of_three_answers_as_recorded(tmp_path: Path) -> None:
    replay_on_clusters(3, lambda cluster: cluster.followers()[0], tmp_path)


def test_new_member_answers_as_recorded(tmp_path: Path) -> None:
    """Cases that need a server nobody has written to: each gets one of its own."""
    complaints = run_replay(cases(fresh=True), tmp_path, "--fresh-cmd", FRESH)
    if complaints:
        pytest.fail(complaints, pytrace=False)
