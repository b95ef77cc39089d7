"""The member processes of one run: which of them should be running, and in which life.

Ports are taken once and kept, so a member returns to its own address. A member that ends
although nobody killed it is a finding, whatever the clients saw.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.members import KVRAFT, Cluster, Member
from jepsen_like.base import Violation
from jepsen_like.procs.web import BrokenError, NotSentError, once

ASK_TIMEOUT_S = 0.5
LIVES_PER_MEMBER = 1000


class Fleet:
    """See the module's description. Members are counted from 0."""

    def __init__(self, size: int, directory: Path, flags: tuple[str, ...]) -> None:
        self.cluster = Cluster(KVRAFT, size, directory)
        for member in self.cluster.members:
            member.extra_flags = flags
        self.ports = [client_port(member) for member in self.cluster.members]
        self.starts = [0] * size
        self.paused: set[int] = set()

    @property
    def size(self) -> int:
        """How many members the cluster has."""
        return len(self.ports)

    def pick(self, rng: random.Random) -> int:
        """A member for a client to ask."""
        return rng.randrange(self.size)

    def life(self, number: int) -> int:
        """The present life of a member, as a number that no other life of any member has."""
        return number * LIVES_PER_MEMBER + self.starts[number]

    def running(self) -> list[int]:
        """Members with a process, paused ones included."""
        return [n for n, member in enumerate(self.cluster.members) if member.process is not None]

    def start(self, numbers: Iterable[int]) -> None:
        """Start members that are down."""
        for number in numbers:
            self.starts[number] += 1
            self.cluster.members[number].start()

    async def kill(self, numbers: Iterable[int]) -> None:
        """End processes by SIGKILL, all in the same moment."""
        members = [self.cluster.members[number] for number in numbers]
        for member in members:
            if member.process is not None:
                member.process.kill()
        for member in members:
            await asyncio.to_thread(member.kill)
        self.paused.difference_update(numbers)

    def pause(self, number: int) -> None:
        """Stop a member in its tracks, as a stalled machine would."""
        self._signal(number, signal.SIGSTOP)
        self.paused.add(number)

    def resume(self, number: int) -> None:
        """Let it go on as if nothing had happened."""
        self._signal(number, signal.SIGCONT)
        self.paused.discard(number)

    def _signal(self, number: int, which: signal.Signals) -> None:
        process = self.cluster.members[number].process
        assert process is not None
        process.send_signal(which)

    def check_alive(self) -> None:
        """Raises Violation if a member has ended by itself."""
        for member in self.cluster.members:
            if member.process is not None and member.process.poll() is not None:
                status = member.process.returncode
                raise Violation(
                    f"{member.name} ended by itself, status {status}:\n{member.log_tail()}"
                )

    async def leader(self) -> int | None:
        """The member that says it leads; None if none does or none answers."""
        for number in self.running():
            if number in self.paused:
                continue
            try:
                answer = await once(self.ports[number], "/v2/stats/self", ASK_TIMEOUT_S)
                if json.loads(answer.body).get("state") == "StateLeader":
                    return number
            except (NotSentError, BrokenError, ValueError):
                continue
        return None


def client_port(member: Member) -> int:
    """The port of a member's client URL."""
    port = urlsplit(member.client_url).port
    assert port is not None
    return port
