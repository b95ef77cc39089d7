"""`python -m jepsen_like rolling`: replace the members of a running cluster, one by one.

Clients write without a pause, each its own keys, and repeat a request elsewhere if it was not
answered well. Meanwhile members are removed, and new ones with empty disks are added and started in
their place, or the cluster grows and shrinks. In the end every acknowledged write has to be there.
Exit status 1 if one is not, or if a request found no member to serve it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from benchmarks.members import KVRAFT, LOCALHOST, Member, free_ports
from jepsen_like.options import whole
from jepsen_like.procs.web import BrokenError, Connection, NotSentError

WRITERS: Final = 4
ATTEMPT_S: Final = 3.0  # until a client asks somebody else
GIVE_UP_S: Final = 10.0  # until it calls the request failed
STEP_S: Final = 30.0  # until the operator does
RETRY_S: Final = 0.05


class Figures(NamedTuple):
    """What one step cost the clients."""

    step: str
    seconds: float
    writes: int
    repeated: int
    longest_ms: float


class Load:
    """Clients that write and remember what was acknowledged."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        """Where to ask; kept up to date by whoever changes the members."""
        self.acknowledged: dict[str, str] = {}
        self.repeated = 0
        self.failed: list[str] = []
        self.longest_s = 0.0
        self.stopped = False

    async def run(self, writers: int) -> None:
        """Write until `stopped`."""
        await asyncio.gather(*(self._writer(number) for number in range(writers)))

    async def _writer(self, number: int) -> None:
        connection: Connection | None = None
        port = 0
        for count in itertools.count():
            if self.stopped:
                break
            key, value = f"w{number}/{count}", f"v{count}"
            began_s = time.monotonic()
            turn = number + count // 50  # some requests in a row, then the next member
            while not self.stopped:
                if connection is None:
                    port = self.ports[turn % len(self.ports)]
                elif port not in self.ports:
                    connection.close()
                    connection = None
                    continue
                connection, problem = await _put(connection, port, key, value)
                waited_s = time.monotonic() - began_s
                if not problem:
                    self.acknowledged[key] = value
                    self.longest_s = max(self.longest_s, waited_s)
                    break
                self.repeated += 1
                turn += 1
                if waited_s > GIVE_UP_S:
                    self.failed.append(f"{key}: {problem}")
                    break
                await asyncio.sleep(RETRY_S)
            if count % 50 == 49 and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


async def _put(
    connection: Connection | None, port: int, key: str, value: str
) -> tuple[Connection | None, str]:
    """One attempt; the connection if it can be used again, and what went wrong."""
    try:
        connection = connection or await Connection.open((LOCALHOST, port))
        answer = await connection.ask("PUT", f"/v2/keys/{key}", {"value": value}, ATTEMPT_S)
    except (NotSentError, BrokenError) as error:
        if connection is not None:
            connection.close()
        return None, str(error)
    if answer.status in (200, 201):
        return connection, ""
    connection.close()
    return None, f"status {answer.status}: {answer.body!r}"


class Operator:
    """Changes the members of a cluster of processes, as the manual tells people to."""

    def __init__(self, directory: Path, flags: Sequence[str] = ()) -> None:
        self.directory = directory
        self.flags = tuple(flags)
        self.members: list[Member] = []
        self.ids: dict[str, str] = {}
        self.load = Load()
        self.rows: list[Figures] = []
        self._names = itertools.count(1)

    async def found(self) -> None:
        """Start a cluster of one."""
        member = self._new_member()
        member.start()
        await asyncio.to_thread(member.wait_ready)
        self.ids[member.name] = self.listed()[0]["id"]
        self._tell_clients()

    async def step(self, name: str, work: Awaitable[object]) -> None:
        """Do something, and note what it cost the clients."""
        load = self.load
        before = len(load.acknowledged), load.repeated
        load.longest_s = 0.0
        began_s = time.monotonic()
        await work
        self.rows.append(
            Figures(
                name,
                time.monotonic() - began_s,
                len(load.acknowledged) - before[0],
                load.repeated - before[1],
                load.longest_s * 1000,
            )
        )

    async def grow(self) -> None:
        """Add a member, start it, and wait until it is one like the others."""
        via = self.members[0]
        member = self._new_member()
        body = {"peerURLs": [member.peer_url]}
        added = await self.change(via, "POST", "", body, 201)
        self.ids[member.name] = added["id"]
        member.initial_cluster = ",".join(f"{one.name}={one.peer_url}" for one in self.members)
        member.initial_cluster_state = "existing"
        member.start()
        await asyncio.to_thread(member.wait_ready)
        await self._until_all_are_named()
        self._tell_clients()

    async def shrink(self, member: Member) -> int:
        """Remove a member and wait until its process has ended; its exit code.

        Clients learn of it by themselves, when it does not serve them any more.
        """
        via = next(one for one in self.members if one is not member)
        await self.change(via, "DELETE", "/" + self.ids.pop(member.name), None, 204)
        self.members.remove(member)
        assert member.process is not None
        code = await asyncio.to_thread(member.process.wait, STEP_S)
        member.process = None
        self._tell_clients()
        return code

    async def replace(self, member: Member) -> None:
        """Remove a member, and add one with an empty disk in its place."""
        code = await self.shrink(member)
        if code != 0:
            raise AssertionError(f"{member.name} ended with {code}:\n{member.log_tail()}")
        await self.grow()

    def leader(self) -> Member | None:
        """The member that leads as far as it knows."""
        for member in self.members:
            try:
                if member.is_leader():
                    return member
            except OSError:
                continue
        return None

    def listed(self) -> list[dict[str, Any]]:
        """The members as one of them shows them."""
        _, body = _request(self.members[0].client_url, "GET", "", None)
        found: list[dict[str, Any]] = json.loads(body)["members"]
        return found

    def lost_writes(self) -> list[str]:
        """Acknowledged writes that are not there."""
        port = _port(self.members[0])
        connection = http.client.HTTPConnection(LOCALHOST, port, timeout=STEP_S)
        connection.request("GET", "/v2/keys/?recursive=true&quorum=true")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        found = {}
        for directory in answer["node"].get("nodes", ()):
            for node in directory.get("nodes", ()):
                found[node["key"].lstrip("/")] = node["value"]
        acknowledged = self.load.acknowledged.items()
        return [key for key, value in acknowledged if found.get(key) != value]

    def kill(self) -> None:
        """End whatever still runs."""
        for member in self.members:
            if member.process is not None:
                member.kill()

    def _new_member(self) -> Member:
        ports = free_ports(2)
        name = f"m{next(self._names)}"
        member = Member(KVRAFT, name, self.directory, (ports[0], ports[1]))
        member.extra_flags = self.flags
        self.members.append(member)
        return member

    def _tell_clients(self) -> None:
        self.load.ports = [_port(member) for member in self.members]

    async def change(
        self, via: Member, method: str, rest: str, body: dict[str, Any] | None, good: int
    ) -> Any:
        """One change; repeated while the cluster holds it for too early."""
        deadline_s = time.monotonic() + STEP_S
        while True:
            status, answer = await asyncio.to_thread(_request, via.client_url, method, rest, body)
            if status == good:
                return json.loads(answer) if answer else None
            if status != 500 or time.monotonic() > deadline_s:
                raise AssertionError(f"{method} {rest}: {status} {answer!r}")
            await asyncio.sleep(RETRY_S)

    async def _until_all_are_named(self) -> None:
        deadline_s = time.monotonic() + STEP_S
        while not all(member["name"] for member in await asyncio.to_thread(self.listed)):
            if time.monotonic() > deadline_s:
                raise AssertionError("a member does not show its name")
            await asyncio.sleep(RETRY_S)


def _port(member: Member) -> int:
    port = urlsplit(member.client_url).port
    assert port is not None
    return port


def _request(url: str, method: str, rest: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    target = urlsplit(url)
    assert target.hostname is not None
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=STEP_S)
    try:
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, "/v2/members" + rest, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def roll(operator: Operator, rounds: int, size: int, largest: int) -> None:
    """Found, grow, replace everybody so many times, grow further, and shrink to one."""
    await operator.found()
    load = asyncio.create_task(operator.load.run(WRITERS))
    for number in range(2, size + 1):
        await operator.step(f"grow to {number}", operator.grow())
    for round_ in range(1, rounds + 1):
        for member in list(operator.members):
            leads = " (leader)" if operator.leader() is member else ""
            name = f"round {round_}: replace {member.name}{leads}"
            await operator.step(name, operator.replace(member))
    for number in range(size + 1, largest + 1):
        await operator.step(f"grow to {number}", operator.grow())
    while len(operator.members) > 1:
        victim = operator.leader() or operator.members[0]
        await operator.step(
            f"shrink to {len(operator.members) - 1} (without the leader)", operator.shrink(victim)
        )
    await operator.step("rest", asyncio.sleep(0.5))
    operator.load.stopped = True
    await load


def table(rows: Sequence[Figures]) -> str:
    """The figures for people."""
    lines = [f"{'step':<36} {'s':>6} {'writes':>8} {'repeated':>9} {'longest ms':>11}"]
    lines += [
        f"{row.step:<36} {row.seconds:>6.2f} {row.writes:>8} {row.repeated:>9} "
        f"{row.longest_ms:>11.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rolling`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--rounds", type=whole, default=3, help="how often everybody is replaced (3)")
    add("--size", type=whole, default=3, help="members while they are replaced (3)")
    add("--largest", type=whole, default=5, help="members that the cluster grows to (5)")
    add("--snapshot-count", type=whole, default=500, help="entries between snapshots (500)")


def run(options: argparse.Namespace) -> int:
    """Replace them, and look for lost writes; the exit status."""
    directory = Path(tempfile.mkdtemp(prefix="kvraft-rolling-"))
    operator = Operator(directory, (f"--snapshot-count={options.snapshot_count}",))
    try:
        try:
            asyncio.run(roll(operator, options.rounds, options.size, options.largest))
            lost = operator.lost_writes()
        finally:
            operator.kill()
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        raise
    load = operator.load
    print(table(operator.rows))
    print(
        f"{len(load.acknowledged)} writes acknowledged, {len(lost)} of them lost; "
        f"{load.repeated} requests repeated, {len(load.failed)} failed"
    )
    if lost or load.failed:
        print(f"lost: {lost[:10]}; failed: {load.failed[:10]}; data and logs: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0
