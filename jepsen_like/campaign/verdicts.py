"""All checkers and workloads on one trial, each with its answer.

Everybody is asked, also after one has found something: what a second checker says of the same
history helps to understand the first. A checker that fails itself gives no pass either.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.campaign import figures
from jepsen_like.campaign.evidence import evidence_of
from jepsen_like.campaign.trial import RECOVERY_LIMIT_S, Trial
from jepsen_like.check.judge import judge
from jepsen_like.report.result import FAILED, PASSED, UNKNOWN, Verdict

TRACEBACK: Final = "Traceback (most recent call last)"
HARNESS_LOG: Final = "harness.txt"
"""In the directory of a stage: where the harness itself failed."""


def all_verdicts(trial: Trial, directory: Path) -> list[Verdict]:
    """What everybody says of a trial that has come to its end."""
    asked: dict[str, Callable[[], Verdict]] = {
        "settled": lambda: _settled(trial),
        "recovery": lambda: _recovery(trial),
        "logs": lambda: _logs(trial),
    }
    found = [asking(directory, name, ask) for name, ask in asked.items()]
    return [*_checked(trial, directory), *found, *_workloads(trial, directory)]


def asking(directory: Path, name: str, ask: Callable[[], Verdict]) -> Verdict:
    """One answer, whatever happens."""
    try:
        return ask()
    except Violation as violation:
        return Verdict(name, FAILED, str(violation))
    except Exception as error:
        return _checker_failed(directory, name, error)


def _checked(trial: Trial, directory: Path) -> list[Verdict]:
    try:
        return [Verdict(*finding) for finding in judge(evidence_of(trial))]
    except Exception as error:
        return [_checker_failed(directory, "history", error)]


def _checker_failed(directory: Path, name: str, error: Exception) -> Verdict:
    with (directory / HARNESS_LOG).open("a") as log:
        traceback.print_exception(error, file=log)
    return Verdict(name, UNKNOWN, f"the checker failed: {error!r}")


def _settled(trial: Trial) -> Verdict:
    shown = trial.shown
    assert shown is not None
    text = (
        f"all {trial.fleet.size} members show the same at store index {shown.store_index}, "
        f"{shown.seconds:.1f} s after the last write"
    )
    if shown.compared_index:
        text += f", and have the same digest at log index {shown.compared_index}"
    return Verdict("settled", PASSED, text)


def _recovery(trial: Trial) -> Verdict:
    operations = trial.recorder.history.operations
    ends = figures.acknowledged(operations, trial.began_ns, trial.ended_ns)
    return recovery(ends, trial.healed_ns)


def recovery(ends_ns: list[int], healed_ns: list[int]) -> Verdict:
    """Whether writes succeeded again in time, each time everything was healed.

    `ends_ns`: when writes were acknowledged. Raises Violation.
    """
    longest_s = max(figures.recoveries_s(ends_ns, healed_ns), default=0.0)
    text = (
        f"{len(ends_ns)} writes; {len(healed_ns)} times waited for, {longest_s:.1f} s at most "
        f"(promised: {RECOVERY_LIMIT_S:.0f} s)"
    )
    if longest_s > RECOVERY_LIMIT_S:
        raise Violation(text)
    return Verdict("recovery", PASSED, text)


def _logs(trial: Trial) -> Verdict:
    files = [member.log_file for member in trial.fleet.members if member.log_file.exists()]
    lines = 0
    for file in files:
        text = file.read_text(errors="replace")
        lines += text.count("\n")
        if TRACEBACK in text:
            begin = text.index(TRACEBACK)
            raise Violation(f"{file.name}: {text[begin : begin + 2000]}")
    return Verdict("logs", PASSED, f"{lines} lines of {len(files)} members, no traceback")


def _workloads(trial: Trial, directory: Path) -> Iterator[Verdict]:
    try:
        findings = trial.load.check()
    except Exception as error:
        yield _checker_failed(directory, "workloads", error)
        return
    for name, finding in findings.items():
        yield Verdict(f"workload {name}", finding.verdict, finding.text)
