"""What the user of `kvraft dev` sees."""

from __future__ import annotations

import io

import pytest

from kvraft.dev.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        raise BrokenPipeError


def test_a_terminal_gets_colour_and_a_prompt() -> None:
    out = Terminal()
    screen = Screen(out, {})
    screen.line(screen.bold("up"))
    screen.prompt()
    screen.prompt()
    screen.line(screen.red("nobody leads"))
    screen.leave_prompt()
    screen.leave_prompt()
    assert out.getvalue() == "\x1b[1mup\x1b[0m\n> \r\x1b[K\x1b[31mnobody leads\x1b[0m\n> \n"


def test_what_was_typed_stays_above_its_answer() -> None:
    out = Terminal()
    screen = Screen(out, {})
    screen.prompt()
    screen.answered()
    screen.line("done")
    assert out.getvalue() == "> done\n"


def test_a_file_gets_lines() -> None:
    out = io.StringIO()
    screen = Screen(out, {})
    screen.prompt()
    screen.line(screen.dim("up"))
    screen.leave_prompt()
    assert out.getvalue() == "up\n"


def test_colour_can_be_declined() -> None:
    assert Screen(Terminal(), {"NO_COLOR": "1"}).bold("x") == "x"
    out = Terminal()
    screen = Screen(out, {"TERM": "dumb"})
    screen.prompt()
    screen.line(screen.bold("x"))
    assert out.getvalue() == "x\n"


@pytest.mark.parametrize("calls", [1, 3])
def test_nobody_reads_any_more(calls: int) -> None:
    out = Broken()
    screen = Screen(out, {})
    for _ in range(calls):
        screen.line("x")
    assert out.writes == 1
