"""The server's command: from the words behind its name to a running process, and out again.

Exit codes are those of etcd 2.3: 2 for unreadable flags, 1 for settings or a data directory that
cannot be used and for a failure while running; after SIGINT or SIGTERM the process ends by that
signal. What runs in between is `lifecycle.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from kvraft.server import config as configuration
from kvraft.server import lifecycle, logs

SWITCH_INTERVAL_SECONDS = 0.0005
"""How long the disk thread may wait for the interpreter when the loop is busy (default 5 ms)."""


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command `kvraft`; ends the process."""
    outcome = configuration.parse(sys.argv[1:] if argv is None else argv, os.environ)
    if isinstance(outcome, configuration.Exit):
        sys.exit(configuration.report(outcome, sys.stdout, sys.stderr))
    if sys.flags.optimize:
        sys.exit("kvraft: run without -O: the assertions guard the data")
    logs.configure(outcome.log_level, outcome.log_package_levels)
    logs.emit(outcome.lines)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    ended_by = runner()(lifecycle.run(outcome))
    if isinstance(ended_by, signal.Signals):
        die_by(ended_by)
    sys.exit(ended_by)


def runner() -> Callable[[Coroutine[Any, Any, int | signal.Signals]], int | signal.Signals]:
    """uvloop where it is installed, the standard loop elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def die_by(number: signal.Signals) -> None:
    """End as the signal asks, so that the parent sees it; as pid 1 a signal would be ignored."""
    logging.shutdown()
    if os.getpid() == 1:
        sys.exit(0)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
