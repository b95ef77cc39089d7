"""Which ports the members get: the usual ones where they are free."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Final

HOST: Final = "127.0.0.1"
_MAX_PORT: Final = 65535


def usual_ports(first: int, count: int) -> list[int]:
    """The first port, and those that add 20000, 30000, ... to it; 0 beyond the last there is."""
    ports = [first, *(first + number * 10_000 for number in range(2, count + 1))]
    return [port if port <= _MAX_PORT else 0 for port in ports]


def choose_ports(
    first: int, count: int, is_free: Callable[[int], bool], *, keep_first: bool = False
) -> list[int]:
    """A port for each member; 0, which means any free one, in place of those that are taken.

    `keep_first`: the first one was asked for by name, and is not replaced.
    """
    if first == 0:
        return [0] * count
    ports = usual_ports(first, count)
    chosen = [port if port and is_free(port) else 0 for port in ports]
    if keep_first:
        chosen[0] = first
    return chosen


def port_is_free(port: int) -> bool:
    """Whether a server could listen on a port of this machine right now."""
    with closing(socket.socket()) as probe:
        # As servers do: a connection of a process that has ended is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
