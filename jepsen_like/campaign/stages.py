"""A stage: a trial as a result that is written down. What failed is kept, the rest goes."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.campaign import figures
from jepsen_like.campaign.evidence import evidence_of
from jepsen_like.campaign.trial import Job, Trial
from jepsen_like.campaign.verdicts import HARNESS_LOG, all_verdicts
from jepsen_like.check import records
from jepsen_like.faults.mix import Mix, parts_of
from jepsen_like.options import run_to_end
from jepsen_like.report.result import FAILED, PASSED, SKIPPED, UNKNOWN, Stage, Verdict

COMMAND: Final = "python -m jepsen_like run"
HISTORY: Final = "history.jsonl"
"""In the directory of a stage that is kept: for `python -m jepsen_like check`."""


def run_stage(
    job: Job,
    directory: Path,
    *,
    keep: bool = False,
    make: Callable[[Job, Path], Trial] = Trial,
) -> Stage:
    """Try it; `directory` must not exist yet.

    Never raises but for an interruption, which leaves nothing behind unless all is kept.
    """
    fault = job.fault
    stage = Stage(fault.name, fault.row, job.members, job.seed, UNKNOWN, again=again(job))
    began_s = time.monotonic()
    directory.mkdir(parents=True)
    trial: Trial | None = None
    try:
        try:
            trial = make(job, directory)
            _carry_out(trial, stage, directory)
        except Exception as error:
            _harness_failed(stage, error, directory)
        finally:
            if trial is not None:
                trial.fleet.close()
    except KeyboardInterrupt:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    stage.seconds = time.monotonic() - began_s
    if keep or stage.verdict != PASSED:
        stage.kept = str(directory)
        if trial is not None:
            records.save(evidence_of(trial), directory / HISTORY)
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return stage


def skipped(job: Job, reason: str) -> Stage:
    """A stage that cannot run on this machine."""
    return Stage(job.fault.name, job.fault.row, job.members, job.seed, SKIPPED, reason)


def again(job: Job) -> str:
    """The command that repeats a stage."""
    words = [
        *("--fault", *(part.name for part in parts_of(job.fault))),
        *(("--mix",) if isinstance(job.fault, Mix) else ()),
        *("--members", str(job.members), "--seed", str(job.seed)),
        *("--seconds", f"{job.seconds:.0f}"),
        *(("--mutant", job.mutant) if job.mutant else ()),
    ]
    return f"{COMMAND} {shlex.join(words)}"


def place_of(job: Job, parent: Path) -> Path:
    """A directory for it that does not exist yet."""
    words = re.sub(r"[^a-z0-9]+", "-", job.fault.name.lower()).strip("-")
    name = f"{words}-{job.members}-{job.seed}"
    taken = (parent / (name + (f"-{number}" if number else "")) for number in itertools.count())
    return next(place for place in taken if not place.exists())


def _carry_out(trial: Trial, stage: Stage, directory: Path) -> None:
    try:
        run_to_end(trial.execute())
    except* Violation as group:
        texts = [str(error) for error in _leaves(group)]
        stage.verdicts.append(Verdict("trial", FAILED, "; ".join(texts)))
    except* Exception as group:
        _harness_failed(stage, group, directory)
    _fill_in(stage, trial)
    if trial.shown is not None:
        stage.verdicts += all_verdicts(trial, directory)
    _conclude(stage)


def _harness_failed(stage: Stage, error: BaseException, directory: Path) -> None:
    with (directory / HARNESS_LOG).open("a") as log:
        traceback.print_exception(error, file=log)
    first = _leaves(error)[0] if isinstance(error, BaseExceptionGroup) else error
    text = f"the harness failed, see {HARNESS_LOG}: {first!r}"
    stage.verdicts.append(Verdict("harness", FAILED, text))
    _conclude(stage)


def _conclude(stage: Stage) -> None:
    """The worst of all verdicts, and what it was given for."""
    for worst in (FAILED, UNKNOWN):
        bad = [each for each in stage.verdicts if each.verdict == worst]
        if bad:
            stage.verdict = worst
            stage.reason = "; ".join(f"{each.checker}: {each.text}" for each in bad)
            return
    stage.verdict = PASSED if stage.verdicts else UNKNOWN
    stage.reason = "" if stage.verdicts else "nobody gave a verdict"


def _fill_in(stage: Stage, trial: Trial) -> None:
    """Everything that is measured."""
    operations = trial.recorder.history.operations
    began_ns, ended_ns = trial.began_ns or trial.ended_ns, trial.ended_ns
    ends = figures.acknowledged(operations, began_ns, ended_ns)
    recoveries = figures.recoveries_s(ends, trial.healed_ns)
    stage.strikes = trial.ground.strikes
    stage.counts = figures.counts(operations)
    stage.counts["strikes"] = sum(strike.until_s > strike.at_s for strike in stage.strikes)
    stage.counts["slowest recovery ms"] = round(1000 * max(recoveries, default=0.0))
    stage.availability = figures.availability(ends, began_ns, ended_ns)
    stage.longest_gap_s = figures.longest_gap_s(ends, began_ns, ended_ns)
    stage.recovered_s = recoveries[-1] if recoveries else 0.0
    stage.slices = figures.slices(operations, began_ns, ended_ns)
    stage.latencies_ms = figures.latencies_ms(operations)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
