"""`python -m jepsen_like.procs.crash`: kill real members under load, then account for every write.

Starts a cluster on free ports of this machine, lets clients write without a pause while members
are killed and paused, restarts everything, waits until all members show the same, and asks
`verdict` whether that can be explained. Exit status 1 if it cannot; the directory with the data,
the logs and the clients' history is then kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from jepsen_like.base import Violation
from jepsen_like.check.coverage import merge
from jepsen_like.check.explain import Explanation, silent_indexes
from jepsen_like.check.history import Outcome
from jepsen_like.procs.clients import ROOT, Client, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.nemesis import Nemesis
from jepsen_like.procs.verdict import check_all
from jepsen_like.procs.watchers import Watcher
from jepsen_like.procs.web import Answer, BrokenError, NotSentError, once
from jepsen_like.workloads.keys import Writer
from kvraft.store.request import Op, Request

DEFAULT_KILLS: Final = 50
DEFAULT_WRITERS: Final = 8
SETTLE_TIMEOUT_S: Final = 60.0
UNSEEN_LIMIT: Final = 500  # half of what a member remembers for watchers
READ_TIMEOUT_S: Final = 10.0
SLICE_NS: Final = 100_000_000  # availability is counted in tenths of a second
MIN_WRITES_PER_KILL: Final = 5
MEMBER_FLAGS: Final = (
    "--heartbeat-interval=100",
    "--election-timeout=1000",
    "--snapshot-count=500",
)


class Run:
    """One run."""

    DEFAULTS: ClassVar[dict[str, object]] = {}
    """Options whose default is another one in this kind of run."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.rng = random.Random(options.seed)
        self.recorder = Recorder()
        self.fleet = Fleet(options.members, directory, MEMBER_FLAGS)
        self.watchers = [Watcher(self.fleet, number) for number in range(options.members)]
        self.nemesis = Nemesis(
            self.fleet, self.recorder, self._rng("nemesis"), options.kills, self._progress
        )
        self.began_ns = 0
        self.load_ended_ns = 0
        self.lines: list[str] = []

    async def execute(self) -> None:
        """From the first start to the verdict. Raises Violation."""
        self.fleet.start(range(self.fleet.size))
        await asyncio.to_thread(self.fleet.wait_ready)
        async with self._watching():
            await self._load()
            final_index, body = await self._settle()
        self._judge(final_index, body)

    def numbers(self) -> list[int]:
        """The members that have to show the same in the end."""
        return list(range(self.fleet.size))

    async def strike(self, time_is_up: Callable[[], bool]) -> None:
        """Do to the members what this campaign is about. Raises Violation."""
        await self.nemesis.run(time_is_up)

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.options.seed}/{name}")

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(watcher.run()) for watcher in self.watchers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def _live_watchers(self) -> list[Watcher]:
        numbers = self.numbers()
        return [watcher for watcher in self.watchers if watcher.member in numbers]

    def _watchers_follow(self) -> bool:
        """Whether no change is in danger of falling out of the members' history unseen."""
        seen = max(watcher.next_index for watcher in self._live_watchers())
        return self.recorder.highest_index - seen < UNSEEN_LIMIT

    async def _load(self) -> None:
        """Clients and nemesis at once; either's failure ends both."""
        stopped = asyncio.Event()
        self.began_ns = time.monotonic_ns()
        deadline_ns = self.began_ns + round(self.options.seconds_max * 1e9)
        clients = [
            Writer(ROOT, self.fleet, self.recorder, self._rng(f"client {number}"))
            for number in range(self.options.writers)
        ]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(stopped, self._watchers_follow))
            await self.strike(lambda: time.monotonic_ns() > deadline_ns)
            self.load_ended_ns = time.monotonic_ns()
            stopped.set()

    # --- afterwards ---------------------------------------------------------------------

    async def _settle(self) -> tuple[int, bytes]:
        """All members up, one write through each, then the same answer from all of them."""
        down = sorted(set(self.numbers()) - set(self.fleet.running()))
        self.fleet.start(down)
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        client = Client(self.fleet, self.recorder, self._rng("last"))
        for number in self.numbers():
            while not await self._last_write(client, number):
                self._in_time(deadline, f"member {number} takes no write after all faults ended")
        while True:
            marker = self.recorder.highest_index
            while min(watcher.next_index for watcher in self._live_watchers()) <= marker:
                self._in_time(deadline, "a watch does not catch up after all faults ended")
                await asyncio.sleep(0.05)
            index, body = await self._agreed(deadline)
            if index == self.recorder.highest_index:
                return index, body
            # A member that came back noted that after the last write. Only a later event tells
            # the watchers that this was no change of a key.
            await self._last_write(client, self.numbers()[0])

    async def _last_write(self, client: Client, number: int) -> bool:
        """One write through this very member."""
        client.go_to(number)
        request = Request(Op.SET, b"%b/last%d" % (ROOT, number), client.value())
        operation = await client.write(request)
        client.leave()
        return operation.outcome is Outcome.OK

    async def _agreed(self, deadline: float) -> tuple[int, bytes]:
        """Index and content as all members show them."""
        while True:
            answers = await self._read_everywhere()
            if answers is not None and len({_shown(answer) for answer in answers}) == 1:
                return _shown(answers[0])
            self._in_time(deadline, "the members do not show the same", answers)
            await asyncio.sleep(0.2)

    def _in_time(self, deadline: float, what: str, answers: list[Answer] | None = None) -> None:
        self.fleet.check_alive()
        if time.monotonic() > deadline:
            for number, answer in enumerate(answers or ()):
                (self.directory / f"final-m{number + 1}.json").write_bytes(answer.body)
            raise Violation(f"{what} ({SETTLE_TIMEOUT_S:.0f} s)")

    async def _read_everywhere(self) -> list[Answer] | None:
        target = f"/v2/keys{ROOT.decode()}?recursive=true&sorted=true"
        try:
            return [
                await once(self.fleet.address(number), target, READ_TIMEOUT_S)
                for number in self.numbers()
            ]
        except (NotSentError, BrokenError):
            return None

    def _judge(self, final_index: int, body: bytes) -> None:
        coverage = merge([session for watcher in self.watchers for session in watcher.sessions])
        operations = self.recorder.history.operations
        explanation = check_all(operations, coverage, json.loads(body))
        silent = silent_indexes(explanation, final_index)
        self.lines.append(
            f"store index {final_index} on all {len(self.numbers())} members, "
            f"{len(explanation.by_index)} changes explained "
            f"({explanation.unknown_but_done()} of them of unknown outcome), "
            f"{silent['bookkeeping']} of the server itself"
        )
        self.lines.append(
            f"watches: {sum(len(w.sessions) for w in self.watchers)} sessions, "
            f"{sum(len(s.events) for w in self.watchers for s in w.sessions)} events, "
            f"{sum(w.cleared for w in self.watchers)} told that they were too late"
        )
        if silent["unseen"]:
            raise Violation(f"{silent['unseen']} changes were seen by nobody: no verdict possible")
        self._judged(explanation)
        if self.recorder.acknowledged < MIN_WRITES_PER_KILL * self.nemesis.kills():
            raise Violation("too few writes succeeded to prove anything")

    def _judged(self, explanation: Explanation) -> None:
        """What else a kind of run has to compare with the order of changes. Raises Violation."""

    # --- report -------------------------------------------------------------------------

    def figures(self) -> list[str]:
        """What happened, in numbers."""
        operations = self.recorder.history.operations
        outcomes = Counter(operation.outcome.value for operation in operations)
        strikes = ", ".join(f"{n} {kind}" for kind, n in sorted(self.nemesis.strikes.items()))
        seconds = (self.load_ended_ns - self.began_ns) / 1e9
        answers = ", ".join(f"{outcomes[outcome.value]} {outcome.value}" for outcome in Outcome)
        kills, processes = self.nemesis.kills(), self.nemesis.processes_killed
        rate = self.recorder.acknowledged / max(seconds, 1)
        share, longest_s = self._availability()
        return [
            f"operations: {answers}",
            f"strikes: {strikes}; {kills} kills of {processes} processes",
            f"availability: {share:.1%} of all tenths of a second saw an acknowledged write",
            f"longest time without an acknowledged write: {longest_s:.1f} s",
            f"load: {seconds:.0f} s, {rate:.0f} acknowledged writes/s",
            *self.lines,
        ]

    def _availability(self) -> tuple[float, float]:
        ends = sorted(
            operation.ended_ns
            for operation in self.recorder.history.operations
            if operation.outcome is Outcome.OK
            and operation.request is not None
            and operation.ended_ns <= self.load_ended_ns
        )
        slices = max(1, (self.load_ended_ns - self.began_ns) // SLICE_NS)
        marks = [self.began_ns, *ends, self.load_ended_ns]
        longest_ns = max(after - before for before, after in zip(marks, marks[1:], strict=False))
        return len({end // SLICE_NS for end in ends}) / slices, longest_ns / 1e9

    def _progress(self, kills: int) -> None:
        if not sys.stderr.isatty():
            return
        width = 40 * kills // max(1, self.options.kills)
        text = f"\r[{'#' * width:<40}] {kills} kills, {self.recorder.acknowledged} writes"
        print(text, end="", file=sys.stderr, flush=True)

    def save_history(self) -> None:
        """Write down what the clients and watchers know, for people."""
        with (self.directory / "history.jsonl").open("w") as file:
            for operation in self.recorder.history.operations:
                file.write(json.dumps(_record(operation)) + "\n")
        with (self.directory / "watches.jsonl").open("w") as file:
            for session in (s for watcher in self.watchers for s in watcher.sessions):
                texts = [seen.text.decode() for seen in session.events]
                record = {"member": session.member, "first": session.first_index, "events": texts}
                file.write(json.dumps(record) + "\n")


def _shown(answer: Answer) -> tuple[int, bytes]:
    return int(answer.headers.get("x-etcd-index", "0")), answer.body


def _record(operation: Any) -> dict[str, Any]:
    return {name: _plain(getattr(operation, name)) for name in operation.__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _parse(
    arguments: list[str] | None, defaults: dict[str, object], description: str
) -> argparse.Namespace:
    command = description.split("`")[1]
    parser = argparse.ArgumentParser(prog=command, description=description)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--kills", type=int, default=DEFAULT_KILLS)
    parser.add_argument("--writers", type=int, default=DEFAULT_WRITERS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds-max", type=float, default=600.0)
    parser.add_argument("--keep", action="store_true", help="keep the directory in any case")
    parser.add_argument(
        "--events", type=int, default=0, help="watching: go on until so many writes succeeded"
    )
    parser.set_defaults(**defaults)
    return parser.parse_args(arguments)


def main(
    arguments: list[str] | None = None, kind: type[Run] = Run, description: str = __doc__ or ""
) -> int:
    """The command; returns the exit status. `description` begins with it, in backquotes."""
    options = _parse(arguments, kind.DEFAULTS, description)
    print(f"seed {options.seed}, {options.members} members, {options.kills} kills", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="kvraft-crash-"))
    run = kind(options, directory)
    failure = ""
    try:
        asyncio.run(run.execute())
    except* Violation as group:
        failure = "; ".join(str(error) for error in _leaves(group))
    except* Exception as group:
        # No verdict is no pass: the harness itself may be at fault, and its data is kept, too.
        traceback.print_exception(group)
        failure = f"no verdict: {_leaves(group)[0]!r}"
    finally:
        run.fleet.close()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    run.load_ended_ns = run.load_ended_ns or time.monotonic_ns()
    for line in run.figures():
        print(line)
    if failure or options.keep:
        run.save_history()
        print(f"data, logs and history: {directory}")
    else:
        shutil.rmtree(directory)
    print(f"verdict: {'FAILED: ' + failure if failure else 'every answer is explained'}")
    return 1 if failure else 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    sys.exit(main())
