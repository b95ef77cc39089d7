"""How a simulated member makes its log durable, as the production driver does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS
from kvraft.errors import DiskFull
from kvraft.raft.core import Role
from kvraft.raft.errors import ProposalRefused

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member
    from kvraft.raft.entry import HardState
    from kvraft.raft.ready import Persist

RETRY_NS = 100 * MILLISECOND_NS  # after a full disk


class Saving:
    """What one life of one member has to write."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._unsaved: HardState | None = None

    def save(self, persist: Persist) -> None:
        """Write to the log; what promises durability leaves only when it is on the disk."""
        if not persist.sync:
            self._unsaved = persist.hard_state
            self._done(persist)
            return
        self._unsaved = None
        member = self._member

        def job() -> None:
            if persist.snapshot is not None:
                member.storage.adopt_received(persist.snapshot)
            member.storage.save(persist.hard_state, persist.entries, True)

        member.cluster.ledger.saving(member, persist)
        self._submit(persist, job)

    def commit_index(self) -> None:
        """Write down how far the log is known to be committed, when nothing else is to do."""
        state, self._unsaved = self._unsaved, None
        if state is None:
            return
        member = self._member

        def finished(_: object, error: Exception | None) -> None:
            if error is not None and not isinstance(error, DiskFull):
                member.fatal(error)

        member.wal_queue.submit(lambda: member.storage.save(state, [], False), finished)

    def _submit(self, persist: Persist, job: Callable[[], None]) -> None:
        self._member.wal_queue.submit(job, lambda _, error: self._saved(persist, job, error))

    def _saved(self, persist: Persist, job: Callable[[], None], error: Exception | None) -> None:
        member = self._member
        if error is None:
            member.cluster.ledger.saved(member, persist)
            member.replica.disk_full = False
            member.point()
            self._done(persist)
            member.point()
            member.work()
        elif isinstance(error, DiskFull):
            member.replica.disk_full = True
            member.world.faults["write refused by a full disk"] += 1
            if member.replica.core.role is Role.LEADER:
                with suppress(ProposalRefused):
                    member.replica.core.transfer_leadership(0)
            again = partial(self._submit, persist, job)
            member.world.after(RETRY_NS, partial(member.soon, member.life, again))
        else:
            member.fatal(error)

    def _done(self, persist: Persist) -> None:
        frames = self._member.replica.persisted(persist)
        if frames:
            self._member.send(list(frames))
