"""``make bench``: kvraft and a real etcd under the same load, in turn, with ratios.

Fair on a machine that others use as well: each round runs both servers, in the order A B, then
B A, and so on; what is printed is the median over the rounds. Both start on empty directories on
the same disk, with the same flags, and serve the same 1000 keys of 100 bytes to the same wrk.

Knows the servers by their command line and their HTTP API only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.load import KEYS, Measured, load_keys, run_wrk
from benchmarks.members import ETCD, KVRAFT, Cluster
from benchmarks.report import as_table, missed_bars

CONNECTIONS: Final = (1, 32, 256)
KINDS: Final = ("get", "quorum", "put")
# 2.3's default; later versions keep ten times as many entries in memory, which would be no fair
# comparison of memory.
FLAGS: Final = ("--snapshot-count", "10000")
SETTLE_S: Final = 1.0  # elections, first snapshots and the loader's last writes are over
SYNC_SAMPLES: Final = 50


class Case(NamedTuple):
    """One line of the table."""

    members: int
    at: str  # the member under load: "leader" or "follower"
    kind: str
    connections: int

    def name(self) -> str:
        where = f"{self.members}" if self.members == 1 else f"{self.members}/{self.at}"
        return f"{self.kind}:{where}:{self.connections}"


class Sample(NamedTuple):
    """One measurement of one case."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float  # over all members
    failed: int


class Servers(NamedTuple):
    """The two start commands, by the name in the table."""

    commands: dict[str, tuple[str, ...]]
    directory: str

    @contextlib.contextmanager
    def cluster(self, server: str, size: int) -> Iterator[Cluster]:
        """A running cluster on an empty directory, which is removed afterwards."""
        with (
            tempfile.TemporaryDirectory(prefix=f"bench-{server}-", dir=self.directory) as path,
            Cluster(self.commands[server], size, Path(path)) as cluster,
        ):
            for member in cluster.members:
                member.extra_flags = FLAGS
            cluster.start()
            yield cluster


def all_cases(sizes: Sequence[int], connections: Sequence[int], only: str) -> list[Case]:
    cases = [
        Case(size, at, kind, count)
        for size in sizes
        for at in (("leader",) if size == 1 else ("leader", "follower"))
        for kind in KINDS
        for count in connections
    ]
    words = only.split(",")
    return [case for case in cases if all(word in case.name().split(":") for word in words if word)]


def measure(cluster: Cluster, case: Case, seconds: int) -> Sample:
    member = cluster.leader() if case.at == "leader" else cluster.followers()[0]
    cpu_before = cluster.cpu_seconds()
    seen: Measured = run_wrk(member.client_url, case.kind, case.connections, seconds)
    cpu = cluster.cpu_seconds() - cpu_before
    return Sample(
        requests_per_s=(seen.requests - seen.failed) / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        cpu_s_per_1000=1000 * cpu / max(1, seen.requests),
        failed=seen.failed,
    )


def run_round(
    servers: Servers, server: str, cases: Sequence[Case], seconds: int
) -> Iterator[tuple[Case, Sample]]:
    """All cases once, on one server."""
    for size in sorted({case.members for case in cases}):
        with servers.cluster(server, size) as cluster:
            load_keys(cluster.leader().client_url, KEYS)
            time.sleep(SETTLE_S)
            for case in cases:
                if case.members == size:
                    yield case, measure(cluster, case, seconds)


def memory_per_key(servers: Servers, server: str, keys: int) -> float:
    """Growth of the resident memory of a lone member, by loading so many keys."""
    with servers.cluster(server, 1) as cluster:
        member = cluster.members[0]
        load_keys(member.client_url, KEYS)  # buffers and pools are there from now on
        time.sleep(SETTLE_S)
        before = member.resident_bytes()
        load_keys(member.client_url, keys)
        time.sleep(SETTLE_S)
        return (member.resident_bytes() - before) / (keys - KEYS)


def sync_ms(directory: str) -> float:
    """What one small append and fdatasync takes on this disk: the floor under a lone write."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNC_SAMPLES):
            file.write(b"x" * 200)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return 1000 * statistics.median(took)


def first_line(*command: str) -> str:
    """Of what a program prints; empty where there is no such program."""
    with contextlib.suppress(OSError):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        return run.stdout.partition("\n")[0]
    return ""


def machine(servers: Servers) -> dict[str, str]:
    etcd = first_line(servers.commands["etcd"][0], "--version")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "etcd": etcd.rpartition(" ")[2],
        "kvraft": first_line("git", "describe", "--always", "--dirty"),
        "fdatasync": f"{sync_ms(servers.directory):.2f} ms",
    }


def medians(samples: Sequence[Sample]) -> Sample:
    middle = Sample(*(statistics.median(column) for column in zip(*samples, strict=True)))
    return middle._replace(failed=sum(sample.failed for sample in samples))


def compare(servers: Servers, cases: Sequence[Case], options: argparse.Namespace) -> dict[str, Any]:
    """Run everything; the result is what ``--json`` writes."""
    samples: dict[tuple[str, Case], list[Sample]] = {}
    names = list(servers.commands)
    for number in range(options.rounds):
        for server in names if number % 2 == 0 else reversed(names):
            progress(f"round {number + 1} of {options.rounds}: {server}")
            for case, sample in run_round(servers, server, cases, options.seconds):
                samples.setdefault((server, case), []).append(sample)
    memory = {}
    if options.keys:
        for server in names:
            progress(f"memory: {server}, {options.keys} keys")
            memory[server] = memory_per_key(servers, server, options.keys)
    lines = []
    for case in cases:
        line: dict[str, Any] = {"name": case.name(), **case._asdict()}
        for server in names:
            line[server] = medians(samples[server, case])._asdict()
        line["ratio"] = line["kvraft"]["requests_per_s"] / line["etcd"]["requests_per_s"]
        lines.append(line)
    return {
        "machine": machine(servers),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": lines,
        "memory_bytes_per_key": memory,
    }


def progress(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="kvraft against a real etcd, under the same load. Prints a Markdown table.",
    )
    parser.add_argument("--seconds", type=int, default=3, help="length of one run (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one round of runs of one second")
    parser.add_argument(
        "--only",
        default="",
        metavar="WORDS",
        help="cases whose name has all of these comma separated parts, as in put:3/leader:32",
    )
    parser.add_argument(
        "--connections", type=int, nargs="+", default=CONNECTIONS, help="default: 1 32 256"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=(1, 3), help="default: 1 3")
    parser.add_argument(
        "--keys", type=int, default=200_000, help="keys for memory per key; 0 leaves it out"
    )
    parser.add_argument("--kvraft", default=shlex.join(KVRAFT), help="how to start kvraft")
    parser.add_argument("--etcd", default=shlex.join(ETCD), help="how to start etcd")
    parser.add_argument("--dir", default="/var/tmp", help="data goes here (default: /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    parser.add_argument("--check", action="store_true", help="fail if a bar is missed")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.rounds, options.keys = 1, 1, min(options.keys, 50_000)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    servers = Servers(
        {"kvraft": tuple(shlex.split(options.kvraft)), "etcd": tuple(shlex.split(options.etcd))},
        options.dir,
    )
    packages = {"wrk": "wrk", servers.commands["etcd"][0]: "etcd-server"}
    for program, package in packages.items():
        if shutil.which(program) is None:
            print(f"{program} is missing; on Debian: apt-get install {package}", file=sys.stderr)
            return 2
    cases = all_cases(options.sizes, options.connections, options.only)
    if not cases:
        print(f"no case has all the parts of {options.only!r}", file=sys.stderr)
        return 2
    result = compare(servers, cases, options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(as_table(result))
    missed = missed_bars(result)
    for line in missed:
        print(line)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
