"""A quick part of the planted bugs; `make mutants` runs all."""

from __future__ import annotations

import pytest

from jepsen_like.__main__ import main
from jepsen_like.mutants import trial
from jepsen_like.mutants.mutant import Case, Mutant, Simulated, planted
from jepsen_like.mutants.registry import MUTANTS, by_name
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape
from kvraft.server.replica import Replica

SECTION_5 = (
    "no sync",
    "answer before sync",
    "local read as quorum read",
    "skip the own-term commit rule",
    "membership change before own-term commit",
    "count a removed member",
    "drop an event on overflow",
    "expire by local clock",
    "cut at first bad crc",
)
QUICK = (
    "local read as quorum read",
    "vote not persisted",
    "apply twice",
    "no sync",
    "cut at first bad crc",
    "timeout called definite",
    "serve while replaying",
)


def names(mutants: tuple[Mutant, ...]) -> list[str]:
    return [mutant.name for mutant in mutants]


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    for finding in trial.hunt(by_name(name)):
        assert finding.caught, finding


@pytest.mark.parametrize(
    "name", [m.name for m in MUTANTS if any(isinstance(run, Case) for run in m.caught_by)]
)
def test_the_tests_that_a_mutant_names_catch_it(name: str) -> None:
    mutant = by_name(name)
    cases = tuple(run for run in mutant.caught_by if isinstance(run, Case))
    for finding in trial.hunt(mutant._replace(caught_by=cases)):
        assert finding.caught, finding


@pytest.mark.slow
@pytest.mark.parametrize("name", names(MUTANTS))
def test_every_planted_bug_is_caught(name: str) -> None:
    for finding in trial.hunt(by_name(name)):
        assert finding.caught, finding


def test_nothing_stays_planted() -> None:
    for mutant in MUTANTS:
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in mutant.patches()]
        with planted(mutant.patches):
            pass
        for owner, name, value in before:
            assert owner.__dict__[name] is value


def test_names_are_used_once_and_every_mutant_is_to_be_caught() -> None:
    assert len(set(names(MUTANTS))) == len(MUTANTS)
    assert all(mutant.caught_by for mutant in MUTANTS)


def test_the_nine_of_the_fault_model_are_there() -> None:
    assert set(SECTION_5) <= set(names(MUTANTS))
    assert all(by_name(name).origin for name in SECTION_5)


def test_the_simulator_knows_every_action_of_the_scripts() -> None:
    for mutant in MUTANTS:
        for run in mutant.caught_by:
            if isinstance(run, Simulated):
                actor = Run(1, run.shape).actor
                for action in run.script:
                    actor.check(action.name, action.details)


def test_another_verdict_than_the_expected_one_does_not_count() -> None:
    mutant = by_name("vote not persisted")
    [run] = mutant.caught_by
    assert isinstance(run, Simulated)
    wrong = mutant._replace(caught_by=(run._replace(expects="something else", seeds=2),))
    [finding] = trial.hunt(wrong)
    assert not finding.caught
    assert "recovered less" in finding.verdict


def test_an_error_of_the_harness_does_not_count() -> None:
    def broken() -> list[tuple[type, str, object]]:
        return [(Replica, "tick", lambda replica: 1 / 0)]

    mutant = Mutant("broken", "", "", broken, (Simulated(Shape(safety_ms=1000), "", seeds=1),))
    [finding] = trial.hunt(mutant)
    assert not finding.caught
    assert finding.verdict.startswith("ZeroDivisionError")


def test_a_run_that_fails_anyway_does_not_count() -> None:
    shape = Shape(safety_ms=1000, faults=("kill",), think_ms=1 << 20)  # nobody does anything
    mutant = Mutant("none", "", "", list, (Simulated(shape, "Violation", seeds=1),))
    [finding] = trial.hunt(mutant)
    assert not finding.caught
    assert "without the mistake" in finding.verdict


def test_a_run_without_an_end_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "RUN_LIMIT_S", 1)
    run = Case("tests/mutants/test_mutants.py::endless", "")
    [finding] = trial.hunt(Mutant("none", "", "", list, (run,)))
    assert not finding.caught
    assert "no end" in finding.verdict


def endless() -> None:
    while True:
        pass


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "--jobs", "1", "--only", "apply twice"]) == 0
    output = capsys.readouterr().out
    assert "apply twice: An entry is applied twice" in output
    assert "simulator, seed" in output
    assert "1 mutants, 1 caught" in output


def test_the_list_names_origin_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "--list"]) == 0
    output = capsys.readouterr().out
    assert "from the fault model, section 5" in output
    assert "caught by tests/raft/test_regressions.py::test_two_quick_snapshots" in output


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "--only", "nonsense"]) == 2
    assert "no such mutant" in capsys.readouterr().err
