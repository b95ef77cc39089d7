"""A terminal for a page's commands: one bash, so that variables, folders and jobs stay.

Each command has a screen of its own, to which all that it leaves in the background goes on writing:
such output is told apart from that of later commands, however late it comes. Standard output and
standard error go to that one screen. Each command's end is reported on a channel of its own, so
that nothing a program prints can be taken for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Reads commands from descriptor 3, each behind the name of its screen and both ended by a zero
# byte, and reports their ends on 4.
_LOOP: Final = """
while IFS= read -r -d '' screen <&3 && IFS= read -r -d '' command <&3; do
  eval "$command" </dev/null >"$screen" 2>&1 3<&- 4>&-
  printf '%s\\n' "$?" >&4
done
"""
# What fits into a screen that nobody looks at for a while.
_SCREEN_BYTES: Final = 1 << 18
_READ_BYTES: Final = 65536


class ShellError(Exception):
    """A command that did not end in time."""


class Screen:
    """What one command prints, with all that it has started."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        with contextlib.suppress(PermissionError):  # more than one user may have: it stays small
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _SCREEN_BYTES)
        os.set_blocking(self._read, False)
        self._text = b""
        self.closed = False
        """Whether nothing more can come: nobody is left who could write."""

    @property
    def name(self) -> str:
        """A path under which another process can write to it."""
        return f"/proc/{os.getpid()}/fd/{self._write}"

    def fileno(self) -> int:
        """For `select`."""
        return self._read

    def leave(self) -> None:
        """The command has ended: only what it has left in the background still writes."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def lines(self) -> list[str]:
        """All that has been printed."""
        while not self.closed:
            try:
                data = os.read(self._read, _READ_BYTES)
            except BlockingIOError:
                break
            self._text += data
            if not data:
                self.closed = True
                os.close(self._read)
        lines = self._text.decode("utf-8", "replace").split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def close(self) -> None:
        """Look at it no more."""
        self.leave()
        if not self.closed:
            self.closed = True
            os.close(self._read)


class Shell:
    """A bash in a folder, in a process group of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        command_end, self._commands = os.pipe()
        self._ends, end_end = os.pipe()
        # bash wants them as 3 and 4; a shell that only moves descriptors does that safely
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec bash --noprofile --norc -c "$0" 3<&{command_end} 4>&{end_end}']
            + [_LOOP],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(command_end, end_end),
            start_new_session=True,
        )
        os.close(command_end)
        os.close(end_end)
        self._reported = b""
        self._screens: list[Screen] = []

    def begin(self, command: str) -> Screen:
        """Give a command to the shell, without waiting for its end."""
        screen = Screen()
        self._screens.append(screen)
        os.write(self._commands, f"{screen.name}\0{command}\0".encode())
        return screen

    def run(self, command: str, timeout_s: float) -> tuple[int, Screen]:
        """Run a command to its end; its exit code, and what it printed."""
        screen = self.begin(command)
        status = self.ended(timeout_s)
        if status is None:
            raise ShellError(f"no end within {timeout_s:g} s: {command}")
        return status, screen

    def ended(self, timeout_s: float = 0.0) -> int | None:
        """The exit code of the command that was begun; None while it runs."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._reported:
            unfinished = {s.fileno(): s for s in self._screens if not s.closed}
            left = max(0, deadline - time.monotonic())
            ready, _, _ = select.select([self._ends, *unfinished], [], [], left)
            if not ready:
                return None
            for number in unfinished.keys() & set(ready):
                unfinished[number].lines()  # a screen that nobody reads holds up who writes
            if self._ends not in ready:
                continue
            data = os.read(self._ends, 4096)
            if not data:  # the shell itself has ended: `exit` was typed
                self._screens[-1].leave()
                return self._process.wait()
            self._reported += data
        status, _, self._reported = self._reported.partition(b"\n")
        self._screens[-1].leave()
        return int(status)

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
        for screen in self._screens:
            screen.close()
