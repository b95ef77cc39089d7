"""Counting, in two ways: by reading and swapping one key, and by in-order keys.

Every acknowledged increment must be in the final number, and beyond them only such whose outcome
nobody knows. The swapped value names its writer beside the number, so that it is unique.
"""

from __future__ import annotations

import asyncio
from typing import Final

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import changes_of, employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CLIENTS: Final = 4
LAST_ATTEMPTS: Final = 50
ORDERED_SHARE: Final = 0.3  # of the increments; their keys stay


class Counter:
    """See the module's description."""

    name = "counter"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients = recruit(context, CLIENTS)
        self._swapped = context.root + b"/swapped"
        self._ordered = context.root + b"/ordered"
        self._total: bytes | None = None
        self._keys: dict[bytes, bytes | None] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """Count once more, and read the number and the keys."""
        client = self._clients[0]
        for _ in range(LAST_ATTEMPTS):
            done = await self._swap(client)
            if done.request is not None and done.outcome is Outcome.OK:
                break
        self._total = (await client.last_read(self._swapped)).node_value
        tree = await client.last_look(self._ordered)
        self._keys = {path: value for path, (value, _) in tree.items()}

    def check(self) -> Finding:
        """Compare with what was acknowledged."""
        swaps = self._changes(Op.COMPARE_AND_SWAP, self._swapped)
        posts = self._changes(Op.CREATE_IN_ORDER, self._ordered)
        problems = judge_total(self._total, swaps) + judge_keys(self._keys, posts)
        if problems:
            return Finding("failed", "; ".join(problems[:5]))
        acknowledged = _count(swaps, Outcome.OK) + _count(posts, Outcome.OK)
        unknown = _count(swaps, Outcome.UNKNOWN) + _count(posts, Outcome.UNKNOWN)
        if not acknowledged:
            return Finding("unknown", "no increment was acknowledged")
        counted = number_of(self._total) + len(self._keys)
        return Finding(
            "passed",
            f"{counted} counted, {acknowledged} acknowledged, {unknown} of unknown outcome",
        )

    def _changes(self, op: Op, below: bytes) -> list[Operation]:
        return changes_of(self._context, self._clients, op, below)

    async def _step(self, client: Client) -> None:
        if self._context.rng.random() < ORDERED_SHARE:
            await client.write(Request(Op.CREATE_IN_ORDER, self._ordered, client.value()))
        else:
            await self._swap(client)

    async def _swap(self, client: Client) -> Operation:
        """Read and swap; or only the first, or a first value, if that was all that came of it."""
        found = await client.read(self._swapped, quorum=True)
        if found.outcome is Outcome.REFUSED:
            await client.write(Request(Op.CREATE, self._swapped, b"0 " + client.value()))
        if found.outcome is not Outcome.OK or found.node_value is None:
            return found
        value = b"%d %b" % (number_of(found.node_value) + 1, client.value())
        return await client.write(
            Request(Op.COMPARE_AND_SWAP, self._swapped, value, prev_value=found.node_value)
        )


def number_of(value: bytes | None) -> int:
    """The number that a value of the swapped key stands for; 0 if there is none."""
    return int(value.split()[0]) if value else 0


def judge_total(total: bytes | None, swaps: list[Operation]) -> list[str]:
    """What is wrong with the final number."""
    least = _count(swaps, Outcome.OK)
    most = least + _count(swaps, Outcome.UNKNOWN)
    if least <= number_of(total) <= most:
        return []
    return [f"the counter is at {total!r}, acknowledged {least}, possible {most}"]


def judge_keys(keys: dict[bytes, bytes | None], posts: list[Operation]) -> list[str]:
    """What is wrong with the in-order keys that are there in the end."""
    asked = {
        post.request.value: post
        for post in posts
        if post.request is not None and post.outcome in (Outcome.OK, Outcome.UNKNOWN)
    }
    problems = [
        f"lost: {post.describe()}"
        for value, post in asked.items()
        if post.outcome is Outcome.OK and keys.get(post.node_path) != value
    ]
    values = list(keys.values())
    problems += [f"nobody asked for {key!r}" for key, value in keys.items() if value not in asked]
    if len(set(values)) < len(values):
        problems.append("an increment was done twice")
    return problems


def _count(operations: list[Operation], outcome: Outcome) -> int:
    return sum(operation.outcome is outcome for operation in operations)
