"""What is said of a trial as a whole."""

from __future__ import annotations

import pytest

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.campaign.trial import RECOVERY_LIMIT_S
from jepsen_like.campaign.verdicts import recovery
from jepsen_like.report.result import PASSED


def test_writes_in_time_after_each_fault() -> None:
    verdict = recovery([1 * SECOND_NS, 6 * SECOND_NS], [0, 5 * SECOND_NS])
    assert verdict.verdict == PASSED
    assert "2 times waited for, 1.0 s at most" in verdict.text


def test_one_that_took_too_long_breaks_the_promise() -> None:
    late_ns = round((RECOVERY_LIMIT_S + 0.5) * SECOND_NS)
    with pytest.raises(Violation, match="10.5 s at most"):
        recovery([late_ns, late_ns + SECOND_NS], [0, late_ns])
