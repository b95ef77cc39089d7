"""The members of one run, what they have in common, and when they count as healthy.

Owns the agreed log, the ledger of promises and the network; starts members again after their
ends. Knows nothing of clients or of who injects faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS, Violation
from jepsen_like.check.agreed import AgreedLog, TagOf
from jepsen_like.sim.comparing import Known
from jepsen_like.sim.ledger import Ledger
from jepsen_like.sim.member import Member
from jepsen_like.sim.net import Network
from jepsen_like.sim.world import World
from kvraft.api.service import MemberInfo
from kvraft.raft import invariants
from kvraft.raft.core import Role

if TYPE_CHECKING:
    from jepsen_like.sim.shape import Shape
    from jepsen_like.sim.watching import WatchOwner


class Cluster:
    """All members."""

    def __init__(self, world: World, shape: Shape) -> None:
        self.world = world
        self.shape = shape
        self.network = Network(world)
        self.agreed = AgreedLog(TagOf(), lambda: world.now_ns)
        self.ledger = Ledger()
        self.known = Known()
        self.without_clients: set[int] = set()  # members that no client reaches
        self.frozen = False  # the liveness phase: who is down stays down
        self._rng = world.rng("cluster")
        self._owners: dict[int, list[WatchOwner]] = {}
        numbers = range(1, shape.members + 1)
        self.founders = [
            MemberInfo(number, f"m{number}", (f"http://m{number}:2380",), ()) for number in numbers
        ]
        self.members: dict[int, Member] = {
            info.id: Member(self, info.id, info.name) for info in self.founders
        }
        self.healed: list[Member] = []

    def start(self) -> None:
        """Start all members, not quite at once."""
        for member in self.members.values():
            self.world.after(self._rng.randint(0, 50) * MILLISECOND_NS, member.start)

    def join(self, number: int) -> Member:
        """The process of a member that has been added to the running cluster."""
        member = self.members[number] = Member(self, number, f"m{len(self.members) + 1}")
        member.joins = True
        member.known = self.agreed.added - self.agreed.removed
        return member

    def is_removed(self, number: int) -> bool:
        """Whether a removal of this member has been applied anywhere."""
        return number in self.agreed.removed

    def staying(self) -> list[Member]:
        """The members whose process has a future: not removed, and not lost for good."""
        return [
            member
            for member in self.members.values()
            if not (member.lost or member.gone or self.is_removed(member.number))
        ]

    def restart_later(self, member: Member, down_ms: int | None = None) -> None:
        """A member has ended by a fault: its supervisor starts it again, at once or not."""
        if down_ms is None:
            down_ms = self._rng.choice((1, 20, 100, 500, 2000))
        self.world.after(down_ms * MILLISECOND_NS, lambda: self._restart(member))

    def _restart(self, member: Member) -> None:
        if not self.frozen or member in self.healed:
            member.start()

    # --- watchers -----------------------------------------------------------------------

    def own(self, member: Member, owner: WatchOwner) -> None:
        """A watch was registered in this life of the member."""
        self._owners.setdefault(member.number, []).append(owner)

    def owners_at(self, member: Member) -> list[WatchOwner]:
        """The watches that end with the member's life; they are forgotten here."""
        return self._owners.pop(member.number, [])

    def live_owners(self) -> list[tuple[Member, WatchOwner]]:
        """The watches of members that are up."""
        return [
            (self.members[number], owner)
            for number, owners in self._owners.items()
            for owner in owners
        ]

    # --- health -------------------------------------------------------------------------

    def running(self) -> list[Member]:
        """The members whose process runs."""
        return [member for member in self.members.values() if member.up]

    def leader(self) -> Member | None:
        """The running leader of the highest term, if any."""
        leaders = [one for one in self.running() if one.replica.core.role is Role.LEADER]
        return max(leaders, key=lambda one: one.replica.core.term, default=None)

    def quorum(self) -> int:
        """How many members make a majority."""
        return len(self.members) // 2 + 1

    def check(self) -> None:
        """The invariants that need more than one member."""
        if not self.shape.check_core:
            return
        invariants.check_cluster([member.replica.core for member in self.running()])

    def heal(self, members: list[Member]) -> None:
        """End all faults for these members, and freeze the others out for good."""
        self.frozen = True
        self.healed = members
        network = self.network
        network.heal()
        self.without_clients.clear()
        chosen = {member.number for member in members}
        for member in self.members.values():
            member.disk.full = False
            member.disk.fail_next_sync = False
            member.disk.cut_after_calls = 0
            member.only_killed = False
            member.recovery_cuts.clear()
            member.slow_disk_ns = 0
            member.points_left = 0
            member.resume()
            if member.number not in chosen and member.up:
                member.kill()
        for member in members:
            if not member.up:
                self.world.after(50 * MILLISECOND_NS, member.start)

    def converged(self) -> bool:
        """Whether all healed members have applied all there is, under one leader."""
        leader = self.leader()
        if leader is None or any(not member.up for member in self._healed()):
            return False
        applied = {member.replica.applied_index for member in self._healed()}
        return applied == {leader.replica.core.commit}

    def _healed(self) -> list[Member]:
        """The healed members that have not been removed since."""
        return [member for member in self.healed if not self.is_removed(member.number)]

    def check_converged(self) -> None:
        """After healing: everything agreed is applied everywhere, to the same state."""
        for member in self._healed():
            if member.replica.applied_index < len(self.agreed.entries):
                raise Violation(
                    f"member {member.number} stands at {member.replica.applied_index}, but "
                    f"{len(self.agreed.entries)} entries were applied in the cluster"
                )
            member.check_digest()
