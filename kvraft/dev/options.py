"""The words behind `kvraft dev`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_NODES: Final = 9  # more make every write slower and no experiment better
USUAL_NODES: Final = 3
USUAL_PORT: Final = 2379
_MAX_PORT: Final = 65535

_DESCRIPTION: Final = """\
Start a cluster on this machine, all of its members in this one process.
Everything is kept in memory and gone at the end. Not for production.
"""
_EXAMPLES: Final = """\
examples:
  kvraft dev                        three members, the first one at port 2379
  kvraft dev --nodes 1              a single member
  kvraft dev --client-port 0        at ports that are free
  kvraft dev --data-dir ./cluster   keep the data, and go on with them next time
  kvraft dev > dev.log < /dev/null &

On a terminal it takes commands that show what failures do: stop m2, start m2,
pause, partition, heal, advance 30, status; "help" explains them.
Ctrl-C stops the cluster.
"""


class Options(NamedTuple):
    """What the user wishes. `client_port` None: 2379, or any free one; 0: any free one."""

    nodes: int | None
    client_port: int | None
    data_dir: str | None


def parse(words: Sequence[str]) -> Options:
    """Read the words; ends the process as argparse does: 0 after help, 2 for what is wrong."""
    parser = argparse.ArgumentParser(
        prog="kvraft dev",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--nodes",
        type=_number,
        metavar="N",
        help=f"how many members, from 1 to {MAX_NODES} (default: {USUAL_NODES})",
    )
    parser.add_argument(
        "--client-port",
        type=_number,
        metavar="PORT",
        help="where the first member serves clients; the others add 20000, 30000, ..., or take a "
        f"free port; 0: free ports for all (default: {USUAL_PORT}, or a free port)",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="keep the data in this directory (default: in memory)",
    )
    found = parser.parse_args(words)
    if found.nodes is not None and not 1 <= found.nodes <= MAX_NODES:
        parser.error(f"argument --nodes: {found.nodes} is not from 1 to {MAX_NODES}")
    if found.client_port is not None and not 0 <= found.client_port <= _MAX_PORT:
        parser.error(f"argument --client-port: {found.client_port} is not from 0 to {_MAX_PORT}")
    if found.data_dir == "":
        parser.error("argument --data-dir: name a directory, or leave it out")
    return Options(found.nodes, found.client_port, found.data_dir)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
