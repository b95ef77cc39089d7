"""A terminal for a page's commands: one bash, so that variables, folders and jobs stay.

Standard output and standard error go to one file, as both go to one screen. Each command's end is
reported on a channel of its own, so that nothing a program prints can be taken for it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Reads commands from descriptor 3, each ended by a zero byte, and reports their ends on 4.
_LOOP: Final = """
while IFS= read -r -d '' command <&3; do
  eval "$command" </dev/null 3<&- 4>&-
  printf '%s\\n' "$?" >&4
done
"""


class ShellError(Exception):
    """A command that did not end in time."""


class Shell:
    """A bash in a folder of its own process group."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._screen = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        command_end, self._commands = os.pipe()
        self._ends, end_end = os.pipe()
        # bash wants them as 3 and 4; a shell that only moves descriptors does that safely
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec bash --noprofile --norc -c "$0" 3<&{command_end} 4>&{end_end}']
            + [_LOOP],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._screen,
            stderr=self._screen,
            pass_fds=(command_end, end_end),
            start_new_session=True,
        )
        os.close(command_end)
        os.close(end_end)
        self._read = 0
        self._reported = b""

    def begin(self, command: str) -> None:
        """Give a command to the shell, without waiting for its end."""
        os.write(self._commands, command.encode() + b"\0")

    def run(self, command: str, timeout_s: float) -> int:
        """Run a command to its end; its exit code."""
        self.begin(command)
        status = self.ended(timeout_s)
        if status is None:
            raise ShellError(f"no end within {timeout_s:g} s: {command}")
        return status

    def ended(self, timeout_s: float = 0.0) -> int | None:
        """The exit code of the command that was begun; None while it runs."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._reported:
            ready, _, _ = select.select([self._ends], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._ends, 4096)
            if not data:  # the shell itself has ended: `exit` was typed
                return self._process.wait()
            self._reported += data
        status, _, self._reported = self._reported.partition(b"\n")
        return int(status)

    def output(self) -> list[str]:
        """The lines printed since the last call."""
        lines = self.peek()
        self._read = os.fstat(self._screen.fileno()).st_size
        return lines

    def peek(self) -> list[str]:
        """The same, without taking note of it."""
        size = os.fstat(self._screen.fileno()).st_size
        text = os.pread(self._screen.fileno(), size - self._read, self._read)
        lines = text.decode("utf-8", "replace").split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def close(self) -> None:
        """End the shell and everything that was started in it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(3)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process.wait()
        for descriptor in (self._commands, self._ends):
            os.close(descriptor)
        self._screen.close()
