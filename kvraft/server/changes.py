"""Changes of the membership on their way from a client to the log, each at most once.

The *desk* of the member that a client asked gives its changes to the leader, one at a time and
tagged with the leader's term, and repeats a frame that goes unanswered. The leader's *queue*
takes each number of a desk once per term, waits until the change before is applied, looks for
what speaks against it, and appends it or refuses it. A client is answered when its change is
applied where it asked; a refusal is definite. What got lost with a leader is settled as for
writes: once an entry of a higher term has been applied, nothing that was given to an older leader
can follow.

An objection that rests on the records is only told after a round of heartbeats has confirmed that
the leader's records are not out of date. A leader that is to be removed hands over first, and lets
its successor do it. Learners are promoted here, too, between the clients' changes.

No I/O: time comes with the calls, frames are handed out.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kvraft import limits
from kvraft.api.service import (
    ChangeDone,
    ChangeKind,
    ChangeOutcome,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.raft.core import Role
from kvraft.raft.entry import ConfChange, ConfChangeKind
from kvraft.raft.errors import NotCaughtUp, ProposalRefused, Refused
from kvraft.server import ids, membership
from kvraft.server.membership import Context, Standing
from kvraft.server.urls import UrlError, parse_urls

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvraft.raft.core import RaftCore
    from kvraft.server.reads import Barrier

NOT_SENT = 0
"""The term of a change that no leader has been given, or that is certainly lost."""
RESEND_TICKS = 3
PATIENCE_TICKS = 3
"""How long a change waits until it is safe: who is connected has answered the leader by then."""

_KINDS = {
    ChangeKind.ADD: ConfChangeKind.ADD_LEARNER,
    ChangeKind.UPDATE: ConfChangeKind.UPDATE,
    ChangeKind.REMOVE: ConfChangeKind.REMOVE,
}


class ChangeRequest(NamedTuple):
    """A follower asks the leader of `term` for a change; numbers of one sender only rise."""

    to: int
    sender: int
    term: int
    number: int
    kind: int
    member: int
    context: bytes


class ChangeReply(NamedTuple):
    """`verdict` 0: the change is in the log. Otherwise the ChangeRefusal, or LATER: not now."""

    to: int
    sender: int
    term: int
    number: int
    verdict: int
    text: bytes


class Verdict(IntEnum):
    """Values of `ChangeReply.verdict` that are no ChangeRefusal."""

    APPENDED = 0
    TIMED_OUT = 254
    OVERLOADED = 255


VERDICTS = frozenset((*Verdict, *(reason.value for reason in ChangeRefusal)))


class View(Protocol):
    """What a change is judged by, and what it needs of the replica."""

    members: dict[int, MemberInfo]
    disk_full: bool

    def is_removed(self, member_id: int) -> bool:
        """Whether a member has been removed for good."""
        ...

    def read_barrier(self, done: Barrier) -> None:
        """Confirm that what is applied here is not out of date."""
        ...


class Waiting:
    """A change whose client waits for the answer; `request` is the number in its context."""

    __slots__ = ("change", "created_ns", "done", "request", "term")

    def __init__(self, request: int, change: ConfChange, done: ChangeDone, created_ns: int) -> None:
        self.request = request
        self.change = change
        self.done = done
        self.created_ns = created_ns
        self.term = NOT_SENT


def prepare(
    change: MemberChange, request: int, unix_seconds: int
) -> ConfChange | MemberChangeError:
    """The entry for a client's wish, with the id of a new member."""
    urls: tuple[str, ...] = ()
    if change.kind is not ChangeKind.REMOVE:
        try:
            urls = parse_urls(change.peer_urls)
        except UrlError as error:
            return MemberChangeError(ChangeRefusal.BAD_URLS, str(error))
    member = change.member_id
    if change.kind is ChangeKind.ADD:
        member = ids.member_id(urls, "", unix_seconds)
    if member == 0:
        return MemberChangeError(ChangeRefusal.UNKNOWN_MEMBER)
    context = membership.encode_context(Context(urls, "", request))
    return ConfChange(int(_KINDS[change.kind]), member, context)


class Desk:
    """The changes that this member's clients wait for."""

    def __init__(self, member_id: int, incarnation: int) -> None:
        self._member_id = member_id
        self._waiting: dict[int, Waiting] = {}
        self._given: Waiting | None = None  # with the leader, which has not said yet what it does
        self._number = incarnation << 20
        self._quiet_ticks = 0

    def is_full(self) -> bool:
        """Whether further changes have to be refused."""
        return len(self._waiting) >= limits.MAX_WAITING_CHANGES

    def add(self, waiting: Waiting) -> None:
        """Take in a new change."""
        self._waiting[waiting.request] = waiting

    def has_next(self) -> bool:
        """Whether there is a change that may be given to a leader now."""
        if self._given is not None:
            return False
        return any(waiting.term == NOT_SENT for waiting in self._waiting.values())

    def next(self, leader: int, term: int) -> ChangeRequest:
        """The next change for this leader; only when `has_next`."""
        waiting = next(one for one in self._waiting.values() if one.term == NOT_SENT)
        waiting.term = term
        self._given = waiting
        self._number += 1
        self._quiet_ticks = 0
        return self._frame(waiting, leader)

    def tick(self, leader: int, term: int) -> list[ChangeRequest]:
        """Repeat what has gone unanswered for a few heartbeats."""
        given = self._given
        if given is None or given.term != term or leader == 0:
            return []
        self._quiet_ticks += 1
        if self._quiet_ticks % RESEND_TICKS:
            return []
        return [self._frame(given, leader)]

    def answer(self, reply: ChangeReply) -> None:
        """What the leader says to the change that it was given last."""
        given = self._given
        if given is None or reply.number != self._number or reply.term != given.term:
            return
        self._given = None
        if reply.verdict == Verdict.APPENDED:
            return
        if reply.verdict == Verdict.TIMED_OUT:
            self._end(given, Unavailable("etcdserver: request timed out", definite=True))
        elif reply.verdict == Verdict.OVERLOADED:
            self._end(given, Unavailable("etcdserver: too many requests", definite=True))
        else:
            text = reply.text.decode("utf-8", "replace")
            self._end(given, MemberChangeError(ChangeRefusal(reply.verdict), text))

    def applied(self, request: int, change: ConfChange, outcome: ChangeOutcome) -> None:
        """An entry has been applied: answer its client if it is one of ours."""
        waiting = self._waiting.get(request)
        if waiting is not None and waiting.change == change:
            self._end(waiting, outcome)

    def requeue_lost(self, applied_term: int) -> None:
        """An entry of `applied_term` was applied: nothing tagged lower can follow any more."""
        for waiting in self._waiting.values():
            if NOT_SENT < waiting.term < applied_term:
                waiting.term = NOT_SENT
                if self._given is waiting:
                    self._given = None

    def after_snapshot(self, term: int, view: View, unknown: Unavailable) -> None:
        """A snapshot replaced entries unseen: see whether the change is done, else nobody knows."""
        for waiting in list(self._waiting.values()):
            if not NOT_SENT < waiting.term <= term:
                continue
            member, kind = waiting.change.member, waiting.change.kind
            if kind == ConfChangeKind.ADD_LEARNER and member in view.members:
                self._end(waiting, view.members[member])
            elif kind == ConfChangeKind.REMOVE and view.is_removed(member):
                self._end(waiting, None)
            else:
                self._end(waiting, unknown)

    def give_up(self, created_before_ns: int, outcome: Callable[[int, bool], Unavailable]) -> None:
        """Answer the changes that are older than this."""
        for waiting in list(self._waiting.values()):
            if waiting.created_ns <= created_before_ns:
                self._end(waiting, outcome(waiting.created_ns, waiting.term == NOT_SENT))

    def fail_all(self, outcome: Unavailable) -> None:
        """Answer everything that still waits, at the end of the process."""
        for waiting in list(self._waiting.values()):
            self._end(waiting, outcome)

    def _end(self, waiting: Waiting, outcome: ChangeOutcome) -> None:
        del self._waiting[waiting.request]
        if self._given is waiting:
            self._given = None
        waiting.done(outcome)

    def _frame(self, waiting: Waiting, leader: int) -> ChangeRequest:
        return ChangeRequest(leader, self._member_id, waiting.term, self._number, *waiting.change)


class _Queued:
    __slots__ = (
        "asking",
        "change",
        "confirmed",
        "context",
        "frame",
        "held",
        "patience",
        "since_ns",
        "transferred",
    )

    def __init__(
        self, frame: ChangeRequest, change: ConfChange, context: Context, since_ns: int
    ) -> None:
        self.frame = frame
        self.change = change
        self.context = context
        self.since_ns = since_ns
        self.asking = False  # a round of heartbeats is under way
        self.confirmed = False  # it has come back
        self.held = False  # until the next tick
        self.patience = PATIENCE_TICKS
        self.transferred = False  # the leader that it removes has tried to hand over


class Queue:
    """The leader's side: what all desks have given to it in its term."""

    def __init__(self, core: RaftCore, view: View, *, strict: bool) -> None:
        self._core = core
        self._view = view
        self._strict = strict
        self._term = 0
        self._handled: dict[int, tuple[int, ChangeReply | None]] = {}
        self._queue: deque[_Queued] = deque()
        self._replies: list[ChangeReply] = []

    def take(self, frame: ChangeRequest, now_ns: int) -> None:
        """A change from a desk, maybe not for the first time; its answer may come later."""
        core = self._core
        if core.role is not Role.LEADER or core.term != frame.term:
            return  # the log will tell its sender that this leader is gone
        if self._term != frame.term:
            self._begin(frame.term)
        number, reply = self._handled.get(frame.sender, (0, None))
        if frame.number <= number:
            if frame.number == number and reply is not None:
                self._replies.append(reply)
            return
        change = ConfChange(*frame[4:])
        context = membership.decode_context(frame.context)
        queued = _Queued(frame, change, context or Context(), now_ns)
        self._handled[frame.sender] = (frame.number, None)
        if context is None or len(self._queue) >= limits.MAX_QUEUED_CHANGES:
            self._settle(queued, Verdict.OVERLOADED)
        else:
            self._queue.append(queued)

    def tick(self, given_up_ns: int) -> None:
        """Refuse what nobody waits for any more, and promote who has caught up."""
        if self._core.role is not Role.LEADER:
            self._queue.clear()
            return
        while self._queue and self._queue[0].since_ns <= given_up_ns:
            self._settle(self._queue.popleft(), Verdict.TIMED_OUT)
        if not self._queue:
            self._promote()
        elif self._queue[0].held:
            self._queue[0].held = False
            self._queue[0].patience -= 1

    def has_work(self) -> bool:
        """Whether `work` would come further."""
        return bool(self._replies) or self._may_go_on()

    def work(self) -> list[ChangeReply]:
        """Append or refuse what can be; returns the answers."""
        while self._may_go_on():
            self._handle(self._queue[0])
        replies, self._replies = self._replies, []
        return replies

    def _begin(self, term: int) -> None:
        self._term = term
        self._handled.clear()
        self._queue.clear()

    def _may_go_on(self) -> bool:
        core = self._core
        return (
            bool(self._queue)
            and core.role == Role.LEADER
            and core.term == self._term
            and not core.log.configs
            and core.commit >= core.own_first
            and not core.transferee
            and not self._view.disk_full
            and not self._queue[0].asking
            and not self._queue[0].held
        )

    def _handle(self, head: _Queued) -> None:
        change, core = head.change, self._core
        refusal = membership.objection(
            self._view.members, self._view.is_removed, change, head.context
        )
        if refusal is not None:
            if head.confirmed:
                self._refuse(head, refusal)
            else:
                self._confirm(head)
            return
        if self._strict:
            standing = Standing(self._view.members, core.membership.voters, core.is_active)
            reason = membership.danger(standing, change)
            if reason is not None:
                if head.patience:
                    head.held = True
                else:
                    self._refuse(head, MemberChangeError(ChangeRefusal.NOT_SAFE, reason))
                return
        if change.kind == ConfChangeKind.REMOVE and change.member == core.member_id:
            if self._hands_over(head):
                return
        try:
            core.propose_conf_change(change)
        except Refused as error:
            self._refuse(head, MemberChangeError(ChangeRefusal.NOT_SAFE, str(error)))
            return
        self._queue.popleft()
        self._settle(head, Verdict.APPENDED)

    def _confirm(self, head: _Queued) -> None:
        """Ask whether this is still the leader, and its records thus not out of date."""

        def done(failure: Unavailable | None) -> None:
            head.asking = False
            head.confirmed = True
            if failure is not None and self._queue and self._queue[0] is head:
                self._queue.popleft()
                self._settle(head, Verdict.TIMED_OUT)

        head.asking = True
        self._view.read_barrier(done)

    def _hands_over(self, head: _Queued) -> bool:
        """Whether another voter is about to lead, and to remove this one."""
        if head.transferred:
            return False
        head.transferred = True
        try:
            self._core.transfer_leadership()
        except ProposalRefused:
            return False
        return True

    def _refuse(self, head: _Queued, refusal: MemberChangeError) -> None:
        self._queue.popleft()
        self._settle(head, refusal.reason.value, refusal.text.encode())

    def _settle(self, queued: _Queued, verdict: int, text: bytes = b"") -> None:
        frame = queued.frame
        reply = ChangeReply(
            frame.sender, self._core.member_id, frame.term, frame.number, int(verdict), text
        )
        # A desk whose client gave this change up may have gone on to a later one, which waits here:
        # forgetting that it has been seen would let its repetition in as a change of its own.
        if self._handled[frame.sender][0] == frame.number:
            self._handled[frame.sender] = (frame.number, reply)
        self._replies.append(reply)

    def _promote(self) -> None:
        """Let a learner vote that could keep up with the others."""
        core = self._core
        if core.log.configs or self._view.disk_full:
            return
        for learner in core.membership.learners:
            try:
                core.propose_conf_change(ConfChange(int(ConfChangeKind.PROMOTE), learner, b""))
            except NotCaughtUp:
                continue
            except ProposalRefused:
                return
            return
