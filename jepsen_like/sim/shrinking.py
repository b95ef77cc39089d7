"""`python -m jepsen_like shrink`: a failing seed as a short scenario file.

Progress goes to the terminal; the last line is the command that shows the result again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jepsen_like.options import WRONG_USE, output, positive, told, whole
from jepsen_like.sim import scenario, shrink
from jepsen_like.sim.many import few_collections
from jepsen_like.sim.run import drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    bounds = shrink.BOUNDS
    parser.add_argument("scenario", nargs="?", type=Path, help="a scenario file to shrink further")
    parser.add_argument("--seed", type=int, help="or the number of a run that fails")
    parser.add_argument("--safety-ms", type=whole, help="of a seed: how long things break")
    parser.add_argument("-o", "--output", type=output, required=True, metavar="FILE")
    parser.add_argument(
        "--max-runs",
        type=whole,
        default=bounds.runs,
        help="stop after so many (%(default)s)",
    )
    parser.add_argument(
        "--max-seconds", type=positive, default=bounds.seconds, help="or so long (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if there is no failure to shrink, 2 if there is nothing to run."""
    if (options.seed is None) == (options.scenario is None):
        print("say either --seed N or a scenario file", file=sys.stderr)
        return WRONG_USE
    try:
        with few_collections():
            if options.scenario is not None:
                found = scenario.load(options.scenario)
            else:
                found = shrink.of_seed(drawn(options.seed, options.safety_ms))
            bounds = shrink.Bounds(options.max_runs, options.max_seconds)
            short = shrink.shrink(found, bounds, _show if sys.stderr.isatty() else None)
    except (OSError, scenario.Malformed) as error:
        print(told(error), file=sys.stderr)
        return WRONG_USE
    except shrink.NoFailure as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)
    scenario.save(short, options.output)
    print(f"{len(found.actions)} actions became {len(short.actions)}: {short.fails}")
    print(f"written to {options.output}; see it again with")
    print("   ", scenario.replay_command(options.output))
    return 0


def _show(progress: shrink.Progress) -> None:
    words = f"run {progress.runs}: {progress.actions} actions, {progress.what}"
    print(f"\r{words:<70}", end="", file=sys.stderr, flush=True)
