"""What the user of `kvraft dev` sees: lines that stay; on a terminal a prompt, and colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TextIO

_CLEAR_LINE: Final = "\r\x1b[K"
_PROMPT: Final = "> "


class Screen:
    """Writes to one stream. When nobody reads it any more, it is silent."""

    def __init__(self, out: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        terminal = out.isatty() and environ.get("TERM") != "dumb"
        self._colour = terminal and not environ.get("NO_COLOR")
        self._terminal = terminal
        self._prompted = False
        self._broken = False

    def line(self, text: str = "") -> None:
        """A line that stays; a prompt that was shown comes again below it."""
        prompted = self._prompted
        self._write((_CLEAR_LINE if prompted else "") + text + "\n")
        self._prompted = False
        if prompted:
            self.prompt()

    def prompt(self) -> None:
        """Ask for a command, on a terminal."""
        if self._terminal and not self._prompted:
            self._prompted = True
            self._write(_PROMPT)

    def answered(self) -> None:
        """The user has typed a line, and the cursor stands below the prompt."""
        self._prompted = False

    def leave_prompt(self) -> None:
        """No command is awaited any more: what follows begins on a line of its own."""
        if self._prompted:
            self._prompted = False
            self._write("\n")

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

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            self._broken = True  # the cluster goes on: it may have other users
