"""Removed members: when they may be told, and when the removed one may go.

Until enough of the others know that a removal is committed, the removed member may be the only one
that does: it was part of the majority that committed it. So it is told by a member only once that
one has the knowledge on its disk, and it goes when a majority of those who stay has told it. If
only some can tell, or it has never heard the log's side, a few election timeouts have to do.
Somebody who cannot reach anyone stays, and answers who asks.

No I/O; time comes with the calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft.quorum import majority

if TYPE_CHECKING:
    from collections.abc import Sequence

ELECTIONS_BEFORE_LEAVING = 3
"""Election timeouts: within two, everybody who needs to has asked for votes."""
TICKS_BEFORE_LEAVING = 2
"""What is on its way to clients and peers may still leave."""


class Removals:
    """What one member knows about removals, others' and its own."""

    def __init__(self, own_id: int, election_ns: int, tick_ns: int) -> None:
        self.refused: frozenset[int] = frozenset()
        """Who was removed in this life, durably known: to be told, and not to be listened to."""
        self.own_ns: int | None = None
        """When this member learnt that it has been removed itself."""
        self._own_id = own_id
        self._election_ns = election_ns
        self._tick_ns = tick_ns
        self._unsealed: dict[int, int] = {}
        self._told_by: set[int] = set()
        self._told_ns: int | None = None

    # --- others -------------------------------------------------------------------------

    def applied(self, member: int, log_index: int, now_ns: int) -> None:
        """A removal has been applied at this index."""
        if member == self._own_id:
            self.learnt(now_ns)
        else:
            self._unsealed[member] = log_index

    def sealed(self, commit: int) -> None:
        """It is on the disk that everything up to here is committed."""
        done = {member for member, index in self._unsealed.items() if index <= commit}
        if done:
            self._unsealed = {m: i for m, i in self._unsealed.items() if m not in done}
            self.refused |= done

    def may_be_told(self, member: int) -> bool:
        """Whether a removed member may be refused for what it is."""
        return member not in self._unsealed

    # --- the own one --------------------------------------------------------------------

    def learnt(self, now_ns: int) -> None:
        """The own removal has been found in the log or in a snapshot."""
        if self.own_ns is None:
            self.own_ns = now_ns

    def taken_back(self) -> None:
        """The own removal is undone, as only the forcing of a new cluster does."""
        self.own_ns = None
        self._told_by.clear()
        self._told_ns = None

    def told(self, by: int, now_ns: int) -> None:
        """Another member refuses this one, as it has been removed."""
        self.learnt(now_ns)
        self._told_by.add(by)
        if self._told_ns is None:
            self._told_ns = now_ns

    def may_leave(self, others: Sequence[int], now_ns: int) -> bool:
        """Whether nobody needs this member any more; `others` are the voters without it."""
        if self.own_ns is None:
            return False
        if not others:
            return now_ns - self.own_ns >= self._election_ns
        if self._told_ns is None:
            return False
        waited_ns = now_ns - self._told_ns
        if waited_ns >= ELECTIONS_BEFORE_LEAVING * self._election_ns:
            return True
        known = len(self._told_by.intersection(others))
        enough = known >= majority(len(others))
        return enough and waited_ns >= TICKS_BEFORE_LEAVING * self._tick_ns
