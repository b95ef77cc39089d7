"""The documented recovery: `kvraftctl backup` of a running member, then a new cluster out of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, Member, free_ports, wait_until

pytestmark = pytest.mark.timeout(120)


def kvraftctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvraft_cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def silent(done: subprocess.CompletedProcess[str]) -> bool:
    return (done.returncode, done.stdout, done.stderr) == (0, "", "")


def started(place: Path, *flags: str) -> Member:
    """A member of its own cluster on an existing data directory, at new addresses."""
    client, peer = free_ports(2)
    member = Member(KVRAFT, "again", place, (client, peer))
    member.data_dir = place
    member.extra_flags = flags
    member.start()
    member.wait_ready()
    return member


@pytest.mark.parametrize("separate_logs", [False, True], ids=["one place", "separate logs"])
def test_a_copy_of_one_of_three_becomes_a_cluster(tmp_path: Path, separate_logs: bool) -> None:
    (tmp_path / "run").mkdir()
    target = tmp_path / "copy"
    places = ["--backup-dir", str(target)]
    with Cluster(KVRAFT, 3, tmp_path / "run") as cluster:
        first = cluster.members[0]
        places += ["--data-dir", str(first.data_dir)]
        if separate_logs:
            for member in cluster.members:
                member.extra_flags = ("--wal-dir", str(tmp_path / f"{member.name}.wal"))
            places += ["--wal-dir", str(tmp_path / f"{first.name}.wal")]
            places += ["--backup-wal-dir", str(tmp_path / "copy.wal")]
        cluster.start()
        for number in range(50):
            cluster.members[number % 3].call("PUT", f"/v2/keys/k{number}", {"value": str(number)})
        wait_until(
            "the first member has it all",
            lambda: first.call("GET", "/v2/keys/k49").status == 200,
        )
        old_ids = {each["id"] for each in first.call("GET", "/v2/members").body["members"]}
        assert silent(kvraftctl("backup", *places)), "while the member runs"
        again = kvraftctl("backup", *places)
        assert again.returncode == 1
        assert again.stderr.endswith(" I | file already exists\n")
    flags = ("--wal-dir", str(tmp_path / "copy.wal")) if separate_logs else ()
    for forcing in (("--force-new-cluster",), ()):
        member = started(target, *flags, *forcing)
        try:
            values = member.call("GET", "/v2/keys/?sorted=true").body["node"]["nodes"]
            assert {node["key"]: node["value"] for node in values} == {
                f"/k{number}": str(number) for number in range(50)
            }
            [own] = member.call("GET", "/v2/members").body["members"]
            assert own["id"] not in old_ids
            assert member.call("PUT", "/v2/keys/k0", {"value": "0"}).status == 200
        finally:
            member.terminate()
