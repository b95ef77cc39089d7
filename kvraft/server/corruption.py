"""Comparing the members' data while they run, so that silent damage does not stay silent.

Every so often the leader makes all members take a digest of their store after the same entry
(see `checks`). A member whose digest differs from that of the majority stops, with advice: what
it would serve is wrong. Where there is no majority everybody goes on and the operator is told.

A digest is made like a snapshot: from a frozen view, a slice of a millisecond at a time, with
pauses in between. What others say is believed only from the leader of the present term.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from kvraft import limits
from kvraft.errors import StorageError
from kvraft.raft.core import Role
from kvraft.server.checks import CheckReport, CheckVerdict, Judgement, judge
from kvraft.server.ids import format_id
from kvraft.server.logs import logger

if TYPE_CHECKING:
    from collections.abc import Set

    from kvraft.server.checks import CheckFrame
    from kvraft.server.metrics import Metrics
    from kvraft.server.replica import Replica
    from kvraft.store.codec import SnapshotView
    from kvraft.store.store import Store

_log = logger("etcdserver")
_SHOWN_DIGITS = 16


class Diverged(StorageError):
    """The majority of the cluster has other data than this member."""

    def __init__(self, at: int, own: bytes, majority: bytes) -> None:
        super().__init__(
            f"the data of this member differs from that of the majority after log entry {at} "
            f"(digest {_shown(own)}, theirs {_shown(majority)}): it stops rather than serve it; "
            "remove this member from the cluster, put its data directory aside, and add it again; "
            "check memory and disk of this machine"
        )


class _Round:
    """One comparison of this member as the leader."""

    def __init__(self, number: int, term: int, expected: Set[int]) -> None:
        self.number = number
        self.term = term
        self.expected = expected
        self.at = 0
        self.reports: dict[int, CheckReport] = {}
        self._begun = asyncio.Event()
        self._complete = asyncio.Event()

    def take(self, report: CheckReport) -> None:
        if report.sender in self.expected:
            self.reports[report.sender] = report
            self._begun.set()
        if len(self.reports) == len(self.expected):
            self._complete.set()

    def end(self) -> None:
        """Wait for nobody any more."""
        self._begun.set()
        self._complete.set()

    async def wait(self) -> None:
        """Until all have reported; a member that ended meanwhile must not hold up the rest."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        ends_s = began_s + limits.CHECK_PATIENCE_S
        with contextlib.suppress(TimeoutError):  # whoever is late is not compared
            async with asyncio.timeout_at(ends_s) as timeout:
                await self._begun.wait()
                first_s = now_s()
                grace_s = limits.CHECK_GRACE_S + first_s - began_s
                timeout.reschedule(min(ends_s, first_s + grace_s))
                await self._complete.wait()


class CorruptionCheck:
    """The checks of one member, as the leader and as anybody; a `checks.CheckListener`."""

    def __init__(
        self,
        replica: Replica,
        metrics: Metrics,
        *,
        version: str,
        connected: Callable[[], Set[int]],
        wake: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`connected`: the other members that can be reached; `wake`: the replica has work."""
        self._replica = replica
        self._metrics = metrics
        self._version = version.encode()[: limits.CHECK_DIGEST_BYTES]
        self._connected = connected
        self._wake = wake
        self._on_fatal = on_fatal
        self._own_id = replica.core.member_id
        self._random = random.SystemRandom()
        self._round: _Round | None = None
        self._digesting: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._latest: CheckReport | None = None  # the own one
        replica.checks = self

    def start(self, interval_s: float) -> None:
        """Compare every so often, whenever this member leads then."""
        self._timer = asyncio.create_task(self._repeat(interval_s), name="corruption-check")

    async def stop(self) -> None:
        """Compare no more, and give up the digest being made."""
        running = [task for task in (self._timer, self._digesting) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- as the leader ----------------------------------------------------------------------

    async def _repeat(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self.compare()

    async def compare(self) -> Judgement | None:
        """As the leader, compare the members' data now; None if there is nothing to compare."""
        core = self._replica.core
        members = {*core.membership.voters, *core.membership.learners}
        expected = {self._own_id, *(members & self._connected())}
        if core.role is not Role.LEADER or len(expected) < 2 or self._round is not None:
            return None
        number = self._random.getrandbits(63)
        round_ = self._round = _Round(number, core.term, expected)
        try:
            if not self._replica.propose_check(number):
                return None
            self._wake()
            await round_.wait()
        finally:
            self._round = None
        if core.role is not Role.LEADER or core.term != round_.term:
            return None
        return self._conclude(round_)

    def _conclude(self, round_: _Round) -> Judgement | None:
        own = round_.reports.get(self._own_id)
        if own is None:
            return None
        # The same data may look different to another version of this program.
        digests = {
            member: report.digest
            for member, report in round_.reports.items()
            if report.at == own.at and report.version == own.version
        }
        if len(digests) < 2:
            return None
        voters = self._replica.core.membership.voters
        judgement = judge(digests, voters)
        self._metrics.checks += 1
        if not judgement.deviating:
            self._metrics.check_index = own.at
            _log.debug("%d members have the same data after log entry %d", len(digests), own.at)
        else:
            self._metrics.check_failures += 1
            self._report(judgement, digests, own.at)
        if judgement.majority is not None:
            self._tell(judgement, own, judgement.majority)
        return judgement

    def _report(self, judgement: Judgement, digests: dict[int, bytes], at: int) -> None:
        told = ", ".join(f"{format_id(m)} has {_shown(d)}" for m, d in sorted(digests.items()))
        if judgement.majority is None:
            _log.critical(
                "the members' data differs after log entry %d, and no digest has a majority: %s; "
                "all go on, as nobody knows who is right: decide which member to trust, remove "
                "the others and add them again with empty data directories",
                at,
                told,
            )
            return
        for member in judgement.deviating:
            _log.critical(
                "the data of member %s differs from that of the majority after log entry %d (%s): "
                "it has to stop; remove it from the cluster and add it again with an empty data "
                "directory",
                format_id(member),
                at,
                told,
            )

    def _tell(self, judgement: Judgement, own: CheckReport, majority: bytes) -> None:
        term = self._replica.core.term
        for member in (*judgement.agreeing, *judgement.deviating):
            agrees = member in judgement.agreeing
            if member != self._own_id:
                self._replica.post(
                    CheckVerdict(member, self._own_id, term, own.number, own.at, agrees, majority)
                )
        self._wake()
        if self._own_id in judgement.deviating:
            self._on_fatal(Diverged(own.at, own.digest, majority))

    # --- as anybody -------------------------------------------------------------------------

    def reached(self, number: int, at: int, store: Store) -> None:
        """See `CheckListener.reached`."""
        if self._replica.core.leader == 0:
            return  # read from the log after a start: nobody waits for it
        if self._digesting is not None:
            self._digesting.cancel()
        view = store.snapshot(comparable=True)
        self._digesting = asyncio.create_task(
            self._digest(number, at, view), name="corruption-digest"
        )
        self._digesting.add_done_callback(lambda _: view.close())  # even if it has never begun

    def leader_changed(self) -> None:
        """See `CheckListener.leader_changed`."""
        core = self._replica.core
        round_ = self._round
        if round_ is not None and (core.role is not Role.LEADER or core.term != round_.term):
            round_.end()

    async def _digest(self, number: int, at: int, view: SnapshotView) -> None:
        total = sha256()
        for chunk in view.chunks(limits.SNAPSHOT_CHUNK_NODES):
            if len(chunk) > limits.CHECK_INLINE_BYTES:
                await asyncio.to_thread(total.update, chunk)
            else:
                total.update(chunk)
            await asyncio.sleep(limits.CHECK_PAUSE_S)
        core = self._replica.core
        digest = total.digest()
        report = CheckReport(
            core.leader, self._own_id, core.term, number, at, digest, self._version
        )
        self._latest = report
        if core.leader == self._own_id:
            self.received(report)
        elif core.leader:
            self._replica.post(report)
            self._wake()

    def received(self, frame: CheckFrame) -> None:
        """See `CheckListener.received`."""
        if isinstance(frame, CheckReport):
            if self._round is not None and frame.number == self._round.number:
                self._round.take(frame)
            return
        core = self._replica.core
        own = self._latest
        if frame.sender != core.leader or frame.term != core.term or own is None:
            return
        if (frame.number, frame.at) != (own.number, own.at):
            return
        if frame.digest == own.digest:
            self._metrics.check_index = own.at
        elif not frame.agrees:
            self._metrics.check_failures += 1
            self._on_fatal(Diverged(own.at, own.digest, frame.digest))


def _shown(digest: bytes) -> str:
    return digest.hex()[:_SHOWN_DIGITS]
