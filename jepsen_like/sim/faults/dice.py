"""What a fault is drawn with: a stream of chances, a look at the cluster, and times to come."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from jepsen_like.base import MILLISECOND_NS

if TYPE_CHECKING:
    import random

    from jepsen_like.sim.actor import Actor
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.member import Member

DOWN_MS = (1, 20, 100, 500, 2000)  # how long a supervisor takes
CHANCES = 1 << 32


class Dice:
    """Draws details; what it is told to do goes to the actor, now or later."""

    def __init__(self, cluster: Cluster, actor: Actor, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self._actor = actor
        self._world = cluster.world

    # --- choosing -----------------------------------------------------------------------

    def running(self) -> Member | None:
        """Any member that runs."""
        running = self.cluster.running()
        return self.rng.choice(running) if running else None

    def leader_or_any(self) -> Member | None:
        """The leader every other time."""
        return self.cluster.leader() if self.rng.random() < 0.5 else self.running()

    def numbers(self) -> list[int]:
        """All members that there are, up or not."""
        return sorted(self.cluster.members)

    def majority(self) -> list[int]:
        """Just enough of them to stop the others."""
        numbers = self.numbers()
        return sorted(self.rng.sample(numbers, len(numbers) // 2 + 1))

    def down_ms(self) -> int:
        """How long a process stays away."""
        return self.rng.choice(DOWN_MS)

    def chance(self) -> int:
        """The seed of what an action leaves to chance while it is carried out."""
        return self.rng.randrange(CHANCES)

    # --- acting -------------------------------------------------------------------------

    def act(self, name: str, /, **details: Any) -> None:
        """Do it now."""
        self._actor.act(name, details)

    def later(self, delay_ms: int, name: str, /, **details: Any) -> None:
        """Do it then; in most cases this is the end of a fault."""
        self._world.plan(delay_ms * MILLISECOND_NS, partial(self._actor.act, name, details))

    def when_writing(self, member: Member, name: str, /, **details: Any) -> None:
        """Do it in the middle of a write of this member, ten times out of eleven."""
        life = member.life

        def attempt(left: int) -> None:
            if self._actor.stopped or not member.up or member.life != life:
                return
            if left and not member.wal_queue.busy:
                self._world.plan(MILLISECOND_NS, lambda: attempt(left - 1))
            else:
                self.act(name, **details)

        attempt(300 if self.rng.random() < 10 / 11 else 0)
