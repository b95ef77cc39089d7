"""`python -m jepsen_like migrate`: move from a real etcd to kvraft while several programs write.

Writers of several kinds work on one etcd (`--enable-v2`): values, compare-and-swap, TTLs that are
kept alive or left to expire, queues in order, directories that are filled and removed. `kvraftctl
sync` follows them to a cluster of kvraft. Then the writers stop, the difference has to become 0,
the command is interrupted as a user would, and both trees are read and compared here, by code that
the command does not share.

Knows the command by its words, output and exit code only.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.members import ETCD, FORM, KVRAFT, Cluster
from jepsen_like.options import WRONG_USE, count, positive, whole

DIFFERENCE: Final = re.compile(r"(copying|following|verifying): difference (\d+), .*events (\d+)")
FIGURES: Final = re.compile(r"([a-z ]+) (\d+)")
TTL_TOLERANCE_S: Final = 3  # both sides round up to seconds, and are read one after the other
ZERO_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 90.0
KINDS: Final = ("values", "swaps", "leases", "queue", "trees", "values")


class Outcome(NamedTuple):
    """What a run showed; `problems` is empty if all is well."""

    problems: list[str]
    writes: int
    seconds: float
    differences: list[int]  # while writers were at work
    zero_after_s: float
    keys: int
    with_ttl: int
    figures: dict[str, int]
    verdict: str


class Writer(threading.Thread):
    """One program that writes; remembers how much it has done."""

    def __init__(self, url: str, kind: str, number: int, seed: int, rate: float) -> None:
        super().__init__(daemon=True, name=f"{kind}{number}")
        self.random = random.Random(f"{seed}.{number}")
        self.kind = kind
        self.number = number
        self.pause_s = 1 / rate
        self.stopping = threading.Event()
        self.writes = 0
        self.kept: list[str] = []  # keys that are refreshed
        self.failed: BaseException | None = None
        target = urllib.parse.urlsplit(url)
        assert target.hostname is not None
        self.connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)

    def run(self) -> None:
        try:
            work = getattr(self, self.kind)
            due = time.monotonic()
            while not self.stopping.is_set():
                work()
                due = max(due + self.pause_s, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failed = error
        finally:
            self.connection.close()

    def ask(self, method: str, key: str, **form: object) -> int:
        """One request; refusals are part of the game."""
        body = urllib.parse.urlencode(form) if method != "DELETE" else None
        query = "?" + urllib.parse.urlencode(form) if method == "DELETE" and form else ""
        headers = {"Content-Type": FORM} if body else {}
        self.connection.request(method, f"/v2/keys{key}{query}", body, headers)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status < 500, f"{method} {key}: {answer.status}"
        self.writes += answer.status < 300
        return answer.status

    def values(self) -> None:
        key = f"/values/{self.number}/k{self.random.randrange(200)}"
        if self.random.random() < 0.15:
            self.ask("DELETE", key)
        else:
            self.ask("PUT", key, value=f"{self.random.random()}")

    def swaps(self) -> None:
        key = f"/swaps/{self.random.randrange(20)}"
        old, new = self.random.sample("abc", 2)
        if self.ask("PUT", key, value=new, prevValue=old) == 404:
            self.ask("PUT", key, value="a", prevExist="false")

    def leases(self) -> None:
        """Short ones are left to expire; others are kept alive, which no watcher hears of."""
        if self.kept and self.random.random() < 0.6:
            key = self.random.choice(self.kept)
            if self.ask("PUT", key, refresh="true", ttl=8, prevExist="true") == 404:
                self.kept.remove(key)
            return
        key = f"/leases/{self.number}-{self.writes}"
        choice = self.random.random()
        if choice < 0.6:
            self.ask("PUT", key, value="short", ttl=self.random.randint(1, 3))
        elif choice < 0.7 and len(self.kept) < 10:
            self.ask("PUT", key, value="kept", ttl=8)
            self.kept.append(key)
        elif choice < 0.8:
            self.ask("PUT", f"{key}-dir", dir="true", ttl=self.random.randint(1, 40))
            self.ask("PUT", f"{key}-dir/below", value="x", ttl=100)
        else:
            self.ask("PUT", f"/leases/long{self.random.randrange(30)}", value="long", ttl=600)

    def queue(self) -> None:
        self.ask("POST", "/queue", value=f"job {self.writes}")
        if self.writes % 50 == 0:
            self.ask("DELETE", "/queue", recursive="true")

    def trees(self) -> None:
        top = f"/trees/{self.random.randrange(5)}"
        choice = self.random.random()
        if choice < 0.05:
            self.ask("DELETE", top, recursive="true")
        elif choice < 0.1:
            self.ask("PUT", top, value="a file in place of a directory")
        elif choice < 0.15:
            self.ask("PUT", top, dir="true")
        else:
            deep = "/".join(self.random.choices("xyz", k=self.random.randint(1, 4)))
            self.ask("PUT", f"{top}/{deep}", value=str(self.writes))


class Sync:
    """The command as a process; its lines are read as they come."""

    def __init__(self, source: str, target: str) -> None:
        words = ("sync", "--interval", "0.5", "--check", "10", "--grace", "12", source, target)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kvraft_cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.differences: list[tuple[float, int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = DIFFERENCE.search(line)
            if found is not None and found[1] == "following":
                self.differences.append((time.monotonic(), int(found[2])))

    def wait_for_zero(self, since: float) -> float:
        """When the difference was 0 for three lines in a row; raises TimeoutError."""
        deadline = time.monotonic() + ZERO_TIMEOUT_S
        while time.monotonic() < deadline:
            last = [entry for entry in self.differences if entry[0] > since][-3:]
            if len(last) == 3 and not any(count for _, count in last):
                return last[0][0]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise TimeoutError("the difference did not become 0:\n" + "\n".join(self.lines[-10:]))

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(END_TIMEOUT_S)
        finally:
            self.process.kill()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()


def tree_of(cluster: Cluster) -> dict[str, tuple[str | None, int | None]]:
    """Value (None: a directory) and TTL of each key."""
    answer = cluster.members[0].call("GET", "/v2/keys/?recursive=true&quorum=true", timeout_s=60)
    found: dict[str, tuple[str | None, int | None]] = {}
    waiting: list[dict[str, Any]] = [answer.body["node"]]
    while waiting:
        node = waiting.pop()
        if "key" in node:
            # a TTL of 0 is left out of what a server shows
            ttl = node.get("ttl", 0 if "expiration" in node else None)
            found[node["key"]] = (node.get("value"), ttl)
        waiting += node.get("nodes", [])
    return found


def differences_between(source: Cluster, target: Cluster) -> list[str]:
    """Keys, kinds, values and TTLs; what expires just now may be on one side only."""
    theirs, ours = tree_of(source), tree_of(target)
    due = {
        key
        for tree in (theirs, ours)
        for key, (_, ttl) in tree.items()
        if ttl is not None and ttl <= TTL_TOLERANCE_S
    }
    wrong = []
    for key in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(key), ours.get(key)
        if one is None or other is None:
            if not any(key == each or key.startswith(f"{each}/") for each in due):
                wrong.append(f"{key}: {one} at the source, {other} at the target")
        elif one[0] != other[0] or not same_ttl(one[1], other[1]):
            wrong.append(f"{key}: {one} at the source, {other} at the target")
    return wrong


def same_ttl(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TTL_TOLERANCE_S


def migrate(
    directory: Path, seconds: float, *, members: int, seed: int, rate: float, kills: int = 0
) -> Outcome:
    """One run; `rate` is each writer's, in writes per second, `kills` are those of targets."""
    for name in ("etcd", "kvraft"):
        (directory / name).mkdir()
    with (
        Cluster(ETCD, 1, directory / "etcd") as source,
        Cluster(KVRAFT, members, directory / "kvraft") as target,
    ):
        source.start()
        target.start()
        return _migrate(source, target, seconds, seed, rate, kills)


def _disturb(target: Cluster, seconds: float, kills: int, rng: random.Random) -> None:
    """Let the time pass; now and then a member of the target is killed, and comes back."""
    ends = time.monotonic() + seconds
    for _ in range(kills):
        time.sleep(seconds / (kills + 1))
        member = rng.choice(target.members)
        member.kill()
        time.sleep(1.0)
        member.start()
        member.wait_ready()
    time.sleep(max(0.0, ends - time.monotonic()))


def _migrate(
    source: Cluster, target: Cluster, seconds: float, seed: int, rate: float, kills: int
) -> Outcome:
    url = source.members[0].client_url
    writers = [Writer(url, kind, n, seed, rate) for n, kind in enumerate(KINDS)]
    for number in range(500):
        writers[0].ask("PUT", f"/before/{number % 20}/{number}", value="x" * 100)
    started = time.monotonic()
    for writer in writers:
        writer.start()
    sync = Sync(url, ",".join(member.client_url for member in target.members))
    problems: list[str] = []
    zero_after_s = float("inf")
    try:
        _disturb(target, seconds, kills, random.Random(seed))
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(30)
            if writer.failed is not None:
                problems.append(f"the writer {writer.name} failed: {writer.failed}")
        stopped = time.monotonic()
        zero_after_s = sync.wait_for_zero(stopped) - stopped
    except TimeoutError as error:
        problems.append(str(error))
    finally:
        code = sync.interrupt()
    problems += differences_between(source, target)[:20]
    if code != 0:
        problems.append(f"exit code {code}: " + "\n".join(sync.lines[-12:]))
    elif not any("it is safe to switch" in line for line in sync.lines):
        # What expires in that very moment counts as a change; the command may then say so.
        if not any("index has moved" in line for line in sync.lines):
            problems.append("no verdict: " + "\n".join(sync.lines[-12:]))
    done = next((line for line in sync.lines if line.startswith("done: ")), "")
    tree = tree_of(target)
    return Outcome(
        problems,
        sum(writer.writes for writer in writers),
        stopped - started,
        [count for at, count in sync.differences if at < stopped],
        zero_after_s,
        len(tree),
        sum(ttl is not None for _, ttl in tree.values()),
        {name.strip(): int(count) for name, count in FIGURES.findall(done)},
        " / ".join(sync.lines[-2:]),
    )


def report(outcome: Outcome) -> str:
    seen = sorted(outcome.differences) or [0]
    figures = outcome.figures
    load = (
        f"{outcome.writes} writes at the source in {outcome.seconds:.0f} s "
        f"({outcome.writes / outcome.seconds:.0f}/s); "
        f"{figures.get('events', 0)} events followed, {figures.get('writes', 0)} writes and "
        f"{figures.get('removals', 0)} removals at the target, {figures.get('ttl', 0)} TTLs set "
        f"anew, {figures.get('resyncs', 0)} resyncs, {figures.get('retries', 0)} retries "
        f"({figures.get('unknown', 0)} of unknown outcome), {figures.get('mended', 0)} mended"
    )
    difference = (
        f"difference under load: median {statistics.median(seen):.0f}, largest {seen[-1]}, "
        f"smallest {seen[0]}; 0 after {outcome.zero_after_s:.1f} s without writers"
    )
    content = f"in the end {outcome.keys} keys, {outcome.with_ttl} of them with a TTL"
    verdict = "FAILED" if outcome.problems else "passed"
    return "\n".join([load, difference, content, outcome.verdict, *outcome.problems, verdict])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `migrate`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--seconds", type=positive, default=60.0, help="of writing at the source (60)")
    add("--members", type=whole, default=3, help="of the kvraft cluster (3)")
    add("--kills", type=count, default=2, help="of members of kvraft, meanwhile (2)")
    add("--rate", type=positive, default=60.0, help="writes per second and writer (60)")
    add("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeat a run")


def run(chosen: argparse.Namespace) -> int:
    """Move a cluster under load, and compare; the exit status."""
    if shutil.which(ETCD[0]) is None:
        print("there is no etcd here (Debian: etcd-server)", file=sys.stderr)
        return WRONG_USE
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kvraft-migrate-") as directory:
        outcome = migrate(
            Path(directory),
            chosen.seconds,
            members=chosen.members,
            seed=chosen.seed,
            rate=chosen.rate,
            kills=chosen.kills,
        )
    print(report(outcome))
    return 1 if outcome.problems else 0
