"""One address may not ask for tokens without end; others are not held up by it."""

from __future__ import annotations

import pytest

from kvraft import limits
from kvraft.discovery.rate import RateLimit


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    rate = RateLimit(6, clock)
    assert [rate.allows("10.0.0.1") for _ in range(7)] == [True] * 6 + [False]
    assert rate.allows("10.0.0.2")
    clock.now_s = 9.9
    assert not rate.allows("10.0.0.1")
    clock.now_s = 20.0
    assert [rate.allows("10.0.0.1") for _ in range(3)] == [True, True, False]
    clock.now_s = 1000.0
    assert [rate.allows("10.0.0.1") for _ in range(7)] == [True] * 6 + [False]


def test_a_customers_addresses_count_as_one() -> None:
    rate = RateLimit(1, Clock())
    assert rate.allows("2001:db8::1")
    assert not rate.allows("2001:db8::ffff:2")
    assert rate.allows("2001:db8:0:1::1")
    assert rate.allows("::ffff:10.0.0.1")
    assert not rate.allows("10.0.0.1")
    assert rate.allows("fe80::1%eth0")
    assert rate.allows("")


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.discovery.rate.DISCOVERY_MAX_ADDRESSES", 2)
    rate = RateLimit(1, Clock())
    assert rate.allows("10.0.0.1")
    assert rate.allows("10.0.0.2")
    assert rate.allows("10.0.0.3")
    assert not rate.allows("10.0.0.3")
    assert rate.allows("10.0.0.1")
    assert limits.DISCOVERY_MAX_ADDRESSES > 1000
