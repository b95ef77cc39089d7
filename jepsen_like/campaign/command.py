"""`python -m jepsen_like run` and `faults`: the words of the command line."""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from jepsen_like.campaign import plan, runner
from jepsen_like.faults.matrix import ROWS
from jepsen_like.faults.registry import FAULTS
from jepsen_like.mutants.registry import MUTANTS
from jepsen_like.options import WRONG_USE, positive, told
from kvraft import __version__

DEFAULT_MINUTES: Final = 30.0

DESCRIPTION: Final = """\
Strike real members with faults while clients work, and judge every answer afterwards.

A stage is one fault on one fresh cluster: clients of all workloads write, read and watch, the
fault strikes about every five seconds, everything heals, writes must succeed again, all members
must show the same, and one order of changes must explain every answer and every event."""

EXAMPLES: Final = """\
examples:
  python -m jepsen_like run                       the whole matrix in half an hour
  python -m jepsen_like run --minutes 5 --members 3
  python -m jepsen_like run --fault 'kill the leader' --fault 'pause one' --seconds 20
  python -m jepsen_like run --list                all faults, and what this machine lacks

exit status: 0 passed, 1 a promise was broken, 2 wrong use, 3 no verdict, 130 interrupted"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--minutes", type=positive, default=DEFAULT_MINUTES, help="for all stages (30)")
    add("--seconds", type=positive, help="of load for each stage, instead of --minutes")
    add("--fault", action="append", nargs="+", default=[], metavar="NAME",
        help="only this one; may be given often")  # fmt: skip
    add("--mix", action=argparse.BooleanOptionalAction,
        help="let kinds of one fault share a stage (without --fault they do)")  # fmt: skip
    add("--members", action="append", type=int, nargs="+", default=[], metavar="N",
        choices=plan.SIZES, help="only clusters of this size: 1, 3, 5")  # fmt: skip
    add("--seed", type=int, help="repeat what was drawn")
    add("--out", type=Path, metavar="DIR", help="where the result goes (build/jepsen-TIME)")
    add("--mutant", default="", metavar="NAME", help="plant this known bug in all members")
    add("--keep", action="store_true", help="keep data, logs and history of every stage")
    add("--list", action="store_true", help="list the faults and end")


def run(options: argparse.Namespace) -> int:
    """Run the campaign; the exit status."""
    if options.list:
        return list_faults()
    try:
        faults = plan.chosen(name for names in options.fault for name in names)
        if options.mutant:
            plan.known("mutant", options.mutant, [mutant.name for mutant in MUTANTS])
    except plan.UnknownNameError as error:
        print(f"{error}; --list and `mutants --list` name them all", file=sys.stderr)
        return WRONG_USE
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    sizes = [size for sizes in options.members for size in sizes] or list(plan.SIZES)
    seconds = options.minutes * 60
    mix = not options.fault if options.mix is None else options.mix
    stages = plan.stages(faults, sizes, seed, 0.0 if options.seconds else seconds, mix=mix)
    if not stages:
        print("none of these faults makes sense in a cluster of that size", file=sys.stderr)
        return WRONG_USE
    out = options.out or Path("build") / f"jepsen-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"the result cannot go there: {told(error)}; say --out DIR", file=sys.stderr)
        return WRONG_USE
    print(f"kvraft {__version__}, seed {seed}, {len(stages)} stages, into {out}", flush=True)
    how = runner.Options(
        out, seed, seconds, options.seconds, options.mutant, options.keep,
        shlex.join(["python", "-m", "jepsen_like", *sys.argv[1:]]),
    )  # fmt: skip
    campaign = runner.run_campaign(stages, how)
    return runner.status(campaign, len(stages))


def list_faults() -> int:
    """The matrix, with what can run on this machine."""
    for row, (title, elsewhere) in ROWS.items():
        print(f"{row:>2}  {title}" + (f"  [also: {elsewhere}]" if elsewhere else ""))
        for fault in FAULTS:
            if fault.row == row:
                reason = fault.missing()
                print(f"      {fault.name:<44} {f'skipped: {reason}' if reason else 'runs'}")
    return 0
