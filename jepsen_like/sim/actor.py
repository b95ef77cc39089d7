"""Carries out actions, whoever thought of them: the nemesis, the operator, or a script.

Each action that is carried out is noted in `done`, so `done` is a script that repeats the run.
An action happens before everything else of its moment, in a run that draws it as in one that
repeats it. One that makes no sense any more (a member that is down is to be killed) has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from jepsen_like.sim import faults
from jepsen_like.sim.action import Action

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster

Act = Callable[..., None]


class Actor:
    """The hands of all that is done to a cluster from outside."""

    def __init__(self, cluster: Cluster) -> None:
        self._world = cluster.world
        self._acts: dict[str, Act] = {
            name: partial(act, cluster) for name, act in faults.ACTS.items()
        }
        self.done: list[Action] = []
        self.stopped = False  # the liveness phase: nothing is done any more

    def learn(self, acts: dict[str, Act]) -> None:
        """Further actions, by their names."""
        self._acts.update(acts)

    def check(self, name: str, details: dict[str, Any]) -> None:
        """Raise KeyError for an unknown name, TypeError for details that do not fit it."""
        signature(self._acts[name]).bind(**details)

    def act(self, name: str, details: dict[str, Any]) -> None:
        """Do it now. Raises KeyError for an unknown name, TypeError for wrong details."""
        if self.stopped:
            return
        self.done.append(Action(self._world.now_ns, name, details))
        self._world.fault(name, details)
        self._acts[name](**details)

    def follow(self, script: Iterable[Action]) -> None:
        """Do all of these, each at its time."""
        for action in script:
            self._world.plan(
                action.at_ns - self._world.now_ns, partial(self.act, action.name, action.details)
            )
