"""How long writes stand still when the leader is killed, beside a real etcd.

    python -m benchmarks.recovery [--kills 50] [--json FILE]

Two clusters of three run side by side with the same heartbeat and election settings. In turn the
leader of one and of the other gets SIGKILL; a client writes through the two other members,
beginning a new attempt every few milliseconds whatever became of those before. Measured is the time
from the signal to the first acknowledgement of a write that was sent after it. Then the member is
started again, and the next kill waits until it follows.

For quiet moments. Exit status 1 if the median or the 99th percentile of kvraft is clearly worse.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.members import ETCD, KVRAFT, Cluster, Member, wait_until
from benchmarks.report import aligned

KILLS: Final = 50
SIZE: Final = 3
FLAGS: Final = ("--heartbeat-interval=100", "--election-timeout=1000")
ATTEMPT_EVERY_S: Final = 0.005
ATTEMPT_TIMEOUT_S: Final = 3.0
GIVE_UP_S: Final = 30.0
QUIET_S: Final = (0.3, 1.3)  # between a recovery and the next kill: any phase of the heartbeat
WORSE: Final = 1.1  # beyond this ratio to etcd the difference is no noise


async def put(member: Member, number: int) -> bool:
    """One write on a connection of its own; whether it was acknowledged."""
    host, _, port = member.client_url.removeprefix("http://").rpartition(":")
    body = b"value=%d" % number
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(
                    b"PUT /v2/keys/recovery HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    b"Content-Type: application/x-www-form-urlencoded\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                status = (await reader.readline()).split()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False
    return len(status) > 1 and status[1] in (b"200", b"201")


async def until_written(members: Sequence[Member], begun_s: float) -> float:
    """Seconds from `begun_s` to the first acknowledged write. Raises TimeoutError."""
    attempts: set[asyncio.Task[bool]] = set()
    turns = itertools.cycle(members)
    try:
        for number in itertools.count():
            attempts.add(asyncio.create_task(put(next(turns), number)))
            done, attempts = await asyncio.wait(
                attempts, timeout=ATTEMPT_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
            took_s = time.monotonic() - begun_s
            if any(task.result() for task in done):
                return took_s
            if took_s > GIVE_UP_S:
                raise TimeoutError(f"no write was acknowledged within {GIVE_UP_S} s")
            if done:  # answered at once, with an error: not a reason to ask more often
                await asyncio.sleep(ATTEMPT_EVERY_S)
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise AssertionError("unreachable")


def kill_leader(cluster: Cluster) -> float:
    """One kill and recovery; the seconds without a write."""
    leader = cluster.leader()
    others = [member for member in cluster.members if member is not leader]
    for member in others:  # whatever is done on a first request has been done
        assert asyncio.run(put(member, 0)), f"{member.name} takes no write"
    assert leader.process is not None
    begun_s = time.monotonic()
    leader.process.kill()
    took_s = asyncio.run(until_written(others, begun_s))
    leader.kill()
    leader.start()
    leader.wait_ready()
    wait_until(f"{leader.name} takes writes", lambda: asyncio.run(put(leader, 0)))
    return took_s


def measure(kills: int, rng: random.Random, directory: Path) -> dict[str, list[float]]:
    """Seconds without a write after each kill, by server."""
    times: dict[str, list[float]] = {"kvraft": [], "etcd": []}
    commands = {"kvraft": KVRAFT, "etcd": ETCD}
    clusters = {}
    try:
        for name, command in commands.items():
            (directory / name).mkdir()
            clusters[name] = cluster = Cluster(command, SIZE, directory / name)
            for member in cluster.members:
                member.extra_flags = FLAGS
            cluster.start()
        for number in range(kills):
            for name, cluster in clusters.items():
                time.sleep(rng.uniform(*QUIET_S))
                times[name].append(kill_leader(cluster))
            shown = ", ".join(f"{name} {taken[-1]:.3f} s" for name, taken in times.items())
            print(f"kill {number + 1}: {shown}", flush=True)
    finally:
        for cluster in clusters.values():
            cluster.__exit__(None, None, None)
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, 99th percentile and maximum of each, and kvraft's ratio to etcd."""
    found = {
        name: {
            "median": statistics.median(taken),
            "p99": percentile(taken, 0.99),
            "maximum": max(taken),
        }
        for name, taken in times.items()
    }
    found["ratio"] = {
        figure: found["kvraft"][figure] / found["etcd"][figure] for figure in found["etcd"]
    }
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """The summary as a Markdown table."""
    head = ("from SIGKILL to the next write", *found["etcd"])
    rows = [
        (name, *(f"{value:.2f}" + (" s" if name != "ratio" else "") for value in figures.values()))
        for name, figures in found.items()
    ]
    return "\n".join(aligned([head, *rows]))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="recovery", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, help="of each server")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--json", type=Path, help="write all times to this file")
    options = parser.parse_args(arguments)
    if shutil.which(ETCD[0]) is None:
        print("there is no etcd here to compare with (Debian: etcd-server)", file=sys.stderr)
        return 2
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kvraft-recovery-") as directory:
        times = measure(options.kills, random.Random(options.seed), Path(directory))
    found = summary(times)
    print(table(found))
    if options.json is not None:
        record: dict[str, Any] = {"seed": options.seed, "seconds": times, "summary": found}
        record["machine"] = {"python": platform.python_version(), "kernel": platform.release()}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    worse = [name for name in ("median", "p99") if found["ratio"][name] > WORSE]
    for name in worse:
        print(f"the {name} is worse than etcd's", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
