"""`python -m jepsen_like sim`: many seeds, or one again.

A single `--seed` without `--runs` repeats exactly that run. Exit status 1 if any seed failed.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from jepsen_like.base import SECOND_NS
from jepsen_like.options import begin_worker, whole
from jepsen_like.sim.faults import ACTS
from jepsen_like.sim.operator import NAMES
from jepsen_like.sim.run import Run, Verdict, drawn

DEFAULT_RUNS: Final = 2000
COMMAND: Final = "python -m jepsen_like sim"
HOUR_NS: Final = 3600 * SECOND_NS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    cores = multiprocessing.cpu_count()
    parser.add_argument("--seed", type=int, help="the first, or only, seed (1)")
    parser.add_argument("--runs", type=whole, help=f"how many seeds ({DEFAULT_RUNS})")
    parser.add_argument("--jobs", type=whole, default=cores, help="processes (one per core)")
    parser.add_argument("--safety-ms", type=whole, help="virtual length of the phase with faults")
    parser.add_argument("--shape", action="store_true", help="only print what each seed draws")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if any seed failed."""
    first = options.seed if options.seed is not None else 1
    runs = options.runs
    if runs is None:
        runs = 1 if options.seed is not None else DEFAULT_RUNS
    seeds = range(first, first + runs)
    if options.shape:
        for seed in seeds:
            print(seed, Run(seed).shape)
        return 0
    total = Total()
    with few_collections():
        for verdict in run_all(seeds, options.jobs, options.safety_ms):
            total.add(verdict)
            total.show_progress(runs)
            if verdict.failure:
                report_failure(verdict, options.safety_ms)
    total.print_summary()
    return 1 if total.failed else 0


def run_one(safety_ms: int | None, seed: int) -> Verdict:
    """One seed, with its own shape but for the length."""
    verdict = drawn(seed, safety_ms).execute()
    gc.collect()  # a run is full of cycles: its members know it, and it knows them
    return verdict


def run_all(seeds: Iterable[int], jobs: int, safety_ms: int | None = None) -> Iterator[Verdict]:
    """The verdicts as they come, on so many processes."""
    work = partial(run_one, safety_ms)
    if jobs == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.Pool(jobs, begin_worker) as pool:  # forks, with the collector as it is set
        yield from pool.imap_unordered(work, seeds, chunksize=1)


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect cycles between runs only: during one it takes a tenth of the time for nothing."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class Total:
    """What all runs together have seen."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._faults: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._done = 0
        self._virtual_ns = 0
        self._events = 0
        self.failed: list[int] = []

    def add(self, verdict: Verdict) -> None:
        """One more run."""
        self._done += 1
        self._faults.update(verdict.faults)
        self._counts.update(verdict.counts)
        self._virtual_ns += verdict.virtual_ns
        self._events += verdict.events
        if verdict.failure:
            self.failed.append(verdict.seed)

    def show_progress(self, runs: int) -> None:
        """A bar, where somebody looks."""
        if not sys.stderr.isatty() or runs == 1:
            return
        left_s = (time.monotonic() - self._began_s) * (runs - self._done) / self._done
        bar = "#" * (40 * self._done // runs)
        hours = self._virtual_ns / HOUR_NS
        text = f"[{bar:<40}] {self._done}/{runs}, {hours:.1f} h simulated, {left_s:.0f} s left"
        end = "\n" if self._done == runs else ""
        print(f"\r{text} ", end=end, file=sys.stderr, flush=True)

    def print_summary(self) -> None:
        """What was done to the clusters, what came of it, and the figures."""
        actions = {*ACTS, *NAMES.values(), "start member", "lose machine"}
        done = {name: n for name, n in self._faults.items() if name in actions}
        _print_counts("done to the clusters:", done)
        _print_counts(
            "what came of it:", {n: c for n, c in self._faults.items() if n not in actions}
        )
        clients = ", ".join(f"{count} {name}" for name, count in self._counts.items())
        print(f"clients saw:  {clients}")
        seconds = time.monotonic() - self._began_s
        failed = f" {sorted(self.failed)}" if self.failed else ""
        faults = sum(count for name, count in done.items() if not name.startswith("heal "))
        print(
            f"{self._done} runs, {len(self.failed)} failed{failed}; "
            f"{self._virtual_ns / HOUR_NS:.2f} simulated hours with {faults} faults and changes, "
            f"{self._events} events, in {seconds:.0f} s at commit {commit()}"
        )


def _print_counts(title: str, counts: dict[str, int]) -> None:
    print(title)
    for name, count in sorted(counts.items()):
        print(f"    {name:<48} {count:>10}")


def report_failure(verdict: Verdict, safety_ms: int | None) -> None:
    """Seed, commit, reason, the last events, and how to see it again."""
    print(f"\nseed {verdict.seed} at commit {commit()} FAILED: {verdict.failure}")
    print("shape:", verdict.shape)
    print("last events:")
    for line in verdict.trace:
        print("   ", line)
    length = "" if safety_ms is None else f" --safety-ms {safety_ms}"
    seed = f"--seed {verdict.seed}{length}"
    print(f"again: {COMMAND} {seed}")
    print(f"see: python -m jepsen_like replay {seed} --html seed-{verdict.seed}.html")
    print(f"shrink: python -m jepsen_like shrink {seed} -o seed-{verdict.seed}.json", flush=True)


def commit() -> str:
    """What is being tested, as git names it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
