"""What this machine allows: each means is tried out once, and what fails says why.

A fault that needs what is missing is skipped with that sentence; it never just passes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jepsen_like.faults import clocks
from jepsen_like.faults.namespaces import Namespaces, NetworkError

if TYPE_CHECKING:
    import argparse

_TIMEOUT_S: Final = 20.0
_PORT: Final = 2380
_CONNECT: Final = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    server.settimeout(10)
    server.accept()
"""


def missing(*names: str) -> str:
    """Why this machine lacks one of these means (a key of PROBES); empty if it has them all."""
    return "; ".join(reason for name in names if (reason := _answer(name)))


@cache
def _answer(name: str) -> str:
    return PROBES[name]()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command that prints what is there."""
    parser.description = "Try out what faults this machine allows."


def run(options: argparse.Namespace) -> int:
    """Print each means and whether it is there. Always succeeds: nothing of it is needed."""
    for name in PROBES:
        reason = missing(name)
        print(f"{name:<{max(map(len, PROBES))}}  {f'no: {reason}' if reason else 'yes'}")
    return 0


def _root() -> str:
    return "" if os.geteuid() == 0 else "this user is not root"


def _namespaces() -> str:
    if _root():
        return "network namespaces can only be made by root"
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: iproute2)"
    try:
        with _two_hosts() as network:
            return _unconnected(network)
    except NetworkError as error:
        return f"no network namespaces: {error}"


@contextlib.contextmanager
def _two_hosts() -> Iterator[Namespaces]:
    with Namespaces() as network:
        for number in range(2):
            network.add(number, _PORT)
        yield network


def _unconnected(network: Namespaces) -> str:
    """Why one host does not reach the other."""
    server = subprocess.Popen(
        [*network.prefix(0), sys.executable, "-c", _CONNECT, network.host(0), str(_PORT)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        server.stdout.readline()
        call = "import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2]), 5)"
        caller = [*network.prefix(1), sys.executable, "-c", call, network.host(0), str(_PORT)]
        done = subprocess.run(caller, capture_output=True, check=False, timeout=_TIMEOUT_S)
        server.kill()
    return "" if done.returncode == 0 else "namespaces on a bridge do not reach each other"


def _iptables() -> str:
    if _answer("namespaces"):
        return "packets are dropped inside network namespaces, and there are none"
    if shutil.which("iptables-restore") is None:
        return "there is no iptables (Debian: iptables)"
    try:
        with _two_hosts() as network:
            network.cut(0, 1, answers=False)
            network.cut_client(0)
    except NetworkError as error:
        return f"no packet filter: {error}"
    return ""


def _strace() -> str:
    if shutil.which("strace") is None:
        return "there is no strace (Debian: strace)"
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
    with tempfile.NamedTemporaryFile() as file:
        sync = ["sync", "--data", file.name]
        failed = _status(["strace", "-qq", "-o", os.devnull, *inject, *sync])
    return "" if failed == 1 else "strace cannot make a system call fail here"


def _faketime() -> str:
    library = clocks.library()
    if library is None:
        return "there is no libfaketime (Debian: libfaketime)"
    with tempfile.TemporaryDirectory() as directory, clocks.Clocks(Path(directory)) as shown:
        shown.jump(0, 3600)
        problem = clocks.effect(shown.environment(0))
    return problem


def _tmpfs() -> str:
    if _root():
        return "file systems can only be mounted by root"
    if shutil.which("mount") is None:
        return "there is no mount (Debian: mount)"
    with tempfile.TemporaryDirectory() as directory:
        if _status(["mount", "-t", "tmpfs", "-o", "size=1m", "kvraft-probe", directory]) != 0:
            return "tmpfs cannot be mounted here"
        return "" if _status(["umount", directory]) == 0 else "what was mounted stays mounted"


def _status(command: Sequence[str]) -> int:
    done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_S)
    return done.returncode


PROBES: Final[dict[str, Callable[[], str]]] = {
    "root": _root,
    "namespaces": _namespaces,
    "iptables": _iptables,
    "strace": _strace,
    "faketime": _faketime,
    "tmpfs": _tmpfs,
}
"""Each returns why not, or nothing."""
