"""`python -m jepsen_like.procs.watching`: follow every change with the client while members die.

The load, the strikes and the verdict on the writes are those of `crash`. Beside them, consumers
of `kvraft.Client.watch` of several kinds follow the keys: fast and slow ones, of one key and of the
whole tree, ones that sleep while the members forget what they missed, ones that end their watch
and begin another where it ended. When all is over the order of changes is known, and
each consumer must have been shown every change of its keys exactly once and in order; what it
missed has to lie in the range of an explicit Resync, whose tree has to be the state of that index.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from jepsen_like.base import Violation
from jepsen_like.check.explain import Explanation
from jepsen_like.check.history import Operation
from jepsen_like.procs import crash
from jepsen_like.procs.clients import ROOT, Recorder
from jepsen_like.procs.nemesis import PROGRESS_TIMEOUT_S, Nemesis
from jepsen_like.workloads.keys import keys_below, queue_below
from kvraft.client.client import Client
from kvraft.client.model import KeyNode, Resync, WatchEvent

DEFAULT_EVENTS: Final = 100_000
DEFAULT_KILLS: Final = 60
FORGOTTEN: Final = 1500  # changes during a sleep: more than the 1000 that members remember
WAKE_EVENTS: Final = 1500  # events that a sleeper takes before it sleeps again
KEEP_UP: Final = 400  # how far fast consumers may be behind before the writers wait for them
SLOW_S: Final = 0.03
POLL_S: Final = 0.05
TREE: Final = ROOT.decode()
KEYS: Final = keys_below(ROOT)
QUEUE: Final = queue_below(ROOT)


class Place(NamedTuple):
    """One change of a key in the order that the verdict has found."""

    at: int
    key: str
    action: str
    value: str | None
    told: dict[str, Any] | None
    """The event, if a raw watch has seen it."""


class Consumer:
    """Somebody who follows a key, or all below it, and notes what he is told."""

    def __init__(
        self, name: str, client: Client, key: str, rng: random.Random, *, recursive: bool = False
    ) -> None:
        self.name = name
        self.key = key
        self.recursive = recursive
        self.begin = 0
        self.position = 0
        self.items: list[WatchEvent | Resync] = []
        self.watches = 0
        self.longest_s = 0.0
        self.hurry = False  # the load is over
        self._client = client
        self._rng = rng
        self._last_s = time.monotonic()

    async def start(self) -> None:
        """Find out where the first watch begins."""
        self.begin = self.position = (await self._client.get("/", quorum=True)).etcd_index

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self.watches += 1
            watch = self._client.watch(
                self.key, recursive=self.recursive, after_index=self.position
            )
            async with watch:
                async for item in watch:
                    self._note(item)
                    await self.pace()
                    if self.gone():
                        break

    async def pace(self) -> None:
        """Before the next event is taken."""

    def gone(self) -> bool:
        """Whether the watch is to be ended here, and another one begun."""
        return False

    def wants(self, key: str) -> bool:
        """Whether a key is among those that are followed."""
        return key == self.key or (self.recursive and key.startswith(f"{self.key}/"))

    def resyncs(self) -> list[Resync]:
        """Those that were told."""
        return [item for item in self.items if isinstance(item, Resync)]

    def _note(self, item: WatchEvent | Resync) -> None:
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s
        self.items.append(item)
        self.position = item.index


class Slow(Consumer):
    """Falls behind again and again."""

    async def pace(self) -> None:
        """Think about it."""
        if not self.hurry:
            await asyncio.sleep(self._rng.uniform(0, SLOW_S))


class Sleeper(Consumer):
    """Keeps up, and then stops for longer than members remember."""

    def __init__(self, *arguments: Any, recorder: Recorder, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._recorder = recorder
        self._taken = 0

    async def pace(self) -> None:
        """Sleep after a number of events."""
        self._taken += 1
        if self._taken < WAKE_EVENTS and self._rng.random() > 1 / WAKE_EVENTS:
            return
        self._taken = 0
        goal = self._recorder.highest_index + FORGOTTEN
        while self._recorder.highest_index < goal and not self.hurry:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


class Returning(Consumer):
    """Ends its watch, begins another one where that ended."""

    def gone(self) -> bool:
        """Now and then."""
        return self._rng.random() < 0.01


class PacedNemesis(Nemesis):
    """Strikes spread over the whole load instead of as fast as they can be had."""

    events = 0

    async def _progress(self) -> None:
        await super()._progress()
        goal = self.events * self.kills() // max(1, self._kills)
        while self._recorder.acknowledged < goal:
            before = self._recorder.acknowledged
            if not await self._wait(partial(self._more_than, before), PROGRESS_TIMEOUT_S):
                raise Violation(f"no write was acknowledged for {PROGRESS_TIMEOUT_S:.0f} s")

    def _more_than(self, count: int) -> bool:
        return self._recorder.acknowledged > count


class Run(crash.Run):
    """One run: see the module's description."""

    DEFAULTS: ClassVar[dict[str, object]] = {
        "events": DEFAULT_EVENTS,
        "kills": DEFAULT_KILLS,
        "seconds_max": 3600.0,
    }

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        super().__init__(options, directory)
        self.nemesis = PacedNemesis(
            self.fleet, self.recorder, self._rng("nemesis"), options.kills, self._progress
        )
        self.nemesis.events = options.events
        self.consumers: list[Consumer] = []
        self._clients: list[Client] = []
        self._fast: list[Consumer] = []

    def _client(self, name: str, numbers: Iterable[int]) -> Client:
        urls = [self.fleet.members[number].client_url for number in numbers]
        client = Client(urls, rng=self._rng(f"endpoints of {name}"))
        self._clients.append(client)
        return client

    def _recruit(self) -> None:
        """The consumers. All of them that are fast together can follow the writers."""
        every = self.numbers()

        def options(name: str) -> tuple[str, Client]:
            return name, self._client(name, every)

        rng = self._rng
        tree = Consumer(*options("tree"), TREE, rng("tree"), recursive=True)
        queue = Consumer(*options("queue"), QUEUE.decode(), rng("queue"), recursive=True)
        keys = [
            Consumer(*options(f"key {key.decode()}"), key.decode(), rng("key")) for key in KEYS[:2]
        ]
        # nobody writes to these before the very end
        quiet = [
            Consumer(*options(f"quiet {n}"), f"{TREE}/last{n}", rng("quiet")) for n in every[:1]
        ]
        returning = Returning(*options("returning"), KEYS[2].decode(), rng("returning"))
        # knows one endpoint only, and has to wait for it
        alone = Consumer("alone", self._client("alone", every[:1]), KEYS[3].decode(), rng("alone"))
        slow = Slow(*options("slow"), TREE, rng("slow"), recursive=True)
        slow_key = Slow(*options("slow key"), KEYS[4].decode(), rng("slow key"))
        sleepers = [
            Sleeper(*options("sleeper"), TREE, rng("s1"), recursive=True, recorder=self.recorder),
            Sleeper(*options("sleeper key"), KEYS[5].decode(), rng("s2"), recorder=self.recorder),
        ]
        self._fast = [tree]
        self.consumers = [
            *self._fast, queue, *keys, *quiet, returning, alone, slow, slow_key, *sleepers,
        ]  # fmt: skip

    # --- the run --------------------------------------------------------------------------------

    async def strike(self, time_is_up: Callable[[], bool]) -> None:
        """See `crash.Run.strike`."""
        await super().strike(time_is_up)
        while self.recorder.acknowledged < self.options.events and not time_is_up():
            self.fleet.check_alive()
            self._progress(self.nemesis.kills())
            await asyncio.sleep(POLL_S)

    def _watchers_follow(self) -> bool:
        behind = self.recorder.highest_index - min(one.position for one in self._fast)
        return behind < KEEP_UP and super()._watchers_follow()

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        self._recruit()
        for consumer in self.consumers:
            await consumer.start()
        tasks = [asyncio.create_task(consumer.run()) for consumer in self.consumers]
        try:
            async with super()._watching():
                yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for client in self._clients:
                await client.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _settle(self) -> tuple[int, bytes]:
        for consumer in self.consumers:
            consumer.hurry = True
        shown = await super()._settle()
        last: dict[str, int] = {}
        for session in (s for watcher in self.watchers for s in watcher.sessions):
            for seen in session.events:
                key = seen.document["node"]["key"]
                last[key] = max(last.get(key, 0), seen.place)
        deadline = time.monotonic() + crash.SETTLE_TIMEOUT_S
        for consumer in self.consumers:
            goal = max((index for key, index in last.items() if consumer.wants(key)), default=0)
            while consumer.position < goal:
                what = f"consumer {consumer.name} is at {consumer.position}, not {goal}"
                self._in_time(deadline, f"{what}, after all faults ended")
                await asyncio.sleep(POLL_S)
        return shown

    def _judged(self, explanation: Explanation) -> None:
        order = places(explanation)
        for consumer in self.consumers:
            check_events(consumer, order)
        check_trees(self.consumers, order)
        late = [consumer.name for consumer in self._fast if consumer.resyncs()]
        if late:
            raise Violation(f"consumers that kept up were told to start over: {late}")

    def figures(self) -> list[str]:
        """What happened, in numbers."""
        lines = []
        reasons: Counter[str] = Counter()
        longest = 0
        for consumer in self.consumers:
            resyncs = consumer.resyncs()
            reasons.update(" ".join(resync.reason.split("[")[0].split()) for resync in resyncs)
            longest = max(longest, _longest_resync(consumer))
            lines.append(
                f"consumer {consumer.name}: {len(consumer.items) - len(resyncs)} events, "
                f"{len(resyncs)} resyncs, {consumer.watches} watches, "
                f"{consumer.longest_s:.1f} s without news at most"
            )
        why = ", ".join(f"{count} x {reason!r}" for reason, count in sorted(reasons.items()))
        return [
            *super().figures(),
            *lines,
            f"resyncs: {reasons.total()} ({why or 'none'}), the longest covers {longest} indices",
        ]


# --- the check ----------------------------------------------------------------------------------


def places(explanation: Explanation) -> list[Place]:
    """All changes in their order."""
    found = []
    for index, operation in sorted(explanation.by_index.items()):
        seen = explanation.coverage.events.get(index)
        found.append(_acknowledged(index, operation) if seen is None else _seen(seen.document))
    return found


def _seen(document: dict[str, Any]) -> Place:
    node = document["node"]
    return Place(
        node["modifiedIndex"], node["key"], document["action"], node.get("value"), document
    )


def _acknowledged(index: int, operation: Operation) -> Place:
    """A change that no raw watch has seen, as its writer was told it."""
    assert operation.request is not None
    value = None if operation.node_value is None else operation.node_value.decode()
    return Place(index, operation.node_path.decode(), operation.action, value, None)


def check_events(consumer: Consumer, order: list[Place]) -> None:
    """Every change once and in order, but for what a Resync covers. Raises Violation."""
    who = f"consumer {consumer.name} of {consumer.key}"
    mine = {place.at: place for place in order if consumer.wants(place.key)}
    indices = sorted(mine)
    position = consumer.begin
    for item in consumer.items:
        if isinstance(item, Resync):
            if item.index < position:
                raise Violation(f"{who}: a Resync goes back from {position} to {item.index}")
            position = item.index
            continue
        if item.index <= position:
            raise Violation(f"{who}: {item.index} ({item.key}) was told again, after {position}")
        missed = _between(indices, position, item.index - 1)
        if missed:
            raise Violation(f"{who}: not told of {missed[:10]} between {position} and {item.index}")
        if item.index not in mine:
            raise Violation(f"{who}: was told of {item}, which is no change of its keys")
        _compare(who, item, mine[item.index])
        position = item.index
    missed = [index for index in indices if index > position]
    if missed:
        raise Violation(f"{who}: not told of {missed[:10]}, its last was {position}")


def _between(indices: list[int], after: int, last: int) -> list[int]:
    return indices[bisect_right(indices, after) : bisect_right(indices, last)]


def _compare(who: str, event: WatchEvent, place: Place) -> None:
    told = (event.key, event.action, event.value)
    if told != (place.key, place.action, place.value):
        raise Violation(f"{who}: at {event.index} was told {told}, it was {place}")
    if place.told is not None:
        previous = place.told.get("prevNode")
        expected = None if previous is None else (previous["value"], previous["modifiedIndex"])
        found = event.prev_node and (event.prev_node.value, event.prev_node.modified_index)
        if found != expected or event.node.created_index != place.told["node"]["createdIndex"]:
            raise Violation(f"{who}: at {event.index} was told {event}, it was {place.told}")


def check_trees(consumers: Iterable[Consumer], order: list[Place]) -> None:
    """The tree of each Resync is the state of its index. Raises Violation."""
    waiting = [(resync.index, one, resync) for one in consumers for resync in one.resyncs()]
    waiting.sort(key=lambda entry: entry[0])
    state: dict[str, tuple[str, int]] = {}
    done = 0
    for index, consumer, resync in waiting:
        while done < len(order) and order[done].at <= index:
            _apply(state, order[done])
            done += 1
        expected = {key: entry for key, entry in state.items() if consumer.wants(key)}
        found = files_of(resync.node)
        if found != expected:
            keys = sorted(expected.keys() | found.keys())
            wrong = [(k, found.get(k), expected.get(k)) for k in keys]
            wrong = [entry for entry in wrong if entry[1] != entry[2]]
            raise Violation(
                f"consumer {consumer.name}: the tree of the Resync at {index} is wrong in "
                f"{len(wrong)} keys, first (key, found, expected): {wrong[:3]}"
            )


def _apply(state: dict[str, tuple[str, int]], place: Place) -> None:
    if place.action in ("delete", "compareAndDelete", "expire"):
        state.pop(place.key, None)
    else:
        state[place.key] = (place.value or "", place.at)


def files_of(node: KeyNode | None) -> dict[str, tuple[str, int]]:
    """Value and version of every file in a tree."""
    if node is None:
        return {}
    return {
        found.key: (found.value or "", found.modified_index)
        for found in node.walk()
        if not found.dir
    }


def _longest_resync(consumer: Consumer) -> int:
    longest, position = 0, consumer.begin
    for item in consumer.items:
        if isinstance(item, Resync):
            longest = max(longest, item.index - position)
        position = item.index
    return longest


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return crash.main(arguments, Run, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
