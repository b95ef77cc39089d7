"""Telling systemd how the process is doing, by the protocol of sd_notify(3).

Datagrams to the socket in `$NOTIFY_SOCKET`, of which nobody answers. Without that variable nothing
is sent. A member that is ready says so; one that stops or reloads says that, too; and if
`$WATCHDOG_USEC` is set, the event loop reports at half that interval, so that a process whose loop
is stuck is killed and started again. Must not know what a member is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from kvraft.server.logs import logger

_MICROSECONDS: Final = 1_000_000

_log = logger("etcdmain")


class Notifier:
    """The way to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        path = environ.get("NOTIFY_SOCKET", "")
        if path:
            try:
                self._socket = _connected(path)
            except OSError as error:
                _log.error("failed to notify systemd for readiness: %s", error)
        self.watchdog_s = _watchdog_s(environ) if self._socket is not None else None
        self._status = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether anybody is told."""
        return self._socket is not None

    def ready(self) -> None:
        """The start is complete, or a reload is."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """Settings are being read anew; `ready` has to follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def status(self, text: str) -> None:
        """One line for people who ask for the service's state; repeating it costs nothing."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + text.replace("\n", " "))

    def still_starting(self, seconds: float) -> None:
        """The start goes on and may take so much longer from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def start_watchdog(self) -> None:
        """Report from the running loop from now on, if that is asked for."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.watchdog_s / 2, self.start_watchdog)

    def close(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(text.encode())
        except OSError as error:
            # A full or vanished socket: the next message may do better.
            _log.warning("could not notify systemd (%s): %s", text, error)


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        # An at sign stands for the zero byte of an abstract name.
        made.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        made.close()
        raise
    return made


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """How long the manager waits for a sign of life; None if it does not wait for ours."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        return None
    return int(text) / _MICROSECONDS
