"""A mirror: keeps one server's keys like another's, and says how far it is.

    source --- watch ---> Model --- steps ---> Pending --- workers ---> target
                            ^                     ^
                            +------ checks -------+     both trees read and compared

Events say what has changed; the model knows what the source holds; a worker brings the target to
what the model says *now*. So nothing depends on a step being carried out exactly once: it is
repeated until it succeeds, and a key that changed often is written once. Per key the target goes
through states of the source in their order; different keys may overtake each other.

TTLs. Nobody is told when a source's key is refreshed, so a copy with exactly the time that was
left would vanish while its owner keeps the original alive. While the mirror runs, the target gets
`grace_s` more than what is left, expiry itself is an event and removes the copy, and times are
compared every `poll_s`. If the mirror dies, copies outlive their originals by the grace at most.
`settle` then sets the exact times.

Checks read both trees (linearizably) and compare them, apart from keys that had steps meanwhile:
they find what others wrote at the target, and what a step did whose outcome nobody knew.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from kvraft.client.errors import (
    AuthError,
    ClientError,
    DidNotHappen,
    EtcdError,
    KeyNotFound,
    NotADirectory,
    NotAFile,
    OutcomeUnknown,
    Unauthorized,
)
from kvraft.client.model import Resync, WatchEvent
from kvraft.client.operations import KeyOperations, Watching
from kvraft.limits import (
    MIRROR_CHECK_SHARE,
    MIRROR_INDIVIDUAL_TTLS,
    MIRROR_LATE_S,
    MIRROR_MAX_BACKOFF_S,
    MIRROR_WORKERS,
)
from kvraft_cli.mirror import carry
from kvraft_cli.mirror.figures import Figures
from kvraft_cli.mirror.model import Model, Remove, Retime, Step, Write, steps_between
from kvraft_cli.mirror.pending import Pending, Touched
from kvraft_cli.mirror.tree import (
    Difference,
    Entry,
    Kind,
    Tree,
    compare,
    flatten,
    has_replaced_bytes,
    tops,
)

NEVER: Final = math.inf  # a tolerance: times are looked at elsewhere
ROUNDING_S: Final = (
    2.5  # both servers round what is left up to seconds; then the time of two answers
)
FIRST_BACKOFF_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """How a mirror works. `delete_extra`: keys that only the target has are removed."""

    roots: tuple[str, ...] = ("/",)
    delete_extra: bool = False
    grace_s: int = 30
    poll_s: float = 5.0  # how often TTLs are compared
    check_s: float = 60.0  # how often both trees are compared, at the latest
    workers: int = MIRROR_WORKERS


class _Follower:
    """One root of the source: its model, and the events that came while a tree was being read."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.model: Model | None = None
        self.index = 0  # events up to here are in the model
        self.resyncs = 0
        self.journal: list[tuple[WatchEvent, float]] | None = None
        self.watch: Watching | None = None


class Mirror:
    """Keeps a target like a source: `survey`, `begin`, wait, `settle`, `stop`, in this order."""

    def __init__(
        self,
        source: KeyOperations,
        target: KeyOperations,
        options: Options,
        clock: Callable[[], float],
    ) -> None:
        self.figures: Final = Figures()
        self.failed: BaseException | None = None  # why the mirror cannot go on at all
        self._source = source
        self._target = target
        self._options = options
        self._clock = clock
        self._grace_s = float(options.grace_s)
        self._followers = [_Follower(root) for root in options.roots]
        self._pending = Pending()
        self._given: dict[str, float] = {}  # when the target's copies expire, as far as we know
        self._work = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reading = asyncio.Lock()  # one tree of the source at a time: they must not overtake
        self._last_unknown = -NEVER
        self._last_event = -NEVER
        self._backoff_until = -NEVER
        self._backoff_s = FIRST_BACKOFF_S

    # --- for the command ----------------------------------------------------------------

    async def survey(self) -> list[Difference]:
        """What a copy would have to do now, without doing it."""
        source, target = await asyncio.gather(
            self._read_all(self._source), self._read_all(self._target)
        )
        self.figures.keys, self.figures.target_keys = len(source), len(target)
        self.figures.replaced = len(has_replaced_bytes(source))
        return list(compare(source, target, ROUNDING_S))

    async def begin(self, *, live: bool) -> None:
        """Read the source and start to copy; with `live` follow its changes from there on."""
        target = await self._read_all(self._target)
        self._note_given(target)
        self._last_event = self._clock()
        ready = [asyncio.Event() for _ in self._followers]
        if live:
            for follower, event in zip(self._followers, ready, strict=True):
                self._start(partial(self._follow, follower, event, target))
        else:
            for follower in self._followers:
                node, index = await carry.read(self._source, follower.root)
                self._adopt_first(follower, flatten(node, self._clock()), index, target)
        for _ in range(self._options.workers):
            self._start(self._worker)
        if live:
            await self._unless_failed(asyncio.gather(*(event.wait() for event in ready)))
            self._start(self._poll_ttls)
            self._start(self._check_now_and_then)

    async def drained(self) -> None:
        """Wait until nothing is pending. Raises what ended the mirror."""
        while self._pending and self.failed is None:
            self._changed.clear()
            await self._changed.wait()
        self._raise_failure()

    async def quiet(self, seconds: float) -> None:
        """Wait until for so long nothing has changed at the source, and nothing is pending."""
        while self.failed is None:
            left = self._last_event + seconds - self._clock()
            if left <= 0 and not self._pending:
                return
            await asyncio.sleep(max(0.05, min(left, 0.5)))
        self._raise_failure()

    async def settle(self, rounds: int) -> list[Difference]:
        """Give the target exact TTLs and compare; returns what differs after so many rounds.

        Repairs what it finds, so that the last round finds nothing unless the source is still
        being written.
        """
        self._grace_s = 0.0
        found: list[Difference] = []
        for _ in range(max(1, rounds)):
            await self.drained()
            await self._late_effects()
            found = await self.check()
            if not self._pending or all(each.key in self.figures.conflicts for each in found):
                break
        await self.drained()
        return found

    def look_at_the_source(self) -> None:
        """Note in the figures why the watches make no progress, if they do not.

        A source that is away sends no events, which must not pass for one where nothing happens.
        """
        problems = [str(getattr(follower.watch, "problem", "")) for follower in self._followers]
        self.figures.source_trouble = next(filter(None, problems), "")

    async def source_index(self) -> int:
        """The source's index now."""
        try:
            result = await self._source.get(self._options.roots[0], quorum=True)
        except (KeyNotFound, NotADirectory) as error:
            return error.index
        return result.etcd_index

    async def stop(self) -> None:
        """End everything that runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.figures.pending = len(self._pending)

    async def check(self) -> list[Difference]:
        """Read both trees, compare them, and have mended what differs without a reason.

        Returns that; TTLs count once the mirror is settling.
        """
        async with self._reading:
            for follower in self._followers:
                await self._reread(follower)
            touched = self._pending.follow()
            try:
                target = await self._read_all(self._target)
                self.figures.trouble = ""
                return self._compare(target, touched)
            finally:
                touched.close()

    # --- the source ---------------------------------------------------------------------

    async def _follow(self, follower: _Follower, ready: asyncio.Event, target: Tree) -> None:
        watch = self._source.watch(follower.root, recursive=True, initial=True)
        async with watch as events:
            follower.watch = events
            async for item in events:
                now = self._clock()
                if isinstance(item, WatchEvent):
                    self._event(follower, item, now)
                elif follower.model is None:
                    self._adopt_first(follower, flatten(item.node, now), item.index, target)
                    ready.set()
                else:
                    self._resync(follower, item, now)
        raise ClientError(f"the watch of {follower.root} at the source ended by itself")

    def _event(self, follower: _Follower, event: WatchEvent, now: float) -> None:
        self.figures.events += 1
        self._last_event = now
        if follower.journal is not None:
            follower.journal.append((event, now))
        if follower.model is None or event.index <= follower.index:
            return  # a tree that was read meanwhile holds it already
        follower.index = event.index
        self._add(follower.model.apply(event, now))

    def _adopt_first(self, follower: _Follower, tree: Tree, index: int, target: Tree) -> None:
        follower.model = Model(follower.root, tree)
        follower.index = index
        self.figures.replaced += len(has_replaced_bytes(tree))
        there = {key: entry for key, entry in target.items() if follower.model.shows(key)}
        steps = steps_between(there, follower.model.entries, NEVER)
        may_remove = self._options.delete_extra
        self._add([step for step in steps if may_remove or not isinstance(step, Remove)])
        self._add(self._wrong_times(there, None))

    def _resync(self, follower: _Follower, item: Resync, now: float) -> None:
        assert follower.model is not None
        self.figures.resyncs += 1
        self._last_event = now
        follower.resyncs += 1
        newer = Model(follower.root, flatten(item.node, now))
        follower.index = item.index
        self._add(follower.model.become(newer, ROUNDING_S))

    async def _reread(self, follower: _Follower) -> None:
        """Take over the source's tree as it is now, with the events that came while it was read."""
        follower.journal = []
        resyncs = follower.resyncs
        try:
            node, index = await carry.read(self._source, follower.root)
            now = self._clock()
            if follower.model is None or follower.resyncs != resyncs:
                return
            newer = Model(follower.root, flatten(node, now))
            for event, arrived in follower.journal:
                if event.index > index:
                    newer.apply(event, arrived)
            follower.index = max(follower.index, index)
            self._add(follower.model.become(newer, NEVER))
            self.figures.source_index = index
        finally:
            follower.journal = None

    def _wanted(self, key: str) -> Entry | None:
        for follower in self._followers:
            if follower.model is not None:
                entry = follower.model.get(key)
                if entry is not None:
                    return entry
        return None

    # --- times --------------------------------------------------------------------------

    async def _poll_ttls(self) -> None:
        while True:
            await asyncio.sleep(self._options.poll_s)
            try:
                await self._poll_ttls_once()
            except ClientError as error:
                self._trouble(error)

    async def _poll_ttls_once(self) -> None:
        for follower in self._followers:
            model = follower.model
            assert model is not None
            timed = [key for key, entry in model.entries.items() if entry.expires_at is not None]
            if len(timed) > max(MIRROR_INDIVIDUAL_TTLS, len(model) // 20):
                async with self._reading:
                    await self._reread(follower)
                continue
            for start in range(0, len(timed), MIRROR_WORKERS):
                batch = timed[start : start + MIRROR_WORKERS]
                await asyncio.gather(*(self._poll_one(model, key) for key in batch))
        self._add(self._wrong_times(None, None))

    async def _poll_one(self, model: Model, key: str) -> None:
        try:
            result = await self._source.get(key, quorum=True)
        except EtcdError:
            return  # gone: the event that says so is on its way
        entry = model.get(key)
        newer = Entry(
            None if result.node.dir else result.node.value or "",
            None if result.node.ttl is None else self._clock() + result.node.ttl,
            result.node.modified_index,
        )
        if entry is None or entry.value != newer.value or newer.modified < entry.modified:
            return  # another value: its event is on its way
        model.put(key, newer._replace(modified=entry.modified))

    def _wrong_times(self, target: Tree | None, touched: Touched | None) -> list[Step]:
        """Keys whose copies would expire too early or too late.

        With the target's tree by what it shows, else by what we last gave it.
        """
        steps: list[Step] = []
        for follower in self._followers:
            entries = follower.model.entries if follower.model is not None else {}
            if target is None:
                pairs = [
                    (key, entry.expires_at, self._given.get(key))
                    for key, entry in entries.items()
                    if entry.expires_at is not None or key in self._given
                ]
            else:
                pairs = [
                    (key, entry.expires_at, target[key].expires_at)
                    for key, entry in entries.items()
                    if key in target
                ]
            for key, wanted, given in pairs:
                if self._is_wrong_time(wanted, given) and (touched is None or key not in touched):
                    steps.append(Retime(key))
        return steps

    def _is_wrong_time(self, wanted: float | None, given: float | None) -> bool:
        if wanted is None or given is None:
            return wanted is not given
        extra = given - wanted
        low = self._grace_s / 2 if self._grace_s else -ROUNDING_S
        return not low <= extra <= self._grace_s + ROUNDING_S

    def _note_given(self, tree: Tree) -> None:
        self._given = {
            key: entry.expires_at for key, entry in tree.items() if entry.expires_at is not None
        }

    # --- the target ---------------------------------------------------------------------

    async def _worker(self) -> None:
        while True:
            step = None if self._clock() < self._backoff_until else self._pending.take()
            if step is None:
                await self._wait_for_work()
                continue
            try:
                await self._carry_out(step)
            except (Unauthorized, AuthError):
                self._pending.failed(step)
                raise
            except NotAFile:
                self._directory_in_the_way(step)
            except NotADirectory as error:
                self._file_in_the_way(step, error)
            except (DidNotHappen, OutcomeUnknown, KeyNotFound) as error:
                self._pending.failed(step)
                self._back_off(error)
            except EtcdError as error:
                self._pending.done(step)  # to repeat it would not help
                self.figures.conflicts[step.key] = f"the target refuses it: {error}"
            except BaseException:
                self._pending.failed(step)
                raise
            else:
                self._pending.done(step)
                self.figures.conflicts.pop(step.key, None)
                self._backoff_s, self.figures.trouble = FIRST_BACKOFF_S, ""
            self._notify()

    async def _carry_out(self, step: Step) -> None:
        key = step.key
        if isinstance(step, Remove):
            await carry.remove(self._target, key)
            self._given.pop(key, None)
            self.figures.removals += 1
            return
        entry = self._wanted(key)
        if entry is None:
            return  # removed at the source meanwhile; that is a step of its own
        ttl_s = entry.ttl_s(self._clock())
        if ttl_s is not None:
            ttl_s += math.ceil(self._grace_s)
            self._given[key] = self._clock() + ttl_s
        else:
            self._given.pop(key, None)
        if isinstance(step, Retime):
            await carry.retime(self._target, key, entry, ttl_s)
            self.figures.retimes += 1
        else:
            await carry.write(self._target, key, entry, ttl_s)
            self.figures.writes += 1

    def _directory_in_the_way(self, step: Step) -> None:
        """The target has a directory where the source has a file, and not because of us."""
        self._pending.done(step)
        if self._options.delete_extra:
            self._add([Remove(step.key), Write(step.key)])
        else:
            self.figures.conflicts[step.key] = (
                "the target has a directory there; --delete lets it be replaced"
            )

    def _file_in_the_way(self, step: Step, error: EtcdError) -> None:
        """The target has a file where the source has a directory: that directory comes first."""
        self._pending.failed(step)
        wanted = self._wanted(error.cause)
        if wanted is not None and wanted.is_dir:
            self._add([Write(error.cause)])
        else:
            self._back_off(error)  # the next event or check explains it

    async def _wait_for_work(self) -> None:
        self._work.clear()
        pause = self._backoff_until - self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.01, pause) if pause > 0 else None):
                await self._work.wait()

    def _back_off(self, error: ClientError) -> None:
        self.figures.retries += 1
        self.figures.unknown += isinstance(error, OutcomeUnknown)
        now = self._clock()
        if isinstance(error, OutcomeUnknown):
            self._last_unknown = now
        if now >= self._backoff_until:
            self._backoff_until = now + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, MIRROR_MAX_BACKOFF_S)
        self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        self.figures.trouble = str(error) or type(error).__name__

    def _add(self, steps: Sequence[Step]) -> None:
        self._pending.add(steps)
        self._notify()

    def _notify(self) -> None:
        self.figures.pending = len(self._pending)
        self.figures.keys = sum(len(f.model) for f in self._followers if f.model is not None)
        self._work.set()
        self._changed.set()

    # --- checks -------------------------------------------------------------------------

    async def _check_now_and_then(self) -> None:
        """Every so often, and soon after the source has become quiet."""
        loop_s, clean_since = 1.0, -NEVER
        next_s = self._clock() + self._options.check_s
        while True:
            await asyncio.sleep(loop_s)
            now = self._clock()
            became_quiet = self._last_event > clean_since and now - self._last_event > 2 * loop_s
            if now < next_s and not (became_quiet and not self._pending):
                continue
            try:
                found = await self.check()
                if not found:
                    clean_since = now
            except ClientError as error:
                self._trouble(error)
            took = self._clock() - now
            loop_s = max(1.0, MIRROR_CHECK_SHARE * took)
            next_s = self._clock() + max(self._options.check_s, MIRROR_CHECK_SHARE * took)

    def _compare(self, target: Tree, touched: Touched) -> list[Difference]:
        found: list[Difference] = []
        extra: list[str] = []
        for follower in self._followers:
            model = follower.model
            assert model is not None
            there = {key: entry for key, entry in target.items() if model.shows(key)}
            for difference in compare(model.entries, there, NEVER):
                if difference.key in touched or difference.kind is Kind.TTL:
                    continue
                if difference.kind is Kind.EXTRA:
                    extra.append(difference.key)
                found.append(difference)
        if not self._options.delete_extra:
            found = [each for each in found if each.kind is not Kind.EXTRA]
        self._forget_what_is_gone()
        self._mend(found, extra)
        times = self._wrong_times(target, touched)
        self._add(times)
        figures = self.figures
        figures.checks += 1
        figures.extra = len(extra)
        figures.target_keys = len(target)
        figures.mismatches = len(found)
        figures.mended += len(found)
        if self._grace_s == 0:
            found += [
                Difference(step.key, Kind.TTL, self._wanted(step.key), target.get(step.key))
                for step in times
            ]
        return found

    def _mend(self, found: Sequence[Difference], extra: Sequence[str]) -> None:
        for difference in found:
            if difference.kind is Kind.EXTRA:
                continue
            if difference.kind is Kind.TYPE and difference.key in self.figures.conflicts:
                continue  # until somebody makes room
            if difference.kind is Kind.TYPE and self._options.delete_extra:
                assert difference.target is not None
                if difference.target.is_dir:
                    self._add([Remove(difference.key)])
            self._add([Write(difference.key)])
        if self._options.delete_extra:
            self._add([Remove(key) for key in tops(extra)])

    def _forget_what_is_gone(self) -> None:
        self._given = {key: at for key, at in self._given.items() if self._wanted(key) is not None}
        for key in [key for key in self.figures.conflicts if self._wanted(key) is None]:
            del self.figures.conflicts[key]

    async def _late_effects(self) -> None:
        """Wait until a step whose outcome nobody knew can no longer happen."""
        left = self._last_unknown + MIRROR_LATE_S - self._clock()
        if left > 0:
            await asyncio.sleep(left)

    # --- helpers ------------------------------------------------------------------------

    async def _read_all(self, server: KeyOperations) -> Tree:
        tree: Tree = {}
        for root in self._options.roots:
            node, _ = await carry.read(server, root)
            tree |= flatten(node, self._clock())
        return tree

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._guarded(work)))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever ends one part ends the mirror, and is told to who waits for it."""
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failed = error
            self._notify()

    async def _unless_failed(self, work: Awaitable[object]) -> None:
        waiting = asyncio.ensure_future(work)
        while not waiting.done() and self.failed is None:
            self._changed.clear()
            signal = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait((waiting, signal), return_when=asyncio.FIRST_COMPLETED)
            signal.cancel()
        if self.failed is not None:
            waiting.cancel()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self.failed is not None:
            raise self.failed
