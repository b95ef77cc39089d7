"""No false alarms: whatever a faultless store does, every checker passes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen_like.check.judge import PASSED, judge
from tests.check.perfect import perfect


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(20, 500))
def test_a_perfect_run_passes(seed: int, steps: int) -> None:
    objections = [one for one in judge(perfect(seed, steps)) if one.verdict != PASSED]
    assert objections == []
