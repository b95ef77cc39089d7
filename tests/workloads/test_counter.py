"""Lost, doubled and made-up increments."""

from __future__ import annotations

import pytest

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.workloads.counter import judge_keys, judge_total
from kvraft.store.request import Op, Request
from tests.workloads.made import done, post

ORDERED = b"/c/counter/ordered"


def swaps(*outcomes: Outcome) -> list[Operation]:
    return [
        done(Request(Op.COMPARE_AND_SWAP, b"/c/n", b"x"), at=10 * number, outcome=outcome)
        for number, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize("total", [b"2 c0-9", b"3 c0-9"])
def test_increments_of_unknown_outcome_may_count(total: bytes) -> None:
    some = swaps(Outcome.OK, Outcome.OK, Outcome.UNKNOWN, Outcome.REFUSED, Outcome.FAILED)
    assert not judge_total(total, some)


@pytest.mark.parametrize("total", [None, b"0 c0-1", b"1 c0-9", b"4 c0-9"])
def test_lost_and_surplus_increments_are_found(total: bytes | None) -> None:
    some = swaps(Outcome.OK, Outcome.OK, Outcome.UNKNOWN, Outcome.REFUSED)
    assert judge_total(total, some)


def test_in_order_keys() -> None:
    posts = [
        post(ORDERED, b"a", 0, 7),
        post(ORDERED, b"b", 10, 8),
        post(ORDERED, b"c", 20, 0, Outcome.UNKNOWN),
        post(ORDERED, b"d", 30, 0, Outcome.FAILED),
    ]
    keys: dict[bytes, bytes | None] = {b"%b/%020d" % (ORDERED, 7): b"a"}
    keys[b"%b/%020d" % (ORDERED, 8)] = b"b"
    assert not judge_keys(keys, posts)
    assert not judge_keys(keys | {ORDERED + b"/9": b"c"}, posts)
    assert "nobody asked" in judge_keys(keys | {ORDERED + b"/9": b"d"}, posts)[0]
    assert "twice" in judge_keys(keys | {ORDERED + b"/9": b"b"}, posts)[0]
    del keys[b"%b/%020d" % (ORDERED, 8)]
    assert "lost" in judge_keys(keys, posts)[0]
