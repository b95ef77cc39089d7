"""Who changes the membership while everything fails: adds, removes, moves and replaces members.

An operator of ordinary care: it asks any member that runs, believes what it is told, gives up on
what it is not told, and starts the processes of those it has added. It loses a machine for good
only when the others can do without it. What came of each change is compared with the agreed log.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jepsen_like.base import MILLISECOND_NS, SECOND_NS, Violation
from kvraft.api.service import (
    ChangeKind,
    ChangeOutcome,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.server.membership import members_from_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.sim.actor import Actor
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member

MAX_MEMBERS = 7
NOBODY = 0xDEAD
UNCERTAIN_NS = 6 * SECOND_NS  # so long may a change still come that nobody was told about
CAREFUL_TIMEOUTS = 3  # election timeouts after a loss, until every leader must have noticed it


NAMES = {
    ChangeKind.ADD: "add member",
    ChangeKind.REMOVE: "remove member",
    ChangeKind.UPDATE: "move member",
}


class Change(NamedTuple):
    """One change that was asked for, and what the operator was told (nothing: still waiting)."""

    request: int
    change: MemberChange
    told: list[ChangeOutcome]


class Operator:
    """Changes the membership in one run: draws what to do, and does it when the actor says so."""

    def __init__(self, cluster: Cluster, actor: Actor) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._rng = cluster.world.rng("operator")
        self._actor = actor
        self.drawing = True  # else a script says which members are started
        self.changes: list[Change] = []
        self._urls = 100
        self._never: set[int] = set()  # members that have been added, and are never started
        self._uncertain_ns = -UNCERTAIN_NS
        self._lost_ns = -UNCERTAIN_NS

        actor.learn(
            {
                **{name: partial(self._ask, kind) for kind, name in NAMES.items()},
                "start member": self._start,
                "lose machine": self._lose,
            }
        )

    def start(self) -> None:
        """Begin to work."""
        if self._cluster.shape.change_every_ms:
            self._schedule()

    def _schedule(self) -> None:
        mean_ns = self._cluster.shape.change_every_ms * MILLISECOND_NS
        self._world.plan(self._rng.randint(mean_ns // 4, 2 * mean_ns), self._act)

    def _act(self) -> None:
        if self._actor.stopped:
            return
        rng = self._rng
        self._schedule()
        self._start_orphans()
        careful_ns = CAREFUL_TIMEOUTS * self._cluster.shape.election_ns
        running = [one for one in self._cluster.running() if one.replica.accepting()]
        if not running or not self._members() or self._world.now_ns - self._lost_ns < careful_ns:
            return
        member = rng.choice(running)
        if rng.random() < 0.15:  # a snapshot while a change is under way
            self._actor.act("snapshot", {"members": sorted(self._cluster.members)})
        draw = rng.random()
        if draw < 0.15:
            self._draw_loss()
        elif draw < 0.2:
            for change in (self._add(), self._add(), self._add()):
                self._have_asked(rng.choice(running), change)
        elif draw < 0.3:
            self._have_asked(member, self._nonsense())
        elif draw < 0.4:
            self._have_asked(member, self._move())
        elif draw < 0.7:
            self._have_asked(member, self._add())
        else:
            self._have_asked(member, self._remove())
            if rng.random() < 0.25:  # a replacement, both halves at once
                self._have_asked(member, self._add())

    # --- what is asked for --------------------------------------------------------------

    def _have_asked(self, member: Member, change: MemberChange) -> None:
        details: dict[str, Any] = {"ask": member.number}
        if change.member_id:
            details["member"] = change.member_id
        if change.peer_urls:
            details["urls"] = list(change.peer_urls)
        self._actor.act(NAMES[change.kind], details)

    def _members(self) -> dict[int, MemberInfo]:
        """As the furthest member has them."""
        return members_from_records(self._cluster.agreed.model.records)

    def anybody_left(self) -> bool:
        """Whether the cluster still has members, as far as it has told."""
        return bool(self._members()) or not self._cluster.agreed.removed

    def _url(self) -> str:
        self._urls += 1
        return f"http://m{self._urls}:2380"

    def _add(self) -> MemberChange:
        if len(self._members()) >= MAX_MEMBERS:
            return self._remove()
        return MemberChange(ChangeKind.ADD, 0, (self._url(),))

    def _remove(self) -> MemberChange:
        members = sorted(self._members())
        if len(members) < 2:
            return MemberChange(ChangeKind.ADD, 0, (self._url(),))
        leader = self._cluster.leader()
        if leader is not None and self._rng.random() < 0.2:
            return MemberChange(ChangeKind.REMOVE, leader.number)
        lost = [one for one in members if one in self._cluster.members and self._is_lost(one)]
        return MemberChange(ChangeKind.REMOVE, self._rng.choice(lost or members))

    def _is_lost(self, number: int) -> bool:
        return self._cluster.members[number].lost

    def _move(self) -> MemberChange:
        member = self._rng.choice(sorted(self._members()))
        return MemberChange(ChangeKind.UPDATE, member, (self._url(),))

    def _nonsense(self) -> MemberChange:
        """What has to be refused."""
        members, rng = self._members(), self._rng
        taken = next(iter(members.values())).peer_urls
        choices = [
            MemberChange(ChangeKind.ADD, 0, taken),
            MemberChange(ChangeKind.ADD, 0, ("nonsense",)),
            MemberChange(ChangeKind.REMOVE, NOBODY),
            MemberChange(ChangeKind.UPDATE, NOBODY, (self._url(),)),
        ]
        removed = sorted(self._cluster.agreed.removed)
        if removed:
            choices.append(MemberChange(ChangeKind.REMOVE, rng.choice(removed)))
        return rng.choice(choices)

    # --- asking -------------------------------------------------------------------------

    def _ask(
        self, kind: ChangeKind, *, ask: int, member: int = 0, urls: Iterable[str] = ()
    ) -> None:
        asked = self._cluster.members.get(ask)
        if asked is not None and asked.up:
            self._send(asked, MemberChange(kind, member, tuple(urls)))

    def _send(self, member: Member, change: MemberChange) -> None:
        life = member.life

        def ask() -> None:
            self._world.note("operator asks", member.number, change)
            told: list[ChangeOutcome] = []
            replica = member.replica
            before = replica._next_request_id
            replica.change_membership(change, partial(self._told, change, told))
            request = replica._next_request_id
            if request != before:  # else it was refused before anything was made of it
                self.changes.append(Change(request, change, told))
            self._world.after(
                self._cluster.shape.request_timeout_ms * MILLISECOND_NS,
                lambda: self._give_up(told),
            )

        member.soon(life, ask)

    def _give_up(self, told: list[ChangeOutcome]) -> None:
        if not told:
            self._uncertain_ns = self._world.now_ns

    def _told(
        self, change: MemberChange, told: list[ChangeOutcome], outcome: ChangeOutcome
    ) -> None:
        if told:
            raise Violation(f"a change was answered twice: {change}: {told[0]}, {outcome}")
        told.append(outcome)
        self._world.note("operator was told", change, outcome)
        if isinstance(outcome, Unavailable):
            self._world.faults["membership change without an answer"] += 1
            self._uncertain_ns = self._world.now_ns
        elif isinstance(outcome, MemberChangeError):
            self._world.faults[f"membership change refused: {outcome.reason.name}"] += 1
        else:
            self._world.faults[f"membership changed: {change.kind.value}"] += 1
            if change.kind is ChangeKind.REMOVE:
                self._check_enough(change)
            if change.kind is ChangeKind.ADD and self.drawing:
                assert outcome is not None
                self._start_later(outcome.id)

    def _check_enough(self, change: MemberChange) -> None:
        """With strict checks a removal may not leave more voters unstarted than can be missed."""
        cluster = self._cluster
        leader = cluster.leader()
        if not cluster.shape.strict_reconfig or leader is None:
            return
        voters = leader.replica.core.membership.voters
        started = [one for one in voters if one in cluster.members]
        if len(started) <= len(voters) // 2:
            raise Violation(f"{change} was made, and of the voters {voters} only {started} exist")

    # --- processes ----------------------------------------------------------------------

    def _start_later(self, number: int) -> None:
        draw = self._rng.random()
        if draw < 0.05:
            self._never.add(number)
        if draw < 0.1:
            return  # forgotten, for now or for ever
        delay_ns = self._rng.choice((1, 100, 1000, 3000)) * MILLISECOND_NS
        self._world.plan(delay_ns, lambda: self._have_started(number))

    def _have_started(self, number: int) -> None:
        if self._may_start(number):
            self._actor.act("start member", {"member": number})

    def _may_start(self, number: int) -> bool:
        cluster = self._cluster
        added = number in cluster.agreed.added
        return added and not (cluster.is_removed(number) or number in cluster.members)

    def _start(self, *, member: int) -> None:
        if self._may_start(member):
            self._cluster.join(member).start()

    def _start_orphans(self) -> None:
        """Processes for members that somebody was not told about, or forgot."""
        for number in self._members():
            absent = number not in self._cluster.members and number not in self._never
            if absent and self._rng.random() < 0.1:
                self._have_started(number)

    def _draw_loss(self) -> None:
        """One of the voters is gone for good, with its disk; the rest is a majority."""
        cluster, now_ns = self._cluster, self._world.now_ns
        leader = cluster.leader()
        if leader is None or now_ns - self._uncertain_ns < UNCERTAIN_NS:
            return
        if not cluster.shape.strict_reconfig or any(not change.told for change in self.changes):
            return
        core = leader.replica.core
        voters = [cluster.members[voter] for voter in core.membership.voters]
        if len(voters) < 3 or core.log.configs:
            return
        if any(one.lost or one.gone or not one.up for one in voters):
            return
        self._actor.act("lose machine", {"member": self._rng.choice(voters).number})

    def _lose(self, *, member: int) -> None:
        victim = self._cluster.members.get(member)
        if victim is not None and not victim.lost:
            victim.kill()
            victim.lost = True
            self._lost_ns = self._world.now_ns

    # --- the verdict --------------------------------------------------------------------

    def _is_done(self, change: MemberChange, outcome: MemberInfo | None) -> bool:
        """Whether it has been done for somebody else, and a snapshot brought the result."""
        if change.kind is ChangeKind.REMOVE:
            return change.member_id in self._cluster.agreed.removed
        return outcome is not None and outcome.id in self._cluster.agreed.added

    def check(self) -> None:
        """Each change that was made is in the log once, and none that was refused."""
        made = self._cluster.agreed.changes
        for request, change, told in self.changes:
            times = made.get(request, 0)
            outcome = told[0] if told else Unavailable("no answer")
            if isinstance(outcome, MemberChangeError):
                fine = times == 0
            elif isinstance(outcome, Unavailable):
                fine = times == 0 or (times == 1 and not outcome.definite)
            else:
                fine = times == 1 or (times == 0 and self._is_done(change, outcome))
            if not fine:
                raise Violation(f"{change} was answered with {outcome}, and made {times} times")
            done = not isinstance(outcome, (MemberChangeError, Unavailable))
            if done and (change.member_id == NOBODY or change.peer_urls == ("nonsense",)):
                raise Violation(f"{change} was accepted")
