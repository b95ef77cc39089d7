"""`python -m jepsen_like replay`: one run again, as text or as a page with a time slider.

Either a seed, or a scenario file that shrinking has written. What is asked for by `--member`,
`--kind` and the times narrows the text; the page always holds the whole run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.options import WRONG_USE, not_negative, output, told, whole
from jepsen_like.sim import page, scenario
from jepsen_like.sim.run import Run, drawn
from jepsen_like.sim.timeline import KINDS, Timeline, Wanted, lines, record, render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("scenario", nargs="?", type=Path, help="a scenario file")
    parser.add_argument("--seed", type=int, help="or the number of a run")
    parser.add_argument("--safety-ms", type=whole, help="of a seed: how long things break")
    parser.add_argument(
        "--html", type=output, metavar="FILE", help="write a page with a time slider"
    )
    parser.add_argument("--text", action="store_true", help="print all that happens, in order")
    parser.add_argument(
        "--from-ms", type=not_negative, default=0.0, help="text: virtual time to begin at"
    )
    parser.add_argument("--until-ms", type=not_negative, default=1e9, help="text: and to end at")
    parser.add_argument(
        "--member", action="append", default=[], metavar="NAME", help="text: only of these members"
    )
    parser.add_argument(
        "--kind", action="append", default=[], choices=KINDS, help="text: only these lines"
    )


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if the run fails, 2 if there is nothing to run."""
    if (options.seed is None) == (options.scenario is None):
        print("say either --seed N or a scenario file", file=sys.stderr)
        return WRONG_USE
    try:
        prepared, command = _prepare(options)
    except (OSError, scenario.Malformed) as error:
        print(told(error), file=sys.stderr)
        return WRONG_USE
    timeline = record(prepared)
    if options.html is not None:
        options.html.write_text(page.render(timeline, command), "utf-8")
    if options.text:
        try:
            wanted = _wanted(options, timeline)
        except KeyError as error:
            print(f"no member is called {error}", file=sys.stderr)
            return WRONG_USE
        for line in lines(timeline, wanted):
            print(render(line))
    print(f"seed {timeline.seed}: {timeline.failure or 'passed'}")
    return 1 if timeline.failure else 0


def _prepare(options: argparse.Namespace) -> tuple[Run, str]:
    if options.scenario is not None:
        return scenario.load(options.scenario).prepare(), scenario.replay_command(options.scenario)
    length = "" if options.safety_ms is None else f" --safety-ms {options.safety_ms}"
    command = f"python -m jepsen_like replay --seed {options.seed}{length}"
    return drawn(options.seed, options.safety_ms), command


def _wanted(options: argparse.Namespace, timeline: Timeline) -> Wanted:
    numbers = {name: number for number, name in timeline.names.items()}
    return Wanted(
        frozenset(numbers[name] for name in options.member), frozenset(options.kind),
        int(options.from_ms * MILLISECOND_NS), int(options.until_ms * MILLISECOND_NS),
    )  # fmt: skip
