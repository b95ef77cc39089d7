"""A lock with a time to live, and what protects from its weakness: the index as fencing token.

Such a lock is no mutual exclusion. A holder that was stalled does not know that its time is up,
and goes on beside the next holder; overlaps are therefore counted, not forbidden. What has to
hold is that later holders have larger tokens (the index of their acquisition), and that the
resource, which takes no older token than it has seen, never does. The resource is a key that is
changed by compare-and-swap, so the rule is kept by the cluster and not by this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from jepsen_like.base import SECOND_NS
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.order import sweep
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import recruit, work
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CONTENDERS: Final = 4
LOCKS: Final = 2
TTL_S: Final = 2
STALL: Final = 0.08  # how often a holder is stalled for longer than its time
LAST_LIMIT_S: Final = 30.0
POLL_S: Final = 0.1
NEVER_NS: Final = 1 << 62
SHARES: Final = {"use": 60, "renew": 25, "release": 15}


class Grant:
    """One holder's time with the lock, as far as the holder knows."""

    __slots__ = ("acquired_ns", "client", "invoked_ns", "kept_ns", "left_ns", "token")

    def __init__(self, client: int, token: int, invoked_ns: int, acquired_ns: int) -> None:
        self.client = client
        self.token = token
        self.invoked_ns = invoked_ns
        self.acquired_ns = acquired_ns
        self.kept_ns = invoked_ns + TTL_S * SECOND_NS
        """Until then nobody may take it away."""
        self.left_ns = 0
        """When the holder stopped to use it; 0 while it does."""


class Journal:
    """One lock with its resource, and what its holders did."""

    def __init__(self, root: bytes, number: int) -> None:
        self.path = b"%b/lock%d" % (root, number)
        self.resource = b"%b/resource%d" % (root, number)
        self.grants: list[Grant] = []
        self.accepted: dict[int, int] = {}
        """Index of a change of the resource -> the token it was made under."""
        self.fenced = 0
        self.early: list[str] = []

    def note(self, operation: Operation) -> None:
        """Take down every state of the resource that an answer speaks of."""
        if operation.outcome is Outcome.OK:
            shown = [(operation.node_value, operation.node_modified)]
            shown += [operation.previous] if operation.previous is not None else []
            for value, modified in shown:
                self.accepted[modified] = token_of(value)


class Contender:
    """Somebody who wants a lock, or has it."""

    def __init__(self, client: Client, journal: Journal) -> None:
        self.client = client
        self.journal = journal
        self.grant: Grant | None = None
        self.modified = 0
        self.stalled_until_ns = 0


class Lock:
    """See the module's description."""

    name = "lock"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._journals = [Journal(context.root, number) for number in range(LOCKS)]
        self._contenders = [
            Contender(client, self._journals[0]) for client in recruit(context, CONTENDERS)
        ]

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        steps = [partial(self._step, contender) for contender in self._contenders]
        await work(self._context, steps, stopped)
        for contender in self._contenders:
            contender.client.leave()

    async def finish(self) -> None:
        """Hold each lock once more, and read the resources."""
        for journal in self._journals:
            await self._hold_once(journal)
            journal.note(await self._contenders[0].client.last_read(journal.resource))

    def check(self) -> Finding:
        """Compare tokens with the order of time and of indexes."""
        problems = [problem for journal in self._journals for problem in judge(journal)]
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        journals = self._journals
        changes = sum(len(journal.accepted) for journal in journals)
        text = (
            f"held {sum(len(journal.grants) for journal in journals)} times, "
            f"{sum(overlaps(journal.grants) for journal in journals)} of them while another still "
            f"thought it held it; {changes} changes of the resources, "
            f"{sum(journal.fenced for journal in journals)} refused to an older token"
        )
        return Finding("passed" if changes else "unknown", text)

    # --- holders ----------------------------------------------------------------------------

    async def _step(self, contender: Contender) -> None:
        if contender.grant is None:
            await self._acquire(contender, self._context.rng.choice(self._journals))
            return
        now_ns = time.monotonic_ns()
        if now_ns < contender.stalled_until_ns:
            return
        rng = self._context.rng
        if rng.random() < STALL:
            contender.stalled_until_ns = now_ns + round(rng.uniform(1, 2) * TTL_S * SECOND_NS)
            return
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "use":
            await self._use(contender, contender.grant)
        elif kind == "renew":
            await self._renew(contender, contender.grant)
        else:
            await self._release(contender)

    async def _hold_once(self, journal: Journal) -> None:
        contender = self._contenders[0]
        deadline_s = time.monotonic() + LAST_LIMIT_S
        grant = None
        while grant is None and time.monotonic() < deadline_s:
            grant = await self._acquire(contender, journal)
            await asyncio.sleep(POLL_S)
        if grant is not None:
            await self._use(contender, grant)
            if contender.grant is grant:
                await self._release(contender)

    async def _release(self, contender: Contender) -> None:
        path, modified = contender.journal.path, contender.modified
        await contender.client.write(Request(Op.COMPARE_AND_DELETE, path, prev_index=modified))
        self._drop(contender)

    async def _acquire(self, contender: Contender, journal: Journal) -> Grant | None:
        client = contender.client
        contender.journal = journal
        request = Request(Op.CREATE, contender.journal.path, client.value(), ttl_seconds=TTL_S)
        operation = await client.write(request)
        if operation.outcome is not Outcome.OK:
            return None  # somebody has it; or we have, and shall never know
        grant = Grant(client.number, operation.index, operation.invoked_ns, operation.ended_ns)
        contender.grant, contender.modified = grant, operation.index
        journal.grants.append(grant)
        return grant

    async def _renew(self, contender: Contender, grant: Grant) -> None:
        client = contender.client
        request = Request(
            Op.COMPARE_AND_SWAP,
            contender.journal.path,
            client.value(),
            prev_index=contender.modified,
            ttl_seconds=TTL_S,
        )
        operation = await client.write(request)
        if operation.outcome is Outcome.OK:
            contender.modified = operation.index
            grant.kept_ns = operation.invoked_ns + TTL_S * SECOND_NS
        elif operation.outcome is not Outcome.FAILED:
            allowed_ns = round(self._context.clock_error_s * SECOND_NS)
            refused = operation.outcome is Outcome.REFUSED
            if refused and operation.ended_ns < grant.kept_ns - allowed_ns:
                contender.journal.early.append(f"taken away too early: {operation.describe()}")
            self._drop(contender)

    async def _use(self, contender: Contender, grant: Grant) -> None:
        """Change the resource, unless it has seen a larger token."""
        client, journal = contender.client, contender.journal
        found = await client.read(journal.resource, quorum=True)
        value = b"%d %b" % (grant.token, client.value())
        if found.outcome is Outcome.REFUSED:
            journal.note(await client.write(Request(Op.CREATE, journal.resource, value)))
        elif found.outcome is Outcome.OK:
            journal.note(found)
            if token_of(found.node_value) > grant.token:
                journal.fenced += 1
                self._drop(contender)
                return
            modified = found.node_modified
            swap = Request(Op.COMPARE_AND_SWAP, journal.resource, value, prev_index=modified)
            journal.note(await client.write(swap))

    def _drop(self, contender: Contender) -> None:
        assert contender.grant is not None
        contender.grant.left_ns = time.monotonic_ns()
        contender.grant = None


def token_of(value: bytes | None) -> int:
    """The token under which a value of the resource was written."""
    return int(value.split()[0]) if value else 0


def judge(journal: Journal) -> list[str]:
    """What is wrong with one lock."""
    problems = judge_grants(journal.grants) + judge_accepted(journal.accepted) + journal.early
    tokens = {grant.token for grant in journal.grants}
    unknown = set(journal.accepted.values()) - tokens
    return problems + [f"the resource was changed under {one}" for one in sorted(unknown)]


def judge_grants(grants: Sequence[Grant]) -> list[str]:
    """Whether whoever acquired the lock after another has a larger token."""
    largest = 0
    for grant, before in sweep(grants, lambda g: g.invoked_ns, lambda g: g.acquired_ns):
        largest = max([largest, *(other.token for other in before)])
        if grant.token <= largest:
            return [f"client {grant.client} was given token {grant.token} after {largest}"]
    return []


def judge_accepted(accepted: Mapping[int, int]) -> list[str]:
    """Whether the resource took an older token after a newer one."""
    newest = 0
    for index in sorted(accepted):
        if accepted[index] < newest:
            return [f"at index {index} token {accepted[index]} was accepted after {newest}"]
        newest = accepted[index]
    return []


def overlaps(grants: Sequence[Grant]) -> int:
    """How many acquisitions fell into the time in which another holder thought it was alone."""
    latest_ns, count = 0, 0
    for grant in sorted(grants, key=lambda grant: grant.acquired_ns):
        count += grant.acquired_ns < latest_ns
        latest_ns = max(latest_ns, grant.left_ns or NEVER_NS)
    return count
