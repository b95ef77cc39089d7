"""A terminal of its own for a server: it prints while the page goes on, and can be typed into.

Servers behave on a terminal as they do for a reader: `kvraft dev` takes commands there.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

STOP_TIMEOUT_S: Final = 3.0
_READ_BYTES: Final = 65536


class Terminal:
    """One command on a pseudo terminal, which neither echoes nor changes line ends."""

    def __init__(self, folder: Path, environment: Mapping[str, str], command: str) -> None:
        self._screen, inside = os.openpty()
        _, _, control, local, *rest = termios.tcgetattr(inside)
        termios.tcsetattr(inside, termios.TCSANOW, [0, 0, control, local & ~termios.ECHO, *rest])
        self._process = subprocess.Popen(
            # a session with that terminal, whose first process is the command itself
            ["setsid", "--ctty", "bash", "-c", f"exec {command}"],
            cwd=folder,
            env=dict(environment),
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self._text = b""

    def type(self, line: str) -> None:
        """Type a line, and Enter."""
        os.write(self._screen, line.encode() + b"\n")

    def peek(self) -> list[str]:
        """The whole lines printed since the last call of `output`."""
        while select.select([self._screen], [], [], 0)[0]:
            try:
                data = os.read(self._screen, _READ_BYTES)
            except OSError:  # the command has ended
                break
            if not data:
                break
            self._text += data
        return self._text.decode("utf-8", "replace").split("\n")[:-1]

    def output(self) -> list[str]:
        """The same, taking note of it."""
        lines = self.peek()
        self._text = self._text[self._text.rfind(b"\n") + 1 :]
        return lines

    def close(self) -> None:
        """End the command as Ctrl-C would, or harder."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            os.killpg(self._process.pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._process.poll() is None and time.monotonic() < deadline:
                self.peek()  # a terminal that nobody reads holds up who writes
                time.sleep(0.01)
        self._process.wait()
        os.close(self._screen)
