"""A history that was written down says what it said, and a broken file says where it is broken."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from jepsen_like.check import command, records
from jepsen_like.check.evidence import Moment
from jepsen_like.check.history import Operation
from jepsen_like.check.judge import judge
from tests.check.perfect import perfect


def fields(operation: Operation) -> dict[str, object]:
    return {name: getattr(operation, name) for name in Operation.__slots__}


def test_nothing_is_lost(tmp_path: Path) -> None:
    evidence = perfect(seed=4)
    evidence.moments.append(Moment(1, 2, "kill the leader"))
    evidence.operations[0].node_path = b"/\xff"
    records.save(evidence, tmp_path / "history")
    again = records.load(tmp_path / "history")
    for ours, theirs in zip(evidence.operations, again.operations, strict=True):
        assert fields(ours) == fields(theirs)
    assert again.moments == evidence.moments
    assert again.finals == evidence.finals
    assert judge(again) == judge(evidence)


def run(*names: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(names))


def test_the_command_prints_a_verdict_per_checker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "history"
    records.save(perfect(seed=5), file)
    assert run(str(file)) == 0
    printed = capsys.readouterr().out
    assert "registers    passed" in printed
    assert "real time    passed" in printed


def test_a_broken_promise_ends_with_status_1(tmp_path: Path) -> None:
    evidence = perfect(seed=6)
    evidence.writes_expected = 1_000_000
    records.save(evidence, tmp_path / "history")
    assert run(str(tmp_path / "history")) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: "),
        ('{"kind": "song"}', "line 2: 'song' is no kind of line"),
        ('{"kind": "history"}', "line 2: the first line, and no other"),
        ('{"kind": "operation", "number": 1}', "line 2: 'client' is missing"),
        ('{"kind": "moment", "at": 1}', "line 2: "),
        ("[]", "line 2: "),
    ],
)
def test_a_bad_line_is_named(
    line: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "history"
    records.save(perfect(seed=7, steps=20), file)
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, line, *rest]))
    assert run(str(file)) == 2
    assert f"history, {problem}" in capsys.readouterr().err


def test_wrong_fields_of_an_operation(tmp_path: Path) -> None:
    file = tmp_path / "history"
    records.save(perfect(seed=8, steps=20), file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    place = next(n for n, line in enumerate(lines) if line.get("request"))
    for change, problem in [
        ({"outcome": "splendid"}, "splendid"),
        ({"index": "seven"}, "index is 'seven'"),
        ({"request": {"op": "STEAL", "path": "/c/a"}}, "'STEAL' is no operation"),
    ]:
        broken = [*lines[:place], lines[place] | change, *lines[place + 1 :]]
        file.write_text("\n".join(map(json.dumps, broken)))
        with pytest.raises(records.RecordError, match=f"line {place + 1}: .*{problem}"):
            records.load(file)


def test_no_history_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    assert run(str(tmp_path / "empty"), str(tmp_path / "missing")) == 2
    printed = capsys.readouterr().err
    assert "the file is empty" in printed
    assert "No such file" in printed
