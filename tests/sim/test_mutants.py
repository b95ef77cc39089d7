"""A quick part of the planted bugs; `make mutants` runs all."""

from __future__ import annotations

import pytest

from jepsen_like import mutants

QUICK = (
    "answer before sync",
    "vote not persisted",
    "local read as quorum read",
    "apply twice",
    "expiry by local clock",
    "event dropped on overflow",
    "cut at first bad crc",
    "timeout called definite",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    finding = mutants.hunt(name)
    assert finding.seed, f"{name} survived: {finding.verdict}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [mutant.name for mutant in mutants.MUTANTS])
def test_every_planted_bug_is_caught(name: str) -> None:
    assert mutants.hunt(name).seed


def test_nothing_stays_planted() -> None:
    for mutant in mutants.MUTANTS:
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in mutant.patches()]
        with mutants.planted(mutant):
            pass
        for owner, name, value in before:
            assert owner.__dict__[name] is value


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["--jobs", "1", "apply twice"]) == 0
    output = capsys.readouterr().out
    assert "apply twice" in output
    assert "1 mutants, 1 caught, 0 survived" in output
