"""Keys with a time to live, some of them refreshed.

No key may go before the time that its last acknowledged write or refresh has asked for, less the
error allowed to clocks; every member must tell the same index for its end; and once all faults are
over keys go soon after their time. Each key is written by one client and never made twice, and is
left alone after a write of unknown outcome, so that one end is all it can have.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from jepsen_like.base import SECOND_NS
from jepsen_like.check.coverage import Seen
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.lookouts import Lookouts
from jepsen_like.workloads.pace import employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CLIENTS: Final = 3
LIVE_KEYS: Final = 4  # per client
SHORTEST_S: Final = 1
LONGEST_S: Final = 3
LAST_KEYS: Final = 5
NEWS_LIMIT_S: Final = 20.0
POLL_S: Final = 0.1


class Lease:
    """One key and how long it has to be there."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.kept_ns = 0
        """Not before this moment may it go."""
        self.until_ns = 0
        """At this moment it should go, if `certain`."""
        self.certain = True
        self.changed_index = 0
        self.over = False
        """Its client leaves it alone."""

    def extend(self, operation: Operation) -> None:
        """Take a write or refresh into account that was answered, or may have been done."""
        assert operation.request is not None
        assert operation.request.ttl_seconds is not None
        ttl_ns = operation.request.ttl_seconds * SECOND_NS
        if operation.outcome is Outcome.OK:
            self.kept_ns = operation.invoked_ns + ttl_ns
            self.until_ns = operation.ended_ns + ttl_ns
            self.changed_index = operation.index
        elif operation.outcome is Outcome.UNKNOWN:
            self.kept_ns = min(self.kept_ns, operation.invoked_ns + ttl_ns)
            self.certain, self.over = False, True


class End(NamedTuple):
    """What the members told about the end of a key."""

    indexes: frozenset[int]
    first_ns: int
    """When the first of them told it."""


class Ttl:
    """See the module's description."""

    name = "ttl"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients = recruit(context, CLIENTS)
        self._lookouts = Lookouts(context)
        self._leases: dict[bytes, Lease] = {}
        self._live: dict[int, list[Lease]] = defaultdict(list)
        self._last: list[Lease] = []
        self._problems: list[str] = []

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        self._lookouts.start()
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """All keys end, and some new ones that nothing disturbs."""
        client = self._clients[0]
        for _ in range(LAST_KEYS):
            lease = self._new_lease()
            operation = await client.last_write(partial(_brief, lease.path, client))
            if operation.outcome is Outcome.OK:
                lease.extend(operation)
                self._last.append(lease)
        grace_s = LONGEST_S + self._context.late_s
        deadline_s = time.monotonic() + grace_s
        while left := await client.last_look(self._context.root):
            if time.monotonic() > deadline_s:
                self._problems.append(f"still there {grace_s:.0f} s after all: {sorted(left)[:5]}")
                break
            await asyncio.sleep(POLL_S)
        await self._hear_of_the_last(time.monotonic() + NEWS_LIMIT_S)
        await self._lookouts.stop()

    def check(self) -> Finding:
        """Compare what was told of each key's end with what was asked for."""
        ends = ends_of(self._lookouts.events())
        error_ns = round(self._context.clock_error_s * SECOND_NS)
        late_ns = round(self._context.late_s * SECOND_NS)
        problems = self._problems + judge(self._leases, ends, error_ns)
        problems += judge_last(self._last, ends, late_ns)
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        late = [
            (ends[path].first_ns - lease.until_ns) / SECOND_NS
            for path, lease in self._leases.items()
            if lease.certain and lease.until_ns and path in ends
        ]
        if not late:
            return Finding("unknown", "no key with a time to live has ended")
        text = (
            f"{len(ends)} keys expired, none early, each at one index; after their time "
            f"{statistics.median(late):.2f} s in the middle, {max(late):.2f} s at most"
        )
        return Finding("passed", text)

    async def _step(self, client: Client) -> None:
        rng = self._context.rng
        live = self._live[client.number]
        live[:] = [lease for lease in live if not lease.over]
        if len(live) < LIVE_KEYS and rng.random() < 0.4:
            lease = self._new_lease()
            live.append(lease)
            await self._change(client, lease, Request(Op.CREATE, lease.path, client.value()))
        elif live:
            lease = rng.choice(live)
            kind = rng.randrange(3)
            if kind == 0:
                await self._change(client, lease, Request(Op.UPDATE, lease.path, refresh=True))
            elif kind == 1:
                await self._change(client, lease, Request(Op.UPDATE, lease.path, client.value()))
            else:
                self._answered(lease, await client.read(lease.path, quorum=True))

    async def _change(self, client: Client, lease: Lease, request: Request) -> None:
        ttl_s = self._context.rng.randint(SHORTEST_S, LONGEST_S)
        operation = await client.write(request._replace(ttl_seconds=ttl_s))
        if operation.outcome is Outcome.FAILED and not lease.kept_ns:
            lease.over = True
        lease.extend(operation)
        self._answered(lease, operation)

    def _answered(self, lease: Lease, operation: Operation) -> None:
        """Whether an answer says that the key is gone, and may."""
        if operation.outcome is not Outcome.REFUSED:
            return
        lease.over = True
        error_ns = round(self._context.clock_error_s * SECOND_NS)
        if operation.ended_ns < lease.kept_ns - error_ns:
            self._problems.append(f"gone too early: {operation.describe()}")

    def _new_lease(self) -> Lease:
        lease = Lease(b"%b/t%06d" % (self._context.root, len(self._leases)))
        self._leases[lease.path] = lease
        return lease

    async def _hear_of_the_last(self, deadline_s: float) -> None:
        """Until every member has told of all the last ends."""
        while time.monotonic() < deadline_s:
            ends = ends_of(self._lookouts.events())
            indexes = [max(ends[one.path].indexes) for one in self._last if one.path in ends]
            if len(indexes) == len(self._last):
                if not self._lookouts.behind(max(indexes, default=0)):
                    return
            await asyncio.sleep(POLL_S)
        self._problems.append("a member does not tell of keys that have expired")


def _brief(path: bytes, client: Client) -> Request:
    return Request(Op.CREATE, path, client.value(), ttl_seconds=SHORTEST_S)


def ends_of(events: Iterable[Seen]) -> dict[bytes, End]:
    """What all members together told about the keys that have expired."""
    indexes: dict[bytes, set[int]] = defaultdict(set)
    first_ns: dict[bytes, int] = {}
    for seen in events:
        if seen.document["action"] == "expire":
            indexes[seen.key].add(seen.place)
            first_ns[seen.key] = min(seen.at_ns, first_ns.get(seen.key, seen.at_ns))
    return {key: End(frozenset(found), first_ns[key]) for key, found in indexes.items()}


def judge(leases: Mapping[bytes, Lease], ends: Mapping[bytes, End], error_ns: int) -> list[str]:
    """What is wrong with the ends of the keys."""
    problems = []
    for path, end in ends.items():
        lease = leases.get(path)
        if lease is None:
            problems.append(f"{path!r} expired, and nobody had made it")
            continue
        if len(end.indexes) > 1:
            problems.append(f"{path!r} expired at several indexes: {sorted(end.indexes)}")
        early_ns = lease.kept_ns - error_ns - end.first_ns
        if early_ns > 0:
            problems.append(f"{path!r} expired {early_ns / SECOND_NS:.3f} s too early")
        if min(end.indexes) < lease.changed_index:
            problems.append(f"{path!r} was changed at {lease.changed_index}, after its end")
    return problems


def judge_last(leases: Iterable[Lease], ends: Mapping[bytes, End], late_ns: int) -> list[str]:
    """Which of the keys that nothing disturbed went too late, or were never told to have gone."""
    problems = []
    for lease in leases:
        end = ends.get(lease.path)
        if end is None:
            problems.append(f"{lease.path!r} was not told to have expired")
        elif end.first_ns - lease.until_ns > late_ns:
            late_s = (end.first_ns - lease.until_ns) / SECOND_NS
            problems.append(f"{lease.path!r} expired {late_s:.3f} s late")
    return problems
