"""`kvraft dev`: from the words behind it to a running cluster, and out again.

The members are embedded ones with client ports. A signal ends the process by that signal once all
members have stopped, as it does with the server; the command `quit` ends it with 0. Exit codes: 2
for unreadable words, 1 for a cluster that cannot be started.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

from kvraft.dev import console
from kvraft.dev.keyboard import Keyboard
from kvraft.dev.options import USUAL_NODES, USUAL_PORT, Options, parse
from kvraft.dev.ports import choose_ports, port_is_free
from kvraft.dev.screen import Screen
from kvraft.errors import KvraftError
from kvraft.server.process import How, arrange, die_by, runner
from kvraft.testing.control import AsyncCluster

TICK_MS: Final = 50
"""Elections within a second, and next to nothing to do while nobody asks."""
ATTEMPTS: Final = 3
"""To start at ports that were free a moment ago; somebody else may start at the same time."""
WATCH_S: Final = 0.1
"""How soon a new leader is told of."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(words: Sequence[str]) -> None:
    """The command; ends the process."""
    options = parse(words)
    arrange()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    screen = Screen(sys.stdout or io.StringIO(), os.environ)
    how = runner()(_run(options, screen, sys.stdin))
    if isinstance(how, signal.Signals):
        die_by(how)
    sys.exit(how)


class _Ending:
    """How the process is to end, once it is known; a second signal does not wait for the first."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[How] = loop.create_future()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
                loop.add_signal_handler(number, self.by, number)

    def by(self, how: How) -> None:
        if not self.future.done():
            self.future.set_result(how)
        elif isinstance(how, signal.Signals):
            die_by(how)


async def _run(options: Options, screen: Screen, stdin: TextIO | None) -> How:
    ending = _Ending()
    starting = asyncio.ensure_future(_start(options))
    events: set[asyncio.Future[Any]] = {starting, ending.future}
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
        if starting.cancelled():
            return await ending.future
    try:
        cluster = starting.result()
    except (KvraftError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        of = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        print(f"kvraft dev: {of}{why or error}", file=sys.stderr)
        return 1
    try:
        show(cluster, options, screen)
        return await _serve(cluster, screen, stdin, ending)
    finally:
        screen.leave_prompt()
        await cluster.close()


async def _start(options: Options) -> AsyncCluster:
    """Start at the ports that are wished for, or at others. Raises KvraftError or OSError."""
    first = USUAL_PORT if options.client_port is None else options.client_port
    count = _count(options)
    for attempt in range(1, ATTEMPTS + 1):
        ports = choose_ports(
            first, count, port_is_free, keep_first=options.client_port not in (None, 0)
        )
        cluster = AsyncCluster(count, ports=ports, data_dir=options.data_dir, tick_ms=TICK_MS)
        try:
            await cluster.start()
            return cluster
        except OSError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _count(options: Options) -> int:
    """How many members: as many as the data directory has, if there is anything in it.

    Raises KvraftError if the user wants another number.
    """
    found = 0
    if options.data_dir is not None:
        while os.path.isdir(os.path.join(options.data_dir, f"m{found + 1}")):
            found += 1
    wanted = options.nodes or found or USUAL_NODES
    if found and wanted != found:
        raise KvraftError(
            f"{options.data_dir} holds a cluster of {found}: leave --nodes out, or name another "
            "directory in --data-dir"
        )
    return wanted


def show(cluster: AsyncCluster, options: Options, screen: Screen) -> None:
    """Say where the members are, and what to try first."""
    count = len(cluster.members)
    members = "1 member" if count == 1 else f"{count} members"
    whose = "its" if count == 1 else "their"
    kept = "in memory" if options.data_dir is None else f"with {whose} data in {options.data_dir}"
    screen.line(f"{screen.bold(f'kvraft dev: {members} {kept}')} (not for production)")
    screen.line()
    screen.line(console.status_text(cluster))
    urls = cluster.urls
    key = "/v2/keys/greeting"
    examples = (
        ("set", f"curl {urls[0]}{key} -XPUT -d value=hello"),
        ("get", f"kvraftctl --endpoints {urls[1 % count]} get /greeting"),
        ("watch", f"curl -N '{urls[-1]}{key}?wait=true&stream=true'"),
    )
    screen.line()
    for what, words in examples:
        screen.line(f"  {screen.dim(f'{what:<6}')} {screen.bold(words)}")
    screen.line()
    screen.line("Ctrl-C stops the cluster.")


async def _serve(
    cluster: AsyncCluster, screen: Screen, stdin: TextIO | None, ending: _Ending
) -> How:
    """Take commands and tell of new leaders, until the end is near."""
    lines: asyncio.Queue[str] = asyncio.Queue()

    def invite() -> None:
        screen.line('Type "help" for commands that break and mend it.')
        screen.prompt()

    def take(line: str) -> None:
        screen.answered()
        if line.strip() in console.QUIT:
            ending.by(0)
        else:
            lines.put_nowait(line)

    keyboard = Keyboard(stdin, on_ready=invite, on_line=take, on_end=lambda: ending.by(0))
    tasks = [
        asyncio.create_task(_obey(cluster, screen, lines)),
        asyncio.create_task(_tell_of_leaders(cluster, screen)),
    ]
    keyboard.start()
    events: set[asyncio.Future[Any]] = {*tasks, ending.future}
    try:
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # a defect: it runs for ever otherwise
        return await ending.future
    finally:
        keyboard.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _obey(cluster: AsyncCluster, screen: Screen, lines: asyncio.Queue[str]) -> None:
    while True:
        answer = await console.execute(cluster, await lines.get())
        if answer:
            screen.line(answer)
        if lines.empty():
            screen.prompt()


async def _tell_of_leaders(cluster: AsyncCluster, screen: Screen) -> None:
    """The members do not announce it; a look ten times a second costs nothing."""
    known = cluster.leader
    while True:
        await asyncio.sleep(WATCH_S)
        leader = cluster.leader
        if leader == known:
            continue
        known = leader
        if leader is None:
            screen.line(screen.red("nobody leads"))
        else:
            screen.line(f"{leader} leads in term {cluster.status(leader).term}")
