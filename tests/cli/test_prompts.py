"""Passwords: read from a pipe as from a terminal, and never shown."""

from __future__ import annotations

import io
import os
import pty
import termios
import threading

import pytest

from kvraft_cli.prompts import ask


@pytest.mark.parametrize(
    ("typed", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"  two words \r\n", "two words"),
        (b"\n", ""),
        (b"", ""),
        ("Schlüssel\n".encode(), "Schlüssel"),
    ],
)
def test_one_line_without_surrounding_space(typed: bytes, password: str) -> None:
    shown = io.StringIO()
    assert ask("Password: ", io.BytesIO(typed), shown) == password
    assert shown.getvalue() == "Password: \n"


def test_what_follows_the_line_is_left_alone() -> None:
    stdin = io.BytesIO(b"secret\nthe value\n")
    assert ask("", stdin, io.StringIO()) == "secret"
    assert stdin.read() == b"the value\n"


def test_a_terminal_shows_nothing_and_shows_again_afterwards() -> None:
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "rb", buffering=0, closefd=False) as raw:
            shown = _Typist(ours)
            assert ask("Password: ", io.BufferedReader(raw), shown) == "secret"
            assert shown.echoing is False
        assert termios.tcgetattr(theirs)[3] & termios.ECHO
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 100)  # an echo would be here
    finally:
        os.close(ours)
        os.close(theirs)


class _Typist(io.StringIO):
    """Somebody who types once the terminal has stopped to echo."""

    def __init__(self, terminal: int) -> None:
        super().__init__()
        self._terminal = terminal
        self._done = threading.Event()
        self.echoing: bool | None = None

    def flush(self) -> None:
        if "\n" not in self.getvalue() and not self._done.is_set():
            threading.Thread(target=self._type).start()

    def _type(self) -> None:
        self._done.set()
        while termios.tcgetattr(self._terminal)[3] & termios.ECHO:
            pass
        self.echoing = False
        os.write(self._terminal, b"secret\n")
