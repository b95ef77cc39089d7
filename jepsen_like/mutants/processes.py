"""Planted bugs in real processes: one stage of the campaign, without the mistake and with it."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from jepsen_like.campaign.stages import run_stage
from jepsen_like.campaign.trial import Job
from jepsen_like.faults.registry import BY_NAME
from jepsen_like.mutants.mutant import Mutant, Staged
from jepsen_like.report.result import FAILED, PASSED, Stage

SEEDS = (1, 2, 3)


def try_stage(mutant: Mutant, run: Staged) -> tuple[str, bool, str]:
    """Where it was tried, whether it was caught, and what the verdict says."""
    where = f"real processes, {run.fault}, {run.members} members"
    missing = BY_NAME[run.fault].missing()
    if missing:
        return where, False, f"not run: {missing}"
    clean = _stage(run, SEEDS[0], "")
    if clean.verdict != PASSED:
        return where, False, f"without the mistake: {clean.verdict}: {clean.reason}"
    reason = "survived"
    for seed in SEEDS:
        stage = _stage(run, seed, mutant.name)
        if stage.verdict == FAILED:
            reason = stage.reason
            found = re.search(run.expects, reason, re.MULTILINE)
            if found and "harness: " not in reason:
                return f"{where}, seed {seed}", True, _line_around(reason, found.start())
    return where, False, reason


def _line_around(text: str, place: int) -> str:
    """A reason may bring along the end of a member's log."""
    start = text.rfind("\n", 0, place) + 1
    return text[start:].partition("\n")[0].strip()


def _stage(run: Staged, seed: int, mutant: str) -> Stage:
    """Its files are removed: the command in the result repeats it."""
    place = Path(tempfile.mkdtemp(prefix="kvraft-mutant-"))
    try:
        job = Job(BY_NAME[run.fault], run.members, seed, run.seconds, mutant)
        return run_stage(job, place / "stage")
    finally:
        shutil.rmtree(place, ignore_errors=True)
