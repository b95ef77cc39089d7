"""Replicas in one thread: the test decides what is delivered, written, and when time passes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from kvraft.api.service import (
    ChangeKind,
    ChangeOutcome,
    MemberChange,
    MemberInfo,
    Unavailable,
)
from kvraft.clock import ManualClock
from kvraft.raft.core import Role
from kvraft.raft.entry import NO_STATE
from kvraft.raft.message import InstallSnapshot
from kvraft.raft.ready import Persist
from kvraft.server import bootstrap
from kvraft.server.proposals import Outcome
from kvraft.server.replica import Frame, Replica, ReplicaConfig
from kvraft.storage import Recovered
from kvraft.storage.wal import Identity
from kvraft.store.errors import StoreError
from kvraft.store.machine import Machine
from kvraft.store.request import Op, Request
from kvraft.store.store import Store

TICK_MS = 100
ELECTION_TICKS = 10
TIMEOUT_MS = 7000
MS = 10**6


def infos(count: int) -> tuple[MemberInfo, ...]:
    urls = [(f"http://127.0.0.1:{2380 + number}",) for number in range(1, count + 1)]
    return tuple(MemberInfo(n, f"m{n}", url, ()) for n, url in enumerate(urls, 1))


def config(number: int, **changes: Any) -> ReplicaConfig:
    plain = ReplicaConfig(
        name=f"m{number}",
        client_urls=(f"http://127.0.0.1:{4000 + number}",),
        tick_ms=TICK_MS,
        election_ticks=ELECTION_TICKS,
        request_timeout_ms=TIMEOUT_MS,
        snapshot_count=1000,
        snapshot_keep_entries=0,
        cluster_version="2.3.0",
    )
    return plain._replace(**changes)


class Told:
    """What the caller of `propose` or `read_barrier` was told; more than once is an error."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def __call__(self, outcome: Outcome | ChangeOutcome) -> None:
        self.outcomes.append(outcome)
        assert len(self.outcomes) == 1, self.outcomes

    @property
    def outcome(self) -> Any:
        assert self.outcomes, "no answer yet"
        return self.outcomes[0]

    @property
    def refusal(self) -> Unavailable:
        assert isinstance(self.outcome, Unavailable), self.outcome
        return self.outcome


class Cluster:
    """All founders, with a disk that is instant unless `slow` names the member.

    `machines`: the state machine of each member that has one.
    """

    def __init__(
        self, count: int, machines: Mapping[int, Machine] | None = None, **changes: Any
    ) -> None:
        self.machines = dict(machines or {})
        self.clock = ManualClock()
        entries, hard_state = bootstrap.initial_entries(infos(count))
        recovered = Recovered(Identity(0, 9), hard_state, None, entries, [])
        self.replicas = {
            number: bootstrap.build_replica(
                config(number, **changes),
                bootstrap.raft_config(number, ELECTION_TICKS),
                random.Random(number),
                self.clock,
                100,
                recovered,
                Store(),
                self.machines.get(number),
            )
            for number in range(1, count + 1)
        }
        self.drop: Callable[[Frame], bool] = lambda _: False
        self.lost: list[Frame] = []
        self.slow: set[int] = set()
        self.unwritten: dict[int, Persist] = {}
        self.snapshots: dict[int, Store] = {}
        self.settle()

    def __getitem__(self, number: int) -> Replica:
        return self.replicas[number]

    def settle(self) -> None:
        """Do all work there is, without letting time pass."""
        moved = True
        while moved:
            moved = False
            for number, replica in self.replicas.items():
                while replica.busy():
                    moved = True
                    self._work(number, replica)

    def _work(self, number: int, replica: Replica) -> None:
        work = replica.take_work()
        self._deliver(work.send)
        if work.persist is not None:
            assert number not in self.unwritten
            if number in self.slow:
                self.unwritten[number] = work.persist
            else:
                self._deliver(replica.persisted(work.persist))
        if work.committed:
            replica.apply(work.committed)

    def write(self, number: int) -> None:
        """The disk of a slow member has done its work."""
        self._deliver(self[number].persisted(self.unwritten.pop(number)))
        self.settle()

    def _deliver(self, frames: list[Any]) -> None:
        for frame in frames:
            if self.drop(frame) or frame.to not in self.replicas:
                self.lost.append(frame)
            elif type(frame) is InstallSnapshot:
                store = self.snapshots[frame.meta.index]
                self[frame.to].receive_snapshot(frame, store)
            else:
                self[frame.to].receive(frame)

    def tick(self, count: int = 1, only: set[int] | None = None) -> None:
        """Heartbeat intervals pass."""
        for _ in range(count):
            self.clock.advance(TICK_MS * MS)
            for number, replica in self.replicas.items():
                if only is None or number in only:
                    replica.tick()
            self.settle()

    def elect(self, number: int) -> Replica:
        """Make this member the leader."""
        self[number].core.campaign()
        self.settle()
        assert self[number].core.role is Role.LEADER
        self.tick()
        return self[number]

    def isolate(self, *numbers: int) -> None:
        """Cut these members off from all others."""
        self.drop = lambda frame: (frame[0] in numbers) != (frame[1] in numbers)

    def heal(self) -> None:
        self.drop = lambda _: False

    def put(self, number: int, path: bytes, value: bytes = b"v", ttl: int | None = None) -> Told:
        """Propose a write at this member; nothing is done yet."""
        told = Told()
        self[number].propose(Request(Op.SET, path, value, ttl_seconds=ttl), told)
        return told

    def change(self, number: int, change: MemberChange) -> Told:
        """Ask this member for a change of the membership; nothing is done yet."""
        told = Told()
        self[number].change_membership(change, told)
        return told

    def add(self, number: int, url: str) -> Told:
        return self.change(number, MemberChange(ChangeKind.ADD, 0, (url,)))

    def remove(self, number: int, member: int) -> Told:
        return self.change(number, MemberChange(ChangeKind.REMOVE, member))

    def join(self, member: int, name: str, **changes: Any) -> Replica:
        """Start a member that was added: its log is empty."""
        plain = config(9, name=name, **changes)
        recovered = Recovered(Identity(0, 9), NO_STATE, None, [], [])
        self.replicas[member] = bootstrap.build_replica(
            plain,
            bootstrap.raft_config(member, ELECTION_TICKS),
            random.Random(member),
            self.clock,
            100,
            recovered,
            Store(),
            self.machines.get(member),
        )
        self.settle()
        return self.replicas[member]

    def read(self, number: int) -> Told:
        told = Told()
        self[number].read_barrier(told)
        return told

    def value(self, number: int, path: bytes) -> bytes | None:
        """What this member's store has at `path`."""
        try:
            node: Any = self[number].store.get(path)
        except StoreError:
            return None
        value: bytes = node.value
        return value
