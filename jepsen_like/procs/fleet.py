"""The member processes of one run: which of them should be running, where, and in which life.

Members are counted from 0; a number is never used again. Ports are taken once and kept, so a
member returns to its own address. A member that ends although nobody killed it is a finding,
whatever the clients saw, unless a fault has announced that it may end, or it was removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.members import KVRAFT, LOCALHOST, Member, free_ports, release_ports
from jepsen_like.base import Closing, Violation
from jepsen_like.faults.clocks import Clocks
from jepsen_like.faults.fault import Disk, Setting, Wires
from jepsen_like.faults.namespaces import Namespaces
from jepsen_like.faults.proxies import Proxies
from jepsen_like.member.control import Control
from jepsen_like.procs.disks import SmallDisks
from jepsen_like.procs.web import BrokenError, NotSentError, once

ASK_TIMEOUT_S: Final = 0.5
LIVES_PER_MEMBER: Final = 1000
HARNESSED: Final = (sys.executable, "-m", "jepsen_like.member")
# A joining member gives up when everybody was down, or behind; it is started again then.
TOO_EARLY: Final = ("could not retrieve cluster information", "member count is unequal")


class Fleet(Closing):
    """See the module's description. A context manager: leaving it kills what still runs."""

    def __init__(
        self,
        size: int,
        directory: Path,
        flags: Sequence[str] = (),
        setting: Setting = Setting(),  # noqa: B008  it cannot be changed
        kind: Sequence[str] = KVRAFT,
        *,
        mutant: str = "",
    ) -> None:
        """`kind` is the command line of a server; `mutant` a known bug to plant in all members."""
        self.directory = directory
        self.setting = setting
        self.members: list[Member] = []
        self.ports: list[int] = []
        self.paused: set[int] = set()
        self.may_end: dict[int, str] = {}
        """Members whose own end a fault has caused, with the reason; until they are started."""
        self.present: list[int] = []
        """Those that have not been removed."""
        self.leaving: set[int] = set()
        """Removed, or about to be; their processes may end by themselves, with status 0."""
        self._kind = tuple(kind)
        self._flags = (*flags, *setting.flags)
        self._mutant = mutant
        self._starts: list[int] = []
        self._statuses: dict[int, int] = {}
        self._undo = contextlib.ExitStack()
        self._sockets = self._socket_directory()
        self.disks = self._small_disks()
        self.wires = self._wiring()
        self.clocks = self._own_clocks()
        for _ in range(size):
            self.present.append(self.add())
        initial = self.initial_cluster()
        for member in self.members:
            member.initial_cluster = initial
            member.initial_cluster_state = "new"

    def close(self) -> None:
        """Kill what runs, give back ports, addresses and file systems."""
        for member in self.members:
            if member.process is not None:
                member.kill()
        release_ports([port for member in self.members for port in member.ports])
        self._undo.close()

    # --- what there is --------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many members the cluster has."""
        return len(self.present)

    def numbers(self) -> list[int]:
        """The members of the cluster, whether they run or not."""
        return list(self.present)

    def pick(self, rng: random.Random) -> int:
        """A member for a client to ask."""
        return rng.choice(self.present)

    def member(self, number: int) -> Member:
        """Its process and its settings."""
        return self.members[number]

    def host(self, number: int) -> str:
        """The address of a member's own ports."""
        return self.members[number].host

    def address(self, number: int) -> tuple[str, int]:
        """Where clients find a member."""
        return self.members[number].host, self.ports[number]

    def data_dir(self, number: int) -> Path:
        """Where a member keeps its data."""
        return self.members[number].data_dir

    def log_file(self, number: int) -> Path:
        """What it prints, in all its lives."""
        return self.members[number].log_file

    def pid(self, number: int) -> int:
        """Its process, which has to be running."""
        return self.members[number].pid

    def control_socket(self, number: int) -> Path:
        """Where the harness inside a member listens; harnessed members only."""
        assert self._sockets is not None, "these members run without a harness"
        return self._sockets / f"m{number + 1}"

    def control(self, number: int) -> Control:
        """The harness inside a member; harnessed members only."""
        return Control(self.control_socket(number))

    def arm_start(self, number: int, *orders: str) -> None:
        """Arm failpoints (`NAME=DO[:AFTER[:SECONDS]]`) in the next life of a member, which is
        down, from its very beginning."""
        self.members[number].command = self._command(number, orders)

    def life(self, number: int) -> int:
        """The present life of a member, as a number that no other life of any member has."""
        return number * LIVES_PER_MEMBER + self._starts[number]

    def running(self) -> list[int]:
        """Members with a process, paused and removed ones included."""
        return [n for n, member in enumerate(self.members) if member.process is not None]

    def initial_cluster(self, *more: int) -> str:
        """Names and peer URLs of all present members, and of these."""
        members = [self.members[number] for number in (*self.present, *more)]
        return ",".join(f"{member.name}={member.peer_url}" for member in members)

    # --- processes ------------------------------------------------------------------------

    def add(self) -> int:
        """A further member with an empty disk, not yet present; its process is not started."""
        number = len(self.members)
        client_port, peer_port = free_ports(2)
        host = LOCALHOST
        if self.wires is not None:
            self.wires.add(number, peer_port)
            host = self.wires.host(number)
        directory = self.directory if self.disks is None else self.disks.add(number)
        ports = client_port, peer_port
        member = Member(self._command(number), f"m{number + 1}", directory, ports, host)
        member.log_file = self.directory / f"m{number + 1}.log"
        member.extra_flags = self._flags
        member.initial_cluster_state = "existing"
        if self.wires is not None:
            member.prefix = self.wires.prefix(number)
            member.listen_peer_url = member.peer_url
            member.peer_url = self.wires.peer_url(number)
        if self.clocks is not None:
            member.environment = self.clocks.environment(number)
        self.members.append(member)
        self.ports.append(client_port)
        self._starts.append(0)
        return number

    def start(self, numbers: Iterable[int]) -> None:
        """Start members that are down."""
        for number in numbers:
            self._starts[number] += 1
            self.may_end.pop(number, None)
            self._statuses.pop(number, None)
            self.members[number].start()
            self.members[number].command = self._command(number)

    def wait_ready(self) -> None:
        """Until every running member serves and knows a leader. Blocks."""
        for number in self.running():
            self.members[number].wait_ready()

    async def kill(self, numbers: Iterable[int]) -> None:
        """End processes by SIGKILL, all in the same moment; those that are down stay down."""
        processes = []
        for number in numbers:
            process = self.members[number].process
            if process is not None:
                process.kill()
                processes.append(process)
                # at once: whoever looks meanwhile must not find that it ended by itself
                self._down(number)
        for process in processes:
            await asyncio.to_thread(process.wait)

    async def ended(self, number: int, within_s: float) -> int | None:
        """Wait until a member has ended by itself; its exit status, None if it still runs.

        Afterwards it counts as down. A negative status is the signal that ended it.
        """
        member = self.members[number]
        if member.process is not None:
            try:
                await asyncio.to_thread(member.process.wait, within_s)
            except subprocess.TimeoutExpired:
                return None
            self._down(number)
        return self._statuses.get(number)

    def status(self, number: int) -> int | None:
        """What a member that is down has ended with, since it was started last; None if killed."""
        return self._statuses.get(number)

    def pause(self, number: int) -> None:
        """Stop a member in its tracks, as a stalled machine would."""
        self._signal(number, signal.SIGSTOP)
        self.paused.add(number)

    def resume(self, number: int) -> None:
        """Let it go on as if nothing had happened."""
        self._signal(number, signal.SIGCONT)
        self.paused.discard(number)

    def _signal(self, number: int, which: signal.Signals) -> None:
        process = self.members[number].process
        assert process is not None
        process.send_signal(which)

    def _down(self, number: int) -> None:
        process = self.members[number].process
        if process is not None and process.returncode is not None:
            self._statuses[number] = process.returncode
        self.members[number].process = None
        self.paused.discard(number)

    def check_alive(self) -> None:
        """Raises Violation if a member has ended by itself that had no reason to.

        One that had counts as down from now on.
        """
        for number in self.running():
            member = self.members[number]
            assert member.process is not None
            status = member.process.poll()
            if status is None:
                continue
            if number in self.may_end or (number in self.leaving and status == 0):
                self._down(number)
            elif status == 1 and any(text in member.log_tail() for text in TOO_EARLY):
                self._down(number)
                self.start([number])
            else:
                raise Violation(
                    f"{member.name} ended by itself, status {status}:\n{member.log_tail()}"
                )

    async def leader(self) -> int | None:
        """The member that says it leads; None if none does or none answers."""
        for number in self.running():
            if number in self.paused:
                continue
            try:
                answer = await once(self.address(number), "/v2/stats/self", ASK_TIMEOUT_S)
                if json.loads(answer.body).get("state") == "StateLeader":
                    return number
            except (NotSentError, BrokenError, ValueError):
                continue
        return None

    # --- surroundings ---------------------------------------------------------------------

    def _command(self, number: int, armed: Sequence[str] = ()) -> tuple[str, ...]:
        if self._sockets is None:
            return self._kind
        mutant = ("--mutant", self._mutant) if self._mutant else ()
        orders = [word for order in armed for word in ("--arm", order)]
        return (*HARNESSED, "--control", str(self.control_socket(number)), *mutant, *orders, "--")

    def _socket_directory(self) -> Path | None:
        """Short, since the name of a socket may have no more than a hundred letters."""
        if not self.setting.harnessed and not self._mutant:
            return None
        if self._kind != KVRAFT:
            raise ValueError("only kvraft can be run under the harness")
        place = tempfile.mkdtemp(prefix="kvraft-")
        self._undo.callback(shutil.rmtree, place, ignore_errors=True)
        return Path(place)

    def _small_disks(self) -> SmallDisks | None:
        if self.setting.disk is Disk.PLAIN:
            return None
        disks = SmallDisks(self.directory)
        self._undo.callback(disks.close)
        return disks

    def _wiring(self) -> Namespaces | Proxies | None:
        if self.setting.wires is Wires.LOOPBACK:
            return None
        wires = Namespaces() if self.setting.wires is Wires.NAMESPACES else Proxies()
        self._undo.callback(wires.close)
        return wires

    def _own_clocks(self) -> Clocks | None:
        if not self.setting.own_clocks:
            return None
        clocks = Clocks(self.directory)
        self._undo.callback(clocks.close)
        return clocks
