"""What the machine allows is told in words, and asked once."""

from __future__ import annotations

import argparse
from functools import partial

import pytest

from jepsen_like.faults import probes


def test_each_answer_is_given_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str) -> str:
        asked.append(name)
        return f"no {name} here"

    for name in ("one", "two"):
        monkeypatch.setitem(probes.PROBES, name, partial(refuse, name))
    monkeypatch.setitem(probes.PROBES, "three", lambda: "")
    assert probes.missing("three") == ""
    for _ in range(2):
        assert probes.missing("two", "three", "one") == "no two here; no one here"
    assert asked == ["two", "one"]


def test_programs_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(probes, "_root", lambda: "")
    for name, program in (("namespaces", "ip"), ("strace", "strace"), ("tmpfs", "mount")):
        assert f"there is no {program}" in probes.PROBES[name]().replace("`", "")


def test_the_command_prints_every_means(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    probes.add_arguments(parser)
    assert probes.run(parser.parse_args([])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(probes.PROBES)
    assert all(line.split()[1] in ("yes", "no:") for line in lines)
