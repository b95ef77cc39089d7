"""One command line on one server: run, and told without what must differ between two servers.

Ids, ports, moments and paths are replaced by placeholders; indices are counted from where the
server was when the first command came, so that each one that a command consumes shows.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import subprocess
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Final, NamedTuple

from benchmarks.members import FORM, Cluster, Member, call, wait_until

TIMEOUT_S: Final = 40.0
FILLERS: Final = 32
_ARGUMENT: Final = re.compile(r"\{(\w+)([+-]\d+)?(?::(\w+))?\}")
_INDEX: Final = re.compile(
    r'((?:Index: |Index"?[:=]|_INDEX=|^Error:.*\[|\bwaitIndex=))(\d+)', re.MULTILINE
)
_PAIR: Final = re.compile(r"\[(\d+)( != |/)(\d+)\]")
_ATTEMPT: Final = re.compile(r"(?:; )?error #\d+: ")
_EXISTS: Final = re.compile(r"(?<=etcdserver: )(?:ID|peerURL)(?= exists)")  # as the seconds fall
_CLUSTER: Final = re.compile(r'(ETCD_INITIAL_CLUSTER=")([^"]*)')  # in the order of the ids
_IN_ORDER: Final = re.compile(r"(?<![0-9])\d{20}(?![0-9])")
_TTL: Final = re.compile(r'((?:TTL: |"ttl":))(\d+)')
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_ID: Final = re.compile(r"\b(?=[0-9a-f]*[a-f])[0-9a-f]{13,16}\b|\b[0-9]{16,19}(?=[:\[ ])")


class Outcome(NamedTuple):
    """What one command line did, in comparable form."""

    status: int
    stdout: str
    stderr: str

    def sorted(self) -> Outcome:
        """The same with the lines of each stream in one order; attempts lose their numbers."""
        out = "".join(sorted(self.stdout.splitlines(keepends=True)))
        err = "\n".join(sorted(_ATTEMPT.sub("\n", self.stderr).splitlines()))
        return self._replace(stdout=out, stderr=err)

    def rewritten(self, pattern: str, replacement: str) -> Outcome:
        """The same with a pattern replaced, in both streams or, as `exit N`, in the exit code."""
        if pattern.startswith("exit "):
            same = pattern == f"exit {self.status}"
            return self._replace(status=int(replacement.split()[1])) if same else self
        out, err = (re.sub(pattern, replacement, text) for text in self[1:])
        return self._replace(stdout=str(out), stderr=str(err))

    def lines(self) -> list[str]:
        """All of it as lines for a report."""
        parts = [f"exit {self.status}"]
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            parts += [f"{name} {line!r}" for line in text.splitlines(keepends=True)]
        return parts


class Job(NamedTuple):
    """A command line that runs, and where it prints to."""

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]

    def printed(self) -> bytes:
        """What it has printed so far, on both streams."""
        return read(self.out) + read(self.err)

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def read(stream: IO[bytes]) -> bytes:
    """All of a file; the program that still writes it shares the position, so that stays."""
    return os.pread(stream.fileno(), 1 << 24, 0)


class Side:
    """A command line client and the cluster it talks to."""

    def __init__(self, cli: Sequence[str], cluster: Cluster, directory: Path, closed: int) -> None:
        self.cli = tuple(cli)
        self.cluster = cluster
        self.directory = directory
        self.closed = closed  # a port on which nobody listens
        self.base = 0
        self.ids: dict[str, str] = {}
        self._running: dict[str, Job] = {}

    def begin(self) -> None:
        """Start the cluster; indices count from here."""
        self.cluster.start()
        self.base = self.index()

    def end(self) -> None:
        """Kill what still runs."""
        for job in self._running.values():
            job.kill()
        self._running.clear()

    def index(self) -> int:
        """The index of the store."""
        answer = self._first().call("GET", "/v2/keys/?quorum=true")
        return int(answer.headers["x-etcd-index"])

    def learn_ids(self) -> None:
        """Note the id of each member under its name; one that was not started is `new`."""
        for member in self._first().call("GET", "/v2/members").body["members"]:
            self.ids[member["name"] or "new"] = member["id"]

    def run(
        self, line: str, typed: str = "", environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run a command line to its end."""
        return self._finish(self._start(line, environment), typed.encode())

    def start(self, name: str, line: str) -> None:
        """Start a watch; returns once the server has it."""
        before = self._watchers()
        self._running[name] = self._start(line, None)
        wait_until(f"{line} watches", lambda: self._watchers() > before)

    def join(self, name: str, *, interrupted: bool, lines: int) -> Outcome:
        """Wait for a watch to end, after SIGINT if it does not end by itself.

        It is interrupted once it has printed so many lines.
        """
        job = self._running.pop(name)
        if interrupted:
            wait_until(f"{name} prints", lambda: job.printed().count(b"\n") >= lines)
            job.process.send_signal(signal.SIGINT)
        return self._finish(job, b"")

    def stop_one(self) -> None:
        """Kill the last member that runs."""
        [*_, last] = [member for member in self.cluster.members if member.running]
        last.kill()
        for member in self.cluster.members:
            if member.running:
                wait_until("it is noticed", partial(_judged, member, self._quorum()))

    def fill(self, key: str, times: int) -> None:
        """Set a key so many times, over a few connections, so that the server's disk need not
        sync once for each."""
        with ThreadPoolExecutor(FILLERS) as pool:
            shares = [times // FILLERS + (number < times % FILLERS) for number in range(FILLERS)]
            list(pool.map(partial(_fill, self._first().client_url, key), shares))

    # --- inside -----------------------------------------------------------------------------

    def _first(self) -> Member:
        return next(member for member in self.cluster.members if member.running)

    def _quorum(self) -> bool:
        members = self.cluster.members
        return sum(member.running for member in members) > len(members) // 2

    def _watchers(self) -> int:
        running = [member for member in self.cluster.members if member.running]
        return sum(
            call(member.client_url, "GET", "/v2/stats/store").body["watchers"] for member in running
        )

    def _start(self, line: str, environment: Mapping[str, str] | None) -> Job:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ETCDCTL_") and not name.lower().endswith("_proxy")
        }
        endpoints = ",".join(m.client_url for m in self.cluster.members if m.running)
        kept |= {"ETCDCTL_API": "2", "ETCDCTL_ENDPOINTS": endpoints, "LC_ALL": "C"}
        kept |= {name: self.expand(value) for name, value in (environment or {}).items()}
        words = [self.expand(word) for word in shlex.split(line)]
        out = tempfile.TemporaryFile()  # noqa: SIM115  closed when the job has ended
        err = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [*self.cli, *words],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=kept,
            cwd=self.directory,
        )
        return Job(process, out, err)

    def _finish(self, job: Job, typed: bytes) -> Outcome:
        try:
            job.process.communicate(typed, TIMEOUT_S)
        except subprocess.TimeoutExpired:
            job.kill()
            raise
        with job.out, job.err:
            texts = [read(stream).decode("utf-8", "replace") for stream in (job.out, job.err)]
        return Outcome(job.process.returncode, *map(self.comparable, texts))

    def expand(self, word: str) -> str:
        """Fill in what is in braces: an index, an id, a URL, a path."""

        def filled(found: re.Match[str]) -> str:
            name, offset, which = found.groups()
            if name == "idx":
                return str(self.base + int(offset or 0))
            if name == "id":
                return self.ids.get(which, "0")
            if name == "tmp":
                return str(self.directory)
            if name == "closed":
                return str(self.closed)
            if name == "url":
                return self._first().client_url
            return found[0]

        return _ARGUMENT.sub(filled, word)

    def comparable(self, text: str) -> str:
        """A text without what belongs to this server alone."""
        text = text.replace(str(self.directory), "<TMP>").replace(str(self.closed), "<CLOSED>")
        for member in self.cluster.members:
            text = text.replace(member.client_url, "<CLIENT>").replace(member.peer_url, "<PEER>")
            for url, name in ((member.client_url, "<CLIENT>"), (member.peer_url, "<PEER>")):
                text = text.replace(url.removeprefix("http://"), name)
            text = re.sub(rf"\b{member.name}\b", "<NAME>", text)
        for known in self.ids.values():
            text = re.sub(rf"\b{known}\b", "<ID>", text)
        text = _CLUSTER.sub(lambda found: found[1] + ",".join(sorted(found[2].split(","))), text)
        text = _EXISTS.sub("ID or peerURL", text)
        text = _TIME.sub("<TIME>", text)
        text = _ID.sub("<ID>", text)
        text = _INDEX.sub(lambda found: found[1] + self._relative(found[2]), text)
        text = _PAIR.sub(
            lambda found: f"[{self._relative(found[1])}{found[2]}{self._relative(found[3])}]", text
        )
        text = _IN_ORDER.sub(lambda found: f"<{self._relative(found[0])}>", text)
        # the two were not asked at the same moment
        return _TTL.sub(lambda found: f"{found[1]}<{round(int(found[2]) / 100) * 100}>", text)

    def _relative(self, digits: str) -> str:
        number = int(digits)
        return f"idx{number - self.base:+}" if number >= self.base else digits


def _judged(member: Member, healthy: bool) -> bool:
    """Whether a member has found out that it is healthy, or is not any more."""
    return bool(member.call("GET", "/health").body["health"] == ("true" if healthy else "false"))


def _fill(url: str, key: str, times: int) -> None:
    target = urllib.parse.urlsplit(url)
    assert target.hostname is not None
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=TIMEOUT_S)
    for number in range(times):
        connection.request("PUT", f"/v2/keys{key}", f"value={number}", {"Content-Type": FORM})
        connection.getresponse().read()
    connection.close()
