"""`kvraftctl import`: every key arrives, whoever writes it; what is said meanwhile."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kvraft_cli.commands.importsnap import Import
from kvraft_cli.errors import BadAnswer, RequestError
from kvraft_cli.snapshot04 import Key, Snapshot
from tests.cli.conftest import Ran, StartMember, kvraftctl
from tests.cli.stub import Asked, Stub, answer
from tests.cli.test_snapshot04 import NOW, directory, file

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} I \| ", re.MULTILINE)


def write(path: Path, *nodes: dict[str, Any]) -> str:
    path.write_text(json.dumps({"Root": directory("/", *nodes)}))
    return str(path)


def test_keys_arrive_with_their_ttl(start_member: StartMember, tmp_path: Path) -> None:
    member = start_member()
    soon, later = (
        (datetime.now(UTC) + timedelta(seconds=s)).isoformat().replace("+00:00", "Z")
        for s in (5, 5000)
    )
    snap = write(
        tmp_path / "s",
        file("/plain", "a b&c=<é>"),
        file("/soon", "1", soon),
        file("/later", "2", later),
        directory("/d", file("/d/k", "", soon), directory("/d/empty"), file("/d/_hidden", "x")),
        directory("/_h", file("/_h/z", "vz")),
    )
    ran = member.ctl("import", "--snap", snap, "--hidden", "/_h", "--hidden", "/d/_hidden")
    assert (ran.code, ran.out) == (
        0,
        f"starting to import snapshot {snap} with 10 clients\nfinished importing 6 keys\n",
    )
    assert STAMP.sub("", ran.err).splitlines() == [
        "entering dir: /",
        "entering dir: /d",
        "entering dir: /d/empty",
        "copying key: /d/k",
        "extending key /d/k's ttl to 300 seconds",
        "copying key: /later",
        "copying key: /plain",
        "copying key: /soon",
        "extending key /soon's ttl to 300 seconds",
        "entering dir: /_h",
        "copying key: /_h/z",
        "copying key: /d/_hidden",
    ]
    assert member.client.get("/plain").node.value == "a b&c=<é>"
    assert member.client.get("/_h/z").node.value == "vz"
    ttls = [member.client.get(key).node.ttl for key in ("/plain", "/soon", "/later", "/d/k")]
    assert ttls[0] is None
    assert [round((ttl or 0) / 100) for ttl in ttls[1:]] == [3, 50, 3]
    assert [node.key for node in member.client.get("/d").node.walk()] == ["/d", "/d/k"]


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_many_workers_write_each_key_once(workers: int) -> None:
    nodes = [file(f"/k{number:03}", str(number)) for number in range(300)]
    job = Import(Snapshot(json.dumps({"Root": directory("/", *nodes)}).encode()), (), NOW)
    written: list[list[Key]] = [[] for _ in range(workers)]
    begun = threading.Barrier(workers)

    def writer(own: list[Key]) -> Callable[[Key], None]:
        def put(key: Key) -> None:
            if not own:
                begun.wait(10)  # all of them work at the same time
            own.append(key)

        return put

    assert job.count() == 300
    job.run([writer(own) for own in written], lambda item: None)
    together = sorted(key.path for own in written for key in own)
    assert together == [node["Path"] for node in nodes]
    assert job.keys == 300


def test_the_first_failure_stops_all_workers() -> None:
    nodes = [file(f"/k{number:03}", "v") for number in range(300)]
    job = Import(Snapshot(json.dumps({"Root": directory("/", *nodes)}).encode()), (), NOW)
    written: list[str] = []

    def put(key: Key) -> None:
        if key.path == "/k007":
            raise BadAnswer("no")
        written.append(key.path)

    with pytest.raises(RequestError, match="no"):
        job.run([put], lambda item: None)
    assert written == [f"/k{number:03}" for number in range(7)]


def test_a_refusal_is_told(tmp_path: Path) -> None:
    snap = write(tmp_path / "s", file("/k", "v"))
    body = '{"errorCode":102,"message":"Not a file","cause":"/k","index":9}'
    with Stub(lambda asked: answer(403, body)) as stub:
        ran = kvraftctl("--no-sync", "--endpoints", stub.url, "import", "--snap", snap)
    assert (ran.code, ran.out) == (1, f"starting to import snapshot {snap} with 10 clients\n")
    assert STAMP.sub("", ran.err).splitlines()[-1] == (
        "failed to copy key: 102: Not a file (/k) [9]"
    )


def test_a_hidden_directory_that_is_not_there(start_member: StartMember, tmp_path: Path) -> None:
    member = start_member()
    snap = write(tmp_path / "s", file("/k", "v"))
    ran = member.ctl("import", "--snap", snap, "--hidden", "/none")
    assert (ran.code, ran.err.splitlines()[-1]) == (4, "Error:  Key not found (/none)")
    assert ran.out == f"starting to import snapshot {snap} with 10 clients\n"


def test_the_file_comes_before_the_cluster(tmp_path: Path) -> None:
    dead = ("--endpoints", "http://127.0.0.1:1")
    assert kvraftctl(*dead, "import") == Ran(1, "no snapshot file provided (use --snap)\n", "")
    path = str(tmp_path / "none")
    ran = kvraftctl(*dead, "import", "--snap", path)
    assert ran == Ran(1, f"cannot read snapshot file {path}\n", "")
    snap = write(tmp_path / "s")
    ran = kvraftctl(*dead, "import", "--snap", snap)
    assert (ran.code, ran.out) == (2, "")


def test_a_person_sees_a_bar(tmp_path: Path) -> None:
    snap = write(tmp_path / "s", file("/a", "v"), file("/b", "v"))
    taken: list[str] = []

    def answering(asked: Asked) -> bytes:
        taken.append(urllib.parse.unquote(asked.body.decode()))
        return answer(201, '{"action":"set","node":{"key":"/a"}}')

    with Stub(answering) as stub:
        words = ("--no-sync", "--endpoints", stub.url, "import", "--snap", snap)
        ran = kvraftctl(*words, terminal=True)
    assert ran.code == 0
    assert taken == ["value=v", "value=v"]
    assert "copying key" not in ran.err
    assert "2/2" in ran.err
