"""The end of a stage: all members up, a write through each, and then the same from all.

What clients can read is compared byte for byte. The rest (hidden keys, users, members' records, the
history for watchers) the members compare themselves, by digests at one place of the log.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from jepsen_like.base import Violation
from jepsen_like.check.history import Outcome
from jepsen_like.procs.clients import ROOT, Client, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.watchers import Watcher
from jepsen_like.procs.web import Answer, BrokenError, NotSentError, once
from kvraft.store.request import Op, Request

SETTLE_LIMIT_S: Final = 60.0
READ_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.05
RETRY_S: Final = 0.2
COMPARED: Final = "kvraft_corrupt_check_index"
DIFFERED: Final = "kvraft_corrupt_check_failures_total"


class Shown(NamedTuple):
    """What all members show in the end."""

    store_index: int
    body: bytes
    seconds: float
    """How long it took until all of them did."""
    compared_index: int = 0
    """The entry of the log at which all had the same digest; 0 if there was nothing to compare."""


class Settling:
    """See the module's description."""

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder,
        client: Client,
        watchers: Callable[[], list[Watcher]],
        directory: Path,
    ) -> None:
        """`watchers`: those of present members. `directory`: for what members show at odds."""
        self._fleet = fleet
        self._recorder = recorder
        self._client = client
        self._watchers = watchers
        self._directory = directory
        self._deadline_s = 0.0

    async def writes(self) -> None:
        """One write through each member. Raises Violation."""
        self._deadline_s = time.monotonic() + SETTLE_LIMIT_S
        for number in self._fleet.numbers():
            while (await self._write(number)) is not Outcome.OK:
                self._in_time(f"member {number + 1} takes no write after all faults ended")

    async def same(self) -> Shown:
        """Wait until members and watchers have arrived at the same. Raises Violation."""
        began_s = time.monotonic()
        self._deadline_s = began_s + SETTLE_LIMIT_S
        while True:
            marker = self._recorder.highest_index
            while min(watcher.next_index for watcher in self._watchers()) <= marker:
                self._in_time("a watch does not catch up after all faults ended")
                await asyncio.sleep(POLL_S)
            index, body = await self._agreed()
            if index == self._recorder.highest_index:
                return Shown(index, body, time.monotonic() - began_s)
            # A member that came back noted that after the last write, or a key expired. Only a
            # later event tells the watchers how far they have seen everything.
            await self._write(self._fleet.numbers()[0])

    async def compared(self) -> int:
        """Wait until the members have found their digests equal anew, and tell at which entry.

        Raises Violation.
        """
        self._deadline_s = time.monotonic() + SETTLE_LIMIT_S
        before = max(await self._everywhere(COMPARED))
        while True:
            entries = await self._everywhere(COMPARED)
            if len(set(entries)) == 1 and entries[0] > before:
                break
            self._in_time("the members do not compare their data after all faults ended")
            await asyncio.sleep(RETRY_S)
        if any(await self._everywhere(DIFFERED)):
            raise Violation("members have found that their data differs")
        return entries[0]

    async def _everywhere(self, metric: str) -> list[int]:
        """What all members show for it."""
        pattern = re.compile(rb"^%s (\S+)$" % metric.encode(), re.MULTILINE)
        while (answers := await self._ask_all("/metrics")) is None:
            self._in_time("a member does not answer after all faults ended")
            await asyncio.sleep(RETRY_S)
        matches = [pattern.search(answer.body) for answer in answers]
        return [int(float(match[1])) for match in matches if match is not None]

    async def _write(self, number: int) -> Outcome:
        self._client.go_to(number)
        path = b"%b/last%d" % (ROOT, number)
        operation = await self._client.write(Request(Op.SET, path, self._client.value()))
        self._client.leave()
        return operation.outcome

    async def _agreed(self) -> tuple[int, bytes]:
        """Index and content as all members show them."""
        while True:
            answers = await self._read_everywhere()
            if answers is not None and len({_shown(answer) for answer in answers}) == 1:
                return _shown(answers[0])
            self._in_time("the members do not show the same", answers)
            await asyncio.sleep(RETRY_S)

    def _in_time(self, what: str, answers: list[Answer] | None = None) -> None:
        if time.monotonic() > self._deadline_s:
            for number, answer in zip(self._fleet.numbers(), answers or (), strict=False):
                (self._directory / f"final-m{number + 1}.json").write_bytes(answer.body)
            raise Violation(f"{what} ({SETTLE_LIMIT_S:.0f} s)")

    async def _read_everywhere(self) -> list[Answer] | None:
        return await self._ask_all(f"/v2/keys{ROOT.decode()}?recursive=true&sorted=true")

    async def _ask_all(self, target: str) -> list[Answer] | None:
        try:
            return [
                await once(self._fleet.address(number), target, READ_TIMEOUT_S)
                for number in self._fleet.numbers()
            ]
        except (NotSentError, BrokenError):
            return None


def _shown(answer: Answer) -> tuple[int, bytes]:
    return int(answer.headers.get("x-etcd-index", "0")), answer.body
