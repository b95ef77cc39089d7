"""kvraftctl on a real etcd passes what was recorded from etcdctl 2.3.8, but for what is listed.

Debian's etcd is a 3.4, which still serves the v2 API with --enable-v2. The list is exact: a case
that begins to fail, or to pass, is noticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from benchmarks.members import ETCD, Cluster
from tests.conformance.test_cli import CASES, members_needed, run_replay

SERVERS: Final = 4
# A watch must have reached the server before the next command changes something.
SETTLE_S: Final = "2"

# Name of the case -> why it cannot pass there.
EXPLAINED: Final[Mapping[str, str]] = {
    "backup-live": "kvraftctl copies data directories of kvraft, and refuses those of an etcd by"
    " name; each server keeps a format of its own",
}

pytestmark = [pytest.mark.realetcd, pytest.mark.timeout(300)]


def failed(report: str) -> set[str]:
    return set(re.findall(r"^FAIL ([^:]+):", report, re.MULTILINE))


def replay(lines: Sequence[str], members: int, place: Path) -> str:
    place.mkdir()
    with Cluster(ETCD, members, place) as cluster:
        member = cluster.start().members[0]
        options = ("--url", member.client_url, "--settle", SETTLE_S)
        return run_replay(lines, place, *options, "--data-dir", str(member.data_dir))


def test_on_one_member(tmp_path: Path) -> None:
    lines = [line for line in CASES if members_needed(line) == 1]
    shares = [lines[number::SERVERS] for number in range(SERVERS)]
    places = [tmp_path / str(number) for number in range(SERVERS)]
    with ThreadPoolExecutor(SERVERS) as pool:
        names = failed("".join(pool.map(replay, shares, [1] * SERVERS, places)))
    # Each password costs etcd 50 ms of a processor, and a request has one second: on a machine
    # that is busy otherwise some cases run late. They get a server and the machine to themselves.
    again = [line for line in lines if json.loads(line)["name"] in names]
    report = replay(again, 1, tmp_path / "again")
    assert failed(report) == set(EXPLAINED), report


def test_on_three_members(tmp_path: Path) -> None:
    lines = [line for line in CASES if members_needed(line) > 1]
    assert replay(lines, 3, tmp_path / "three") == ""
