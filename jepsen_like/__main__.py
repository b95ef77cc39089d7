"""`python -m jepsen_like`: everything that looks for a broken promise, under one command.

Each subcommand is a module with `add_arguments(parser)` and `run(options) -> exit status`, loaded
only when it is asked for.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import traceback
from typing import Final

from jepsen_like.options import WRONG_USE, interruptible, told

PROGRAM: Final = "python -m jepsen_like"
NO_VERDICT: Final = 3
INTERRUPTED: Final = 128 + 2
BROKEN_PIPE: Final = 128 + 13  # as a program that SIGPIPE has ended

# name -> (module, what it does)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("jepsen_like.campaign.command", "strike real members, judge every answer"),
    "story": ("jepsen_like.workloads.stories", "failures as guides tell of them, one by one"),
    "faults": ("jepsen_like.campaign.listing", "the fault matrix, and what can run here"),
    "sim": ("jepsen_like.sim.many", "simulate whole clusters, many seeds"),
    "replay": ("jepsen_like.sim.replay", "show a simulated run, as text or as a page"),
    "shrink": ("jepsen_like.sim.shrinking", "make a failing simulated run short"),
    "mutants": ("jepsen_like.mutants.command", "plant known bugs, see that each is caught"),
    "check": ("jepsen_like.check.command", "judge recorded histories again"),
    "fuzz": ("jepsen_like.fuzz.command", "damage and cut the power on a small log, everywhere"),
    "rolling": ("jepsen_like.procs.rolling", "replace every member of a working cluster"),
    "watching": ("jepsen_like.procs.watching", "follow every change while members die"),
    "migrate": ("jepsen_like.procs.migrate", "move from a real etcd to kvraft under load"),
    "control": ("jepsen_like.control.command", "the same on a real etcd, side by side"),
    "probe": ("jepsen_like.faults.probes", "what this machine allows"),
    "report": ("jepsen_like.report.command", "the result of a campaign as text and page"),
}

EXAMPLES: Final = """\
examples:
  python -m jepsen_like run --minutes 30      the fault matrix on clusters of 1, 3 and 5
  python -m jepsen_like run --fault 'kill the leader' --members 3 --seconds 20
  python -m jepsen_like COMMAND --help        what a command does, and its options

exit status: 0 passed, 1 a promise was broken, 2 wrong use, 3 no verdict, 130 interrupted"""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else WRONG_USE
    name, *rest = words
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        print(f"{PROGRAM}: no command is called {name!r}{hint}", file=sys.stderr)
        return WRONG_USE
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} {name}")
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(rest))
    return status


def usage() -> str:
    """What there is."""
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "The proof that nothing acknowledged is lost."]
    lines += ["", "commands:", *(f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items())]
    return "\n".join([*lines, "", EXAMPLES])


def guarded() -> int:
    """`main`, to be interrupted, or by a reader who has seen enough (`| head`).

    What goes wrong on the way is no verdict: a status of 1 would say that a promise was broken.
    """
    try:
        with interruptible():
            status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _write_nothing_more()
        return BROKEN_PIPE
    except OSError as error:
        _write_nothing_more()
        print(f"{PROGRAM}: {told(error)}", file=sys.stderr)
        return NO_VERDICT
    except Exception:
        traceback.print_exc()
        return NO_VERDICT
    return status


def _write_nothing_more() -> None:
    """What is still buffered cannot be written at the end either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(guarded())
