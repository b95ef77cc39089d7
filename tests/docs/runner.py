"""Runs all blocks of a page in order and says where it shows something else than happens."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.members import free_ports
from tests.docs import markdown
from tests.docs.compare import renewed, same
from tests.docs.markdown import DOES_NOT_WATCH, RUNNABLE, Block, Page, Typed
from tests.docs.playground import CLIENT_PORTS, Playground, watchers_at
from tests.docs.ports import Ports
from tests.docs.programs import Programs
from tests.docs.shell import Screen, Shell, ShellError
from tests.docs.terminal import Terminal

ROOT: Final = Path(__file__).parent.parent.parent
PAGES_ROOT = ROOT  # what the names of pages are relative to
COMMAND_TIMEOUT_S: Final = 30.0
STARTED_TIMEOUT_S: Final = 30.0  # a server has to show what the page says, a watch to be there
PRINTED_TIMEOUT_S: Final = 20.0  # output of another terminal, or of what goes on in the background
BEGUN_S: Final = 5.0  # what is left in the background may go on for good
POLL_S: Final = 0.01
_MEMBER: Final = re.compile(r"\bm\d\b")  # as `kvraft dev` names them


@dataclass
class Report:
    """What became of a page's blocks; `replaced` are new lines for a run of old ones."""

    ran: int = 0
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    # first line (from 0), line after the last, what should stand there
    replaced: list[tuple[int, int, list[str]]] = field(default_factory=list)


def pages() -> list[Path]:
    """All pages whose examples are run."""
    made = ROOT / "docs" / "_build"
    found = [p for p in (ROOT / "docs").rglob("*.md") if made not in p.parents]
    return [ROOT / "README.md", *sorted(found)]


def run_page(path: Path, playground: Playground, *, renew: bool = False) -> Report:
    """Run a page; with `renew`, its lines are replaced by what really happened."""
    text = path.read_text("utf-8")
    page = markdown.parse(text)
    report = Report()
    if any(_is_run(page, block) for block in page.blocks):
        with tempfile.TemporaryDirectory(prefix="kvraft-page-") as folder:
            ports = Ports({}, _free_port)
            if page.mark != "own servers":
                playground.reset()
                ports = playground.ports()
            run = _Run(path, Path(folder), ports, report)
            try:
                for block in page.blocks:
                    run.block(page, block)
                run.finish()
            finally:
                run.close()
    else:
        _count_left_out(page, report)
    if renew and report.replaced:
        path.write_text(_rewritten(text, report), "utf-8")
    return report


def _is_run(page: Page, block: Block) -> bool:
    left_out = page.mark == "not run" or block.mark == "not run"
    return not left_out and block.language in RUNNABLE


def _count_left_out(page: Page, report: Report) -> None:
    for block in page.blocks:
        if block.language in RUNNABLE:
            report.left_out.append(block.argument if block.mark == "not run" else page.argument)


def _rewritten(text: str, report: Report) -> str:
    lines = text.split("\n")
    for start, end, new in sorted(report.replaced, reverse=True):
        lines[start:end] = new
    return "\n".join(lines)


@dataclass
class _Pending:
    """A command whose output is still to come, and the line at which the page shows it."""

    line: int
    typed: Typed
    screen: Screen


@dataclass
class _Waiting:
    """A block in another terminal; `watchers` were there before it began."""

    shell: Shell
    pending: _Pending
    watchers: int


class _Run:
    """One page on its way."""

    def __init__(self, path: Path, folder: Path, ports: Ports, report: Report) -> None:
        self._path = path
        self._folder = folder
        self._ports = ports
        self._report = report
        self._shell: Shell | None = None
        self._programs: Programs | None = None
        self._servers: list[Terminal] = []
        self._left: list[Shell] = []
        self._members: dict[str, str] = {}
        self._waiting: list[_Waiting] = []
        self._background: list[_Pending] = []
        # A person's terminal shows no progress of such short transfers, a pipe does.
        (folder / ".curlrc").write_text("silent\nshow-error\n")

    def close(self) -> None:
        """End everything the page has started."""
        if self._programs is not None:
            self._programs.close()
        for shell in (self._shell, *self._left, *(waiting.shell for waiting in self._waiting)):
            if shell is not None:
                shell.close()
        for server in self._servers:
            server.close()

    def block(self, page: Page, block: Block) -> None:
        """One block, in the way that its mark asks for."""
        if block.mark == "file":
            text = self._ports.to_real("\n".join(block.text) + "\n")
            target = self._folder / block.argument
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            self._report.ran += 1
            return
        if block.language not in RUNNABLE:
            return
        if not _is_run(page, block):
            self._report.left_out.append(block.argument or page.argument)
            return
        self._report.ran += 1
        if block.mark == "another terminal":
            self._begin(block)
            return
        if block.mark == "stays":
            self._serve(block)
        elif block.mark == "typed there":
            self._type(block)
        elif block.language == "python":
            self._program(block)
        else:
            self._console(block)
        self._finish_waiting()

    def finish(self) -> None:
        """Look at what has not been looked at when the page is over."""
        self._finish_waiting()
        self._settle()

    # --- shells ---------------------------------------------------------------------------

    def _new_shell(self) -> Shell:
        return Shell(self._folder, self._environment())

    def _environment(self) -> dict[str, str]:
        binaries = Path(sys.executable).parent
        url = self._ports.url(2379)
        return {
            "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "80",
            "ETCDCTL_API": "2",
            "ETCDCTL_ENDPOINTS": url,
            "PYTHONPATH": str(ROOT),
        }

    def _console(self, block: Block) -> None:
        if self._shell is None:
            self._shell = self._new_shell()
        if block.language == "sh":
            self._script(self._shell, block)
            return
        line = block.line
        for typed in markdown.typed(block):
            ended = self._run_in(self._shell, typed.command, line + 1)
            line += len(typed.shown)
            if ended is not None:
                self._look_at(_Pending(line, typed, ended[1]))
            line += len(typed.expected)
        self._settle()

    def _script(self, shell: Shell, block: Block) -> None:
        ended = self._run_in(shell, "\n".join(block.text), block.line)
        if ended is None:
            return
        status, screen = ended
        if status != 0:
            printed = "\n".join(self._printed(screen))
            self._fail(block.line, f"exit code {status}\n{printed}")
        _until(lambda: _is_over(screen), BEGUN_S)

    def _run_in(self, shell: Shell, command: str, line: int) -> tuple[int, Screen] | None:
        try:
            return shell.run(self._ports.to_real(command), COMMAND_TIMEOUT_S)
        except ShellError as error:
            self._fail(line, str(error))
            self._left.append(shell)
            self._shell = self._new_shell()
            return None

    def _look_at(self, pending: _Pending) -> None:
        """Compare what a command has printed, now if nothing more can come, or at the end."""
        if not _is_over(pending.screen):
            self._background.append(pending)
            self._await(pending, BEGUN_S)
            return
        self._compare(pending.line, pending.typed, self._printed(pending.screen))

    def _settle(self) -> None:
        """Compare what goes on in the background; what is still there then is compared again."""
        going_on = []
        for pending in self._background:
            self._await(pending, PRINTED_TIMEOUT_S)
            over = _is_over(pending.screen)
            right = self._compare(pending.line, pending.typed, self._printed(pending.screen))
            if right and not over:
                going_on.append(pending)
        self._background = going_on

    def _await(self, pending: _Pending, timeout_s: float) -> None:
        """Wait until a command has printed what the page shows, or can print nothing more."""

        def shown() -> bool:
            over = _is_over(pending.screen)
            return over or same(pending.typed.expected, self._printed(pending.screen))

        _until(shown, timeout_s)

    def _printed(self, screen: Screen) -> list[str]:
        return self._ports.to_documented(screen.lines())

    # --- other terminals ------------------------------------------------------------------

    def _begin(self, block: Block) -> None:
        """Start what another terminal shows, and wait until it watches."""
        watchers = self._watchers()
        shell = self._new_shell()
        (typed,) = markdown.typed(block)
        screen = shell.begin(self._ports.to_real(typed.command))
        pending = _Pending(block.line + len(typed.shown), typed, screen)
        self._waiting.append(_Waiting(shell, pending, watchers))
        if block.argument == DOES_NOT_WATCH:
            return

        def begun() -> bool:
            return self._watchers() > watchers or shell.ended() is not None

        if not _until(begun, STARTED_TIMEOUT_S):
            self._fail(block.line, f"does not watch within {STARTED_TIMEOUT_S:g} s")

    def _watchers(self) -> int:
        """How many watches are open at all members."""
        total = 0
        for port in CLIENT_PORTS:
            with contextlib.suppress(OSError, TypeError, KeyError):  # there may be fewer members
                total += watchers_at(self._ports.url(port))
        return total

    def _finish_waiting(self) -> None:
        """Look at the other terminals, and close them."""
        for waiting in self._waiting:
            pending = waiting.pending
            self._await(pending, PRINTED_TIMEOUT_S)
            self._compare(pending.line, pending.typed, self._printed(pending.screen))
            waiting.shell.close()
        for waiting in self._waiting[:1]:  # members take a moment to notice
            _until(partial(self._has_watchers, waiting.watchers), STARTED_TIMEOUT_S)
        self._waiting.clear()

    def _has_watchers(self, number: int) -> bool:
        return self._watchers() <= number

    def _shows(self, server: Terminal, expected: list[str]) -> bool:
        return same(expected, self._ports.to_documented(server.peek()))

    def _serve(self, block: Block) -> None:
        """Start a server: its block shows what it prints when it is there."""
        (typed,) = markdown.typed(block)
        command = self._ports.to_real(typed.command)
        server = Terminal(self._folder, self._environment(), command)
        self._servers.append(server)

        def shown() -> bool:
            lines = server.peek()
            self._ports.learn(typed.expected, lines)
            return same(typed.expected, self._ports.to_documented(lines))

        _until(shown, STARTED_TIMEOUT_S)
        printed = self._ports.to_documented(server.output())
        self._compare(block.line + len(typed.shown), typed, printed)
        if self._shell is not None:  # the endpoint may be another one now
            self._left.append(self._shell)
            self._shell = None

    def _type(self, block: Block) -> None:
        """Type into the server that was started last."""
        server = self._servers[-1]
        server.output()
        line = block.line
        for typed in markdown.typed(block, prompt="> "):
            server.type(
                _MEMBER.sub(lambda name: self._members.get(name[0], name[0]), typed.command)
            )
            _until(partial(self._shows, server, typed.expected), PRINTED_TIMEOUT_S)
            line += len(typed.shown)
            printed = self._ports.to_documented(server.output())
            self._learn_members(typed.expected, printed)
            self._compare(line, typed, printed)
            line += len(typed.expected)

    def _learn_members(self, expected: list[str], printed: list[str]) -> None:
        """Chance decides who leads: whoever did the page's deeds bears the page's name."""
        shown, actual = _MEMBER.match("".join(expected[:1])), _MEMBER.match("".join(printed[:1]))
        if shown and actual and shown[0] != actual[0]:
            self._members.update({shown[0]: actual[0], actual[0]: shown[0]})

    # --- programs -------------------------------------------------------------------------

    def _program(self, block: Block) -> None:
        if self._programs is None:
            self._programs = Programs(self._path.name)
        source = self._ports.to_real("\n".join(block.text))
        ended_by, lines = self._programs.run(source, block.first_text_line)
        wanted = block.argument if block.mark == "fails" else ""
        printed = self._ports.to_documented(lines)
        if ended_by != wanted:
            self._fail(block.line, "\n".join([f"ended by {ended_by or 'nothing'}", *printed]))
            return
        if wanted:
            return
        if block.output is not None:
            typed = Typed("", [], block.output.text)
            self._compare(block.output.line, typed, printed)
        elif printed:
            end = block.line + len(block.text) + 1
            self._fail(block.line, "prints what the page does not show:\n" + "\n".join(printed))
            self._report.replaced.append((end, end, ["", "```text", *printed, "```"]))

    # --- what came of it ------------------------------------------------------------------

    def _compare(self, line: int, typed: Typed, printed: list[str]) -> bool:
        if same(typed.expected, printed):
            return True
        new = renewed(typed.expected, printed)
        self._report.replaced.append((line, line + len(typed.expected), new))
        self._fail(
            line,
            "\n".join(
                [*typed.shown, "--- the page shows", *typed.expected, "--- printed was", *printed]
            ),
        )
        return False

    def _fail(self, line: int, what: str) -> None:
        self._report.wrong.append(f"{self._path.relative_to(PAGES_ROOT)}:{line}: {what}")


def _free_port() -> int:
    return free_ports(1)[0]


def _is_over(screen: Screen) -> bool:
    """Whether a command and all that it has started have ended."""
    screen.lines()
    return screen.closed


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until it is so; whether it has become so in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
