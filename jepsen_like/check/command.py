"""`python -m jepsen_like check FILE...`: judge recorded histories again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jepsen_like.check import records
from jepsen_like.check.judge import FAILED, UNKNOWN, judge, worst
from jepsen_like.check.linear import BUDGET_STEPS
from jepsen_like.options import told, whole

if TYPE_CHECKING:
    import argparse

STATUS: Final = {FAILED: 1, UNKNOWN: 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a history, one object per line")
    parser.add_argument(
        "--budget",
        type=whole,
        default=BUDGET_STEPS,
        help="steps of the search for each register",
    )


def run(options: argparse.Namespace) -> int:
    """Print what each checker says.

    Returns 0 if all passed, 1 if a promise was broken, 2 for no history, 3 if something is unknown.
    """
    statuses = [0]
    for name in options.files:
        try:
            evidence = records.load(Path(name))
        except (records.RecordError, OSError) as error:
            print(told(error), file=sys.stderr)
            statuses.append(2)
            continue
        findings = judge(evidence, options.budget)
        print(f"{name}: {evidence.server}, {len(evidence.operations)} operations")
        for finding in findings:
            print(f"  {finding.checker:<12} {finding.verdict:<8} {finding.text}")
        statuses.append(STATUS.get(worst(findings), 0))
    return next((status for status in (1, 2, 3) if status in statuses), 0)
