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
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import recruit, work
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CONTENDERS: Final = 4
TTL_S: Final = 2
STALL: Final = 0.08  # how often a holder is stalled for longer than its time
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


class Contender:
    """Somebody who wants the lock, or has it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.grant: Grant | None = None
        self.modified = 0
        self.stalled_until_ns = 0


class Journal:
    """What the holders did."""

    def __init__(self) -> None:
        self.grants: list[Grant] = []
        self.accepted: dict[int, int] = {}
        """Index of a change of the resource -> the token it was made under."""
        self.fenced = 0
        self.early: list[str] = []


class Lock:
    """See the module's description."""

    name = "lock"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._contenders = [Contender(client) for client in recruit(context, CONTENDERS)]
        self._path = context.root + b"/lock"
        self._resource = context.root + b"/resource"
        self._journal = Journal()

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        steps = [partial(self._step, contender) for contender in self._contenders]
        await work(self._context, steps, stopped)
        for contender in self._contenders:
            contender.client.leave()

    async def finish(self) -> None:
        """Read the resource."""
        self._note(await self._contenders[0].client.last_read(self._resource))

    def check(self) -> Finding:
        """Compare tokens with the order of time and of indexes."""
        journal = self._journal
        problems = judge_grants(journal.grants) + judge_accepted(journal.accepted) + journal.early
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        text = (
            f"held {len(journal.grants)} times, {overlaps(journal.grants)} of them while another "
            f"still thought it held it; {len(journal.accepted)} changes of the resource, "
            f"{journal.fenced} refused to an older token"
        )
        return Finding("passed" if journal.accepted else "unknown", text)

    # --- holders ----------------------------------------------------------------------------

    async def _step(self, contender: Contender) -> None:
        if contender.grant is None:
            await self._acquire(contender)
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
            await contender.client.write(
                Request(Op.COMPARE_AND_DELETE, self._path, prev_index=contender.modified)
            )
            self._drop(contender)

    async def _acquire(self, contender: Contender) -> None:
        client = contender.client
        request = Request(Op.CREATE, self._path, client.value(), ttl_seconds=TTL_S)
        operation = await client.write(request)
        if operation.outcome is not Outcome.OK:
            return  # somebody has it; or we have, and shall never know
        grant = Grant(client.number, operation.index, operation.invoked_ns, operation.ended_ns)
        contender.grant, contender.modified = grant, operation.index
        self._journal.grants.append(grant)

    async def _renew(self, contender: Contender, grant: Grant) -> None:
        client = contender.client
        request = Request(
            Op.COMPARE_AND_SWAP,
            self._path,
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
                self._journal.early.append(f"taken away too early: {operation.describe()}")
            self._drop(contender)

    async def _use(self, contender: Contender, grant: Grant) -> None:
        """Change the resource, unless it has seen a larger token."""
        client = contender.client
        found = await client.read(self._resource, quorum=True)
        value = b"%d %b" % (grant.token, client.value())
        if found.outcome is Outcome.REFUSED:
            self._note(await client.write(Request(Op.CREATE, self._resource, value)))
        elif found.outcome is Outcome.OK:
            self._note(found)
            if token_of(found.node_value) > grant.token:
                self._journal.fenced += 1
                self._drop(contender)
                return
            modified = found.node_modified
            swap = Request(Op.COMPARE_AND_SWAP, self._resource, value, prev_index=modified)
            self._note(await client.write(swap))

    def _drop(self, contender: Contender) -> None:
        assert contender.grant is not None
        contender.grant.left_ns = time.monotonic_ns()
        contender.grant = None

    def _note(self, operation: Operation) -> None:
        """Take down every state of the resource that an answer speaks of."""
        if operation.outcome is Outcome.OK:
            shown = [(operation.node_value, operation.node_modified)]
            shown += [operation.previous] if operation.previous is not None else []
            for value, modified in shown:
                self._journal.accepted[modified] = token_of(value)


def token_of(value: bytes | None) -> int:
    """The token under which a value of the resource was written."""
    return int(value.split()[0]) if value else 0


def judge_grants(grants: Sequence[Grant]) -> list[str]:
    """Whether whoever acquired the lock after another has a larger token."""
    by_end = sorted(grants, key=lambda grant: grant.acquired_ns)
    largest, place = 0, 0
    for grant in sorted(grants, key=lambda grant: grant.invoked_ns):
        while by_end[place].acquired_ns < grant.invoked_ns:
            largest = max(largest, by_end[place].token)
            place += 1
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
