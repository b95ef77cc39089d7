"""Adding and removing members of a running cluster, as an operator does it.

A change whose answer was lost is looked up before it is asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.members import Member
from jepsen_like.base import Violation
from jepsen_like.procs.fleet import Fleet

STEP_S: Final = 60.0  # until a change has to be made, a member has to have joined or ended
ANSWER_S: Final = 9.0  # longer than a member takes to say that it does not know
RETRY_S: Final = 0.1
ASK_AGAIN: Final = (404, 409, 410, 500, 503)  # not now, or it is done already


class Changes:
    """Changes of the membership of one cluster."""

    def __init__(self, fleet: Fleet, rng: random.Random) -> None:
        self._fleet = fleet
        self._rng = rng

    async def added(self) -> int:
        """Add a further member, whose process is to be started; which it is."""
        number = self._fleet.add()
        await self.add_to(number)
        return number

    async def add_to(self, number: int) -> None:
        """The same for one that the fleet knows already."""
        fleet = self._fleet
        member = fleet.member(number)

        def there(members: list[dict[str, Any]]) -> bool:
            return any(one["peerURLs"] == [member.peer_url] for one in members)

        await self.change("POST", "", {"peerURLs": [member.peer_url]}, there)
        member.initial_cluster = fleet.initial_cluster(number)
        fleet.present.append(number)

    async def removed(self, number: int) -> None:
        """Remove a member; its process, if it runs, ends by itself."""
        target = await self.id_of(number)
        self._fleet.leaving.add(number)
        self._fleet.present.remove(number)
        await self.forgotten(target)

    async def forgotten(self, target: str) -> None:
        """Remove whoever has this id."""

        def away(members: list[dict[str, Any]]) -> bool:
            return all(one["id"] != target for one in members)

        await self.change("DELETE", "/" + target, None, away)

    async def id_of(self, number: int) -> str:
        """Its id, as the API writes it."""
        url = self._fleet.member(number).peer_url
        for one in await self.members():
            if one["peerURLs"] == [url]:
                return str(one["id"])
        raise Violation(f"the member at {url} is not listed")

    async def members(self) -> list[dict[str, Any]]:
        """The members as whoever leads has them, behind a linearizable read."""
        deadline = asyncio.get_running_loop().time() + STEP_S
        while True:
            for number in self._fleet.present:
                if number in self._fleet.paused or number not in self._fleet.running():
                    continue
                member = self._fleet.member(number)
                with contextlib.suppress(OSError):
                    read = await asyncio.to_thread(
                        member.call, "GET", "/v2/keys/?quorum=true", None, 3.0
                    )
                    if read.status != 200:
                        continue
                    answer = await asyncio.to_thread(member.call, "GET", "/v2/members", None, 3.0)
                    if answer.status == 200:
                        found: list[dict[str, Any]] = answer.body["members"]
                        return found
            if asyncio.get_running_loop().time() > deadline:
                raise Violation(f"nobody lists the members for {STEP_S:.0f} s")
            await asyncio.sleep(RETRY_S)

    async def change(
        self,
        method: str,
        rest: str,
        body: dict[str, Any] | None,
        made: Callable[[list[dict[str, Any]]], bool],
    ) -> None:
        """Ask until it is made; what came of a lost answer is looked up first."""
        deadline = asyncio.get_running_loop().time() + STEP_S
        last: Any = None
        fleet = self._fleet
        while asyncio.get_running_loop().time() < deadline:
            running = [n for n in fleet.running() if n in fleet.present and n not in fleet.paused]
            if running:
                via = fleet.member(self._rng.choice(running))
                try:
                    last = await asyncio.to_thread(ask, via, method, rest, body)
                except OSError as error:
                    last = error
                else:
                    status = last[0]
                    if status in (200, 201, 204):
                        if not made(await self.members()):
                            raise Violation(f"{method} {rest}: {last}, but it is not there")
                        return
                    if status not in ASK_AGAIN:
                        raise Violation(f"{method} {rest}: {last}")
                if made(await self.members()):
                    return
            await asyncio.sleep(RETRY_S)
        raise Violation(f"{method} {rest}: not made within {STEP_S:.0f} s; last: {last!r}")


def ask(via: Member, method: str, rest: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    """One request about members. Raises OSError when there is no answer."""
    connection = http.client.HTTPConnection(urlsplit(via.client_url).netloc, timeout=ANSWER_S)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        connection.request(method, "/v2/members" + rest, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()
