"""Whether one order of changes explains every answer, every event and the final state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jepsen_like.check import promises
from jepsen_like.check.coverage import Coverage
from jepsen_like.check.explain import Explanation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.replay import check_final_state, check_real_time, replay


def check_all(
    operations: Iterable[Operation], coverage: Coverage, final: dict[str, Any]
) -> Explanation:
    """The whole verdict. Raises Violation."""
    explanation = Explanation(list(operations), coverage)
    model = replay(explanation)
    answered = [o for o in explanation.operations if o.outcome is not Outcome.UNKNOWN]
    check_real_time(explanation)
    promises.check_local_reads(answered)
    promises.check_reads(answered, model)
    check_final_state(model, final, coverage.roots)
    return explanation
