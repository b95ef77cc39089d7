"""Directories: made, filled, moved, emptied, deleted with all below them, or given a time to live.

Each client works in a subtree of its own, a fresh one after some changes, and knows at any time
what has to be there. A change of unknown outcome is the last one in its subtree: in the end either
the state before it or the state after it is there, whenever it may have been carried out.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.pace import employ, recruit
from jepsen_like.workloads.workload import Context, Finding
from kvraft.store.request import Op, Request

CLIENTS: Final = 3
CHANGES: Final = 25  # in one subtree
LOOK: Final = 0.2  # how often the subtree is compared instead of changed
FLEETING: Final = 0.3  # subtrees that get a time to live in the end, instead of being deleted
FLEETING_TTL_S: Final = 1
POLL_S: Final = 0.2

State = dict[bytes, bytes | None]
"""All paths below a subtree's root; None for a directory."""


class Plan:
    """A subtree: what is there, what else may be, and what is to be done to it next."""

    def __init__(self, root: bytes, rng: random.Random) -> None:
        self.root = root
        self.state: State | None = None
        """None while there is no subtree, and after it was deleted."""
        self.instead: State | None = None
        """If `doubtful`, what may be there as well."""
        self.doubtful = False
        self.over = False
        self.leaving = False
        """Its time to live has begun: all of it is there, or nothing."""
        self.fleeting = rng.random() < FLEETING
        self.changes = 0
        self._names = 0
        self._rng = rng
        self._moving: tuple[bytes, bytes] | None = None

    def next(self, client: Client) -> Request:
        """The next change."""
        self.changes += 1
        if self.state is None:
            return Request(Op.CREATE, self.root, directory=True)
        if self.changes > CHANGES and self.fleeting:
            ttl_s = FLEETING_TTL_S
            return Request(Op.UPDATE, self.root, directory=True, ttl_seconds=ttl_s)
        if self.changes > CHANGES:
            return Request(Op.DELETE, self.root, directory=True, recursive=True)
        if self._moving is not None:
            old, _ = self._moving
            self._moving = None
            return Request(Op.DELETE, old)
        return self._drawn(self.state, client)

    def _drawn(self, state: State, client: Client) -> Request:
        rng = self._rng
        directories = [self.root, *(path for path, value in state.items() if value is None)]
        files = [path for path, value in state.items() if value is not None]
        where = rng.choice(directories)
        kind = rng.random()
        if kind < 0.25:
            return Request(Op.CREATE, self._new(where), directory=True)
        if kind < 0.45:
            return Request(Op.CREATE_IN_ORDER, where, client.value())
        if kind < 0.55 and where != self.root:
            return Request(Op.DELETE, where, directory=True, recursive=True)
        if kind < 0.65 and where != self.root:
            return Request(Op.DELETE, where, directory=True)  # refused unless it is empty
        if kind < 0.75 and files:
            old = rng.choice(files)
            self._moving = old, self._new(where)
            return Request(Op.CREATE, self._moving[1], client.value())
        if kind < 0.85 and files:
            return Request(Op.UPDATE, rng.choice(files), client.value())
        return Request(Op.SET, self._new(where), client.value())

    def _new(self, where: bytes) -> bytes:
        self._names += 1
        return b"%b/n%03d" % (where, self._names)

    def settle(self, operation: Operation) -> str:
        """Take the outcome of a change into the state; what is wrong with it, or nothing."""
        request = operation.request
        assert request is not None
        if operation.outcome is Outcome.FAILED:
            self._moving = None
            return ""
        path = operation.node_path if operation.outcome is Outcome.OK else request.path
        after, refusal = carried_out(self.state, self.root, request, path)
        begins_to_leave = request.op == Op.UPDATE and request.path == self.root
        if operation.outcome is Outcome.UNKNOWN:
            self.over = True
            if not refusal:
                self.instead, self.doubtful = None if begins_to_leave else after, True
            return ""
        if operation.error != refusal:
            return f"should be {refusal or 'done'}: {operation.describe()}"
        self.state = after
        self.leaving = begins_to_leave
        self.over = after is None
        return ""

    def compare(self, found: State | None) -> str:
        """What is wrong with what is there now, or nothing."""
        if found == self.state or (self.doubtful and _alike(found, self.instead)):
            return ""
        if found is None and self.leaving:
            self.over = True
            return ""
        known = self.state or {}
        present = found or {}
        differ = [path for path in known.keys() | present.keys() if _differ(path, known, present)]
        return f"{self.root!r} is not as it was left: {sorted(differ)[:5]} differ"


def _differ(path: bytes, one: State, other: State) -> bool:
    return (path in one) != (path in other) or one.get(path) != other.get(path)


def _alike(found: State | None, possible: State | None) -> bool:
    """Equal, but for the names of in-order keys, which nobody was told."""
    if found is None or possible is None:
        return found is possible
    return sorted(map(_unnamed, found.items())) == sorted(map(_unnamed, possible.items()))


def _unnamed(item: tuple[bytes, bytes | None]) -> tuple[bytes, bytes]:
    path, value = item
    where, _, name = path.rpartition(b"/")
    return (where if name.isdigit() or name == UNNAMED else path), value or b""


UNNAMED: Final = b"?"


def carried_out(
    state: State | None, root: bytes, request: Request, path: bytes
) -> tuple[State | None, str]:
    """State after a change, and why it is refused, if it is. `path` is the key of the answer."""
    if request.op == Op.CREATE and request.path == root:
        return {}, ""
    if state is None:
        return None, "KEY_NOT_FOUND"
    if request.op == Op.CREATE_IN_ORDER:
        name = b"%b/%b" % (path, UNNAMED) if path == request.path else path
        return state | {name: request.value}, ""
    if request.op == Op.DELETE:
        prefix = path + b"/"
        below = [one for one in state if one.startswith(prefix)]
        if below and not request.recursive:
            return state, "DIRECTORY_NOT_EMPTY"
        if path == root:
            return None, ""
        gone = {path, *below}
        return {one: value for one, value in state.items() if one not in gone}, ""
    if path == root:
        return state, ""
    return state | {path: None if request.directory else request.value}, ""


class Tree:
    """See the module's description."""

    name = "tree"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients = recruit(context, CLIENTS)
        self._plans: dict[int, Plan] = {}
        self._ended: list[Plan] = []
        self._problems: list[str] = []
        self._looks = 0
        self._changes = 0

    async def run(self, stopped: asyncio.Event) -> None:
        """See `Workload.run`."""
        await employ(self._context, self._clients, self._step, stopped)

    async def finish(self) -> None:
        """Compare all subtrees, once those with a time to live are gone."""
        plans = [*self._ended, *self._plans.values()]
        leaving = {plan.root for plan in plans if plan.leaving}
        deadline_s = time.monotonic() + FLEETING_TTL_S + self._context.late_s
        while True:
            tree = await self._clients[0].last_look(self._context.root)
            if not leaving & tree.keys():
                break
            if time.monotonic() > deadline_s:
                self._problems.append(f"there after their time: {sorted(leaving & tree.keys())}")
                break
            await asyncio.sleep(POLL_S)
        everything = {path: value for path, (value, _) in tree.items()}
        self._problems += orphans(everything, self._context.root)
        below: dict[bytes, State] = {}
        depth = self._context.root.count(b"/") + 1
        for path, value in everything.items():
            parts = path.split(b"/")
            subtree = below.setdefault(b"/".join(parts[: depth + 1]), {})
            if len(parts) > depth + 1:
                subtree[path] = value
        for plan in plans:
            self._problems += filter(None, [plan.compare(below.get(plan.root))])
        self._looks += len(plans)

    def check(self) -> Finding:
        """What the comparisons have shown."""
        if self._problems:
            return Finding("failed", "; ".join(self._problems[:5]))
        doubtful = sum(plan.doubtful for plan in self._ended)
        text = (
            f"{len(self._ended) + len(self._plans)} subtrees ({doubtful} with a last change of "
            f"unknown outcome), {self._changes} changes, compared {self._looks} times"
        )
        return Finding("passed" if self._looks else "unknown", text)

    async def _step(self, client: Client) -> None:
        plan = self._plans.get(client.number)
        if plan is None or plan.over:
            if plan is not None:
                self._ended.append(plan)
            number = len(self._ended) + len(self._plans)
            plan = Plan(b"%b/s%06d" % (self._context.root, number), self._context.rng)
            self._plans[client.number] = plan
        if plan.state is not None and (plan.leaving or self._context.rng.random() < LOOK):
            await self._compare(client, plan)
            return
        operation = await client.write(plan.next(client))
        self._changes += operation.outcome is Outcome.OK
        problem = plan.settle(operation)
        if problem:
            self._problems.append(problem)
            plan.over = True

    async def _compare(self, client: Client, plan: Plan) -> None:
        look = await client.look_into(plan.root, recursive=True)
        if look.outcome is Outcome.OK and look.tree is not None:
            found: State | None = {path: value for path, (value, _) in look.tree.items()}
        elif look.outcome is Outcome.REFUSED:
            found = None
        else:
            return
        self._looks += 1
        problem = plan.compare(found)
        if problem:
            self._problems.append(problem)
            plan.over = True


def orphans(everything: State, root: bytes) -> list[str]:
    """Paths whose parent is missing, or is no directory."""
    return [
        f"{path!r} has no directory above it"
        for path in everything
        if (parent := path.rpartition(b"/")[0]) != root and everything.get(parent, b"") is not None
    ]
