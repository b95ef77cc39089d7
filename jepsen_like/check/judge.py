"""All checkers over one history, each with its verdict and a sentence.

A checker that rests on another one's result says `unknown` when there is none: that is no pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.check import promises
from jepsen_like.check.converged import check_converged
from jepsen_like.check.coverage import Coverage, merge
from jepsen_like.check.explain import Explanation, silent_indexes
from jepsen_like.check.history import Outcome
from jepsen_like.check.linear import BUDGET_STEPS, Verdict
from jepsen_like.check.registers import judge_registers
from jepsen_like.check.replay import check_final_state, check_real_time, replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from jepsen_like.check.evidence import Evidence
    from jepsen_like.check.history import Operation
    from jepsen_like.check.model import Model

PASSED: Final = "passed"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"


class Finding(NamedTuple):
    """What one checker says."""

    checker: str
    verdict: str
    """`passed`, `failed` or `unknown`."""
    text: str


def judge(evidence: Evidence, budget_steps: int = BUDGET_STEPS) -> list[Finding]:
    """Ask every checker."""
    return _Judge(evidence, budget_steps).findings()


def worst(findings: list[Finding]) -> str:
    """The verdict over all: failed, unknown or passed."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in (FAILED, UNKNOWN) if verdict in found), PASSED)


class _Missing(Exception):
    """What a checker rests on was not found out."""


class _Judge:
    """What was found out so far; checkers come in the order in which they rest on each other."""

    def __init__(self, evidence: Evidence, budget_steps: int) -> None:
        self._evidence = evidence
        self._budget_steps = budget_steps
        self._answered: list[Operation] = [
            o for o in evidence.operations if o.outcome in (Outcome.OK, Outcome.REFUSED)
        ]
        self._coverage: Coverage | None = None
        self._explained: Explanation | None = None
        self._model: Model | None = None
        self._unseen = 0

    def findings(self) -> list[Finding]:
        checkers: dict[str, Callable[[], str]] = {
            "watchers": self._watchers,
            "order": self._order,
            "sight": self._sight,
            "replay": self._replay,
            "real time": self._real_time,
            "local reads": self._local_reads,
            "reads": self._reads,
            "watches": self._watches,
            "expiry": self._expiry,
            "final state": self._final_state,
            "convergence": self._convergence,
            "registers": self._registers,
            "progress": self._progress,
        }
        return [self._ask(name, checker) for name, checker in checkers.items()]

    def _ask(self, name: str, checker: Callable[[], str]) -> Finding:
        try:
            return Finding(name, PASSED, checker())
        except Violation as violation:
            rests = name in ("replay", "reads", "watches", "expiry", "final state")
            if rests and self._unseen:  # what nobody saw may explain it
                return Finding(name, UNKNOWN, f"with changes out of sight: {violation}")
            return Finding(name, FAILED, str(violation))
        except _Missing as missing:
            return Finding(name, UNKNOWN, str(missing))

    # --- what the others rest on ---------------------------------------------------------

    def _watchers(self) -> str:
        self._coverage = merge(self._evidence.sessions)
        return (
            f"{len(self._evidence.sessions)} sessions agree on {len(self._coverage.events)} events"
        )

    def _order(self) -> str:
        if self._coverage is None:
            raise _Missing("watchers contradict each other")
        self._explained = Explanation(self._evidence.operations, self._coverage)
        return (
            f"{len(self._explained.by_index)} changes explained, "
            f"{self._explained.unknown_but_done()} of them of unknown outcome, "
            f"and {len(self._explained.expiries)} expiries"
        )

    def _sight(self) -> str:
        explained = self._explanation()
        looks = [look.store_index for look in self._evidence.finals]
        highest = max([operation.index for operation in self._answered] + looks, default=0)
        counts = silent_indexes(explained, highest)
        self._unseen = counts["unseen"]
        if self._unseen:
            raise _Missing(f"{self._unseen} of {highest} changes were seen by nobody")
        return f"{counts['bookkeeping']} of {highest} changes are the server's own"

    def _replay(self) -> str:
        self._model = replay(self._explanation())
        return f"the model agrees with {len(self._answered)} answers"

    def _explanation(self) -> Explanation:
        if self._explained is None:
            raise _Missing("there is no order of changes")
        return self._explained

    def _replayed(self) -> Model:
        if self._model is None:
            raise _Missing("there is no state to compare with")
        return self._model

    # --- promises -----------------------------------------------------------------------

    def _real_time(self) -> str:
        check_real_time(self._explanation())
        return "index order is the order of time"

    def _local_reads(self) -> str:
        promises.check_local_reads(self._answered)
        lives = len({operation.member for operation in self._answered})
        return f"nothing went back on a member in {lives} lives"

    def _reads(self) -> str:
        reads = [operation for operation in self._answered if operation.request is None]
        promises.check_reads(reads, self._replayed())
        return f"{len(reads)} reads show the state of their index"

    def _watches(self) -> str:
        promises.check_watches(self._evidence.watches, self._replayed())
        events = sum(len(watch.events) for watch in self._evidence.watches)
        return f"{len(self._evidence.watches)} watches, {events} events, none missing"

    def _expiry(self) -> str:
        explained, model, evidence = self._explanation(), self._replayed(), self._evidence
        latest_ns = promises.check_expiries(explained, model, evidence.moments, evidence.skew_ns)
        if evidence.finals:
            final_ns = min(final.at_ns for final in evidence.finals)
            promises.check_overdue(explained, model, final_ns, evidence.skew_ns)
        return f"{len(explained.expiries)} expiries, the latest by {latest_ns / SECOND_NS:.1f} s"

    def _final_state(self) -> str:
        model = self._replayed()
        if not self._evidence.finals:
            raise _Missing("nobody looked in the end")
        for final in self._evidence.finals:
            check_final_state(model, final.document, [final.root])
        return f"{len(self._evidence.finals)} members show what the changes lead to"

    def _convergence(self) -> str:
        if not self._evidence.finals:
            raise _Missing("nobody looked in the end")
        check_converged(self._evidence.finals)
        return f"{len(self._evidence.finals)} members show the same"

    def _registers(self) -> str:
        results = judge_registers(self._evidence.operations, budget_steps=self._budget_steps)
        for path, result in results.items():
            if result.verdict is Verdict.VIOLATION:
                raise Violation(f"{path.decode()}: {result.explanation}")
        unknown = [path for path, one in results.items() if one.verdict is Verdict.UNKNOWN]
        if unknown:
            raise _Missing(f"no verdict within the budget on {len(unknown)} of {len(results)} keys")
        steps = sum(result.steps for result in results.values())
        return f"{len(results)} keys are linearizable, found in {steps} steps"

    def _progress(self) -> str:
        written = sum(operation.request is not None for operation in self._acknowledged())
        if written < self._evidence.writes_expected:
            raise Violation(
                f"{written} writes were acknowledged where {self._evidence.writes_expected} "
                "would prove something"
            )
        return f"{written} writes were acknowledged"

    def _acknowledged(self) -> list[Operation]:
        return [operation for operation in self._answered if operation.outcome is Outcome.OK]
