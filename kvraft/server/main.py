"""The server's command: from the words behind its name to a running process, and out again.

Exit codes are those of etcd 2.3: 2 for unreadable flags, 1 for settings or a data directory that
cannot be used and for a failure while running; after SIGINT or SIGTERM the process ends by that
signal, or as pid 1 with 0. What runs in between is `lifecycle.py`.
"""

from __future__ import annotations

import os
import signal
import sys

from kvraft.server import config as configuration
from kvraft.server import lifecycle, logs, options, process, supervision

TOOLS = ("backup", "restore", "verify")
"""Words that make the command something else than a server."""
DEV = "dev"
"""The word that makes it a cluster in one process."""

_log = logs.logger("etcdmain")


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command `kvraft`; ends the process."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in TOOLS:
        from kvraft.server.tools import COMMANDS  # only where it is wanted: a start is quicker

        sys.exit(COMMANDS[words[0]](words[1:]))
    if words and words[0] == DEV:
        from kvraft.dev.main import main as dev

        dev(words[1:])
    outcome = configuration.parse(words, os.environ)
    formatter = process.log_formatter(outcome.log_format, os.environ)
    if isinstance(outcome, configuration.Exit):
        sys.exit(configuration.report(outcome, sys.stdout, sys.stderr, formatter))
    if sys.flags.optimize:
        sys.exit("kvraft: run without -O: the assertions guard the data")
    if outcome.check:
        from kvraft.server import check

        sys.exit(check.run(outcome, sys.stdout))
    logs.configure(outcome.log_level, outcome.log_package_levels, formatter=formatter)
    logs.emit(outcome.lines)
    for line in options.version_text().splitlines():
        _log.info("%s", line)
    process.arrange()
    supervision.raise_descriptor_limit()
    ended_by = process.runner()(lifecycle.run(outcome))
    if isinstance(ended_by, signal.Signals):
        process.die_by(ended_by)
    sys.exit(ended_by)
