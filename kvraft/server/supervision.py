"""What a process looks after while it runs, whatever it is: its service manager, the repetitions in
its log, its file descriptors.

One timer, once a second; more often while systemd waits to hear that the start is complete. Must
not know whether it is a member or a proxy.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Final, Protocol

from kvraft import limits
from kvraft.server import logs
from kvraft.server.modes import refused
from kvraft.server.notify import Notifier
from kvraft.server.observing import count_descriptors

_TICK_S: Final = 1.0
_WAITING_TICK_S: Final = 0.05
EXTENSION_S: Final = 120.0
"""How much longer a start may take that reads a large log, or waits for other members."""
EXTEND_EVERY_S: Final = 30.0
_DESCRIPTOR_CHECK_S: Final = 5.0
_DESCRIPTOR_WARNING_S: Final = 60.0
"""Once a minute is enough for a warning that stays true."""

_log = logs.logger("etcdserver")


class Server(Protocol):
    """A member or a proxy as its process sees it."""

    def ready(self) -> bool:
        """Whether clients are served."""

    def status(self) -> str:
        """One line for people."""


class Supervision:
    """The timer of one running process."""

    def __init__(self, server: Server, notifier: Notifier) -> None:
        self._server = server
        self._notifier = notifier
        self._waiting = notifier.connected
        self._timer: asyncio.TimerHandle | None = None
        self._count: asyncio.Task[None] | None = None
        self._next_extension_s = self._next_count_s = self._next_warning_s = 0.0

    def start(self) -> None:
        """Begin to look."""
        self._notifier.start_watchdog()
        self._tick()

    async def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._count is not None:
            await asyncio.gather(self._count, return_exceptions=True)
        logs.flush_repeats()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._tell(now_s)
        if now_s >= self._next_count_s:
            self._next_count_s = now_s + _DESCRIPTOR_CHECK_S
            self._count = loop.create_task(self._check_descriptors(), name="descriptors")
        logs.flush_repeats()
        self._timer = loop.call_later(_WAITING_TICK_S if self._waiting else _TICK_S, self._tick)

    def _tell(self, now_s: float) -> None:
        if not self._notifier.connected:
            return
        if self._waiting and self._server.ready():
            self._waiting = False
            self._notifier.ready()
        elif self._waiting and now_s >= self._next_extension_s:
            self._next_extension_s = now_s + EXTEND_EVERY_S
            self._notifier.still_starting(EXTENSION_S)
        self._notifier.status(self._server.status())

    async def _check_descriptors(self) -> None:
        limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return
        used = await asyncio.to_thread(count_descriptors)
        now_s = asyncio.get_running_loop().time()
        if used >= limit // 5 * 4 and now_s >= self._next_warning_s:
            self._next_warning_s = now_s + _DESCRIPTOR_WARNING_S
            _log.warning(
                "80%% of the file descriptor limit is used [used = %d, limit = %d]", used, limit
            )


def raise_descriptor_limit() -> None:
    """Use as many descriptors as the system allows, not only as many as are given at first.

    The lower limit is for programs that cannot handle numbers above 1023; Go programs do the same.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.MAX_CLIENT_CONNECTIONS + limits.RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # then it stays as it is, and counts as it is


def check_descriptor_limit() -> None:
    """Raise StartRefused if a member could not even reach its peers and its log."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= limits.RESERVED_DESCRIPTORS:
        raise refused(
            f"file descriptor limit[{soft}] of etcd process is too low, and should be set higher "
            f"than {limits.RESERVED_DESCRIPTORS} to ensure internal usage"
        )
