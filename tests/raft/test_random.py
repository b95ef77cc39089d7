"""Seeded runs of whole clusters under every fault at once; the seed is part of a failure's name.

Messages are reordered, repeated and lost, links cut, disks slow, members crash (with the write
on its way done or not), membership changes, logs are compacted, leadership moves. Safety is
checked at every step; at the end everything is healed and the cluster must work again.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgpack
import pytest

from kvraft.raft import invariants
from kvraft.raft.config import RaftConfig
from kvraft.raft.core import Role
from kvraft.raft.entry import ConfChange, ConfChangeKind, Entry
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.message import MESSAGE_KINDS, InstallSnapshot, from_wire
from tests.raft.cluster import Cluster, Host

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: Final = 1500
MAX_MEMBERS: Final = 6


class Chaos:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        size = rng.choice((1, 2, 3, 3, 3, 4, 5))
        config = RaftConfig(
            1,
            election_ticks=rng.choice((3, 10)),
            max_append_bytes=rng.choice((100, 1 << 20)),
            max_inflight_appends=rng.choice((1, 3, 512)),
            pre_vote=rng.random() < 0.7,
            check_quorum=rng.random() < 0.7,
        )
        self.cluster = Cluster(range(1, size + 1), config=config, seed=seed)
        if rng.random() < 0.2:  # mixed settings
            for host in self.cluster.hosts.values():
                host.config = replace(host.config, pre_vote=rng.random() < 0.5)
                host.start()
        self.changes = rng.random() < 0.6
        self.chosen: dict[int, Entry] = {}
        self.leaders: dict[int, int] = {}
        self.max_commit = 1
        self.asked: dict[int, int] = {}
        self.next_ctx = 0
        self.removed: set[int] = set()
        faults = rng.choice((0, 1, 1, 4))
        self.actions: list[tuple[int, Callable[[], None]]] = [
            (120, self.work),
            (120, self.deliver),
            (12, self.tick),
            (10, self.propose),
            (4, self.read),
            (4, self.change),
            (2, self.snapshot),
            (1, self.transfer),
            (6, self.sync),
            (4, self.restart),
            (2, self.heal),
            (4 * faults, self.drop),
            (3 * faults, self.repeat),
            (2 * faults, self.slow),
            (1 * faults, self.crash),
            (1 * faults, self.partition),
            (1 * faults, self.unreachable),
        ]

    def run(self) -> None:
        weights = [weight for weight, _ in self.actions]
        for _, action in self.rng.choices(self.actions, weights, k=STEPS):
            action()
            self.check()
        self.converge()

    def host(self) -> Host | None:
        up = self.cluster.up()
        return self.rng.choice(up) if up else None

    def leader_host(self) -> Host | None:
        leaders = [host for host in self.cluster.up() if host.core.role is Role.LEADER]
        return self.rng.choice(leaders) if leaders else None

    # --- checks --------------------------------------------------------------------------

    def check(self) -> None:
        cores = [host.core for host in self.cluster.up()]
        invariants.check_cluster(cores)
        for host in self.cluster.up():
            core = host.core
            self.max_commit = max(self.max_commit, core.commit)
            if core.role is Role.LEADER:
                assert self.leaders.setdefault(core.term, core.member_id) == core.member_id
            for entry in host.state[-40:]:
                assert self.chosen.setdefault(entry.index, entry) == entry
            for ctx, index in list(host.reads.items()):
                known = self.asked.pop(ctx, None)
                assert known is None or index is None or index >= known, "a stale read"
                del host.reads[ctx]

    def converge(self) -> None:
        cluster = self.cluster
        cluster.heal()
        for host in cluster.hosts.values():
            host.slow = False
            if host.up:
                cluster.sync(host)
            else:
                host.start()
        for _ in range(40 * cluster.config.election_ticks):
            self.round()
            leader = max(
                (host.core for host in cluster.hosts.values() if host.core.role is Role.LEADER),
                key=lambda core: core.term,
                default=None,
            )
            if leader is not None and self.is_settled(leader.member_id):
                return
        raise AssertionError("no progress after healing")

    def is_settled(self, leader: int) -> bool:
        """Something new commits, and everyone who is a member has it."""
        core = self.cluster.core(leader)
        try:
            index = core.propose([b"end"])
        except ProposalRefused:
            return False
        for _ in range(4):
            self.round()
        members = core.membership.voters + core.membership.learners
        return all(self.cluster.core(member).applied >= index for member in members)

    def round(self) -> None:
        for host in self.cluster.hosts.values():
            host.core.tick()
        self.cluster.settle()
        self.check()

    # --- events --------------------------------------------------------------------------

    def work(self) -> None:
        if host := self.host():
            self.cluster.work(host)

    def deliver(self) -> None:
        for _ in range(self.rng.choice((1, 1, 5))):
            self.deliver_one()

    def deliver_one(self) -> None:
        queue = self.cluster.queue
        if not queue:
            return
        position = self.rng.randrange(len(queue)) if self.rng.random() < 0.3 else 0
        message = queue[position]
        del queue[position]
        if (message.sender, message.to) in self.cluster.cut:
            self.lose(message)
            return
        number = MESSAGE_KINDS.index(type(message))
        self.cluster.deliver(from_wire(number, msgpack.unpackb(msgpack.packb(message))))

    def lose(self, message: object) -> None:
        if isinstance(message, InstallSnapshot):
            self.cluster.core(message.sender).report_snapshot(message.to, False)

    def drop(self) -> None:
        if self.cluster.queue and self.rng.random() < 0.5:
            self.lose(self.cluster.queue.popleft())

    def repeat(self) -> None:
        queue = self.cluster.queue
        if queue:
            queue.append(self.rng.choice(queue))

    def tick(self) -> None:
        hosts = self.cluster.up() if self.rng.random() < 0.5 else [self.host()]
        for host in hosts:
            if host is not None:
                host.core.tick()
                host.check()

    def propose(self) -> None:
        if host := self.leader_host():
            payloads = [b"p" * self.rng.randrange(1, 60) for _ in range(self.rng.randrange(1, 5))]
            try:
                host.core.propose(payloads)
            except ProposalRefused:
                return
            host.check()

    def read(self) -> None:
        if host := self.host():
            self.next_ctx += 1
            self.asked[self.next_ctx] = self.max_commit
            host.core.read_index(self.next_ctx)

    def slow(self) -> None:
        if host := self.host():
            host.slow = True

    def sync(self) -> None:
        if host := self.host():
            host.slow = False
            self.cluster.sync(host)

    def crash(self) -> None:
        host = self.host()
        if host is None:
            return
        if host.writing is not None and self.rng.random() < 0.5:
            meta = host.writing.snapshot
            host.disk.write(host.writing, self.cluster.snapshots[meta] if meta else [])
        self.cluster.crash(host.config.member_id)

    def restart(self) -> None:
        down = [host for host in self.cluster.hosts.values() if not host.up]
        if down:
            self.rng.choice(down).start()

    def partition(self) -> None:
        members = list(self.cluster.hosts)
        if self.rng.random() < 0.5:
            self.cluster.isolate(*self.rng.sample(members, self.rng.randrange(1, len(members) + 1)))
        else:
            self.cluster.cut.add((self.rng.choice(members), self.rng.choice(members)))

    def heal(self) -> None:
        self.cluster.cut.clear()

    def snapshot(self) -> None:
        host = self.host()
        if host is None or host.core.installing is not None or host.writing is not None:
            return
        core = host.core
        if core.snapshot is not None and core.applied > core.snapshot.index:
            self.cluster.snapshot(host.config.member_id, keep=self.rng.choice((0, 0, 2)))

    def transfer(self) -> None:
        if host := self.leader_host():
            try:
                host.core.transfer_leadership(0)
            except ProposalRefused:
                return

    def unreachable(self) -> None:
        if host := self.leader_host():
            host.core.report_unreachable(self.rng.choice(list(self.cluster.hosts)))

    def change(self) -> None:
        host = self.leader_host()
        if host is None or not self.changes:
            return
        kind = self.rng.choice(list(ConfChangeKind))
        member = self.rng.randrange(1, MAX_MEMBERS + 1)
        if kind in (ConfChangeKind.ADD_VOTER, ConfChangeKind.ADD_LEARNER):
            member = max(self.cluster.hosts) + 1
            if member > 12:
                return
        try:
            host.core.propose_conf_change(ConfChange(kind, member, b""))
        except ProposalRefused:
            return
        host.check()
        if member not in self.cluster.hosts:
            self.cluster.add_host(member)


def run_seeds(seeds: range) -> None:
    for seed in seeds:
        try:
            Chaos(seed).run()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_runs(first: int) -> None:
    run_seeds(range(first, first + 10))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 4000, 500))
def test_many_random_runs(first: int) -> None:
    run_seeds(range(first, first + 500))
