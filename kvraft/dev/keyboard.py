"""Lines that somebody types, taken only while this process may read from the terminal.

A process in the background that reads from its terminal is stopped by the kernel. So nothing is
read while another job is in the foreground, and a look now and then tells when that has changed.
Where standard input is no terminal, it is left alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, TextIO

LOOK_AGAIN_S: Final = 0.5
_READ_BYTES: Final = 4096


class Keyboard:
    """Calls `on_line` for each line, and `on_end` when the user says that there are no more."""

    def __init__(
        self,
        stdin: TextIO | None,
        *,
        on_ready: Callable[[], None],
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        """`on_ready`: the terminal is ours, from the start or again."""
        self._loop = asyncio.get_running_loop()
        self._stdin = stdin
        self._on_ready = on_ready
        self._on_line = on_line
        self._on_end = on_end
        self._handle = -1
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._rest = b""

    def start(self) -> None:
        """Begin to listen, if there is a terminal."""
        try:
            if self._stdin is None or not self._stdin.isatty():
                return
            self._handle = self._stdin.fileno()
        except (OSError, ValueError):  # closed
            return
        self._look()

    def stop(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deaf()

    def _look(self) -> None:
        if self._is_ours():
            self._reading = True
            self._loop.add_reader(self._handle, self._read)
            self._on_ready()
        else:
            self._deaf()
            self._timer = self._loop.call_later(LOOK_AGAIN_S, self._look)

    def _deaf(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._handle)

    def _is_ours(self) -> bool:
        try:
            return os.tcgetpgrp(self._handle) == os.getpgrp()
        except OSError:
            return False  # the terminal is gone, or not the one that controls us

    def _read(self) -> None:
        if not self._is_ours():
            self._look()
            return
        try:
            data = os.read(self._handle, _READ_BYTES)
        except OSError:  # the terminal is gone; SIGHUP says so, too
            self.stop()
            return
        if not data:
            self.stop()
            self._on_end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))
