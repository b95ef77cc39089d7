"""Which endpoints are offered, when, and in which order."""

from __future__ import annotations

import random

import pytest

from kvraft.clock import ManualClock
from kvraft.proxy.director import Director, own_addresses

MS = 1_000_000
A, B, C = "http://a:1", "http://b:1", "http://c:1"


class Fixture:
    def __init__(self, refresh_ms: int = 30_000, wait_ms: int = 5000) -> None:
        self.clock = ManualClock()
        self.director = Director(self.clock, wait_ms, refresh_ms, lambda urls: urls.reverse())

    def wait_ms(self, ms: int) -> None:
        self.clock.advance(ms * MS)


def test_nothing_is_available_before_the_first_refresh() -> None:
    assert Fixture().director.available() == []


def test_endpoints_are_shuffled_and_listed_once() -> None:
    director = Fixture().director
    director.refresh([A, B, A, C])
    assert director.available() == [C, B, A]


def test_several_proxies_choose_different_members() -> None:
    seed = 7
    source = random.Random(seed)
    firsts = set()
    for _ in range(50):
        director = Director(ManualClock(), 1, 1, source.shuffle)
        director.refresh([A, B, C])
        firsts.add(director.available()[0])
    assert firsts == {A, B, C}, f"seed {seed}"


def test_endpoints_that_stay_keep_their_order() -> None:
    director = Fixture().director
    director.refresh([A, B])
    director.refresh([A, B, C])
    assert director.available() == [B, A, C]
    director.refresh([A, C])
    assert director.available() == [A, C]


def test_a_failed_endpoint_is_left_out_for_the_failure_wait() -> None:
    fixture = Fixture()
    director = fixture.director
    director.refresh([A, B])
    assert director.fail(B)
    assert director.available() == [A]
    fixture.wait_ms(4999)
    assert director.available() == [A]
    assert director.released() == []
    fixture.wait_ms(1)
    assert director.available() == [B, A]
    assert director.released() == [B]
    assert director.released() == []


def test_a_second_failure_does_not_prolong_the_wait() -> None:
    fixture = Fixture()
    director = fixture.director
    director.refresh([A])
    assert director.fail(A)
    fixture.wait_ms(3000)
    assert not director.fail(A)
    fixture.wait_ms(2000)
    assert director.available() == [A]
    assert director.fail(A)


def test_a_refresh_resets_the_marks() -> None:
    director = Fixture().director
    director.refresh([A])
    director.fail(A)
    director.refresh([A])
    assert director.available() == [A]
    assert director.released() == []


def test_the_failure_of_an_endpoint_that_is_gone_means_nothing() -> None:
    director = Fixture().director
    director.refresh([A])
    assert not director.fail(B)


def test_without_failure_wait_nothing_is_left_out() -> None:
    director = Fixture(wait_ms=0).director
    director.refresh([A])
    assert director.fail(A)
    assert director.available() == [A]


@pytest.mark.parametrize(
    ("interval_ms", "without_ms"),
    [(30_000, 1000), (60_000, 1000), (29_999, 29_999), (500, 500), (0, 100)],
)
def test_without_endpoints_a_long_interval_becomes_a_second(
    interval_ms: int, without_ms: int
) -> None:
    fixture = Fixture(refresh_ms=interval_ms)
    director = fixture.director
    assert director.refresh_after_ms() == without_ms
    director.refresh([A])
    assert director.refresh_after_ms() == max(interval_ms, 100)
    director.fail(A)
    assert director.refresh_after_ms() == without_ms
    fixture.wait_ms(5000)
    assert director.refresh_after_ms() == max(interval_ms, 100)


@pytest.mark.parametrize(
    ("listening", "advertised", "url", "own"),
    [
        ("http://127.0.0.1:2379", "", "http://127.0.0.1:2379", True),
        ("http://127.0.0.1:2379", "", "http://localhost:2379", True),
        ("http://localhost:2379", "", "http://127.0.0.1:2379", True),
        ("http://127.0.0.1:2379", "", "http://127.0.0.1:2380", False),
        ("http://127.0.0.1:2379", "", "http://10.0.0.1:2379", False),
        ("http://10.0.0.1:2379", "", "http://10.0.0.1:2379", True),
        ("http://10.0.0.1:2379", "", "http://localhost:2379", False),
        ("http://0.0.0.0:2379", "", "http://localhost:2379", True),
        ("http://[::]:2379", "", "http://[::1]:2379", True),
        ("http://:2379", "", "http://box:2379", True),
        ("http://:2379", "", "http://BOX:2379", True),
        ("http://:2379", "", "http://other:2379", False),
        ("http://:2379", "http://proxy:2379", "http://proxy:2379", True),
        ("http://:2379", "", "no url", False),
    ],
)
def test_own_addresses(listening: str, advertised: str, url: str, own: bool) -> None:
    is_own = own_addresses([listening], [advertised] if advertised else [], ["box"])
    assert is_own(url) == own


def test_own_addresses_are_no_endpoints() -> None:
    director = Director(ManualClock(), 1, 1, lambda urls: None, lambda url: url == B)
    director.refresh([A, B])
    assert director.available() == [A]
