"""Replays the recorded runs of etcdctl 2.3.8 with kvraftctl against real members, byte for byte.

The cases and the replayer are kept as they were recorded; ``replay_cli.py --help`` explains both.
The cases are dealt out to several servers, as most of their time is spent waiting. On one server
they run one after the other: indices are compared.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from benchmarks.members import KVRAFT, Cluster

REPLAY: Final = Path(__file__).with_name("replay_cli.py")
CASES: Final = Path(__file__).with_name("etcdctl.jsonl").read_text("utf-8").splitlines()
CASE_COUNT: Final = 191
SERVERS: Final = 5
CLI: Final = shlex.join([sys.executable, "-m", "kvraft_cli.main"])

pytestmark = pytest.mark.timeout(300)


def members_needed(line: str) -> int:
    return int(json.loads(line).get("needs", {}).get("members", 1))


def run_replay(lines: Sequence[str], directory: Path, *options: str) -> str:
    """What the replayer has to complain about; empty if every case passed."""
    file = directory / "cases.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    # hundreds of processes: without bytecode each would compile everything anew
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        [sys.executable, str(REPLAY), "--cli", CLI, *options, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if run.stdout == f"{len(lines)} passed, 0 failed\n" else run.stdout + run.stderr


def test_there_are_all_cases() -> None:
    assert len(CASES) == CASE_COUNT


def test_on_one_member(tmp_path: Path) -> None:
    lines = [line for line in CASES if members_needed(line) == 1]

    def replay_share(number: int) -> str:
        place = tmp_path / str(number)
        place.mkdir()
        with Cluster(KVRAFT, 1, place) as cluster:
            (member,) = cluster.start().members
            options = ("--url", member.client_url, "--data-dir", str(member.data_dir))
            return run_replay(lines[number::SERVERS], place, *options)

    with ThreadPoolExecutor(SERVERS) as pool:
        complaints = "".join(pool.map(replay_share, range(SERVERS)))
    if complaints:
        pytest.fail(complaints, pytrace=False)


def test_on_three_members(tmp_path: Path) -> None:
    lines = [line for line in CASES if members_needed(line) > 1]
    assert lines
    with Cluster(KVRAFT, 3, tmp_path) as cluster:
        member = cluster.start().followers()[0]
        complaints = run_replay(lines, tmp_path, "--url", member.client_url)
    if complaints:
        pytest.fail(complaints, pytrace=False)
