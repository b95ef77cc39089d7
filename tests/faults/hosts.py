"""Sockets of this process on the hosts of a network, so that tests need no programs there."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jepsen_like.faults.namespaces import Namespaces

TIMEOUT_S: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000


def socket_on(
    network: Namespaces, number: int, kind: socket.SocketKind = socket.SOCK_DGRAM, port: int = 0
) -> socket.socket:
    """A socket on the host of a member: datagrams on a bound port, or a stream not connected."""

    def make() -> socket.socket:
        # Only this thread moves, and it ends here; a socket stays where it was made.
        with open(f"/run/netns/{network.namespace(number)}", "rb") as target:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(target.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(TIMEOUT_S)
        if kind is socket.SOCK_DGRAM or port:
            made.bind((network.host(number), port))
        return made

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def client_socket(network: Namespaces) -> socket.socket:
    """A socket for datagrams outside, where clients are."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(TIMEOUT_S)
    made.bind((network.client_host, 0))
    return made


def stream(
    network: Namespaces, caller: int, called: int, port: int
) -> tuple[socket.socket, socket.socket]:
    """A connection that `caller` opened: its end, and the end of the member that was called."""
    with socket_on(network, called, socket.SOCK_STREAM, port) as listener:
        listener.listen()
        near = socket_on(network, caller, socket.SOCK_STREAM)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        far.settimeout(TIMEOUT_S)
        return near, far
