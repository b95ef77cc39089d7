"""Each member a host of its own: network namespaces on a bridge, and packets dropped between them.

The harness itself stays outside and reaches the members through the bridge, as clients do. What is
cut is cut inside the namespaces, by rules that end with them; nothing on this machine's own network
is changed but for the bridge and one link per member.

A network has a number, and everything that belongs to it carries the number in its name. Who
holds the lock of a number owns all of it. So whatever carries a number whose lock is free was left
by a run that was killed, and the next network that is made removes it.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jepsen_like.base import Closing

NUMBERS: Final = range(512)
"""198.18.0.0/15 is set aside for trials such as these: room for so many networks of 254 hosts."""
PREFIX: Final = "kvj"
_OURS: Final = re.compile(rf"{PREFIX}(\d+)(?:[nv]\d+)?")
_FIRST_HOST: Final = 10
_MAX_MEMBERS: Final = 200
_COMMAND_TIMEOUT_S: Final = 30.0
_CALLS: Final = "-p tcp --dport 1:32767"
"""What goes to a port that somebody listens on; answers go to ports from 32768 (see members)."""


class NetworkError(OSError):
    """The machine did not do what was asked of its network."""


class Cut(NamedTuple):
    """What one member no longer hears: of another one, or of all clients (`source` None)."""

    source: int | None
    answers: bool


class Namespaces(Closing):
    """The hosts of one run; see the module's description. A context manager.

    All methods that change something block for some milliseconds and raise NetworkError.
    """

    def __init__(self) -> None:
        """Without hosts at first."""
        remove_stale()
        self._number, self._lock = _take_number()
        self._peer_ports: dict[int, int] = {}
        self._cuts: dict[int, set[Cut]] = {}
        self._changing = threading.Lock()
        try:
            _ip(
                f"link add {self.bridge} type bridge",
                f"addr add {self.client_host}/24 dev {self.bridge}",
                f"link set {self.bridge} up",
            )
        except BaseException:
            self.close()
            raise

    @property
    def bridge(self) -> str:
        """The name of the interface that connects all of them."""
        return f"{PREFIX}{self._number}"

    @property
    def client_host(self) -> str:
        """The address that the harness is seen under."""
        return self._address(1)

    def host(self, number: int) -> str:
        """The address of a member."""
        return self._address(_FIRST_HOST + number)

    def prefix(self, number: int) -> tuple[str, ...]:
        """What to put before a command for it to run on the host of this member."""
        return ("ip", "netns", "exec", self.namespace(number))

    def namespace(self, number: int) -> str:
        """The name of the namespace of a member."""
        return f"{self.bridge}n{number}"

    def peer_url(self, number: int) -> str:
        """Where other members call this one."""
        return f"http://{self.host(number)}:{self._peer_ports[number]}"

    def add(self, number: int, peer_port: int) -> None:
        """A host for one more member, which will listen for the others at this port."""
        assert 0 <= number < _MAX_MEMBERS
        assert number not in self._peer_ports
        self._peer_ports[number] = peer_port
        name, link = self.namespace(number), f"{self.bridge}v{number}"
        _ip(
            f"netns add {name}",
            f"link add {link} type veth peer name eth0 netns {name}",
            f"link set {link} master {self.bridge} up",
        )
        _ip(
            f"addr add {self.host(number)}/24 dev eth0",
            "link set lo up",
            "link set eth0 up",
            namespace=name,
        )

    def close(self) -> None:
        """Remove everything, processes that still run on these hosts included."""
        if self._lock < 0:
            return
        _remove(self._number)
        self._peer_ports.clear()
        os.close(self._lock)
        self._lock = -1

    # --- cutting ------------------------------------------------------------------------

    def cut(self, source: int, destination: int, *, answers: bool = True) -> None:
        """Drop what goes from one member to another, one way only.

        Without `answers` only what the source sends on connections that it has opened itself is
        dropped. Its acknowledgements on the other's connections still arrive, so the other side's
        frames go on to flow. With them, those connections stall as well after a while.
        """
        self.cut_all([(source, destination)], answers=answers)

    def cut_all(self, pairs: Iterable[tuple[int, int]], *, answers: bool = True) -> None:
        """Cut several pairs of source and destination."""
        with self._changing:
            changed = set()
            for source, destination in pairs:
                self._cuts.setdefault(destination, set()).add(Cut(source, answers))
                changed.add(destination)
            for destination in changed:
                self._apply(destination)

    def cut_client(self, number: int) -> None:
        """Drop everything between a member and the clients; the other members still hear it."""
        with self._changing:
            self._cuts.setdefault(number, set()).add(Cut(None, answers=True))
            self._apply(number)

    def heal(self) -> None:
        """Drop nothing any more."""
        with self._changing:
            cut, self._cuts = self._cuts, {}
            for number in cut:
                self._apply(number)

    def _apply(self, number: int) -> None:
        """Make the rules on a member's host those of its cuts, in one step."""
        lines = ["*filter", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
        for cut in sorted(self._cuts.get(number, ()), key=repr):
            if cut.source is None:
                lines += [
                    f"-A INPUT -s {self.client_host} -j DROP",
                    f"-A OUTPUT -d {self.client_host} -j DROP",
                ]
            else:
                which = "" if cut.answers else f" {_CALLS}"
                lines.append(f"-A INPUT -s {self.host(cut.source)}{which} -j DROP")
        text = "\n".join([*lines, "COMMIT", ""])
        _run([*self.prefix(number), "iptables-restore", "-w"], text)

    def _address(self, host: int) -> str:
        return f"198.{18 + self._number // 256}.{self._number % 256}.{host}"


def remove_stale() -> list[int]:
    """Remove what runs have left that no longer exist; the numbers of their networks."""
    removed = []
    for number in sorted(_present()):
        lock = _lock_of(number)
        if lock is None:
            continue
        try:
            _remove(number)
        finally:
            os.close(lock)
        removed.append(number)
    return removed


def present(number: int) -> list[str]:
    """Names of namespaces and links of the network with this number."""
    return sorted(name for name in _names() if _number_in(name) == number)


def _take_number() -> tuple[int, int]:
    """A number that nobody uses, and the open file that holds its lock."""
    used = _present()
    for number in random.SystemRandom().sample(NUMBERS, len(NUMBERS)):
        lock = None if number in used else _lock_of(number)
        if lock is not None:
            return number, lock
    raise NetworkError("all networks are in use")


def _lock_of(number: int) -> int | None:
    """Lock a number; None if somebody has it. The lock ends with this process at the latest."""
    directory = Path(tempfile.gettempdir()) / f"kvraft-networks-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(directory / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _present() -> set[int]:
    return {number for name in _names() if (number := _number_in(name)) is not None}


def _names() -> set[str]:
    found = set(os.listdir("/sys/class/net"))
    if os.path.isdir("/run/netns"):
        found.update(os.listdir("/run/netns"))
    return found


def _number_in(name: str) -> int | None:
    match = _OURS.fullmatch(name)
    return None if match is None else int(match[1])


def _remove(number: int) -> None:
    """Remove all that carries this number; only for who holds its lock."""
    namespaces = [name for name in present(number) if "n" in name]
    links = [name for name in present(number) if "n" not in name]
    for name in namespaces:
        for pid in _run(["ip", "netns", "pids", name]).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
    # The links first: a namespace lives on until the last of its processes is gone.
    _ip(*(f"link del {name}" for name in reversed(links)))
    _ip(*(f"netns del {name}" for name in namespaces))


def _ip(*commands: str, namespace: str = "") -> None:
    if commands:
        where = ("-n", namespace) if namespace else ()
        _run(["ip", *where, "-batch", "-"], "\n".join([*commands, ""]))


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
