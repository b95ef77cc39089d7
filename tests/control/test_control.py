"""The control: its table and objections, and a real run on both servers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from jepsen_like.control import command
from jepsen_like.control.trial import Outcome

CHECKERS = (
    *("watchers", "order", "sight", "replay", "real time", "final state", "registers"),
    *("watches", "reads", "local reads", "workload register", "workload watch"),
)


def outcome(server: str, stale_keys: int = 1) -> Outcome:
    found = Outcome(server, "kill all", "passed", stale_keys=stale_keys)
    found.findings = {checker: ["passed", "fine"] for checker in CHECKERS}
    return found


def test_stale_reads_are_expected() -> None:
    assert command.objections([outcome("kvraft"), outcome("etcd")]) == []


def test_no_stale_reads_anywhere_are_suspicious() -> None:
    found = command.objections([outcome("kvraft"), outcome("etcd", stale_keys=0)])
    assert found == ["etcd: no stale read was found, although they must be there"]


def test_a_broken_promise_is_reported() -> None:
    bad = outcome("etcd")
    bad.findings["registers"] = ["failed", "/c/a: no order"]
    bad.kept = "/tmp/x"
    found = command.objections([bad])
    assert found == ["etcd under `kill all`: registers failed: /c/a: no order (kept: /tmp/x)"]
    row = command.table([bad]).splitlines()[-1]
    assert row.split("|")[4].strip() == "failed"
    assert row.split("|")[3].strip() == "passed"


@pytest.mark.slow
@pytest.mark.realetcd
@pytest.mark.timeout(300)
def test_both_servers_for_real(tmp_path: Path) -> None:
    """What must hold holds on both; whether a short run meets a stale read is left to chance."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    file = tmp_path / "control.json"
    words = ["--seconds", "6", "--seed", "3", "--fault", "pause one", "--json", str(file)]
    command.run(parser.parse_args(words))
    outcomes = json.loads(file.read_text())["outcomes"]
    assert [one["server"] for one in outcomes] == ["kvraft", "etcd"]
    assert [one["verdict"] for one in outcomes] == ["passed", "passed"], outcomes
