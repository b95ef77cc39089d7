"""Who breaks what: one method per fault, drawn from the mix of the run's shape.

Faults that last end by themselves; the liveness phase ends all of them. At most a minority of
disks is damaged in a run, and a damaged member that refuses to start does not come back:
that is all the cluster promises to survive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS, SECOND_NS

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member

HOUR_NS = 3600 * SECOND_NS


class Nemesis:
    """Injects the faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._network = cluster.network
        self._rng = cluster.world.rng("nemesis")
        self._damaged: set[int] = set()
        self.stopped = False
        self._actions: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill leader": self._kill_leader,
            "kill at a step": self._kill_at_step,
            "power": self._power,
            "power at a disk call": self._power_at_call,
            "power everywhere": self._power_everywhere,
            "pause": self._pause,
            "partition": self._partition,
            "isolate leader": self._isolate_leader,
            "one way": self._one_way,
            "bridge": self._bridge,
            "loss": self._loss,
            "duplicate": self._duplicate,
            "reorder": self._reorder,
            "clog": self._clog,
            "slow link": self._slow_link,
            "slow disk": self._slow_disk,
            "full disk": self._full_disk,
            "failed sync": self._failed_sync,
            "wall jump": self._wall_jump,
            "bit flip": self._bit_flip,
            "long absence": self._long_absence,
        }

    def start(self) -> None:
        """Begin to break things."""
        if self._cluster.shape.faults:
            self._schedule()

    def _schedule(self) -> None:
        mean_ns = self._cluster.shape.fault_every_ms * MILLISECOND_NS
        self._world.after(self._rng.randint(mean_ns // 4, 2 * mean_ns), self._strike)

    def _strike(self) -> None:
        if self.stopped:
            return
        self._actions[self._rng.choice(self._cluster.shape.faults)]()
        self._schedule()

    def _running(self) -> Member | None:
        running = self._cluster.running()
        return self._rng.choice(running) if running else None

    def _later(self, action: Callable[[], None], *delays_ms: int) -> None:
        """End a fault after one of these delays, unless all faults have been ended before."""

        def act() -> None:
            if not self.stopped:
                action()

        self._world.after(self._rng.choice(delays_ms) * MILLISECOND_NS, act)

    # --- processes and machines -----------------------------------------------------------

    def _when_writing(self, member: Member, act: Callable[[], None]) -> None:
        """Act on a running member, preferably in the middle of a write: wait a little for one."""
        life = member.life

        def attempt(left: int) -> None:
            if self.stopped or not member.up or member.life != life:
                return
            if left and not member.wal_queue.busy:
                self._world.after(MILLISECOND_NS, lambda: attempt(left - 1))
            else:
                act()

        attempt(self._rng.choice((0, 50, 100)))

    def _strike_member(self, end: Callable[[Member], None]) -> None:
        member = self._running()
        if member is None:
            return
        victim = member

        def act() -> None:
            end(victim)
            self._cluster.restart_later(victim)

        self._when_writing(victim, act)

    def _kill(self) -> None:
        self._strike_member(lambda member: member.kill())

    def _kill_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            leader.kill()
            self._cluster.restart_later(leader)

    def _kill_at_step(self) -> None:
        member = self._running()
        if member is not None:
            member.points_left = self._rng.randint(1, 40)

    def _power(self) -> None:
        self._strike_member(lambda member: member.cut_power())

    def _power_at_call(self) -> None:
        member = self._running()
        if member is not None:
            member.disk.cut_after_calls = self._rng.randint(1, 60)

    def _power_everywhere(self) -> None:
        member = self._running()
        if member is not None:
            self._when_writing(member, self._cut_all_power)

    def _cut_all_power(self) -> None:
        self._world.fault("power cut everywhere")
        for member in self._cluster.running():
            member.cut_power()
            self._cluster.restart_later(member)
            if self._rng.random() < 0.2:
                member.disk.cut_after_calls = self._rng.randint(1, 40)

    def _pause(self) -> None:
        member = self._cluster.leader() if self._rng.random() < 0.5 else self._running()
        if member is not None:
            self._world.fault("pause", member.number)
            member.pause(self._rng.choice((200, 1000, 3000)) * MILLISECOND_NS)

    def _long_absence(self) -> None:
        member = self._running()
        if member is not None and len(self._cluster.members) > 1:
            self._world.fault("long absence", member.number)
            others = set(self._cluster.members) - {member.number}
            self._network.partition({member.number}, others, into=True, out=True)
            self._later(self._network.cut.clear, 4000, 8000)

    # --- network ------------------------------------------------------------------------

    def _split(self, name: str, side: set[int], *, into: bool = True, out: bool = True) -> None:
        others = set(self._cluster.members) - side
        if side and others:
            self._world.fault(name, sorted(side))
            self._network.partition(side, others, into=into, out=out)
            self._later(self._network.cut.clear, 300, 1000, 3000)

    def _partition(self) -> None:
        numbers = sorted(self._cluster.members)
        self._split("partition", set(self._rng.sample(numbers, self._rng.randint(0, len(numbers)))))

    def _isolate_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            self._split("leader cut off", {leader.number})

    def _one_way(self) -> None:
        member = self._cluster.leader() if self._rng.random() < 0.5 else self._running()
        if member is not None:
            into = self._rng.random() < 0.5
            self._split("one-way cut", {member.number}, into=into, out=not into)

    def _bridge(self) -> None:
        numbers = sorted(self._cluster.members)
        if len(numbers) < 3:
            return
        self._rng.shuffle(numbers)
        middle = len(numbers) // 2
        self._world.fault("bridge", numbers[middle])
        self._network.partition(
            set(numbers[:middle]), set(numbers[middle + 1 :]), into=True, out=True
        )
        self._later(self._network.cut.clear, 1000, 3000)

    def _loss(self) -> None:
        self._world.fault("loss begins")
        self._network.loss = self._rng.choice((0.02, 0.1, 0.3))
        self._later(lambda: setattr(self._network, "loss", 0.0), 500, 2000)

    def _duplicate(self) -> None:
        self._world.fault("duplication begins")
        self._network.duplicate = self._rng.choice((0.05, 0.5))
        self._later(lambda: setattr(self._network, "duplicate", 0.0), 500, 2000)

    def _reorder(self) -> None:
        self._world.fault("reordering begins")
        self._network.reorder = self._rng.choice((0.05, 0.4))
        self._later(lambda: setattr(self._network, "reorder", 0.0), 500, 2000)

    def _clog(self) -> None:
        numbers = sorted(self._cluster.members)
        if len(numbers) > 1:
            sender, to = self._rng.sample(numbers, 2)
            self._world.fault("clogged link", sender, to)
            self._network.clog((sender, to))
            self._later(self._network.unclog, 200, 1000, 3000)

    def _slow_link(self) -> None:
        member = self._running()
        if member is not None:
            self._world.fault("slow link", member.number)
            self._network.slow.add(member.number)
            self._network.slow_ns = self._rng.choice((50, 100, 600)) * MILLISECOND_NS
            self._later(self._network.slow.clear, 1000, 3000)

    # --- disks and clocks -----------------------------------------------------------------

    def _slow_disk(self) -> None:
        member = self._running()
        if member is not None:
            self._world.fault("slow disk", member.number)
            member.slow_disk_ns = self._rng.choice((50, 500, 2000)) * MILLISECOND_NS
            self._later(lambda: setattr(member, "slow_disk_ns", 0), 1000, 3000)

    def _full_disk(self) -> None:
        member = self._running()
        if member is not None:
            self._world.fault("disk full", member.number)
            member.disk.full = True
            self._later(lambda: setattr(member.disk, "full", False), 300, 1500)

    def _failed_sync(self) -> None:
        member = self._running()
        if member is not None:
            member.disk.fail_next_sync = True

    def _wall_jump(self) -> None:
        member = self._running()
        if member is not None:
            jump_ns = self._rng.choice((-HOUR_NS, -SECOND_NS, SECOND_NS, HOUR_NS))
            self._world.fault("wall clock jump", member.number, jump_ns // SECOND_NS)
            member.clock.wall_offset_ns += jump_ns

    def _bit_flip(self) -> None:
        """Damage a stored byte of a member that is down, away from the end of its newest log."""
        minority = (len(self._cluster.members) - 1) // 2
        member = self._running()
        if member is None or len(self._damaged | {member.number}) > minority:
            return
        member.kill()
        place = member.disk.old_place(self._rng)
        if place is not None:
            path, offset = place
            self._damaged.add(member.number)
            member.damaged = True
            member.disk.flip_bit(path, offset)
            self._world.fault("bit flip", member.number, path, offset)
        self._cluster.restart_later(member)
