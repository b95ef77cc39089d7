"""Handing a follower's proposals to the leader, each at most once.

A follower numbers its batches within a *session* and tags them with the term of the leader it
means. The leader takes batch n+1 only after batch n of the same session, in its own term, so
a batch that is repeated after a lost answer is not appended twice. When it refuses one, it closes
the session and says how far it got: everything behind that was certainly not appended, and may be
proposed again. A session is numbered upward from the member's incarnation, so a late frame
of an earlier one is recognised.

What is neither acknowledged nor refused stays open until the log decides: once an entry of a higher
term has been applied, nothing tagged with a lower term can follow (log terms are monotone).

No I/O, no clock: the replica passes frames in and out.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from kvraft import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft.server.proposals import Pending


class Forward(NamedTuple):
    """A batch of proposals from a follower to the leader of `term`."""

    to: int
    sender: int
    term: int
    session: int
    number: int
    timed: bool
    payloads: Sequence[bytes]


class Verdict(IntEnum):
    """What became of a forwarded batch."""

    ACCEPTED = 0
    REFUSED = 1
    """The session is closed; batches behind `number` were not and will not be appended."""
    UNKNOWN_SESSION = 2
    """Refused by a member that cannot say what it took of this session before."""


class ForwardReply(NamedTuple):
    """The leader's answer: batches up to `number` are appended; the verdict on the rest."""

    to: int
    sender: int
    term: int
    session: int
    number: int
    verdict: int


class _Batch:
    __slots__ = ("number", "proposals", "timed")

    def __init__(self, number: int, proposals: list[Pending], timed: bool) -> None:
        self.number = number
        self.proposals = proposals
        self.timed = timed


class Outbox:
    """The follower's side: batches sent to one leader and not answered yet."""

    RESEND_TICKS = 3

    def __init__(self, member_id: int, incarnation: int) -> None:
        self._member_id = member_id
        self._session = incarnation << 20
        self._next_number = 1
        self._leader = 0
        self._term = 0
        self._unanswered: deque[_Batch] = deque()
        self._quiet_ticks = 0

    def aim(self, leader: int, term: int) -> None:
        """Open a new session if the leader or its term has changed.

        Batches of the old session stay tagged: the log will decide about them.
        """
        if leader != self._leader or term != self._term:
            self._leader, self._term = leader, term
            self._open_session()

    def has_room(self) -> bool:
        """Whether another batch may be sent before an answer arrives."""
        return len(self._unanswered) < limits.FORWARD_WINDOW_BATCHES

    def send(self, proposals: list[Pending], timed: bool) -> Forward:
        """Make the next batch of these proposals, and tag them with the leader's term."""
        batch = _Batch(self._next_number, proposals, timed)
        self._next_number += 1
        self._unanswered.append(batch)
        for proposal in proposals:
            proposal.term = self._term
        return self._frame(batch)

    def tick(self) -> list[Forward]:
        """Repeat what has gone unanswered for a few heartbeats."""
        if not self._unanswered:
            return []
        self._quiet_ticks += 1
        if self._quiet_ticks < self.RESEND_TICKS:
            return []
        self._quiet_ticks = 0
        return [self._frame(batch) for batch in self._unanswered]

    def answer(self, reply: ForwardReply) -> list[Pending]:
        """Take the leader's answer; return proposals that were certainly not appended.

        Those that stay uncertain remain tagged with the term.
        """
        if reply.session != self._session or reply.sender != self._leader:
            return []
        self._quiet_ticks = 0
        if reply.verdict != Verdict.UNKNOWN_SESSION:
            while self._unanswered and self._unanswered[0].number <= reply.number:
                self._unanswered.popleft()
        if reply.verdict == Verdict.ACCEPTED:
            return []
        # A member that has forgotten the session may have taken its batches before it restarted:
        # only the log can tell.
        lost: list[Pending] = []
        if reply.verdict == Verdict.REFUSED:
            # Those with another tag have come back already, by way of the log.
            proposals = [p for batch in self._unanswered for p in batch.proposals]
            lost = [proposal for proposal in proposals if proposal.term == self._term]
        self._open_session()
        return lost

    def _open_session(self) -> None:
        self._session += 1
        self._next_number = 1
        self._unanswered.clear()
        self._quiet_ticks = 0

    def _frame(self, batch: _Batch) -> Forward:
        payloads = [proposal.payload for proposal in batch.proposals]
        return Forward(
            self._leader,
            self._member_id,
            self._term,
            self._session,
            batch.number,
            batch.timed,
            payloads,
        )


class _Session:
    __slots__ = ("accepted", "closed", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.accepted = 0
        self.closed = False


class Inbox:
    """The leader's side: what has been taken of each follower's newest session."""

    def __init__(self, member_id: int) -> None:
        self._member_id = member_id
        self._sessions: dict[int, _Session] = {}

    def expects(self, frame: Forward) -> bool:
        """Whether this batch is the next of its session and may be appended now.

        To be asked by the leader of the frame's term only: it has seen every batch that could
        have been appended in this term, so a session it does not know yet begins here.
        """
        session = self._sessions.get(frame.sender)
        if session is None or session.number < frame.session:
            session = self._sessions[frame.sender] = _Session(frame.session)
        return (
            session.number == frame.session
            and not session.closed
            and frame.number == session.accepted + 1
        )

    def accept(self, frame: Forward) -> ForwardReply:
        """Record that the batch has been appended."""
        session = self._sessions[frame.sender]
        session.accepted = frame.number
        return self._reply(frame, session.accepted, Verdict.ACCEPTED)

    def refuse(self, frame: Forward) -> ForwardReply:
        """Answer a batch that was not appended now: a repetition, or one for no leader."""
        session = self._sessions.get(frame.sender)
        if session is None or session.number != frame.session:
            return self._reply(frame, 0, Verdict.UNKNOWN_SESSION)
        if not session.closed and frame.number <= session.accepted:
            return self._reply(frame, session.accepted, Verdict.ACCEPTED)
        session.closed = True
        return self._reply(frame, session.accepted, Verdict.REFUSED)

    def _reply(self, frame: Forward, number: int, verdict: Verdict) -> ForwardReply:
        return ForwardReply(
            frame.sender, self._member_id, frame.term, frame.session, number, verdict
        )
