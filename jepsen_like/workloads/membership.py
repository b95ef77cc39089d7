"""The list of members as clients see it, while a fault may be changing it.

Only looks: one member's list never shows somebody again who had been there and was gone, and in the
end all members show one list, without anybody who was removed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from jepsen_like.base import Violation
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.web import BrokenError, NotSentError, once
from jepsen_like.workloads.pace import work
from jepsen_like.workloads.workload import Context, Finding

TARGET: Final = "/v2/members"
LIMIT_S: Final = 60.0
POLL_S: Final = 0.2

Members = dict[str, tuple[str, ...]]
"""Id -> name and URLs."""


class Membership:
    """See the module's description."""

    name = "membership"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[int, list[Members]] = defaultdict(list)
        self._final: Members = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await work(self._context, [partial(self._look, self._context.timeout_s)], stopped)

    async def finish(self) -> None:
        """Wait until all members show the same. Raises Violation."""
        fleet = self._context.fleet
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            lists = [await read_members(fleet, number, LIMIT_S) for number in fleet.numbers()]
            if None not in lists and all(one == lists[0] for one in lists):
                self._final = lists[0] or {}
                return
            if time.monotonic() > deadline_s:
                raise Violation(f"the members do not agree about who they are: {lists}")
            await asyncio.sleep(POLL_S)

    def check(self) -> Finding:
        """Look for somebody who came back."""
        problems = judge(self._seen, self._final)
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        looks = sum(map(len, self._seen.values()))
        ever = {one for lists in self._seen.values() for members in lists for one in members}
        text = f"{looks} changes of lists seen, {len(ever)} members in all, {len(self._final)} left"
        return Finding("passed" if self._final else "unknown", text)

    async def _look(self, timeout_s: float) -> None:
        fleet = self._context.fleet
        number = fleet.pick(self._context.rng)
        life = fleet.life(number)
        found = await read_members(fleet, number, timeout_s)
        seen = self._seen[life]
        if found is not None and life == fleet.life(number) and seen[-1:] != [found]:
            seen.append(found)


async def read_members(fleet: Fleet, number: int, timeout_s: float) -> Members | None:
    """The list as one member shows it; None if it does not answer."""
    try:
        answer = await once(fleet.address(number), TARGET, timeout_s)
        if answer.status != 200:
            return None
        return {one["id"]: _plain(one) for one in answer.document()["members"]}
    except (NotSentError, BrokenError, json.JSONDecodeError):
        return None


def _plain(member: dict[str, Any]) -> tuple[str, ...]:
    return (member["name"], *sorted(member["peerURLs"]), *sorted(member["clientURLs"]))


def judge(seen: Mapping[int, Sequence[Members]], final: Members) -> list[str]:
    """Who came back after it was removed: at one member while it ran, or in the final list."""
    problems = []
    for life, lists in seen.items():
        gone: set[str] = set()
        for earlier, later in zip(lists, lists[1:], strict=False):
            gone |= earlier.keys() - later.keys()
            problems += [f"{one} came back at life {life}" for one in sorted(gone & later.keys())]
        problems += [f"{one} was removed, and is there" for one in sorted(gone & final.keys())]
    return problems
