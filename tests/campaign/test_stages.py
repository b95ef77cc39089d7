"""Stages on real members: what fails, what is kept, and one that passes."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like.campaign.stages import again, place_of, run_stage, skipped
from jepsen_like.campaign.trial import Job
from jepsen_like.faults.fault import Fault
from jepsen_like.faults.registry import BY_NAME, FAULTS
from jepsen_like.report.result import FAILED, PASSED, SKIPPED
from tests.campaign.faults import BROKEN, FakeFault

LOAD_S = 4.0


@pytest.mark.timeout(120)
def test_a_broken_promise_fails_the_stage_and_everything_is_kept(tmp_path: Path) -> None:
    fault = FakeFault("break a promise", error=BROKEN)
    place = tmp_path / "stage"
    stage = run_stage(Job(fault, 1, 7, LOAD_S), place)
    assert stage.verdict == FAILED
    assert str(BROKEN) in stage.reason
    assert stage.kept == str(place)
    assert (place / "m1.log").exists()
    assert (place / "history.jsonl").stat().st_size > 0
    assert "--fault 'break a promise' --members 1 --seed 7" in stage.again
    assert fault.heals > 0
    assert stage.strikes[0].what == fault.name


@pytest.mark.timeout(120)
def test_a_defect_of_the_harness_is_no_pass(tmp_path: Path) -> None:
    fault = FakeFault(error=ZeroDivisionError("a defect of the harness"))
    stage = run_stage(Job(fault, 1, 7, LOAD_S), tmp_path / "stage")
    assert stage.verdict == FAILED
    assert "ZeroDivisionError" in stage.reason
    assert "a defect of the harness" in (tmp_path / "stage" / "harness.txt").read_text()


@pytest.mark.timeout(240)
def test_the_leader_is_killed_and_every_answer_is_explained(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    stage = run_stage(Job(BY_NAME["kill the leader"], 3, seed, LOAD_S), tmp_path / "stage")
    assert stage.verdict == PASSED, (seed, stage.reason)
    assert stage.counts["ok"] > 50
    assert 0 < stage.availability <= 1
    assert sum(part.ok for part in stage.slices) <= stage.counts["ok"]
    assert stage.strikes
    assert not (tmp_path / "stage").exists()
    record_property("stage s", f"{stage.seconds:.1f}")


def test_a_skipped_stage_says_why() -> None:
    stage = skipped(Job(FakeFault("odd one"), 3, 7, 0.0), "there is no odd thing here")
    assert (stage.verdict, stage.reason) == (SKIPPED, "there is no odd thing here")


def test_the_command_repeats_the_stage() -> None:
    job = Job(FakeFault("it's odd"), 5, 11, 12.0, mutant="no sync")
    words = shlex.split(again(job))
    assert words[words.index("--fault") + 1] == "it's odd"
    assert words[words.index("--seconds") + 1] == "12"
    assert words[words.index("--mutant") + 1] == "no sync"


def test_directories_are_never_taken_twice(tmp_path: Path) -> None:
    job = Job(FakeFault("Kill  all!"), 3, 5, 1.0)
    first = place_of(job, tmp_path)
    first.mkdir()
    assert first.name == "kill-all-3-5"
    assert place_of(job, tmp_path).name == "kill-all-3-5-1"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_of_the_matrix(fault: Fault, tmp_path: Path) -> None:
    reason = fault.missing()
    if reason:
        pytest.skip(reason)
    seed = random.SystemRandom().randrange(1 << 32)
    stage = run_stage(Job(fault, max(3, fault.smallest), seed, LOAD_S), tmp_path / "stage")
    assert stage.verdict == PASSED, (seed, stage.reason)
