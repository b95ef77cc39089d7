"""A cluster of consensus cores in one thread, for the tests of this package.

No time, no disk, no network: messages are delivered in order until all is quiet, except over
links that are cut; a member's disk can be held back, and a crash keeps only what it was told
was durable. Every step checks the invariants.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from kvraft.raft import invariants
from kvraft.raft.config import RaftConfig
from kvraft.raft.core import RaftCore, Role
from kvraft.raft.entry import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    SnapshotMeta,
    decode_conf_change,
)
from kvraft.raft.message import (
    AppendReply,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kvraft.raft.message import Message
    from kvraft.raft.ready import Persist


class FixedTimeouts:
    """In place of a random generator: member 1 times out first, then 2, and so on."""

    def __init__(self, member: int, incarnation: int) -> None:
        self._offset = member - 1
        self._number = incarnation * 1_000_000

    def randrange(self, start: int, stop: int, /) -> int:
        span = stop - start
        return start + (self._number % span if span > 1 << 20 else self._offset % span)


class Host:
    """One member: its core, its disk and its applied state."""

    def __init__(self, config: RaftConfig, disk: Disk, seed: int | None) -> None:
        self.config = config
        self.disk = disk
        self.seed = seed
        self.incarnation = 0
        self.slow = False
        self.writing: Persist | None = None
        self.up = True
        self.start()

    def start(self) -> None:
        disk = self.disk
        self.incarnation += 1
        self.up = True
        self.writing = None
        self.state: list[Entry] = list(disk.snapshot_state)
        self.reads: dict[int, int | None] = {}
        member = self.config.member_id
        self.core = RaftCore(
            self.config,
            FixedTimeouts(member, self.incarnation)
            if self.seed is None
            else random.Random(f"{self.seed} {member} {self.incarnation}"),
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=list(disk.entries),
            applied=disk.snapshot.index if disk.snapshot else 0,
        )
        self.seen = invariants.observe(self.core)

    def payloads(self) -> list[bytes]:
        return [entry.data for entry in self.state if entry.data and not entry.kind]

    def check(self) -> None:
        invariants.check(self.core)
        now = invariants.observe(self.core)
        invariants.check_delta(self.seen, now)
        self.seen = now


class Disk:
    """What survives a crash of one member."""

    def __init__(self) -> None:
        self.hard_state = HardState(0, 0, 0)
        self.snapshot: SnapshotMeta | None = None
        self.snapshot_state: list[Entry] = []
        self.entries: list[Entry] = []

    def last_index(self) -> int:
        if self.entries:
            return self.entries[-1].index
        return self.snapshot.index if self.snapshot else 0

    def write(self, persist: Persist, snapshot_state: list[Entry]) -> None:
        if persist.snapshot is not None:
            self.snapshot = persist.snapshot
            self.snapshot_state = snapshot_state
            self.entries = []
        if persist.entries:
            first = persist.entries[0].index
            self.entries = [entry for entry in self.entries if entry.index < first]
            self.entries += persist.entries
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state


class Cluster:
    """All members, and the network between them."""

    def __init__(
        self,
        voters: Iterable[int],
        learners: Iterable[int] = (),
        *,
        config: RaftConfig | None = None,
        logs: dict[int, list[int]] | None = None,
        seed: int | None = None,
    ) -> None:
        """Members whose snapshot at index 1 names them all; `logs` are terms of entries after.

        With a seed the election timeouts are drawn, without one they are fixed.
        """
        self.seed = seed
        membership = Membership(tuple(sorted(voters)), tuple(sorted(learners)))
        self.config = config or RaftConfig(1)
        self.base = SnapshotMeta(1, 1, membership)
        self.hosts: dict[int, Host] = {}
        self.cut: set[tuple[int, int]] = set()
        self.dropped_kinds: set[str] = set()
        self.queue: deque[Message] = deque()
        self.sent: Counter[str] = Counter()
        self.snapshots: dict[SnapshotMeta, list[Entry]] = {self.base: []}
        for member in membership.voters + membership.learners:
            disk = Disk()
            disk.snapshot = self.base
            terms = (logs or {}).get(member, [])
            disk.entries = [
                Entry(term, index, EntryKind.NORMAL, b"%d.%d" % (term, index))
                for index, term in enumerate(terms, 2)
            ]
            disk.hard_state = HardState(max([1, *terms]), 0, 1)
            self.add_host(member, disk)

    def add_host(self, member: int, disk: Disk | None = None) -> Host:
        host = Host(replace(self.config, member_id=member), disk or Disk(), self.seed)
        self.hosts[member] = host
        return host

    def core(self, member: int) -> RaftCore:
        return self.hosts[member].core

    def leader(self) -> RaftCore:
        """The leader of the latest term."""
        leaders = [host.core for host in self.up() if host.core.role is Role.LEADER]
        assert leaders, "nobody leads"
        return max(leaders, key=lambda core: core.term)

    def up(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.up]

    # --- the network ---------------------------------------------------------------------

    def isolate(self, *members: int) -> None:
        """Cut these off from the others, but not from each other."""
        for inside in members:
            for outside in self.hosts.keys() - set(members):
                self.cut |= {(inside, outside), (outside, inside)}

    def heal(self) -> None:
        self.cut.clear()
        self.dropped_kinds.clear()

    def post(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.check_promise(message)
            kind = type(message).__name__
            self.sent[kind] += 1
            lost = (message.sender, message.to) in self.cut or kind in self.dropped_kinds
            if not lost:
                self.queue.append(message)
            elif isinstance(message, InstallSnapshot):
                self.core(message.sender).report_snapshot(message.to, False)

    def check_promise(self, message: Message) -> None:
        """What a message promises, or shows of a term, must be on the sender's disk."""
        if isinstance(message, PreVote) or (isinstance(message, PreVoteReply) and message.granted):
            return
        disk = self.hosts[message.sender].disk
        assert disk.hard_state.term >= message.term, "a term that is not durable"
        if disk.hard_state.term > message.term:
            return  # nothing more can be promised or broken in that term
        if isinstance(message, AppendReply) and message.ok:
            assert disk.last_index() >= message.index, "accepted what is not durable"
        elif isinstance(message, VoteReply) and message.granted:
            state = (message.term, message.to)
            assert disk.hard_state[:2] == state, "a vote that is not durable"
        elif isinstance(message, Vote):
            state = (message.term, message.sender)
            assert disk.hard_state[:2] == state, "an own vote that is not durable"

    def deliver(self, message: Message) -> None:
        host = self.hosts.get(message.to)
        if host is None or not host.up:
            if isinstance(message, InstallSnapshot):
                self.core(message.sender).report_snapshot(message.to, False)
            return
        if isinstance(message, InstallSnapshot):
            sender = self.hosts[message.sender]
            host.core.step(message)
            sender.core.report_snapshot(message.to, True)
            sender.check()
        else:
            host.core.step(message)
        host.check()

    # --- the driver ----------------------------------------------------------------------

    def work(self, host: Host) -> bool:
        """One round of what a driver does; False if there was nothing to do."""
        core = host.core
        if not core.has_ready():
            return False
        ready = core.ready()
        self.post(ready.messages)
        for ctx, index in ready.reads:
            host.reads[ctx] = index
        host.reads |= dict.fromkeys(ready.reads_failed)
        if ready.persist is not None:
            assert host.writing is None, "two writes at a time"
            host.writing = ready.persist
            if not host.slow:
                self.sync(host)
        self.apply(host, ready.committed)
        host.check()
        return True

    def sync(self, host: Host) -> None:
        """The disk has finished what it was given."""
        persist, host.writing = host.writing, None
        if persist is None:
            return
        meta = persist.snapshot
        host.disk.write(persist, self.snapshots[meta] if meta else [])
        self.post(persist.after)
        if meta is not None:
            host.state = list(self.snapshots[meta])
            host.core.snapshot_restored(meta)
        host.core.persisted(persist)
        host.check()

    def apply(self, host: Host, committed: list[Entry]) -> None:
        for entry in committed:
            host.state.append(entry)
            if entry.kind == EntryKind.CONFIG:
                host.core.apply_conf_change(decode_conf_change(entry.data))
        if committed:
            host.core.applied_to(committed[-1].index)

    def settle(self) -> None:
        """Go on until nothing is left to do without time passing."""
        for _ in range(100_000):
            busy = False
            for host in self.up():
                busy |= self.work(host)
            while self.queue:
                self.deliver(self.queue.popleft())
                busy = True
            invariants.check_cluster([host.core for host in self.up()])
            if not busy:
                return
        raise AssertionError("the cluster never comes to rest")

    # --- events --------------------------------------------------------------------------

    def tick(self, count: int = 1, *members: int) -> None:
        for _ in range(count):
            for host in self.up():
                if not members or host.config.member_id in members:
                    host.core.tick()
                    host.check()
            self.settle()

    def elect(self, member: int) -> RaftCore:
        """Make this member leader."""
        self.core(member).campaign()
        self.settle()
        assert self.core(member).role is Role.LEADER
        return self.core(member)

    def propose(self, member: int, *payloads: bytes) -> int:
        index = self.core(member).propose(payloads)
        self.settle()
        return index

    def crash(self, member: int) -> None:
        self.hosts[member].up = False

    def restart(self, member: int) -> None:
        self.hosts[member].start()
        self.settle()

    def snapshot(self, member: int, keep: int = 0) -> SnapshotMeta:
        """This member takes a snapshot of what it has applied, and compacts its log."""
        host = self.hosts[member]
        core = host.core
        meta = SnapshotMeta(core.applied, core.log.term_at(core.applied), core.membership)
        self.snapshots[meta] = list(host.state)
        host.disk.snapshot = meta
        host.disk.snapshot_state = list(host.state)
        host.disk.entries = [entry for entry in host.disk.entries if entry.index > meta.index]
        core.snapshot_taken(meta)
        core.compact(meta.index - keep)
        return meta
