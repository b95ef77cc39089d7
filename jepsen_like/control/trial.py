"""One fault on three members of one server, and what was found."""

from __future__ import annotations

import random
import shutil
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.members import ETCD, KVRAFT
from jepsen_like.base import Violation
from jepsen_like.campaign import figures
from jepsen_like.campaign.evidence import evidence_of
from jepsen_like.campaign.trial import Job, Trial
from jepsen_like.check import records
from jepsen_like.check.judge import FAILED, PASSED, UNKNOWN, judge
from jepsen_like.control.stale import StaleReads, WithStaleReads
from jepsen_like.faults.fault import Fault
from jepsen_like.options import run_to_end
from jepsen_like.workloads.workload import Context

MEMBERS: Final = 3
SERVERS: Final = {"kvraft": KVRAFT, "etcd": ETCD}
WORKLOADS: Final = ("register", "watch")
ROOT: Final = b"/c/stale"
STALE_RATE_PER_S: Final = 120.0
HISTORY: Final = "history.jsonl"


@dataclass
class Outcome:
    """What one server did under one fault."""

    server: str
    fault: str
    verdict: str = UNKNOWN
    findings: dict[str, list[str]] = field(default_factory=dict)
    """Checker -> verdict and text."""
    operations: dict[str, int] = field(default_factory=dict)
    stale_keys: int = 0
    """Keys whose plain reads no order explains; allowed, and to be found."""
    longest_gap_s: float = 0.0
    """Without an acknowledged write."""
    kept: str = ""


def run_trial(server: str, fault: Fault, seed: int, seconds: float, directory: Path) -> Outcome:
    """Try it; what is found is kept. Raises nothing but an interruption."""
    outcome = Outcome(server, fault.name)
    directory.mkdir(parents=True)
    job = Job(fault, MEMBERS, seed, seconds, kind=SERVERS[server], workloads=WORKLOADS)
    trial = Trial(job, directory)
    stale = StaleReads(_context(trial, seed))
    trial.load = WithStaleReads(trial.load, stale)
    try:
        try:
            try:
                run_to_end(trial.execute())
            except* Violation as group:
                texts = "; ".join(str(error) for error in _leaves(group))
                outcome.findings["trial"] = [FAILED, texts]
            _judge(trial, stale, outcome)
        except* Exception as group:
            traceback.print_exception(group)
            outcome.findings["harness"] = [UNKNOWN, repr(_leaves(group)[0])]
        finally:
            trial.fleet.close()
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        raise
    verdicts = {verdict for verdict, _ in outcome.findings.values()} or {UNKNOWN}
    outcome.verdict = next((one for one in (FAILED, UNKNOWN) if one in verdicts), PASSED)
    if outcome.verdict == PASSED:
        shutil.rmtree(directory)
    else:
        outcome.kept = str(directory)
        records.save(evidence_of(trial), directory / HISTORY)
    return outcome


def _context(trial: Trial, seed: int) -> Context:
    return Context(
        trial.fleet,
        trial.recorder,
        random.Random(f"{seed}/stale"),
        ROOT,
        lambda: True,
        rate_per_s=STALE_RATE_PER_S,
    )


def _judge(trial: Trial, stale: StaleReads, outcome: Outcome) -> None:
    operations = trial.recorder.history.operations
    ends = figures.acknowledged(operations, trial.began_ns, trial.ended_ns)
    outcome.longest_gap_s = figures.longest_gap_s(ends, trial.began_ns, trial.ended_ns)
    outcome.operations = dict(Counter(operation.outcome.value for operation in operations))
    if trial.shown is not None:
        for finding in judge(evidence_of(trial)):
            outcome.findings[finding.checker] = [finding.verdict, finding.text]
        for name, told in trial.load.check().items():
            outcome.findings[f"workload {name}"] = [told.verdict, told.text]
    outcome.stale_keys = stale.stale_keys()


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in _leaves(one)]
