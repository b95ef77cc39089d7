"""Availability, gaps and latencies of histories that are written down here."""

from __future__ import annotations

from jepsen_like.campaign import figures
from jepsen_like.check.history import Operation, Outcome
from kvraft.store.request import Op, Request

MS = 1_000_000


def operation(begin_ms: int, end_ms: int, outcome: Outcome, *, read: bool = False) -> Operation:
    made = Operation(0, 0, 0, begin_ms * MS)
    made.ended_ns = end_ms * MS
    made.outcome = outcome
    made.request = None if read else Request(Op.SET, b"/c/k", b"v")
    return made


HISTORY = [
    operation(0, 10, Outcome.OK),
    operation(10, 50, Outcome.OK, read=True),
    operation(150, 160, Outcome.REFUSED),
    operation(200, 400, Outcome.UNKNOWN),
    operation(400, 401, Outcome.FAILED),
    operation(500, 550, Outcome.OK),
    operation(900, 990, Outcome.OK),
    operation(980, -1, Outcome.PENDING),
]


def test_only_acknowledged_writes_are_progress() -> None:
    ends = figures.acknowledged(HISTORY, 0, 1000 * MS)
    assert ends == [10 * MS, 550 * MS, 990 * MS]
    assert figures.availability(ends, 0, 1000 * MS) == 0.3
    assert figures.longest_gap_s(ends, 0, 1000 * MS) == 0.54
    assert figures.recoveries_s(ends, [400 * MS, 999 * MS]) == [0.15]


def test_what_was_broken_off_is_unknown() -> None:
    assert figures.counts(HISTORY) == {"ok": 4, "refused": 1, "failed": 1, "unknown": 2}


def test_tenths_of_a_second() -> None:
    found = figures.slices(HISTORY, 0, 1000 * MS)
    assert [part.ok for part in found] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0]
    assert found[1].refused == found[4].unknown == found[4].failed == 1
    assert found[0].p50_ms == 40.0
    assert found[5].longest_ms == 50.0


def test_latencies_by_kind() -> None:
    found = figures.latencies_ms(HISTORY)
    assert found["read"] == [40.0] * 4
    assert found["set"][0] == 50.0
    assert found["set"][-1] == 90.0
    assert figures.quantile([], 0.5) == 0.0
