"""What a finished trial leaves to the checkers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.members import KVRAFT
from jepsen_like.base import SECOND_NS
from jepsen_like.check.evidence import Evidence, LastLook, Moment
from jepsen_like.procs.clients import ROOT

if TYPE_CHECKING:
    from jepsen_like.campaign.trial import Trial

MIN_WRITES: Final = 50  # fewer prove nothing
CLOCKS_APART_NS: Final = 2 * 3600 * SECOND_NS  # where a first leader's clock may be set


def evidence_of(trial: Trial) -> Evidence:
    """All that clients and watchers know, and when it was made hard for them."""
    history = trial.recorder.history
    zero_ns = time.monotonic_ns() - round(trial.ground.now_s * SECOND_NS)
    moments = [
        Moment(
            zero_ns + round(strike.at_s * SECOND_NS),
            zero_ns + round(strike.until_s * SECOND_NS),
            strike.what,
        )
        for strike in trial.ground.strikes
    ]
    return Evidence(
        server="kvraft" if trial.job.kind == KVRAFT else Path(trial.job.kind[0]).name,
        command=f"{trial.job.fault.name}, {trial.job.members} members, seed {trial.job.seed}",
        operations=history.operations,
        watches=history.watches,
        sessions=[session for watcher in trial.watchers for session in watcher.sessions],
        finals=_looks(trial),
        moments=moments,
        writes_expected=MIN_WRITES,
        skew_ns=CLOCKS_APART_NS if trial.job.fault.setting.starts_under_them else 0,
    )


def _looks(trial: Trial) -> list[LastLook]:
    """All members have shown the very same; how the trial waits for that is its own matter."""
    if trial.shown is None:
        return []
    at_ns = max(operation.ended_ns for operation in trial.recorder.history.operations)
    document = json.loads(trial.shown.body)
    return [
        LastLook(number, ROOT, trial.shown.store_index, at_ns, document)
        for number in trial.fleet.numbers()
    ]
