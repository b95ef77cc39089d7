"""The plan and the arithmetic of the comparison; nothing is started here."""

from __future__ import annotations

import pytest

from benchmarks.compare import Case, Sample, all_cases, main, medians
from benchmarks.report import aligned, as_table, missed_bars


def test_all_cases() -> None:
    cases = all_cases((1, 3), (1, 32, 256), "")
    assert len(cases) == 27
    assert len(set(cases)) == 27
    assert {case.at for case in cases if case.members == 1} == {"leader"}


@pytest.mark.parametrize(
    ("only", "count"), [("put", 9), ("put,3/leader", 3), ("get,1,32", 1), ("quorum,256", 3)]
)
def test_only_picks_by_parts_of_the_name(only: str, count: int) -> None:
    assert len(all_cases((1, 3), (32, 64, 256), only)) == count


def test_medians_keep_every_failure() -> None:
    samples = [
        Sample(100.0, 1.0, 9.0, 0.1, 2),
        Sample(300.0, 3.0, 7.0, 0.3, 0),
        Sample(200.0, 2.0, 8.0, 0.2, 1),
    ]
    assert medians(samples) == Sample(200.0, 2.0, 8.0, 0.2, 3)


def result(ratio: float, case: Case, failed: int = 0) -> dict[str, object]:
    ours = Sample(1000 * ratio, 1.5, 2.5, 0.05, failed)._asdict()
    line = {"name": case.name(), **case._asdict(), "kvraft": ours, "ratio": ratio}
    line["etcd"] = Sample(1000.0, 1.0, 2.0, 0.1, 0)._asdict()
    machine = dict.fromkeys(("kvraft", "python", "etcd", "date", "cores", "fdatasync"), "?")
    memory = {"kvraft": 400.4, "etcd": 2000.0}
    return {
        "machine": machine,
        "rounds": 3,
        "seconds": 3,
        "cases": [line],
        "memory_bytes_per_key": memory,
    }


@pytest.mark.parametrize(
    ("ratio", "case", "missed"),
    [
        (0.99, Case(1, "leader", "get", 32), True),
        (1.0, Case(1, "leader", "get", 32), False),
        (0.5, Case(1, "leader", "get", 1), False),  # no bar for one connection
        (0.9, Case(1, "leader", "quorum", 32), False),  # nor for a lone member
        (0.9, Case(3, "follower", "quorum", 32), True),
        (0.81, Case(3, "leader", "put", 256), False),
        (0.79, Case(3, "leader", "put", 256), True),
    ],
)
def test_bars(ratio: float, case: Case, missed: bool) -> None:
    assert bool(missed_bars(result(ratio, case))) is missed


def test_table_is_markdown_and_names_failures() -> None:
    text = as_table(result(1.25, Case(3, "follower", "put", 32), failed=7))
    lines = text.splitlines()
    assert "| 3, at follower | PUT     |    32 |     1250 |   1000 |  1.25 |" in text
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert (
        "Memory per key (100-byte values, one member): kvraft 400 bytes, etcd 2000 bytes." in text
    )
    assert lines[-1] == "put:3/follower:32: 7 failed requests at kvraft"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "b", "c"), ("long", "x", "123")]) == [
        "| a    | b  |   c |",
        "| :--- | :- | --: |",
        "| long | x  | 123 |",
    ]


def test_a_missing_program_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["--quick"]) == 2
    assert "wrk is missing; on Debian: apt-get install wrk" in capsys.readouterr().err
