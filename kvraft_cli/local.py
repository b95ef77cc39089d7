"""A cluster on this machine, for trying things out: `python -m kvraft_cli.local`.

Starts each member as a child process, waits until all are healthy, shows where they are, and stops
them with Ctrl-C. Uses the server only as any user would: by its command line, its `/health`
and signals. With `--base-dir` the data stay, together with the addresses the members had, since
members know each other by their addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO
from urllib.parse import urlsplit

HOST: Final = "127.0.0.1"
MAX_MEMBERS: Final = 9  # more make every write slower and no test better
MAX_PORT: Final = 65535
READY_TIMEOUT_S: Final = 60.0  # a busy machine may take long; a member that dies is noticed at once
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1
HEALTH_TIMEOUT_S: Final = 2.0
SHOWN_LOG_LINES: Final = 12
PROGRAM: Final = (sys.executable, "-m", "kvraft")
_ENDED_BY_HAND: Final = frozenset((0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT))
# Where a cluster with a directory of its own remembers its addresses.
_ADDRESSES_FILE: Final = "cluster.json"


class LocalError(Exception):
    """The cluster cannot be started as wished; the text is for the user."""


class Member(NamedTuple):
    """Where one member listens and keeps its things."""

    name: str
    client_url: str
    peer_url: str
    directory: Path

    @property
    def log(self) -> Path:
        """Everything the member says."""
        return self.directory / f"{self.name}.log"


class Child(NamedTuple):
    """A member that has been started."""

    member: Member
    process: asyncio.subprocess.Process
    ended: asyncio.Task[int]


class Ports:
    """Ports of this machine that nobody listens on; each is given out once."""

    def __init__(self, is_free: Callable[[int], bool], find: Callable[[], int]) -> None:
        self._is_free = is_free
        self._find = find
        self._taken: set[int] = set()

    def pair(self, wanted: int) -> tuple[int, int]:
        """A client port and a peer port: the wanted one and the next, or any two."""
        pair = (wanted, wanted + 1)
        if all(self._usable(port) for port in pair):
            self._taken.update(pair)
            return pair
        return self._any(), self._any()

    def _usable(self, port: int) -> bool:
        return 0 < port <= MAX_PORT and port not in self._taken and self._is_free(port)

    def _any(self) -> int:
        port = self._find()
        while port in self._taken:
            port = self._find()
        self._taken.add(port)
        return port


class Screen:
    """What the user sees; colour and progress on a terminal only."""

    def __init__(self, out: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._terminal = out.isatty() and environ.get("TERM") != "dumb"
        self._colour = self._terminal and not environ.get("NO_COLOR")
        self._progress_shown = False

    def line(self, text: str = "") -> None:
        """A line that stays."""
        self._clear_progress()
        print(text, file=self._out, flush=True)

    def progress(self, text: str) -> None:
        """A line that the next one replaces."""
        if self._terminal:
            self._clear_progress()
            print(text, end="", file=self._out, flush=True)
            self._progress_shown = True

    def bold(self, text: str) -> str:
        """What to look at first."""
        return self._painted("1", text)

    def dim(self, text: str) -> str:
        """What to look at last."""
        return self._painted("2", text)

    def red(self, text: str) -> str:
        """What went wrong."""
        return self._painted("31", text)

    def _painted(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _clear_progress(self) -> None:
        if self._progress_shown:
            print("\r\x1b[K", end="", file=self._out)
            self._progress_shown = False


# --- which members, and where ----------------------------------------------------------


def plan(count: int, directory: Path, client_port: int, ports: Ports) -> list[Member]:
    """New members. The first has the usual ports; the others add 20000, 30000, ... to them."""
    members = []
    for number in range(1, count + 1):
        offset = number * 10_000 if number > 1 else 0
        client, peer = ports.pair(client_port + offset)
        urls = (f"http://{HOST}:{client}", f"http://{HOST}:{peer}")
        members.append(Member(f"m{number}", *urls, directory))
    return members


def remember(members: Sequence[Member], directory: Path) -> None:
    """Write down the addresses, so that the same cluster can be started again."""
    addresses = [[m.name, m.client_url, m.peer_url] for m in members]
    (directory / _ADDRESSES_FILE).write_text(json.dumps({"members": addresses}, indent=2) + "\n")


def recall(directory: Path) -> list[Member] | None:
    """The members that live in a directory; None if there are none."""
    path = directory / _ADDRESSES_FILE
    try:
        addresses = json.loads(path.read_text())["members"]
        return [Member(str(name), str(c), str(p), directory) for name, c, p in addresses]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalError(f"cannot read {path}: {error}") from error


def command(member: Member, members: Iterable[Member]) -> list[str]:
    """The flags that make a process this member."""
    return [
        *("--name", member.name),
        *("--data-dir", str(member.directory / member.name)),
        *("--listen-client-urls", member.client_url),
        *("--advertise-client-urls", member.client_url),
        *("--listen-peer-urls", member.peer_url),
        *("--initial-advertise-peer-urls", member.peer_url),
        *("--initial-cluster", ",".join(f"{m.name}={m.peer_url}" for m in members)),
    ]


def port_is_free(port: int) -> bool:
    """Whether a server could listen on a port right now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_port() -> int:
    """Some port that is free."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


# --- the running cluster ---------------------------------------------------------------


class Cluster:
    """The child processes, from start to stop."""

    def __init__(
        self, members: Sequence[Member], screen: Screen, program: Sequence[str] = PROGRAM
    ) -> None:
        self._members = members
        self._screen = screen
        self._program = program
        self._children: list[Child] = []
        self._stop = asyncio.Event()
        self.failed = False

    async def run(self, note: str) -> None:
        """Start, show, and wait; returns once every process has ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            for member in self._members:
                await self._start(member)
            if await self._wait_ready(stopping):
                self._show(note)
                await self._watch(stopping)
        finally:
            stopping.cancel()
            await self._stop_all()

    async def _start(self, member: Member) -> None:
        # Variables that set flags are meant for a member started by hand.
        environ = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with member.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._program,
                *command(member, self._members),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C reaches this process only, which then stops the members in order.
                process_group=0,
            )
        self._children.append(Child(member, process, asyncio.create_task(process.wait())))

    async def _wait_ready(self, stopping: asyncio.Task[bool]) -> bool:
        """Wait until all are healthy; False if that will not come, or is no longer wanted."""
        waiting = {asyncio.create_task(_healthy(child.member)) for child in self._children}
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
        try:
            while waiting:
                ready = len(self._children) - len(waiting)
                self._screen.progress(f"starting: {ready} of {len(self._children)} members ready")
                left = deadline - asyncio.get_running_loop().time()
                events: set[asyncio.Task[Any]] = {stopping, *waiting}
                events.update(child.ended for child in self._children)
                done, _ = await asyncio.wait(
                    events, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED
                )
                if stopping in done:
                    return False
                if self._report_ended() or not done:
                    self.failed = True
                    if not done:
                        self._report_not_ready()
                    return False
                waiting -= done
        finally:
            for task in waiting:
                task.cancel()
        return True

    async def _watch(self, stopping: asyncio.Task[bool]) -> None:
        """Tell of members that end, until the user or the last of them ends everything."""
        while self._children:
            events: set[asyncio.Task[Any]] = {stopping, *(c.ended for c in self._children)}
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return
            ended = self._report_ended()
            self._children = [child for child in self._children if child not in ended]
            for child in ended:
                words = [*self._program, *command(child.member, self._members)]
                self._screen.line(f"start it again with:\n  {shlex.join(words)}\n")
                # Whoever ends a member by hand knows why; anything else is worth a look.
                self.failed |= child.ended.result() not in _ENDED_BY_HAND
        self._screen.line("no member is left")
        self.failed = True

    async def _stop_all(self) -> None:
        """End what still runs: politely, and by force when that takes too long or is asked for."""
        running = {child.ended: child for child in self._children if not child.ended.done()}
        if not running:
            return
        self._screen.line(f"stopping {_names(running.values())}")
        self._stop.clear()
        for child in running.values():
            # Not SIGINT, which processes of a background job may have been told to ignore.
            child.process.send_signal(signal.SIGTERM)
        again = asyncio.create_task(self._stop.wait())
        ended = asyncio.gather(*running)
        events: set[asyncio.Future[Any]] = {again, ended}
        await asyncio.wait(events, timeout=STOP_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        late = [child for task, child in running.items() if not task.done()]
        if late:
            self._screen.line(self._screen.red(f"killing {_names(late)}"))
            for child in late:
                child.process.kill()
        await ended

    def _on_signal(self) -> None:
        self._stop.set()

    def _report_ended(self) -> list[Child]:
        ended = [child for child in self._children if child.ended.done()]
        for child in ended:
            how = _how_it_ended(child.ended.result())
            title = f"{child.member.name} (pid {child.process.pid}) {how}"
            self._screen.line(self._screen.red(title))
            self._show_log_end(child.member)
        return ended

    def _report_not_ready(self) -> None:
        title = f"not all members were ready within {READY_TIMEOUT_S:.0f} s"
        self._screen.line(self._screen.red(title))
        for child in self._children:
            self._show_log_end(child.member)

    def _show_log_end(self, member: Member) -> None:
        lines = _last_lines(member.log)
        self._screen.line(f"end of {member.log}:" if lines else f"{member.log} is empty")
        for line in lines:
            self._screen.line(self._screen.dim(f"  {line}"))

    def _show(self, note: str) -> None:
        screen = self._screen
        urls = [child.member.client_url for child in self._children]
        plural = "s are" if len(urls) > 1 else " is"
        screen.line(screen.bold(f"{len(urls)} member{plural} up"))
        screen.line()
        for member, process, _ended in self._children:
            screen.line(
                f"  {member.name}  {member.client_url:<24} pid {process.pid:<8}{member.log}"
            )
        key = "/v2/keys/greeting"
        examples = (
            ("set", f"curl {urls[0]}{key} -XPUT -d value=hello"),
            ("get", f"curl {urls[1 % len(urls)]}{key}"),
            ("watch", f"curl -N '{urls[-1]}{key}?wait=true&stream=true'"),
        )
        screen.line()
        for what, words in examples:
            screen.line(f"  {screen.dim(f'{what:<6}')} {screen.bold(words)}")
        screen.line()
        screen.line(f"{note} Ctrl-C stops the cluster.")


async def _healthy(member: Member) -> None:
    """Return once the member says that it and its cluster are well."""
    # Another process can only be asked again and again.
    while not await asyncio.to_thread(is_healthy, member.client_url):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


def is_healthy(client_url: str) -> bool:
    """Ask a member for its health; whatever goes wrong means no."""
    address = urlsplit(client_url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=HEALTH_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def _last_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, SHOWN_LOG_LINES)]


def _names(children: Iterable[Child]) -> str:
    return ", ".join(child.member.name for child in children)


# --- the command -----------------------------------------------------------------------


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kvraft_cli.local",
        description="Start a kvraft cluster on this machine. Not for production.",
    )
    parser.add_argument(
        "--members", type=int, metavar="N", help=f"how many, from 1 to {MAX_MEMBERS} (default: 3)"
    )
    parser.add_argument(
        "--base-dir",
        type=Path,
        metavar="DIR",
        help="keep data and logs here and start again from them (default: a temporary directory)",
    )
    parser.add_argument(
        "--client-port",
        type=int,
        metavar="PORT",
        help="for clients of the first member; taken ports are replaced (default: 2379)",
    )
    found = parser.parse_args(argv)
    if found.members is not None and not 1 <= found.members <= MAX_MEMBERS:
        parser.error(f"--members must be from 1 to {MAX_MEMBERS}")
    if found.client_port is not None and not 1 <= found.client_port < MAX_PORT:
        parser.error(f"--client-port must be from 1 to {MAX_PORT - 1}")
    return found


def choose_members(
    directory: Path, count: int | None, client_port: int | None, ports: Ports
) -> list[Member]:
    """The members that live in `directory`, or new ones that will."""
    members = recall(directory)
    if members is None:
        members = plan(count or 3, directory, client_port or 2379, ports)
        remember(members, directory)
        return members
    if count is not None and count != len(members):
        raise LocalError(
            f"{directory} holds a cluster of {len(members)}: leave --members out, "
            "or take another directory"
        )
    if client_port is not None and urlsplit(members[0].client_url).port != client_port:
        raise LocalError(
            f"{directory} holds a cluster with {members[0].client_url}: leave --client-port out, "
            "or take another directory"
        )
    return members


def _check_ports(members: Iterable[Member]) -> None:
    for member in members:
        for url in (member.client_url, member.peer_url):
            if not port_is_free(urlsplit(url).port or 0):
                raise LocalError(f"{url} of {member.name} is in use: is the cluster running?")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    screen = Screen(sys.stdout, os.environ)
    temporary = arguments.base_dir is None
    try:
        if temporary:
            directory = Path(tempfile.mkdtemp(prefix="kvraft-"))
            note = f"Data and logs are in {directory}, which goes away at the end."
        else:
            directory = arguments.base_dir.absolute()
            directory.mkdir(parents=True, exist_ok=True)
            note = f"Data and logs stay in {directory}."
        ports = Ports(port_is_free, find_port)
        members = choose_members(directory, arguments.members, arguments.client_port, ports)
        _check_ports(members)
    except (LocalError, OSError) as error:
        print(f"{screen.red('error:')} {error}", file=sys.stderr)
        return 1
    failed = asyncio.run(_run(members, screen, note))
    if temporary and failed:
        screen.line(f"kept for a look at what happened: {directory}")
    elif temporary:
        # A member that was started again by hand may still be writing there.
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if failed else 0


async def _run(members: Sequence[Member], screen: Screen, note: str) -> bool:
    cluster = Cluster(members, screen)
    await cluster.run(note)
    return cluster.failed


if __name__ == "__main__":
    sys.exit(main())
