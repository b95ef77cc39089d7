"""`python -m jepsen_like mutants`: plant each known mistake, see that its runs catch it.

    --list           name every mutant, where it comes from and what is to catch it
    --only NAME      just this one; may be repeated
    --procs          a few of them in real processes, caught by a stage of the campaign
    --jobs N         processes (all cores); --procs has one stage at a time

Exit status 1 if any survives.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence

from jepsen_like.mutants import trial
from jepsen_like.mutants.mutant import Mutant, Staged
from jepsen_like.mutants.registry import MUTANTS, by_name
from jepsen_like.options import WRONG_USE, begin_worker, whole

TEXT_WIDTH = 110  # of a verdict's text in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--list", action="store_true", help="name the mutants, run nothing")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="just this one; repeatable"
    )
    parser.add_argument("--procs", action="store_true", help="in real processes")
    parser.add_argument("--jobs", type=whole, default=multiprocessing.cpu_count(), metavar="N")


def run(options: argparse.Namespace) -> int:
    """Hunt the chosen mutants; 1 if any survives, 2 for a name that there is not."""
    try:
        chosen = [by_name(name) for name in options.only] or list(MUTANTS)
    except KeyError as missing:
        print(f"no such mutant: {missing}; --list names them", file=sys.stderr)
        return WRONG_USE
    if options.list:
        for mutant in chosen:
            _print_entry(mutant)
        return 0
    began = time.monotonic()
    survived = []
    if options.procs:
        chosen = [one for one in chosen if any(isinstance(run, Staged) for run in one.caught_by)]
    for done, (mutant, findings) in enumerate(_hunted(chosen, options), 1):
        _progress("")
        _print_findings(mutant, findings)
        if not all(finding.caught for finding in findings):
            survived.append(mutant.name)
        _progress(f"{done} of {len(chosen)}")
    _progress("")
    seconds = time.monotonic() - began
    print(f"{len(chosen)} mutants, {len(chosen) - len(survived)} caught, in {seconds:.0f} s")
    if survived:
        print("SURVIVED: " + ", ".join(survived))
    return 1 if survived else 0


def _hunted(
    chosen: Sequence[Mutant], options: argparse.Namespace
) -> Iterator[tuple[Mutant, list[trial.Finding]]]:
    if options.procs:
        yield from ((mutant, trial.hunt(mutant, on_processes=True)) for mutant in chosen)
        return
    jobs = min(options.jobs, len(chosen))
    if jobs <= 1:
        yield from ((mutant, trial.hunt(mutant)) for mutant in chosen)
        return
    names = [mutant.name for mutant in chosen]
    with multiprocessing.Pool(jobs, begin_worker) as pool:
        yield from zip(chosen, pool.imap(_hunt, names, chunksize=1), strict=True)


def _hunt(name: str) -> list[trial.Finding]:
    """In a process of its own: patches are functions, and cannot be sent there."""
    return trial.hunt(by_name(name))


def _print_entry(mutant: Mutant) -> None:
    print(f"{mutant.name}\n    {mutant.mistake}")
    if mutant.origin:
        print(f"    from the fault model, {mutant.origin}")
    for one in mutant.caught_by:
        print(f"    caught by {trial.describe(one)}")


def _print_findings(mutant: Mutant, findings: list[trial.Finding]) -> None:
    print(f"{mutant.name}: {mutant.mistake}")
    for finding in findings:
        word = "caught" if finding.caught else "SURVIVED"
        print(f"    {word:<8} {finding.seconds:5.1f} s  {finding.run}")
        print(f"    {'':<17}{finding.verdict[:TEXT_WIDTH]}", flush=True)


def _progress(text: str) -> None:
    """One line on a terminal that the next one takes the place of."""
    if sys.stderr.isatty():
        print(f"\r{text:<20}" + ("" if text else "\r"), end="", file=sys.stderr, flush=True)
