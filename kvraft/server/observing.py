"""Looking around now and then: the open descriptors, and the clocks of the other members.

Consensus does not need clocks that agree; but people compare logs, and certificates have dates, so
that a clock which is far off is worth a warning. The other members are asked at `/raft/probing`,
as in etcd 2.3, which at the same time measures the way there and back.

Must not know: consensus. Nothing here blocks the loop: the HTTP client is loaded, and the
descriptors are counted, in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kvraft import limits
from kvraft.server.durations import go_duration
from kvraft.server.ids import format_id
from kvraft.server.logs import logger
from kvraft.server.metrics import Probe
from kvraft.server.peerdocument import read_body
from kvraft.storage import PosixFiles
from kvraft.transport.handshake import HandshakeError
from kvraft.transport.peer import context_for

if TYPE_CHECKING:
    from kvraft.server.metrics import Metrics
    from kvraft.transport.hub import PeerHub

OPEN_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")
"""Where the system lists them: Linux, others."""

_log = logger("rafthttp")


def count_descriptors() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    files = PosixFiles()
    for place in OPEN_DESCRIPTORS:
        with contextlib.suppress(OSError):
            return len(files.list_dir(place)) - 1  # without that of the list itself
    return 0


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Observer:
    """The rounds of one member."""

    def __init__(
        self,
        hub: PeerHub,
        metrics: Metrics,
        members: Callable[[], list[int]],
        wall_clock: Callable[[], datetime] = _wall_clock,
    ) -> None:
        """`members`: the ids of the other members at the moment."""
        self._hub = hub
        self._metrics = metrics
        self._members = members
        self._wall_clock = wall_clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look around."""
        self._tasks = [
            asyncio.create_task(self._count_descriptors(), name="observe-descriptors"),
            asyncio.create_task(self._probe_members(), name="observe-members"),
        ]

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _count_descriptors(self) -> None:
        while True:
            self._metrics.descriptors = await asyncio.to_thread(count_descriptors)
            await asyncio.sleep(limits.DESCRIPTORS_REFRESH_S)

    async def _probe_members(self) -> None:
        while True:
            await asyncio.sleep(limits.PROBE_INTERVAL_S)
            await self.probe_round()

    async def probe_round(self) -> None:
        """Ask each other member once, and warn of clocks that are far off."""
        members = self._members()
        if not members:
            return
        http: Any = await asyncio.to_thread(importlib.import_module, "aiohttp")
        timeout = http.ClientTimeout(total=limits.PROBE_TIMEOUT_S)
        async with http.ClientSession(timeout=timeout) as session:
            for member_id in members:
                url = self._hub.reached(member_id)
                probe = await self._probe(session, http.ClientError, url) if url else None
                if probe is None:
                    self._metrics.probes.pop(member_id, None)
                    continue
                self._metrics.probes[member_id] = probe
                if abs(probe.ahead_s) > limits.CLOCK_DIFFERENCE_S:
                    _log.warning(
                        "the clock difference against peer %s is too high [%s > %s]",
                        format_id(member_id),
                        go_duration(abs(probe.ahead_s)),
                        go_duration(limits.CLOCK_DIFFERENCE_S),
                    )

    async def _probe(self, session: Any, client_error: Any, url: str) -> Probe | None:
        """None if the member does not answer; whether it is reachable is said elsewhere."""
        try:
            context = context_for(url, self._hub.context)
            began = self._wall_clock()
            began_s = self._metrics.now_s()
            async with session.get(f"{url}/raft/probing", ssl=context or True) as answer:
                body = await read_body(answer, limits.PROBE_BODY_BYTES)
            took_s = self._metrics.now_s() - began_s
            there = datetime.fromisoformat(json.loads(body)["Now"])
            ahead_s = (there - began).total_seconds() - took_s / 2
        except (HandshakeError, OSError, TimeoutError, client_error):
            return None
        except (ValueError, KeyError, TypeError):
            return None  # not what one of ours would answer
        return Probe(took_s, ahead_s)
