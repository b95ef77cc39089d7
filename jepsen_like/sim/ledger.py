"""What each member has durably promised, kept outside it, to compare with what it does later.

The storage's own word ("saved") is recorded here, so a recovery that brings back less than was
saved, an older term, or another vote is found at the restart and not only when a client
notices. Also here: one leader per term, over all lives of all members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from kvraft.raft.core import Role

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member
    from kvraft.raft.ready import Persist
    from kvraft.storage.datadir import Recovered


class Promises:
    """The durable state of one member as its storage has confirmed it."""

    def __init__(self) -> None:
        self.known = False
        self.term = 0
        self.vote = 0
        self.log: dict[int, int] = {}  # index -> term
        self.snapshot = 0
        self.pending: Persist | None = None

    def copy(self) -> Promises:
        """An independent copy."""
        twin = Promises()
        twin.term, twin.vote, twin.snapshot = self.term, self.vote, self.snapshot
        twin.log = dict(self.log)
        return twin

    def take(self, persist: Persist) -> None:
        """This write is durable."""
        if persist.hard_state is not None:
            self.term, self.vote = persist.hard_state.term, persist.hard_state.vote
        if persist.snapshot is not None:
            self.log.clear()
            self.snapshot = persist.snapshot.index
        if persist.entries:
            first = persist.entries[0].index
            if first in self.log:
                for index in range(first, max(self.log) + 1):
                    self.log.pop(index, None)
            for entry in persist.entries:
                self.log[entry.index] = entry.term


class Ledger:
    """The promises of all members."""

    def __init__(self) -> None:
        self._promises: dict[int, Promises] = {}
        self._leaders: dict[int, int] = {}
        self._commits: dict[int, int] = {}  # term -> what its leader began with

    def _of(self, member: Member) -> Promises:
        return self._promises.setdefault(member.number, Promises())

    def saving(self, member: Member, persist: Persist) -> None:
        """A write has begun."""
        self._of(member).pending = persist

    def saved(self, member: Member, persist: Persist) -> None:
        """The storage says that it is durable."""
        promises = self._of(member)
        promises.take(persist)
        promises.pending = None

    def recovered(self, member: Member, recovered: Recovered) -> None:
        """A member has read its disk: everything promised must be there."""
        promises = self._of(member)
        found = Promises()
        found.term, found.vote = recovered.hard_state.term, recovered.hard_state.vote
        found.snapshot = recovered.snapshot.index if recovered.snapshot is not None else 0
        found.log = {entry.index: entry.term for entry in recovered.entries}
        if promises.known and not member.rolled_back:
            candidates = [promises]
            if promises.pending is not None:
                written = promises.copy()
                written.take(promises.pending)
                candidates.append(written)
            if not any(_covers(found, candidate) for candidate in candidates):
                raise Violation(
                    f"member {member.number} recovered less than its storage had confirmed: "
                    f"{_summary(found)}; confirmed {[_summary(one) for one in candidates]}"
                )
        found.known = True
        self._promises[member.number] = found

    def step(self, member: Member) -> None:
        """After each step: nobody else leads this term, and nothing inherited is committed
        before something of the own term is (Paper, 5.4.2)."""
        core = member.replica.core
        if core.role is not Role.LEADER:
            return
        leader = self._leaders.setdefault(core.term, member.number)
        if leader != member.number:
            raise Violation(f"members {leader} and {member.number} both lead term {core.term}")
        commit = self._commits.setdefault(core.term, core.commit)
        if core.commit != commit and core.log.term_at(core.commit) not in (core.term, -1):
            raise Violation(
                f"member {member.number} leads term {core.term} and commits index {core.commit} "
                f"of term {core.log.term_at(core.commit)} by counting"
            )


def _covers(found: Promises, promised: Promises) -> bool:
    """Whether the disk gave back all that was promised; an older snapshot will do if the log
    reaches back to it."""
    if (found.term, found.vote) != (promised.term, promised.vote):
        return False
    last = max(promised.log, default=promised.snapshot)
    if max(found.log, default=found.snapshot) != max(last, found.snapshot):
        return False
    if len(found.log) != max(0, last - found.snapshot):
        return False
    return all(
        found.log.get(index) == term
        for index, term in promised.log.items()
        if index > found.snapshot
    )


def _summary(promises: Promises) -> str:
    last = max(promises.log, default=promises.snapshot)
    return (
        f"term {promises.term} vote {promises.vote} snapshot {promises.snapshot} last {last} "
        f"({len(promises.log)} entries)"
    )
