"""`python -m jepsen_like control`: what the harness finds on a real etcd, and on kvraft."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from benchmarks.members import ETCD
from benchmarks.report import aligned
from jepsen_like.campaign import plan
from jepsen_like.check.judge import PASSED
from jepsen_like.control.trial import SERVERS, Outcome, run_trial
from jepsen_like.faults.registry import BY_NAME
from jepsen_like.options import WRONG_USE, folder, output, positive

SECONDS: Final = 20.0
FAULTS: Final = (
    *("kill the leader", "kill all", "pause one", "pause the leader"),
    *("the leader alone", "two halves"),
)
HEAD: Final = (
    *("fault", "server", "one order", "quorum reads", "watches", "plain reads"),
    *("stale keys", "ok", "unknown", "longest gap"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--seconds", type=positive, default=SECONDS, help="of load, each time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--fault", action="append", metavar="NAME", help="instead of these six")
    parser.add_argument("--server", action="append", choices=sorted(SERVERS))
    parser.add_argument(
        "--json", type=output, metavar="FILE", help="write everything that was found to this file"
    )


def run(options: argparse.Namespace) -> int:
    """Run all; 0 if nothing but stale reads was found, and these on both servers; else 1."""
    try:
        plan.chosen(options.fault or ())
    except plan.UnknownNameError as error:
        print(f"{error}; `python -m jepsen_like faults` names them all", file=sys.stderr)
        return WRONG_USE
    if shutil.which(ETCD[0]) is None:
        print("there is no etcd here (Debian: etcd-server)", file=sys.stderr)
        return WRONG_USE
    print(f"seed {options.seed}", flush=True)
    names = options.fault or [name for name in FAULTS if name in BY_NAME]
    servers = options.server or list(SERVERS)
    outcomes = []
    with folder("kvraft-control-") as place:
        for name in names:
            reason = BY_NAME[name].missing()
            if reason:
                print(f"{name}: left out, {reason}", flush=True)
                continue
            for server in servers:
                directory = place / f"{name.replace(' ', '-')}-{server}"
                outcome = run_trial(server, BY_NAME[name], options.seed, options.seconds, directory)
                outcomes.append(outcome)
                print(f"{name}, {server}: {outcome.verdict}", flush=True)
    print(table(outcomes))
    for line in objections(outcomes):
        print(line)
    if options.json is not None:
        found = {"seed": options.seed, "outcomes": [asdict(outcome) for outcome in outcomes]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if objections(outcomes) else 0


def table(outcomes: Sequence[Outcome]) -> str:
    """One row for each fault and server."""
    rows = [
        (
            *(outcome.fault, outcome.server),
            _worst(outcome, "watchers", "order", "sight", "replay", "real time", "final state"),
            _worst(outcome, "registers", "workload register"),
            _worst(outcome, "watches", "workload watch"),
            _worst(outcome, "reads", "local reads"),
            str(outcome.stale_keys),
            str(outcome.operations.get("ok", 0)),
            str(outcome.operations.get("unknown", 0)),
            f"{outcome.longest_gap_s:.1f} s",
        )
        for outcome in outcomes
    ]
    return "\n".join(aligned([HEAD, *rows]))


def _worst(outcome: Outcome, *checkers: str) -> str:
    verdicts = {outcome.findings.get(checker, ["unknown"])[0] for checker in checkers}
    return next((one for one in ("failed", "unknown") if one in verdicts), PASSED)


def objections(outcomes: Sequence[Outcome]) -> list[str]:
    """What was not expected: a broken promise, no verdict, or no stale read anywhere."""
    found = [
        f"{outcome.server} under `{outcome.fault}`: {checker} {verdict}: {text} "
        f"(kept: {outcome.kept})"
        for outcome in outcomes
        for checker, (verdict, text) in outcome.findings.items()
        if verdict != PASSED
    ]
    for server in dict.fromkeys(outcome.server for outcome in outcomes):
        if not any(outcome.stale_keys for outcome in outcomes if outcome.server == server):
            found.append(f"{server}: no stale read was found, although they must be there")
    return found
