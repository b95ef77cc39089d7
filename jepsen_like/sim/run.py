"""One seed from start to verdict: safety phase, liveness phase, checks.

Phase 1: anything may fail; invariants are checked at every step. Phase 2: a random majority is
healed, the others are frozen out; within a budget of election timeouts the healed must agree,
accept writes and let keys expire. Then the whole history is checked. A run in which too little
succeeded is a failure, too: silence is not correctness.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, NamedTuple

from jepsen_like.base import MILLISECOND_NS, SECOND_NS, Violation
from jepsen_like.check import promises
from jepsen_like.check.commands import check_commands
from jepsen_like.check.history import History, Outcome
from jepsen_like.sim.actor import Actor
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.nemesis import Nemesis
from jepsen_like.sim.operator import Operator
from jepsen_like.sim.shape import Shape, draw_shape
from jepsen_like.sim.workload import Workload
from jepsen_like.sim.world import World
from kvraft import limits
from kvraft.raft.invariants import InvariantViolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jepsen_like.sim.action import Action

LIVENESS_TIMEOUTS = 20  # election timeouts until a healed majority must agree
SWEEP_NS = limits.SYNC_INTERVAL_MS * MILLISECOND_NS  # keys are expired that often
COMMIT_NS = 100 * MILLISECOND_NS  # a commit and an apply in a healthy cluster, amply
LIVENESS_WRITES = 20  # and so many writes must have succeeded by then
HEALTHY_NS = SECOND_NS  # of work without any fault
SETTLE_NS = 7 * SECOND_NS  # longer than any ttl in use and the sweeps that follow
CHECK_CLUSTER_EVERY = 64  # events between the comparisons of whole logs
EVENTS_PER_RUN = 400_000  # a run that needs more is stuck in a circle


class Verdict(NamedTuple):
    """How a run ended."""

    seed: int
    shape: Shape
    failure: str  # empty: passed
    trace: list[str]
    faults: dict[str, int]
    counts: dict[str, int]
    fingerprint: int
    events: int
    virtual_ns: int


class Run:
    """The parts of one run, in place before it starts so that a test may interfere."""

    def __init__(
        self, seed: int, shape: Shape | None = None, script: Sequence[Action] | None = None
    ) -> None:
        """`script`: what is done to the cluster, instead of what the seed would draw."""
        self.world = World(seed)
        self.shape = shape if shape is not None else draw_shape(self.world.rng("shape"))
        self.cluster = Cluster(self.world, self.shape)
        self.history = History()
        self.workload = Workload(self.cluster, self.history)
        self.actor = Actor(self.cluster)
        self.nemesis = Nemesis(self.cluster, self.actor)
        self.operator = Operator(self.cluster, self.actor)
        self._script = script
        self._rng = self.world.rng("run")
        self._healthy_ns = -1

    @property
    def actions(self) -> list[Action]:
        """What has been done to the cluster so far: as a script, it repeats the run."""
        return self.actor.done

    def execute(self) -> Verdict:
        """Run all phases; any broken promise ends the run with its text."""
        failure = ""
        try:
            self.safety()
            self.liveness()
            self.verify()
        except (Violation, InvariantViolation) as error:
            failure = f"{type(error).__name__}: {error}"
        except Exception:  # production code failed in a way that is nobody's promise
            failure = traceback.format_exc()
        outcomes = [operation.outcome.value for operation in self.history.operations]
        counts = {outcome.value: outcomes.count(outcome.value) for outcome in Outcome}
        counts["commands"] = len(self.history.commands)
        counts["watches"] = len(self.history.watches)
        counts["watch events"] = sum(len(watch.events) for watch in self.history.watches)
        counts["entries"] = len(self.cluster.agreed.entries)
        world = self.world
        return Verdict(
            world.seed, self.shape, failure, world.render_trace() if failure else [],
            dict(world.faults), counts, world.fingerprint, world.events, world.now_ns,
        )  # fmt: skip

    def _each_event(self) -> bool:
        events = self.world.events
        if events % CHECK_CLUSTER_EVERY == 0:
            self.cluster.check()
            if events > EVENTS_PER_RUN:
                raise Violation("the run does not come to an end")
        return False

    def safety(self) -> None:
        """Anything may fail."""
        self.cluster.start()
        self.workload.start()
        if self._script is not None:
            self.operator.drawing = False
            self.actor.follow(self._script)
        else:
            self.nemesis.start()
            self.operator.start()
        self.world.run_until(self.shape.safety_ms * MILLISECOND_NS, self._each_event)

    def liveness(self) -> None:
        """A healed majority must come back to work."""
        world, cluster = self.world, self.cluster
        self.actor.stopped = True
        startable = [
            member
            for member in cluster.members.values()
            if not member.gone and (member.up or not (member.damaged or member.lost))
        ]
        # With changes under way nobody but the members can say how many make a majority.
        least = len(startable) if self.operator.changes else cluster.quorum()
        size = self._rng.randint(least, len(startable))
        healed = sorted(self._rng.sample(startable, size), key=lambda member: member.number)
        world.note("healed:", [member.number for member in healed])
        cluster.heal(healed)
        budget_ns = LIVENESS_TIMEOUTS * self.shape.election_ns + self._patience_ns()
        wanted = self.workload.written + LIVENESS_WRITES
        deadline_ns = world.now_ns + budget_ns
        if not world.run_until(deadline_ns, lambda: self._worked(wanted)):
            self._farewell_or(
                f"no {LIVENESS_WRITES} writes succeeded within {budget_ns / SECOND_NS:.1f} s"
            )
            return
        self._healthy_ns = world.now_ns
        world.run_until(world.now_ns + HEALTHY_NS, self._each_event)
        self.workload.stopped = True
        world.run_until(world.now_ns + SETTLE_NS, self._each_event)
        deadline_ns = world.now_ns + budget_ns
        if not cluster.converged() and not world.run_until(
            deadline_ns, lambda: self._each_event() or cluster.converged()
        ):
            self._farewell_or("the healed members did not agree")
            return
        while (ends_ns := self._latest_ttl_ns() + SETTLE_NS) > world.now_ns:
            world.run_until(ends_ns, self._each_event)

    def _latest_ttl_ns(self) -> int:
        """When the last ttl was given: a disk may work off a slow job long after all has healed,
        and what its member was asked before comes through only then."""
        asked = (
            applied.at_ns
            for applied in reversed(self.cluster.agreed.entries)
            if applied.request is not None and applied.request.ttl_seconds is not None
        )
        return next(asked, 0)

    def _farewell_or(self, failure: str) -> None:
        """Without strict checks an operator may remove everybody: then they all have to leave.

        Raises Violation for a cluster that still has members, with this text.
        """
        if self.operator.anybody_left():
            raise Violation(f"{failure}: {self._positions()}")
        self.workload.stopped = True
        self.world.fault("everybody removed")
        self.world.run_until(self.world.now_ns + SETTLE_NS, self._each_event)
        staying = [one.number for one in self.cluster.running()]
        if staying:
            raise Violation(f"everybody was removed, but {staying} did not leave")

    def _patience_ns(self) -> int:
        """What the clients themselves take: to give up old requests, and to think."""
        shape = self.shape
        thinking_ms = min(20_000, LIVENESS_WRITES * 10 * shape.think_ms // shape.clients)
        return (2_000 + shape.client_timeout_ms + thinking_ms) * MILLISECOND_NS

    def _worked(self, wanted: int) -> bool:
        return self._each_event() or self.workload.written >= wanted

    def _positions(self) -> list[tuple[int, str, int, int]]:
        return [
            (m.number, m.replica.core.role.name, m.replica.core.term, m.replica.applied_index)
            for m in self.cluster.running()
        ]

    def verify(self) -> None:
        """The verdict over the whole history."""
        cluster, history = self.cluster, self.history
        cluster.check_converged()
        for operation in history.operations + history.commands:
            if operation.outcome is Outcome.PENDING:
                operation.outcome = Outcome.UNKNOWN
        for member, owner in cluster.live_owners():
            owner.drain()
            owner.watch.reached_index = member.replica.store.index
        model = cluster.agreed.model
        promises.check_answers(history.operations, cluster.agreed)
        check_commands(history.commands, cluster.agreed)
        promises.check_order(history.operations)
        promises.check_reads(history.operations, model)
        promises.check_local_reads(history.operations)
        promises.check_registers(history.operations)
        promises.check_watches(history.watches, model)
        late_ns = SWEEP_NS + 3 * self.shape.tick_ns + COMMIT_NS
        promises.check_ttls(history.operations, cluster.agreed, self._healthy_ns, late_ns)
        if self.operator.anybody_left():
            promises.check_expired(cluster.agreed, list(model.nodes))
        self.operator.check()


def run_seed(seed: int, shape: Shape | None = None) -> Verdict:
    """One run."""
    return Run(seed, shape).execute()


def drawn(seed: int, safety_ms: int | None = None) -> Run:
    """A run with the shape that its seed draws, but for the length if one is given."""
    run = Run(seed)
    return run if safety_ms is None else Run(seed, run.shape._replace(safety_ms=safety_ms))
