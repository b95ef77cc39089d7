"""How long one `kvraftctl get` or `set` takes, from fork to exit, beside Debian's etcdctl.

    python -m benchmarks.coldstart [--runs 20] [--budget-ms 60]

A member is started; each command runs again and again as a new process, the synchronisation with
the members included. Bytecode is made first, as by an installation. Prints the median, the
fastest, and the median of the processor time; fails if the median of kvraftctl is above the
budget. For quiet moments: on a busy machine only the processor time means something.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.members import KVRAFT, Cluster

RUNS: Final = 20
BUDGET_MS: Final = 60.0
PACKAGES: Final = [Path(__file__).parent.parent / name for name in ("kvraft", "kvraft_cli")]
SCRIPT: Final = str(Path(sys.executable).with_name("kvraftctl"))
COMMANDS: Final = {"get": ("get", "/x"), "set": ("set", "/x", "1")}


class Sample(NamedTuple):
    """One run, in milliseconds."""

    wall_ms: float
    cpu_ms: float


def run_once(words: Sequence[str], environment: dict[str, str]) -> Sample:
    """Run a command to its end; raises CalledProcessError if it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_ms = (time.perf_counter() - begin) * 1e3
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(words))
    return Sample(wall_ms, (usage.ru_utime + usage.ru_stime) * 1e3)


def measure(program: str, url: str, runs: int) -> dict[str, list[Sample]]:
    """Samples of each command; the first run, which fills caches, is left out."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
    environment |= {"ETCDCTL_ENDPOINTS": url, "ETCDCTL_API": "2"}
    samples = {}
    for name, words in reversed(COMMANDS.items()):
        run_once([program, *words], environment)
        samples[name] = [run_once([program, *words], environment) for _ in range(runs)]
    return samples


def median_ms(samples: Sequence[Sample]) -> float:
    """The median of the time on the clock."""
    return statistics.median(sample.wall_ms for sample in samples)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="Time of one command, from fork to exit.")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--budget-ms", type=float, default=BUDGET_MS)
    options = parser.parse_args()
    programs = [SCRIPT]
    if found := shutil.which("etcdctl"):
        programs.append(found)
    for package in PACKAGES:
        compileall.compile_dir(str(package), quiet=1)
    too_slow = False
    with tempfile.TemporaryDirectory() as directory, Cluster(KVRAFT, 1, Path(directory)) as cluster:
        (member,) = cluster.start().members
        print(f"{'program':12} {'command':8} {'median':>9} {'fastest':>9} {'processor':>9}")
        for program in programs:
            for name, samples in measure(program, member.client_url, options.runs).items():
                median = median_ms(samples)
                too_slow |= program == SCRIPT and median > options.budget_ms
                fastest = min(sample.wall_ms for sample in samples)
                cpu = statistics.median(sample.cpu_ms for sample in samples)
                print(
                    f"{Path(program).name:12} {name:8}"
                    f" {median:6.1f} ms {fastest:6.1f} ms {cpu:6.1f} ms"
                )
    if too_slow:
        print(f"above the budget of {options.budget_ms:g} ms", file=sys.stderr)
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())
