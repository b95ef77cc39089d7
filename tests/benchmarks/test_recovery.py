"""Figures and table of the recovery benchmark; and a short run where there is a real etcd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import recovery


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 51)]
    assert recovery.percentile(values, 0.99) == 50.0
    assert recovery.percentile(values, 0.5) == 25.0
    assert recovery.percentile([3.0], 0.99) == 3.0


def test_the_ratio_is_kvraft_to_etcd() -> None:
    found = recovery.summary({"kvraft": [1.0, 2.0, 3.0], "etcd": [2.0, 4.0, 6.0]})
    assert found["ratio"] == {"median": 0.5, "p99": 0.5, "maximum": 0.5}


def test_the_table_names_units() -> None:
    text = recovery.table(recovery.summary({"kvraft": [1.0], "etcd": [2.0]}))
    assert "| kvraft " in text
    assert "1.00 s" in text
    assert "| ratio " in text


@pytest.mark.slow
@pytest.mark.realetcd
def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recovery.json"
    status = recovery.main(["--kills", "1", "--seed", "1", "--json", str(file)])
    assert status in (0, 1)  # one kill proves nothing about speed
    record = json.loads(file.read_text())
    assert [len(taken) for taken in record["seconds"].values()] == [1, 1]
    assert "from SIGKILL to the next write" in capsys.readouterr().out
