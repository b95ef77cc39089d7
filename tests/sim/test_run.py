"""Whole runs: a few seeds pass, one seed is one run, and a failure says how to see it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from jepsen_like.__main__ import main
from jepsen_like.base import MILLISECOND_NS, Violation
from jepsen_like.check.agreed import AgreedLog
from jepsen_like.sim.action import Action
from jepsen_like.sim.run import Run, run_seed
from jepsen_like.sim.shape import FAULTS, Shape, draw_shape
from jepsen_like.sim.world import World

SEEDS = range(1, 13)
FULL = Shape(members=3, faults=FAULTS, fault_every_ms=150, safety_ms=4000)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_passes(seed: int) -> None:
    verdict = run_seed(seed)
    assert not verdict.failure, f"seed {seed}: {verdict.failure}"
    assert verdict.counts["ok"] > 20


def test_a_seed_passes_with_every_fault_at_once() -> None:
    verdict = run_seed(5, Shape(members=3, faults=FAULTS, fault_every_ms=150, safety_ms=8000))
    assert not verdict.failure, verdict.failure
    assert len(verdict.faults) > 15


def test_the_shapes_of_a_few_seeds_differ() -> None:
    shapes = {draw_shape(World(seed).rng("shape")) for seed in range(20)}
    assert len(shapes) == 20
    assert {shape.members for shape in shapes} == {1, 3, 5}


def test_the_same_seed_is_the_same_run_under_any_hash_seed() -> None:
    script = (
        "from jepsen_like.sim.run import run_seed\n"
        "for seed in (2, 3): v = run_seed(seed); print(v.fingerprint, v.events, v.counts)"
    )
    outputs = set()
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_a_failure_prints_seed_reason_events_and_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong_index(agreed: AgreedLog, member: int, applied: int, index: int) -> None:
        if applied > 20:
            raise Violation("planted")

    monkeypatch.setattr(AgreedLog, "store_index", wrong_index)
    status = main(["sim", "--seed", "3", "--safety-ms", "3000"])
    output = capsys.readouterr().out
    assert status == 1
    assert "FAILED: Violation: planted" in output
    assert "again: python -m jepsen_like sim --seed 3 --safety-ms 3000" in output
    events = output.partition("last events:")[2].partition("again:")[0].strip().splitlines()
    assert len(events) == 100


def test_the_summary_counts_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--seed", "8", "--runs", "2", "--jobs", "1"]) == 0
    output = capsys.readouterr().out
    assert "done to the clusters:" in output
    assert "simulated hours" in output
    assert "2 runs, 0 failed" in output


def test_too_little_progress_is_a_failure() -> None:
    run = Run(1, Shape(clients=1, think_ms=60_000, safety_ms=1000))
    assert "writes succeeded" in run.execute().failure


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_actions_of_a_run_repeat_it(seed: int) -> None:
    drawn = Run(seed, FULL._replace(change_every_ms=400 if seed % 2 else 0))
    first = drawn.execute()
    text = json.dumps(drawn.actions)
    script = [Action(*fields) for fields in json.loads(text)]
    repeated = Run(seed, drawn.shape, script)
    again = repeated.execute()
    assert len(drawn.actions) > 10
    assert (again.failure, again.fingerprint, again.counts) == (
        first.failure, first.fingerprint, first.counts,
    )  # fmt: skip
    assert repeated.actions == drawn.actions


def test_a_script_may_leave_things_out() -> None:
    drawn = Run(1, FULL)
    drawn.execute()
    half = Run(1, FULL, drawn.actions[::2])
    assert not half.execute().failure
    assert half.actions == drawn.actions[::2]
    assert not Run(1, FULL, ()).execute().faults.keys() & set(FAULTS)


def test_a_cluster_whose_members_were_all_removed_ends() -> None:
    shape = Shape(members=3, strict_reconfig=False, safety_ms=4000, tick_ms=50, clients=2)
    script = [
        Action((2000 + ms) * MILLISECOND_NS, "remove member", {"ask": ask, "member": member})
        for ms, ask, member in ((0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 2), (1, 2, 3), (1, 3, 1))
    ]
    run = Run(1, shape, script)
    verdict = run.execute()
    assert not verdict.failure, verdict.failure
    assert verdict.faults["everybody removed"] == 1
    assert verdict.faults["removed member left"] == 3
    assert not run.cluster.running()
