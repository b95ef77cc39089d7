"""A queue of in-order keys: producers append, consumers take the smallest away.

A consumer looks through a quorum and removes the first key by compare-and-delete. Nothing that was
acknowledged may be lost, nothing be taken twice, keys must be in the order of time, and nobody
may be shown a head before which something older is waiting.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.order import sweep
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import changes_of, employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CLIENTS: Final = 4
LONGEST: Final = 40  # then producers consume; each look reads the whole queue
LAST_ATTEMPTS: Final = 50
NEVER_NS: Final = 1 << 62


class Look(NamedTuple):
    """What a consumer was shown as the head."""

    invoked_ns: int
    ended_ns: int
    head: bytes


class Journal:
    """What producers and consumers did."""

    def __init__(self) -> None:
        self.pushes: list[Operation] = []
        self.takes: list[Operation] = []
        self.looks: list[Look] = []


class Queue:
    """See the module's description."""

    name = "queue"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients = recruit(context, CLIENTS)
        self._path = context.root + b"/items"
        self._looks: list[Look] = []
        self._length = 0
        self._left: dict[bytes, bytes | None] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """Append once more, take once more, and read what is left."""
        client = self._clients[0]
        await client.last_write(lambda: Request(Op.CREATE_IN_ORDER, self._path, client.value()))
        for _ in range(LAST_ATTEMPTS):
            if await self._take(client):
                break
        tree = await self._clients[0].last_look(self._path)
        self._left = {path: value for path, (value, _) in tree.items()}

    def check(self) -> Finding:
        """Account for every item."""
        journal = Journal()
        journal.pushes = self._changes(Op.CREATE_IN_ORDER)
        journal.takes = self._changes(Op.COMPARE_AND_DELETE)
        journal.looks = self._looks
        problems = judge(journal.pushes, journal.takes, self._left) + judge_looks(journal)
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        pushed = Counter(push.outcome for push in journal.pushes)
        taken = Counter(take.outcome for take in journal.takes)
        text = (
            f"{pushed[Outcome.OK]} appended (and {pushed[Outcome.UNKNOWN]} perhaps), "
            f"{taken[Outcome.OK]} taken (and {taken[Outcome.UNKNOWN]} perhaps), "
            f"{len(self._left)} left, {len(journal.looks)} looks at the head"
        )
        return Finding("passed" if taken[Outcome.OK] else "unknown", text)

    def _changes(self, op: Op) -> list[Operation]:
        return changes_of(self._context, self._clients, op, self._path)

    async def _step(self, client: Client) -> None:
        if self._length < LONGEST and self._context.rng.random() < 0.5:
            await client.write(Request(Op.CREATE_IN_ORDER, self._path, client.value()))
        else:
            await self._take(client)

    async def _take(self, client: Client) -> bool:
        """Look at the head and take it; whether that was acknowledged."""
        look = await client.look_into(self._path, recursive=True)
        if look.outcome not in (Outcome.OK, Outcome.REFUSED):
            return False
        items = look.tree or {}
        self._length = len(items)
        if not items:
            return False
        head = min(items)
        self._looks.append(Look(look.invoked_ns, look.ended_ns, head))
        value, modified = items[head]
        take = Request(Op.COMPARE_AND_DELETE, head, prev_index=modified)
        if value and self._context.rng.random() < 0.5:
            take = Request(Op.COMPARE_AND_DELETE, head, prev_value=value)
        return (await client.write(take)).outcome is Outcome.OK


def judge(
    pushes: Sequence[Operation], takes: Sequence[Operation], left: Mapping[bytes, bytes | None]
) -> list[str]:
    """What was lost, taken twice, made up, or put in the wrong place."""
    appended = {push.node_path: push for push in pushes if push.outcome is Outcome.OK}
    maybe = {_value(push) for push in pushes if push.outcome is Outcome.UNKNOWN}
    taken = Counter(_path(take) for take in takes if take.outcome is Outcome.OK)
    tried = {_path(take) for take in takes if take.outcome is Outcome.UNKNOWN}
    problems = [f"taken {n} times: {path!r}" for path, n in taken.items() if n > 1]
    problems += [f"taken, and still there: {path!r}" for path in left if path in taken]
    problems += [
        f"lost: {push.describe()}"
        for path, push in appended.items()
        if path not in taken and path not in tried and path not in left
    ]
    shown = dict(left) | {
        _path(take): take.previous[0]
        for take in takes
        if take.outcome is Outcome.OK and take.previous is not None
    }
    for path, value in shown.items():
        if path in appended and value != _value(appended[path]):
            problems.append(f"{path!r} held {value!r}: {appended[path].describe()}")
        elif path not in appended and value not in maybe:
            problems.append(f"nobody appended {value!r} at {path!r}")
    return problems + _judge_order(list(appended.values()))


def _judge_order(appended: list[Operation]) -> list[str]:
    """Who began after another had ended got a larger key."""
    largest = b""
    for push, ended in sweep(appended, lambda o: o.invoked_ns, lambda o: o.ended_ns):
        largest = max([largest, *(other.node_path for other in ended)])
        if push.node_path <= largest:
            return [f"{largest!r} had been appended before: {push.describe()}"]
    return []


def judge_looks(journal: Journal) -> list[str]:
    """Whether a head was shown although something older was certainly waiting."""
    tried_ns: dict[bytes, int] = {}
    for take in journal.takes:
        path = _path(take)
        tried_ns[path] = min(tried_ns.get(path, NEVER_NS), take.invoked_ns)
    pushes = sorted(
        (push for push in journal.pushes if push.outcome is Outcome.OK),
        key=lambda push: push.ended_ns,
    )
    waiting: list[bytes] = []
    place = 0
    for look in sorted(journal.looks):
        while place < len(pushes) and pushes[place].ended_ns < look.invoked_ns:
            heapq.heappush(waiting, pushes[place].node_path)
            place += 1
        while waiting and tried_ns.get(waiting[0], NEVER_NS) <= look.invoked_ns:
            heapq.heappop(waiting)
        older = _certainly_waiting(waiting, tried_ns, look)
        if older:
            return [f"the head was shown as {look.head!r} while {older!r} was waiting"]
    return []


def _certainly_waiting(waiting: list[bytes], tried_ns: Mapping[bytes, int], look: Look) -> bytes:
    """An item older than the head that nobody had begun to take when the look ended."""
    older: Iterable[bytes] = (path for path in waiting if path < look.head)
    return next((path for path in older if tried_ns.get(path, NEVER_NS) > look.ended_ns), b"")


def _path(take: Operation) -> bytes:
    assert take.request is not None
    return take.request.path


def _value(push: Operation) -> bytes:
    assert push.request is not None
    return push.request.value
