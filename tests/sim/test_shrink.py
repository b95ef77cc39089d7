"""Shrinking: planted bugs come down to a few lines that show them, the same ones each time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jepsen_like.mutants.mutant import Simulated
from jepsen_like.mutants.mutant import planted as mutated
from jepsen_like.mutants.registry import by_name
from jepsen_like.sim import shrinking
from jepsen_like.sim.disk import DiskFiles
from jepsen_like.sim.run import Run
from jepsen_like.sim.scenario import Scenario, dump, load, parse
from jepsen_like.sim.shape import Shape
from jepsen_like.sim.shrink import Bounds, NoFailure, Progress, kind_of, of_seed, shrink
from kvraft.raft.core import RaftCore
from kvraft.store.store import Store

BOUNDS = Bounds(runs=40, seconds=60.0)
SHAPE = Shape(
    faults=("kill", "power", "kill leader"), fault_every_ms=400, safety_ms=3_000, think_ms=30,
    clients=2, check_core=False,
)  # fmt: skip


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The production code with one mistake."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "no sync":
            patch.setattr(DiskFiles, "sync", lambda files, handle: files._disk.call())
        elif name == "compare ignored":
            patch.setattr(Store, "_compare", lambda store, node, request: None)
        else:
            patch.setattr(RaftCore, "promise", lambda core, sent: core.messages.append(sent))
        yield


def failing() -> Scenario:
    for seed in range(1, 20):
        try:
            return of_seed(Run(seed, SHAPE))
        except NoFailure:
            continue
    raise AssertionError("not caught")


@pytest.mark.parametrize(
    "name",
    [pytest.param("promise before sync", marks=pytest.mark.slow), "no sync", "compare ignored"],
)
def test_a_planted_bug_comes_down_to_a_few_lines(name: str) -> None:
    told: list[Progress] = []
    with planted(name):
        long = failing()
        short = shrink(long, BOUNDS, told.append)
        assert shrink(long, BOUNDS) == short, "not deterministic"
        again = parse(dump(short)).prepare().execute()
        assert kind_of(again.failure) == short.fails == long.fails
    assert short.prepare().execute().failure == "", "fails without the bug, too"
    assert len(short.actions) <= 4
    assert short.shape.safety_ms < long.shape.safety_ms
    assert [progress.runs for progress in told] == list(range(1, len(told) + 1))


def test_the_bounds_hold() -> None:
    name = "no sync"
    with planted(name):
        long = failing()
        told: list[Progress] = []
        short = shrink(long, Bounds(runs=5, seconds=60.0), told.append)
        assert len(told) == 5
        assert kind_of(short.prepare().execute().failure) == long.fails
        with pytest.raises(NoFailure):
            shrink(long, Bounds(runs=5, seconds=-1.0))


def test_a_passing_run_is_not_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    shrinking.add_arguments(parser)
    target = str(tmp_path / "x.json")
    assert shrinking.run(parser.parse_args(["--seed", "4", "-o", target])) == 1
    assert "seed 4 passes" in capsys.readouterr().err
    assert shrinking.run(parser.parse_args(["-o", target])) == 2


def test_the_command_writes_a_file_and_says_how_to_see_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    shrinking.add_arguments(parser)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    name = "compare ignored"
    with planted(name):
        first.write_text(dump(failing()), "utf-8")
        options = parser.parse_args([str(first), "-o", str(second), "--max-runs", "20"])
        assert shrinking.run(options) == 0
    assert len(load(second).actions) <= len(load(first).actions)
    assert f"python -m jepsen_like replay {second}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("", ""),
        (
            "Violation: members 1 and 3 both lead term 17",
            "Violation: members # and # both lead term #",
        ),
        (
            "Violation: member 2 applies Entry(term=3, data=b'a(') where Entry(term=2) was before",
            "Violation: member # applies * where * was before",
        ),
        ("Violation: no 20 writes succeeded within 9.1 s: [(1, 'LEADER')]",
         "Violation: no # writes succeeded within # s"),
        ("Traceback (most recent call last):\n  File 'x'\nKeyError: 12\n", "KeyError: #"),
    ],
)  # fmt: skip
def test_the_kind_of_a_failure(failure: str, kind: str) -> None:
    assert kind_of(failure) == kind


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "answer before sync", "skip the own-term commit rule", "two votes", "vote not persisted",
        "membership change before own-term commit", "local read as quorum read",
    ],
)  # fmt: skip
def test_known_mutants_come_down_to_little(name: str) -> None:
    mutant = by_name(name)
    runs = next(run for run in mutant.caught_by if isinstance(run, Simulated))
    with mutated(mutant.patches):
        for seed in range(1, runs.seeds + 1):
            try:
                long = of_seed(Run(seed, runs.shape))
                break
            except NoFailure:
                continue
        short = shrink(long, Bounds(runs=120, seconds=100.0))
        assert kind_of(short.prepare().execute().failure) == long.fails
    assert short.prepare().execute().failure == ""
    assert len(short.actions) <= 5
