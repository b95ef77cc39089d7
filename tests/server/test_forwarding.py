"""Forwarded proposals: nothing is appended twice, and `lost` means certainly not appended."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft import limits
from kvraft.server.forwarding import Forward, ForwardReply, Inbox, Outbox, Verdict
from kvraft.server.proposals import Pending, ProposalTable

FOLLOWER, LEADER, TERM = 3, 1, 5


def pending(payload: bytes) -> Pending:
    return Pending(payload, False, lambda _: None, 0)


def aimed(incarnation: int = 7) -> Outbox:
    outbox = Outbox(FOLLOWER, incarnation)
    outbox.aim(LEADER, TERM)
    return outbox


def take(inbox: Inbox, frame: Forward) -> ForwardReply:
    """What a leader with room does."""
    return inbox.accept(frame) if inbox.expects(frame) else inbox.refuse(frame)


def test_batches_are_tagged_numbered_and_accepted_in_order() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    proposals = [pending(b"a"), pending(b"b"), pending(b"c")]
    first, second = outbox.send(proposals[:2], True), outbox.send(proposals[2:], False)
    assert (first.to, first.sender, first.term, first.number) == (LEADER, FOLLOWER, TERM, 1)
    assert (first.timed, list(first.payloads)) == (True, [b"a", b"b"])
    assert (second.number, second.session, second.timed) == (2, first.session, False)
    assert [proposal.term for proposal in proposals] == [TERM] * 3
    for frame in (first, second):
        reply = take(inbox, frame)
        assert (reply.verdict, reply.number) == (Verdict.ACCEPTED, frame.number)
        assert outbox.answer(reply) == []
    assert outbox.tick() == []


def test_what_is_repeated_is_answered_but_not_taken_again() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    frame = outbox.send([pending(b"a")], False)
    take(inbox, frame)
    assert not inbox.expects(frame)
    assert inbox.refuse(frame).verdict == Verdict.ACCEPTED


def test_a_batch_that_overtakes_closes_the_session_and_everything_comes_back() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    proposals = [pending(b"a"), pending(b"b")]
    first, second = (outbox.send([proposal], False) for proposal in proposals)
    reply = take(inbox, second)
    assert (reply.verdict, reply.number) == (Verdict.REFUSED, 0)
    assert take(inbox, first).verdict == Verdict.REFUSED, "it comes late, and is on its way again"
    assert outbox.answer(reply) == proposals
    again = outbox.send(proposals, False)
    assert again.session > first.session
    assert take(inbox, again).verdict == Verdict.ACCEPTED
    assert not inbox.expects(first)
    assert inbox.refuse(first).verdict == Verdict.UNKNOWN_SESSION


def test_only_what_is_behind_the_accepted_comes_back() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    proposals = [pending(b"a"), pending(b"b"), pending(b"c")]
    frames = [outbox.send([proposal], False) for proposal in proposals]
    take(inbox, frames[0])
    assert inbox.expects(frames[1])
    assert outbox.answer(inbox.refuse(frames[1])) == proposals[1:]


def test_a_leader_that_has_forgotten_the_session_gives_no_certainty() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    frame = outbox.send([pending(b"a")], False)
    take(inbox, frame)
    reply = Inbox(LEADER).refuse(frame)
    assert reply.verdict == Verdict.UNKNOWN_SESSION
    assert outbox.answer(reply) == []
    assert outbox.tick() == [], "the log decides now"


def test_what_the_log_has_given_back_does_not_come_back_again() -> None:
    """The refusal is late: entries of a higher term were applied, the write was proposed anew."""
    table, outbox, inbox = ProposalTable(), aimed(), Inbox(LEADER)
    for request_id in (1, 2):
        table.add(request_id, pending(b"%d" % request_id))
    batch, _ = table.take_batch(2, 1000)
    frames = [outbox.send([proposal], False) for proposal in batch]
    reply = take(inbox, frames[1])
    assert reply.verdict == Verdict.REFUSED
    table.requeue_lost(TERM + 1)
    first, _ = table.take_batch(1, 1000)
    first[0].term = TERM + 1
    assert outbox.answer(reply) == []


def test_answers_from_elsewhere_change_nothing() -> None:
    outbox = aimed()
    frame = outbox.send([pending(b"a")], False)
    reply = ForwardReply(FOLLOWER, LEADER, TERM, frame.session, 0, Verdict.REFUSED)
    assert outbox.answer(reply._replace(sender=2)) == []
    assert outbox.answer(reply._replace(session=frame.session - 1)) == []
    assert len(outbox.answer(reply)) == 1


def test_unanswered_batches_are_repeated_after_a_few_ticks() -> None:
    outbox = aimed()
    frame = outbox.send([pending(b"a")], False)
    for _ in range(Outbox.RESEND_TICKS - 1):
        assert outbox.tick() == []
    assert outbox.tick() == [frame]
    assert outbox.tick() == []


def test_another_leader_or_term_opens_a_new_session() -> None:
    outbox = aimed()
    sessions = [outbox.send([pending(b"a")], False).session]
    for leader, term in ((LEADER, TERM), (LEADER, TERM + 1), (2, TERM + 1)):
        outbox.aim(leader, term)
        sessions.append(outbox.send([pending(b"a")], False).session)
    assert sessions[0] == sessions[1] < sessions[2] < sessions[3]


def test_a_later_life_has_higher_sessions() -> None:
    outbox = aimed(7)
    for term in range(TERM, TERM + 1000):
        outbox.aim(LEADER, term)
    late = outbox.send([pending(b"a")], False)
    assert aimed(8).send([pending(b"a")], False).session > late.session


def test_the_window_is_bounded() -> None:
    outbox, inbox = aimed(), Inbox(LEADER)
    frames = []
    while outbox.has_room():
        frames.append(outbox.send([pending(b"a")], False))
    assert len(frames) == limits.FORWARD_WINDOW_BATCHES
    outbox.answer(take(inbox, frames[0]))
    assert outbox.has_room()


class Node:
    """A member that may lead: its log, and what it remembers of the sessions."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.log: list[tuple[int, bytes]] = []
        self.inbox = Inbox(number)
        self.leads = 0


class World:
    """A follower, two members that lead in turn, and a network that loses, doubles, reorders.

    Logs are those of Raft: terms ascend, an elected leader has all that is committed and possibly
    more, a deposed one goes on appending to its own log until it hears of the new term.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.nodes = [Node(1), Node(2)]
        self.term = 0
        self.leader = self.nodes[0]
        self.committed: list[tuple[int, bytes]] = []
        self.applied = 0
        self.frames: list[Forward] = []
        self.replies: list[ForwardReply] = []
        self.count = 0
        self.came_back = 0
        self.incarnation = 0
        self.appended: set[tuple[int, bytes]] = set()
        self.follower_restarts()
        self.election()

    # --- the follower -------------------------------------------------------------------

    def follower_restarts(self) -> None:
        self.incarnation += 1
        self.outbox = Outbox(FOLLOWER, self.incarnation)
        self.table = ProposalTable()
        self.answered: dict[bytes, int] = {}
        self.view = (0, 0)
        self.applied = 0

    def propose(self) -> None:
        self.count += 1
        payload = b"%d" % self.count

        def done(_: Any) -> None:
            self.answered[payload] = self.answered.get(payload, 0) + 1

        self.table.add(self.count, Pending(payload, False, done, 0))

    def learn_of_the_leader(self) -> None:
        self.view = (self.leader.number, self.term)

    def forward(self) -> None:
        if not self.view[0]:
            return
        self.outbox.aim(*self.view)
        if self.outbox.has_room():
            batch, timed = self.table.take_batch(self.rng.randint(1, 3), 1000)
            if batch:
                self.frames.append(self.outbox.send(batch, timed))

    def tick(self) -> None:
        self.frames += self.outbox.tick()

    def answer(self) -> None:
        if not self.replies:
            return
        reply = self.pick(self.replies)
        lost = self.outbox.answer(reply)
        for proposal in lost:
            assert (proposal.term, proposal.payload) not in self.appended, "lost, yet appended"
        self.came_back += len(lost)
        self.table.put_back(lost)

    def apply(self) -> None:
        count = self.rng.randint(1, 4)
        for term, payload in self.committed[self.applied : self.applied + count]:
            self.applied += 1
            if term > self.view[1]:
                self.view = (0, term)  # it has got this entry from that term's leader
            self.table.requeue_lost(term)
            if payload:
                self.table.answer(int(payload), None)  # type: ignore[arg-type]

    # --- the leaders --------------------------------------------------------------------

    def deliver(self) -> None:
        if not self.frames:
            return
        frame = self.pick(self.frames)
        has_room = self.rng.random() < 0.9
        node = self.nodes[frame.to - 1]
        if node.leads == frame.term and node.inbox.expects(frame) and has_room:
            for payload in frame.payloads:
                node.log.append((frame.term, payload))
                self.appended.add((frame.term, payload))
            self.replies.append(node.inbox.accept(frame))
        else:
            self.replies.append(node.inbox.refuse(frame))

    def lose(self) -> None:
        for frames in (self.frames, self.replies):
            if frames and self.rng.random() < 0.5:
                frames.pop(self.rng.randrange(len(frames)))

    def election(self) -> None:
        """Another term; the old leader may not know it yet."""
        log = self.rng.choice(self.nodes).log
        if log[: len(self.committed)] != self.committed:
            log = self.leader.log
        kept = max(len(self.committed), len(log) - self.rng.choice((0, 0, 0, 1, 3)))
        self.term += 1
        self.leader = self.rng.choice(self.nodes)
        self.leader.log = [*log[:kept], (self.term, b"")]
        self.leader.leads = self.term

    def restart(self) -> None:
        """It has forgotten the sessions and leads no more."""
        node = self.rng.choice(self.nodes)
        node.inbox, node.leads = Inbox(node.number), 0

    def commit(self) -> None:
        """The newest leader commits, its own term's entries included."""
        behind = self.rng.randint(0, 2)
        log = self.leader.log[: len(self.leader.log) - behind]
        if self.leader.leads == self.term and log and log[-1][0] == self.term:
            if len(log) > len(self.committed):
                self.committed = log

    # --- the run ------------------------------------------------------------------------

    def pick(self, frames: list[Any]) -> Any:
        """Any frame that is under way, first ones likelier; it may arrive again."""
        place = 0 if self.rng.random() < 0.85 else self.rng.randrange(len(frames))
        return frames[place] if self.rng.random() < 0.2 else frames.pop(place)

    def run(self, steps: int) -> None:
        actions = {
            self.propose: 10,
            self.forward: 10,
            self.deliver: 14,
            self.answer: 10,
            self.tick: 8,
            self.learn_of_the_leader: 8,
            self.commit: 10,
            self.apply: 10,
            self.lose: 2,
            self.election: 1,
            self.restart: 0.6,
            self.follower_restarts: 0.3,
        }
        for action in self.rng.choices(list(actions), list(actions.values()), k=steps):
            action()
            self.check()

    def check(self) -> None:
        for log in (self.committed, *(node.log for node in self.nodes)):
            payloads = [payload for _, payload in log if payload]
            assert len(payloads) == len(set(payloads)), "appended twice"
        assert all(count == 1 for count in self.answered.values()), "answered twice"


@settings(max_examples=300)
@given(st.integers(0, 2**64))
def test_nothing_is_appended_twice_whatever_the_network_does(seed: int) -> None:
    World(random.Random(seed)).run(400)


def test_the_test_reaches_what_it_is_for() -> None:
    """Of many runs, writes were committed, and some were refused or lost on the way."""
    worlds = [World(random.Random(seed)) for seed in range(20)]
    for world in worlds:
        world.run(400)
    assert sum(len(world.answered) for world in worlds) > 20 * 5
    assert sum(world.came_back for world in worlds) > 20
