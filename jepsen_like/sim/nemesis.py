"""Who breaks what, and when: draws from the mix of the run's shape; the actor does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim.faults import DRAWS
from jepsen_like.sim.faults.dice import Dice

if TYPE_CHECKING:
    from jepsen_like.sim.actor import Actor
    from jepsen_like.sim.cluster import Cluster


class Nemesis:
    """Draws the faults of one run. Faults that last are drawn with their ends."""

    def __init__(self, cluster: Cluster, actor: Actor) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._actor = actor
        self._rng = cluster.world.rng("nemesis")
        self._dice = Dice(cluster, actor, self._rng)

    def start(self) -> None:
        """Begin to break things."""
        if self._cluster.shape.faults:
            self._schedule()

    def _schedule(self) -> None:
        mean_ns = self._cluster.shape.fault_every_ms * MILLISECOND_NS
        self._world.plan(self._rng.randint(mean_ns // 4, 2 * mean_ns), self._strike)

    def _strike(self) -> None:
        if self._actor.stopped:
            return
        shape = self._cluster.shape
        (name,) = self._rng.choices(shape.faults, shape.rates or None)
        DRAWS[name](self._dice)
        self._schedule()
