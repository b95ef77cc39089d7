"""A worker machine: a proxy of its own, a service that it announces, a setting that it follows.

The announcement has a time to live and is refreshed as long as the machine runs. All of it goes
through the proxy, so the worker knows nothing of the members. A reboot loses everything that the
machine had in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.members import KVRAFT, Member, free_ports, release_ports
from jepsen_like.procs.tasks import end_tasks
from jepsen_like.procs.web import Answer, BrokenError, Connection, NotSentError, once

TTL_S: Final = 3
REFRESH_S: Final = 0.5
ASK_S: Final = 2.0
RETRY_S: Final = 0.1
SERVICE: Final = "/worlds/services/web/worker1"
SETTING: Final = "/worlds/settings/colour"


class ProxyProcess(Member):
    """A proxy in front of the members."""

    def __init__(self, directory: Path, initial_cluster: str) -> None:
        port = free_ports(1)[0]
        super().__init__(KVRAFT, "worker-proxy", directory, (port, port))
        self.initial_cluster = initial_cluster

    def arguments(self) -> list[str]:
        """See `Member.arguments`."""
        return [
            *self.command,
            *("--name", self.name, "--data-dir", str(self.data_dir)),
            *("--listen-client-urls", self.client_url),
            *("--initial-cluster", self.initial_cluster),
            *("--proxy", "on"),
        ]

    @property
    def address(self) -> tuple[str, int]:
        """Where it serves."""
        return self.host, self.ports[0]


class Worker:
    """See the module's description."""

    def __init__(self, directory: Path, initial_cluster: str) -> None:
        self.setting = ""
        """What it has seen the setting to be, in this life."""
        self.announcements = 0
        """How often it had to announce the service, in all lives."""
        self._proxy = ProxyProcess(directory, initial_cluster)
        self._tasks: list[asyncio.Task[None]] = []

    def boot(self) -> None:
        """Start the machine."""
        self.setting = ""
        self._proxy.start()
        self._tasks = [
            asyncio.create_task(self._announce()),
            asyncio.create_task(self._follow()),
        ]

    async def die(self) -> None:
        """The machine is gone at once."""
        await end_tasks(self._tasks)
        self._tasks = []
        if self._proxy.process is not None:
            await asyncio.to_thread(self._proxy.kill)

    async def close(self) -> None:
        """Whatever state it is in."""
        await self.die()
        release_ports(self._proxy.ports[:1])

    async def _announce(self) -> None:
        known = False
        while True:
            form = {"ttl": str(TTL_S)}
            form |= {"refresh": "true", "prevExist": "true"} if known else {"value": "10.0.0.7:80"}
            answer = await self._ask("PUT", SERVICE, form)
            if answer is not None and answer.status in (200, 201):
                self.announcements += not known
                known = True
            elif answer is not None and answer.status == 404:
                known = False
            await asyncio.sleep(REFRESH_S)

    async def _follow(self) -> None:
        """As programs do that write configuration files: read, and wait for what comes after."""
        while True:
            answer = await self._ask("GET", SETTING, None)
            if answer is None:
                await asyncio.sleep(RETRY_S)
                continue
            index = int(answer.headers["x-etcd-index"])
            if answer.status == 200:
                self.setting = answer.document()["node"]["value"]
            with contextlib.suppress(NotSentError, BrokenError):
                await self._wait_behind(index)

    async def _wait_behind(self, index: int) -> None:
        target = f"/v2/keys{SETTING}?wait=true&waitIndex={index + 1}"
        connection = await Connection.open(self._proxy.address)
        try:
            async for answer in connection.follow(target, ASK_S):
                if answer.status == 200 and answer.body:
                    self.setting = answer.document()["node"]["value"]
        finally:
            connection.close()

    async def _ask(self, method: str, key: str, form: dict[str, str] | None) -> Answer | None:
        return await request(self._proxy.address, method, key, form)


async def request(
    address: tuple[str, int], method: str, key: str, form: dict[str, str] | None
) -> Answer | None:
    """One request about a key; None if there is no usable answer."""
    target = f"/v2/keys{key}"
    try:
        if form is None:
            answer = await once(address, target, ASK_S)
        else:
            connection = await Connection.open(address)
            try:
                answer = await connection.ask(method, target, form, ASK_S)
            finally:
                connection.close()
    except (NotSentError, BrokenError):
        return None
    return answer if answer.status in (200, 201, 404) else None


class Dependents:
    """Programs that follow the announcements at one member, and count what they are told."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.told: list[str] = []
        self._address = address

    async def run(self) -> None:
        """Follow until cancelled; nothing fails in this story but the worker."""
        connection = await Connection.open(self._address)
        target = "/v2/keys/worlds/services?wait=true&recursive=true&stream=true"
        try:
            async for answer in connection.follow(target, ASK_S):
                if answer.body:
                    document: dict[str, Any] = json.loads(answer.body)
                    self.told.append(document["action"])
        finally:
            connection.close()
