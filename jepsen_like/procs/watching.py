"""`python -m jepsen_like watching`: follow every change with the client while members die.

A trial like all others (`campaign.trial`), under kills and pauses of anybody. Beside its writers,
consumers of `kvraft.Client.watch` of several kinds follow the keys: fast and slow ones, of one key
and of the whole tree, ones that sleep while the members forget what they missed, ones that end
their watch and begin another where it ended. When all is over the order of changes is known, and
each consumer must have been shown every change of its keys exactly once and in order; what it
missed has to lie in the range of an explicit Resync, whose tree has to be the state of that index.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from jepsen_like.base import Violation
from jepsen_like.campaign.plan import SIZES
from jepsen_like.campaign.runner import STATUSES, line
from jepsen_like.campaign.settle import SETTLE_LIMIT_S, Shown
from jepsen_like.campaign.stages import run_stage
from jepsen_like.campaign.trial import Job, Trial
from jepsen_like.check.coverage import merge
from jepsen_like.check.explain import Explanation
from jepsen_like.check.history import Operation
from jepsen_like.faults.processes import ANYTHING
from jepsen_like.options import whole
from jepsen_like.procs.clients import ROOT, Recorder
from jepsen_like.procs.tasks import end_tasks
from jepsen_like.report.result import FAILED, PASSED
from jepsen_like.workloads.keys import Writer, keys_below, queue_below
from jepsen_like.workloads.workload import Finding
from kvraft.client.client import Client
from kvraft.client.model import KeyNode, Resync, WatchEvent

DEFAULT_EVENTS: Final = 100_000
DEFAULT_STRIKES: Final = 60
PAUSES_S: Final = 60.0  # pauses are shorter towards the end of this time
WRITERS: Final = 8
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


class Following:
    """The load: writers that never pause, and consumers that follow them."""

    def __init__(self, trial: Run) -> None:
        self.consumers: list[Consumer] = []
        self.fast: list[Consumer] = []
        self._trial = trial
        self._clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._writers = [
            Writer(ROOT, trial.fleet, trial.recorder, trial.rng(f"writer {number}"))
            for number in range(WRITERS)
        ]

    async def run(self, stopped: asyncio.Event) -> None:
        """See `workloads.load.Load.run`; the consumers go on until `close`."""
        self._recruit()
        for consumer in self.consumers:
            await consumer.start()
        self._tasks = [asyncio.create_task(consumer.run()) for consumer in self.consumers]
        async with asyncio.TaskGroup() as group:
            for writer in self._writers:
                group.create_task(writer.run(stopped, self._trial.watchers_follow))

    async def finish(self) -> None:
        """Everybody takes what there is, as fast as it comes."""
        for consumer in self.consumers:
            consumer.hurry = True

    async def catch_up(self) -> None:
        """Wait until all have been told everything. Raises Violation."""
        last: dict[str, int] = {}
        for session in (s for watcher in self._trial.watchers for s in watcher.sessions):
            for seen in session.events:
                key = seen.document["node"]["key"]
                last[key] = max(last.get(key, 0), seen.place)
        deadline_s = time.monotonic() + SETTLE_LIMIT_S
        for consumer in self.consumers:
            goal = max((index for key, index in last.items() if consumer.wants(key)), default=0)
            while consumer.position < goal:
                if time.monotonic() > deadline_s:
                    raise Violation(
                        f"consumer {consumer.name} is at {consumer.position}, not {goal}, "
                        "after all faults ended"
                    )
                await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """End the consumers. Raises what one of them has failed with."""
        failures = await end_tasks(self._tasks)
        for client in self._clients:
            await client.close()
        if failures:
            raise failures[0]

    def check(self) -> dict[str, Finding]:
        """What each consumer was told against the order of all changes."""
        try:
            return {"consumers": Finding(PASSED, self._compared())}
        except Violation as violation:
            return {"consumers": Finding(FAILED, str(violation))}

    def _compared(self) -> str:
        trial = self._trial
        coverage = merge([session for watcher in trial.watchers for session in watcher.sessions])
        order = places(Explanation(trial.recorder.history.operations, coverage))
        for consumer in self.consumers:
            check_events(consumer, order)
        check_trees(self.consumers, order)
        late = [consumer.name for consumer in self.fast if consumer.resyncs()]
        if late:
            raise Violation(f"consumers that kept up were told to start over: {late}")
        told = sum(len(consumer.items) for consumer in self.consumers)
        return f"{len(order)} changes, {told} times told to {len(self.consumers)} consumers"

    def _client(self, name: str, numbers: Iterable[int]) -> Client:
        urls = [self._trial.fleet.members[number].client_url for number in numbers]
        client = Client(urls, rng=self._trial.rng(f"endpoints of {name}"))
        self._clients.append(client)
        return client

    def _recruit(self) -> None:
        """The consumers. All of them that are fast together can follow the writers."""
        every = self._trial.fleet.numbers()

        def options(name: str) -> tuple[str, Client]:
            return name, self._client(name, every)

        rng = self._trial.rng
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
            Sleeper(
                *options("sleeper"), TREE, rng("s1"), recursive=True, recorder=self._trial.recorder
            ),
            Sleeper(
                *options("sleeper key"), KEYS[5].decode(), rng("s2"), recorder=self._trial.recorder
            ),
        ]
        self.fast = [tree]
        self.consumers = [
            *self.fast, queue, *keys, *quiet, returning, alone, slow, slow_key, *sleepers,
        ]  # fmt: skip

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
            *lines,
            f"resyncs: {reasons.total()} ({why or 'none'}), the longest covers {longest} indices",
        ]


class Run(Trial):
    """One run: strikes are spread over so many changes, see the module's description."""

    def __init__(self, job: Job, directory: Path, changes: int, strikes: int) -> None:
        super().__init__(job, directory)
        self.following = Following(self)
        self.load = self.following
        self._changes = changes
        self._strikes = strikes

    def rng(self, name: str) -> random.Random:
        """Chances of somebody in this run."""
        return random.Random(f"{self.job.seed}/{name}")

    async def execute(self) -> None:
        """See `Trial.execute`."""
        try:
            await super().execute()
        finally:
            await self.following.close()

    async def strikes(self) -> None:
        """See `Trial.strikes`."""
        for number in range(self._strikes + 1):
            goal = self._changes * number // self._strikes
            while self.recorder.acknowledged < goal:
                await self.progress("between strikes")
            if number < self._strikes:
                await self.strike()
                await self.heal()
                await self.progress("after a strike")

    def watchers_follow(self) -> bool:
        """See `Trial.watchers_follow`: consumers that are fast have to be followed, too."""
        behind = self.recorder.highest_index - min(
            (one.position for one in self.following.fast), default=0
        )
        return behind < KEEP_UP and super().watchers_follow()

    async def settle(self) -> Shown:
        """See `Trial.settle`."""
        shown = await super().settle()
        await self.following.catch_up()
        return shown


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `watching`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--members", type=int, choices=SIZES, default=3, help="of the cluster (3)")
    add("--events", type=whole, default=DEFAULT_EVENTS, help=f"to follow ({DEFAULT_EVENTS})")
    add("--strikes", type=whole, default=DEFAULT_STRIKES, help=f"meanwhile ({DEFAULT_STRIKES})")
    add("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="repeat a run")
    add("--keep", action="store_true", help="keep data, logs and history")


def run(options: argparse.Namespace) -> int:
    """Follow, and judge; the exit status."""
    print(f"seed {options.seed}, {options.events} changes, {options.strikes} strikes", flush=True)
    runs: list[Run] = []

    def make(job: Job, directory: Path) -> Trial:
        runs.append(Run(job, directory, options.events, options.strikes))
        return runs[0]

    job = Job(ANYTHING, options.members, options.seed, PAUSES_S)
    place = Path(tempfile.mkdtemp(prefix="kvraft-watching-")) / "run"
    stage = run_stage(job, place, keep=options.keep, make=make)
    print(line(stage))
    for run in runs:
        for text in run.following.figures():
            print(text)
    for verdict in stage.verdicts:
        print(f"{verdict.checker}: {verdict.verdict}: {verdict.text}")
    if stage.kept:
        print(f"data, logs and history: {stage.kept}")
    print(f"verdict: {stage.verdict}")
    return STATUSES[stage.verdict]
