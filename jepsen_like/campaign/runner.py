"""All stages of a campaign, one after the other, and what a person sees meanwhile."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from jepsen_like.campaign.plan import Budget, Planned
from jepsen_like.campaign.stages import place_of, run_stage, skipped
from jepsen_like.campaign.trial import Job
from jepsen_like.report import page
from jepsen_like.report.result import FAILED, PASSED, SKIPPED, UNKNOWN, Campaign, Stage, save
from kvraft import __version__

RESULT: Final = "campaign.json"
PAGE: Final = "report.html"
STAGES: Final = "stages"
MAX_REASON_CHARS: Final = 600  # on the terminal; all of it is in the result
BAR_WIDTH: Final = 24
REDRAW_S: Final = 0.5
STATUSES: Final = {PASSED: 0, FAILED: 1, UNKNOWN: 3}
INTERRUPTED: Final = 128 + 2

Runner = Callable[[Job, Path], Stage]


class Options(NamedTuple):
    """How a campaign is carried out."""

    out: Path
    seed: int
    seconds: float
    """For all stages together."""
    stage_seconds: float | None = None
    """Of load, the same for every stage; shared out of `seconds` if it is not given."""
    mutant: str = ""
    keep: bool = False
    command: str = ""


def run_campaign(
    planned: Sequence[Planned], options: Options, run: Runner | None = None
) -> Campaign:
    """Run all stages; an interruption ends it with what is there. The result is written down."""
    carry_out = run or (lambda job, place: run_stage(job, place, keep=options.keep))
    options.out.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    campaign = Campaign(
        options.command, options.seed, datetime.now(UTC).isoformat("T", "seconds"), 0.0,
        environment(), [],
    )  # fmt: skip
    try:
        _run_all(planned, options, carry_out, campaign)
    except KeyboardInterrupt:
        print("interrupted: the rest is left out", flush=True)
    campaign.seconds = time.monotonic() - began_s
    _write_down(campaign, options.out)
    return campaign


def _run_all(planned: Sequence[Planned], options: Options, run: Runner, campaign: Campaign) -> None:
    reasons = {one.fault.name: one.fault.missing() for one in planned}
    able = [one for one in planned if not reasons[one.fault.name]]
    for one in planned:
        if reasons[one.fault.name]:
            job = Job(one.fault, one.members, one.seed, 0.0)
            campaign.stages.append(skipped(job, reasons[one.fault.name]))
            print(line(campaign.stages[-1]), flush=True)
    budget = Budget(options.seconds, able)
    for number, one in enumerate(able):
        load_s = options.stage_seconds or budget.next_s()
        job = Job(one.fault, one.members, one.seed, load_s, options.mutant)
        with Bar(number, len(able), job, sys.stderr):
            stage = run(job, place_of(job, options.out / STAGES))
        budget.done(load_s, stage.seconds)
        campaign.stages.append(stage)
        print(line(stage), flush=True)
        for extra in _explanation(stage):
            print(f"    {extra}", flush=True)


def status(campaign: Campaign, planned: int) -> int:
    """The exit status. Nothing that ran is no verdict, and no pass.

    Fewer stages than were planned: it was interrupted, which matters if nothing had failed.
    """
    if len(campaign.stages) < planned and campaign.verdict() != FAILED:
        return INTERRUPTED
    ran = any(stage.verdict != SKIPPED for stage in campaign.stages)
    return STATUSES[campaign.verdict() if ran else UNKNOWN]


def line(stage: Stage) -> str:
    """One stage for people."""
    head = f"{stage.fault:<40} {stage.members} members  {stage.verdict:<8}"
    if stage.verdict == SKIPPED:
        return f"{head} {stage.reason}"
    told = " ".join(
        f"{stage.counts.get(name, 0):>5} {name}" for name in ("ok", "refused", "failed", "unknown")
    )
    return (
        f"{head} {told}  available {stage.availability:6.1%}  "
        f"longest gap {stage.longest_gap_s:4.1f} s  recovered {stage.recovered_s:4.1f} s"
    )


def _explanation(stage: Stage) -> list[str]:
    if stage.verdict == PASSED:
        return []
    reason = stage.reason
    if len(reason) > MAX_REASON_CHARS:
        reason = reason[:MAX_REASON_CHARS] + " ..."
    return [reason, f"kept: {stage.kept}", f"again: {stage.again}"]


def summary(campaign: Campaign) -> list[str]:
    """The whole campaign for people."""
    verdicts = [stage.verdict for stage in campaign.stages]
    each = ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in (PASSED, FAILED, UNKNOWN, SKIPPED)
    )
    told: dict[str, int] = {}
    for stage in campaign.stages:
        for name, count in stage.counts.items():
            told[name] = told.get(name, 0) + count
    answers = ", ".join(
        f"{told.get(name, 0)} {name}" for name in ("ok", "refused", "failed", "unknown")
    )
    ran = [stage for stage in campaign.stages if stage.verdict != SKIPPED]
    slowest_s = max((stage.recovered_s for stage in ran), default=0.0)
    return [
        f"{len(campaign.stages)} stages in {campaign.seconds / 60:.1f} min: {each}",
        f"operations: {answers}; {told.get('strikes', 0)} strikes",
        f"slowest recovery after the last fault of a stage: {slowest_s:.1f} s",
        f"verdict: {campaign.verdict() if ran else UNKNOWN}",
    ]


def environment() -> dict[str, str]:
    """The machine and the versions that a result belongs to."""
    found = {
        "kvraft": __version__,
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count()),
    }
    return {name: text for name, text in found.items() if text}


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def _write_down(campaign: Campaign, out: Path) -> None:
    save(campaign, out / RESULT)
    (out / PAGE).write_text(page.render(campaign), "utf-8")
    for text in summary(campaign):
        print(text)
    print(f"result: {out / RESULT}, page: {out / PAGE}", flush=True)


class Bar:
    """On a terminal: how far the campaign is and what runs, drawn anew twice a second."""

    def __init__(self, done: int, total: int, job: Job, stream: TextIO) -> None:
        self._done = done
        self._total = max(1, total)
        self._job = job
        self._stream = stream
        self._over = threading.Event()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._draw, name="bar", daemon=True)

    def __enter__(self) -> None:
        if self._stream.isatty():
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        while True:
            gone_s = time.monotonic() - self._began_s
            width = BAR_WIDTH * self._done // self._total
            self._stream.write(
                f"\r\x1b[K[{'#' * width:<{BAR_WIDTH}}] {self._done}/{self._total}  "
                f"{self._job.fault.name}, {self._job.members} members, "
                f"{gone_s:.0f} of {self._job.seconds:.0f} s"
            )
            self._stream.flush()
            if self._over.wait(REDRAW_S):
                return
