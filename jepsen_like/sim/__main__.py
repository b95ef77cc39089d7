"""`python -m jepsen_like.sim`: many seeds, or one again.

    --runs N     how many seeds (200)           --seed S    the first, or only, seed
    --jobs J     processes (all cores)           --shape     print what each seed draws
    --safety-ms  virtual length of the phase in which things break (drawn from the seed)

A single `--seed` without `--runs` repeats exactly that run. Exit status 1 if any seed failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from jepsen_like.base import SECOND_NS
from jepsen_like.sim.run import Run, Verdict

DEFAULT_RUNS = 200


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    options = _parse(arguments)
    first = options.seed if options.seed is not None else 1
    runs = options.runs
    if runs is None:
        runs = 1 if options.seed is not None else DEFAULT_RUNS
    seeds = range(first, first + runs)
    run = partial(run_one, options.safety_ms)
    if options.shape:
        for seed in seeds:
            print(seed, Run(seed).shape)
        return 0
    began = time.monotonic()
    verdicts: list[Verdict] = []
    for verdict in _run_all(run, seeds, options.jobs):
        verdicts.append(verdict)
        _progress(len(verdicts), runs)
        if verdict.failure:
            report_failure(verdict, options.safety_ms)
    _summary(verdicts, time.monotonic() - began)
    return 1 if any(verdict.failure for verdict in verdicts) else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jepsen_like.sim", description=__doc__)
    parser.add_argument("--runs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--safety-ms", type=int, default=None)
    parser.add_argument("--shape", action="store_true")
    return parser.parse_args(arguments)


def run_one(safety_ms: int | None, seed: int) -> Verdict:
    """One seed, with its own shape but for the length."""
    run = Run(seed)
    if safety_ms is not None:
        run = Run(seed, run.shape._replace(safety_ms=safety_ms))
    return run.execute()


def _run_all(run: Callable[[int], Verdict], seeds: Iterable[int], jobs: int) -> Iterable[Verdict]:
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=1)


def _progress(done: int, runs: int) -> None:
    if sys.stderr.isatty() and runs > 1:
        width = 40 * done // runs
        end = "\n" if done == runs else ""
        print(f"\r[{'#' * width:<40}] {done}/{runs}", end=end, file=sys.stderr, flush=True)


def report_failure(verdict: Verdict, safety_ms: int | None) -> None:
    """Seed, reason, the last events, and how to see it again."""
    print(f"\nseed {verdict.seed} FAILED: {verdict.failure}")
    print("shape:", verdict.shape)
    print("last events:")
    for line in verdict.trace:
        print("   ", line)
    length = "" if safety_ms is None else f" --safety-ms {safety_ms}"
    print(f"again: python -m jepsen_like.sim --seed {verdict.seed}{length}", flush=True)


def _summary(verdicts: list[Verdict], seconds: float) -> None:
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        faults.update(verdict.faults)
        counts.update(verdict.counts)
    failed = sorted(verdict.seed for verdict in verdicts if verdict.failure)
    virtual = sum(verdict.virtual_ns for verdict in verdicts) / SECOND_NS
    events = sum(verdict.events for verdict in verdicts)
    print("faults injected:")
    for name, count in sorted(faults.items()):
        print(f"    {name:<36} {count:>9}")
    print("clients saw:  " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    print(
        f"{len(verdicts)} runs, {len(failed)} failed{': ' + str(failed) if failed else ''}; "
        f"{virtual:.0f} s of virtual time, {events} events, in {seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
