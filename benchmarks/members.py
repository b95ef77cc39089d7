"""Real members as processes: start, wait until they serve, stop, kill, and read what they used up.

Knows nothing of the server but its command line, HTTP API and exit, so that it drives kvraft and
a real etcd alike. The black-box tests use it as well as the benchmarks.

Ports are taken from below the range that the kernel hands out to outgoing connections: a member
that is down must find its own port free when it comes back.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

LOCALHOST: Final = "127.0.0.1"
KVRAFT: Final = (sys.executable, "-m", "kvraft")
ETCD: Final = ("etcd", "--enable-v2")

READY_TIMEOUT_S: Final = 30.0  # a loaded test machine, three interpreters starting at once
STOP_TIMEOUT_S: Final = 15.0  # a leader hands over first; then it is a bug, and it is killed
POLL_S: Final = 0.02
PORTS: Final = range(15_000, 32_000)  # Linux gives 32768 and up to outgoing connections
LOG_TAIL_LINES: Final = 15
FORM: Final = "application/x-www-form-urlencoded"

_reserved: Final[dict[int, int]] = {}  # port -> the open file that holds its lock
_reserving: Final = threading.Lock()

T = TypeVar("T")


class Answer(NamedTuple):
    """One HTTP answer; ``body`` is the decoded JSON, or the bytes where it is not JSON."""

    status: int
    headers: dict[str, str]
    body: Any


def call(
    url: str,
    method: str,
    path: str,
    form: dict[str, str] | None = None,
    timeout_s: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own; https needs a context.

    Raises OSError when there is no answer.
    """
    target = urllib.parse.urlsplit(url)
    assert target.hostname is not None
    connection = (
        http.client.HTTPConnection(target.hostname, target.port, timeout=timeout_s)
        if target.scheme == "http"
        else http.client.HTTPSConnection(
            target.hostname, target.port, timeout=timeout_s, context=context
        )
    )
    try:
        headers = {} if form is None else {"Content-Type": FORM}
        body = None if form is None else urllib.parse.urlencode(form)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        raw = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {url}{path}: {error!r}") from error
    finally:
        connection.close()
    fields = {name.lower(): value for name, value in response.getheaders()}
    try:
        return Answer(response.status, fields, json.loads(raw))
    except ValueError:
        return Answer(response.status, fields, raw)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; nobody else who asks here gets them while this process lives.

    Two tests that drew the same port would not notice: one member fails to start, and both talk to
    the other. So each port is taken by a lock on a file of its name, which ends with the process.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if not _reserve(port):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports in {PORTS}")


def _reserve(port: int) -> bool:
    """Take the lock of this port; False if somebody has it."""
    with _reserving:
        if port in _reserved:
            return False
        directory = Path(tempfile.gettempdir()) / f"kvraft-ports-{os.getuid()}"
        directory.mkdir(exist_ok=True)
        # Not inherited by servers, which outlive a test that fails.
        handle = os.open(directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        _reserved[port] = handle
        return True


def release_ports(ports: Sequence[int]) -> None:
    """Nothing of this process will use these ports again."""
    with _reserving:
        for port in ports:
            handle = _reserved.pop(port, None)
            if handle is not None:
                os.close(handle)


def wait_until(what: str, attempt: Callable[[], T], timeout_s: float = READY_TIMEOUT_S) -> T:
    """Try until the result is true; errors of a member that is not there (yet) count as false."""
    deadline = time.monotonic() + timeout_s
    problem: object = None
    while True:
        try:
            result = attempt()
            if result:
                return result
            problem = result
        except (OSError, LookupError, TypeError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s; last: {problem!r}")
        time.sleep(POLL_S)


class Member:
    """One server process; may be stopped and started again on the same data and ports."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        directory: Path,
        ports: tuple[int, int],
        host: str = LOCALHOST,
    ) -> None:
        self.command = tuple(command)
        self.prefix: tuple[str, ...] = ()  # a command that runs another one, elsewhere
        self.environment: dict[str, str] = {}  # beside that of the caller
        self.name = name
        self.host = host
        self.ports = ports
        self.client_url = f"http://{host}:{ports[0]}"
        self.peer_url = f"http://{host}:{ports[1]}"  # what the others are told
        self.listen_peer_url = ""  # where it listens, if that is not what the others are told
        self.data_dir = directory / f"{name}.data"
        self.log_file = directory / f"{name}.log"
        self.initial_cluster = f"{name}={self.peer_url}"
        self.initial_cluster_state = "new"
        self.extra_flags: tuple[str, ...] = ()
        self.context: ssl.SSLContext | None = None  # what clients need, with https
        self.process: subprocess.Popen[bytes] | None = None

    def call(
        self, method: str, path: str, form: dict[str, str] | None = None, timeout_s: float = 10.0
    ) -> Answer:
        """One request to this member. Raises OSError when there is no answer."""
        return call(self.client_url, method, path, form, timeout_s, self.context)

    def arguments(self) -> list[str]:
        return [
            *self.prefix,
            *self.command,
            *("--name", self.name),
            *("--data-dir", str(self.data_dir)),
            *("--listen-client-urls", self.client_url),
            *("--advertise-client-urls", self.client_url),
            *("--listen-peer-urls", self.listen_peer_url or self.peer_url),
            *("--initial-advertise-peer-urls", self.peer_url),
            *(("--initial-cluster", self.initial_cluster) if self.initial_cluster else ()),
            *("--initial-cluster-state", self.initial_cluster_state),
            *self.extra_flags,
        ]

    def start(self) -> None:
        assert self.process is None, f"{self.name} is running"
        # settings of the caller's shell must not reach the server
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        environment |= self.environment
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def ready(self) -> bool:
        """Whether the member knows the cluster's version and a leader that published its name."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended by itself:\n{self.log_tail()}")
        version = self.call("GET", "/version", timeout_s=2).body["etcdcluster"]
        leader = self.call("GET", "/v2/members/leader", timeout_s=2)
        return version[0].isdigit() and leader.status == 200 and leader.body["name"] != ""

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        try:
            wait_until(f"{self.name} serves", self.ready, timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log_tail()}") from error

    def signal(self, number: int) -> int:
        """Send a signal that ends the process; its exit status."""
        assert self.process is not None, f"{self.name} is not running"
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def terminate(self) -> int:
        return self.signal(signal.SIGTERM)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} is not running"
        return self.process.pid

    def is_leader(self) -> bool:
        state = self.call("GET", "/v2/stats/self", timeout_s=2).body["state"]
        return bool(state == "StateLeader")

    def cpu_seconds(self) -> float:
        """Processor time of all threads, in user and in kernel mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])  # utime and stime; see proc(5)
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def log_tail(self) -> str:
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "".join(f"    {self.name}| {line}\n" for line in lines)


class Cluster:
    """Members that know each other. A context manager: leaving it kills what still runs."""

    def __init__(self, command: Sequence[str], size: int, directory: Path) -> None:
        ports = self._ports = free_ports(2 * size)
        self.members = [
            Member(command, f"m{i + 1}", directory, (ports[2 * i], ports[2 * i + 1]))
            for i in range(size)
        ]
        initial = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.initial_cluster = initial

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        release_ports(self._ports)

    def start(self) -> Self:
        for member in self.members:
            member.start()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.wait_ready()

    def kill(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.kill()

    def leader(self) -> Member:
        """The member that leads now; waits for there to be one."""
        running = [member for member in self.members if member.process is not None]

        def find() -> Member | None:
            for member in running:
                try:
                    if member.is_leader():
                        return member
                except OSError:
                    continue  # stopped meanwhile; another one may lead
            return None

        found = wait_until("the cluster has a leader", find)
        assert found is not None
        return found

    def followers(self) -> list[Member]:
        leader = self.leader()
        return [m for m in self.members if m is not leader and m.process is not None]

    def cpu_seconds(self) -> float:
        return sum(member.cpu_seconds() for member in self.members if member.process is not None)

    def logs(self) -> str:
        return "".join(member.log_tail() for member in self.members)
