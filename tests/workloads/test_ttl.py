"""Keys that go too early, too late, at several indexes, or live on after their end."""

from __future__ import annotations

import json

from jepsen_like.base import SECOND_NS
from jepsen_like.check.coverage import Seen
from jepsen_like.check.history import Outcome
from jepsen_like.workloads.ttl import Lease, ends_of, judge, judge_last
from kvraft.store.request import Op, Request
from tests.workloads.made import done

KEY = b"/c/ttl/t1"
ERROR_NS = SECOND_NS // 2


def lease(*changes: tuple[float, int, Outcome]) -> dict[bytes, Lease]:
    """Seconds of the beginning, ttl and outcome of each write."""
    made = Lease(KEY)
    for number, (at_s, ttl_s, outcome) in enumerate(changes):
        request = Request(Op.UPDATE, KEY, b"v", ttl_seconds=ttl_s)
        at_ns = round(at_s * SECOND_NS)
        made.extend(done(request, at=at_ns, outcome=outcome, index=10 + number))
    return {KEY: made}


def expire(index: int, at_s: float) -> Seen:
    document = {"action": "expire", "node": {"key": KEY.decode(), "modifiedIndex": index}}
    return Seen(index, json.dumps(document).encode(), document, round(at_s * SECOND_NS))


def test_in_time() -> None:
    ends = ends_of([expire(20, 2.3), expire(20, 2.1), expire(20, 9.0)])
    assert ends[KEY].first_ns == round(2.1 * SECOND_NS)
    leases = lease((0, 2, Outcome.OK))
    assert judge(leases, ends, ERROR_NS) == []
    assert judge_last(leases.values(), ends, SECOND_NS) == []


def test_too_early() -> None:
    ends = ends_of([expire(20, 1.4)])
    assert "too early" in judge(lease((0, 2, Outcome.OK)), ends, ERROR_NS)[0]
    assert not judge(lease((0, 2, Outcome.OK)), ends, SECOND_NS)


def test_a_refresh_counts_once_it_is_acknowledged() -> None:
    ends = ends_of([expire(20, 3.5)])
    assert "too early" in judge(lease((0, 2, Outcome.OK), (2, 3, Outcome.OK)), ends, ERROR_NS)[0]
    for outcome in (Outcome.UNKNOWN, Outcome.REFUSED, Outcome.FAILED):
        assert not judge(lease((0, 2, Outcome.OK), (2, 3, outcome)), ends, ERROR_NS)


def test_a_refresh_that_may_have_shortened_it() -> None:
    ends = ends_of([expire(20, 2.0)])
    doubtful = lease((0, 4, Outcome.OK), (1, 1, Outcome.UNKNOWN))
    assert not judge(doubtful, ends, ERROR_NS)
    assert not doubtful[KEY].certain


def test_an_end_at_several_indexes() -> None:
    ends = ends_of([expire(20, 3), expire(21, 3)])
    assert "several indexes" in judge(lease((0, 2, Outcome.OK)), ends, ERROR_NS)[0]


def test_a_change_after_the_end() -> None:
    leases = lease((0, 1, Outcome.OK), (0.1, 1, Outcome.OK))
    assert "after its end" in judge(leases, ends_of([expire(10, 3)]), ERROR_NS)[0]


def test_nobody_made_it() -> None:
    assert "nobody had made it" in judge({}, ends_of([expire(20, 3)]), ERROR_NS)[0]


def test_too_late_and_never() -> None:
    leases = lease((0, 1, Outcome.OK)).values()
    assert "late" in judge_last(leases, ends_of([expire(20, 5)]), SECOND_NS)[0]
    assert "not told" in judge_last(leases, {}, SECOND_NS)[0]
