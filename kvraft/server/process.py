"""What a long-running program of ours arranges with the operating system: loop, signals, end.

Shared by the server and the discovery service. Must not know what the program does.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from kvraft.server.logs import LineFormatter, formatter_for
from kvraft.storage.files import descriptor_identity, fill_standard_streams

if TYPE_CHECKING:
    from types import FrameType

How = int | signal.Signals
"""How a process ends: with an exit code, or by a signal."""

SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How long the disk thread may wait for the interpreter when the loop is busy (default 5 ms)."""
_DUMPED_STATUS: Final = 2
_STANDARD_ERROR: Final = 2


def runner() -> Callable[[Coroutine[Any, Any, How]], How]:
    """uvloop where it is installed, the standard loop elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def log_formatter(log_format: str, environ: Mapping[str, str]) -> LineFormatter:
    """How lines to standard error are written, which may be systemd's journal."""
    named = environ.get("JOURNAL_STREAM", "")
    return formatter_for(log_format, bool(named) and named == descriptor_identity(_STANDARD_ERROR))


def arrange() -> None:
    """Make a process that is stuck or crashes tell where, and let threads take turns quickly.

    SIGABRT, by which a watchdog ends a process, shows what every thread was doing; SIGQUIT does so
    as well, with status 2, as in a Go program. SIGUSR1 does nothing, as in etcd.
    """
    fill_standard_streams()
    faulthandler.enable(_STANDARD_ERROR)
    signal.signal(signal.SIGQUIT, _dump)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)


def die_by(number: signal.Signals) -> None:
    """End as the signal asks, so that the parent sees it; as pid 1 a signal would be ignored."""
    logging.shutdown()
    if os.getpid() == 1:
        os._exit(0)
    # Both may have been inherited: ignored from a shell's background, blocked from anywhere.
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _dump(_number: int, _frame: FrameType | None) -> None:
    faulthandler.dump_traceback(all_threads=True)
    os._exit(_DUMPED_STATUS)
