"""Which endpoint is asked next, and for how long."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.client.endpoints import Endpoints, normal_url, origin_of, share_s, summary
from kvraft.limits import CLIENT_BACKOFF_MAX_S
from tests.client.scripted import InOrder

A, B, C = "http://a:1", "http://b:1", "http://c:1"
STEPS = st.lists(st.tuples(st.sampled_from([A, B, C]), st.booleans(), st.floats(0, 50)))


@given(st.integers(), STEPS)
def test_all_are_tried_and_none_is_forgotten(
    seed: int, steps: list[tuple[str, bool, float]]
) -> None:
    endpoints = Endpoints([A, B, C], random.Random(seed))
    now_s = 0.0
    for url, well, passed_s in steps:
        now_s += passed_s
        if well:
            endpoints.succeeded(url)
            assert endpoints.candidates(now_s)[0] == url
        else:
            endpoints.failed(url, now_s)
        assert sorted(endpoints.candidates(now_s)) == [A, B, C]
    # However often it failed: after the longest rest it has its place again.
    later_s = now_s + CLIENT_BACKOFF_MAX_S
    assert endpoints.candidates(later_s) == endpoints.urls


def test_what_failed_comes_last_and_what_answers_first() -> None:
    endpoints = Endpoints([A, B, C], InOrder())
    endpoints.failed(A, 0)
    assert endpoints.candidates(0) == [B, C, A]
    endpoints.succeeded(C)
    assert endpoints.candidates(0) == [C, B, A]
    endpoints.succeeded(A)
    assert endpoints.candidates(0) == [A, C, B]


def test_it_rests_longer_each_time() -> None:
    endpoints = Endpoints([A, B], InOrder())
    rests_s = []
    for _ in range(12):
        endpoints.failed(A, 0)
        rests_s.append(next(t / 8 for t in range(400) if endpoints.candidates(t / 8)[0] == A))
    assert rests_s == sorted(rests_s)
    assert rests_s[0] <= 0.5
    assert CLIENT_BACKOFF_MAX_S / 2 <= rests_s[-1] <= CLIENT_BACKOFF_MAX_S
    endpoints.succeeded(A)
    endpoints.failed(A, 0)
    assert endpoints.candidates(0.5)[0] == A


def test_if_all_rest_the_first_to_return_is_asked_first() -> None:
    endpoints = Endpoints([A, B], InOrder())
    endpoints.failed(A, 0)
    endpoints.failed(A, 0)
    endpoints.failed(B, 0)
    assert endpoints.candidates(0) == [B, A]


def test_clients_spread() -> None:
    firsts = {Endpoints([A, B, C], random.Random(seed)).urls[0] for seed in range(50)}
    assert firsts == {A, B, C}


def test_another_list_keeps_what_is_known() -> None:
    endpoints = Endpoints([A, B], InOrder())
    endpoints.failed(A, 0)
    endpoints.replace([C, A])
    assert endpoints.candidates(0) == [C, A]
    endpoints.failed(B, 0)  # an answer that comes late
    endpoints.succeeded(B)
    assert endpoints.urls == [A, C]
    with pytest.raises(ValueError, match="no endpoint"):
        endpoints.replace([])


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a:2379/", "http://a:2379"),
        ("a:2379", "http://a:2379"),
        ("https://[::1]:2379", "https://[::1]:2379"),
        ("https://example.org/etcd/", "https://example.org/etcd"),
    ],
)
def test_urls_have_one_form(text: str, url: str) -> None:
    assert normal_url(text) == url


@pytest.mark.parametrize(
    "text", ["ftp://a", "http://", "http://a:port", "http://u:p@a:1", "http://a/?x", "unix:///a"]
)
def test_bad_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normal_url(text)


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        normal_url("http://root:secret@a:1")
    assert "secret" not in str(caught.value)


def test_origins() -> None:
    assert origin_of("https://A/x") == ("https", "a", 443)
    assert origin_of("http://a") == ("http", "a", 80)


@given(
    st.floats(0.01, 100), st.integers(1, 9), st.booleans(), st.one_of(st.none(), st.floats(0.1, 9))
)
def test_a_share_of_the_time(
    remaining_s: float, untried: int, changes: bool, fixed_s: float | None
) -> None:
    share = share_s(remaining_s, untried, changes, fixed_s)
    assert 0 < share <= remaining_s
    if fixed_s is None and (changes or untried == 1):
        assert share == remaining_s


def test_a_read_leaves_time_for_the_others() -> None:
    assert share_s(6.0, 3, False, None) == 2.0
    assert share_s(6.0, 3, True, None) == 6.0
    assert share_s(6.0, 3, False, 1.0) == 1.0


def test_failures_in_words() -> None:
    assert summary([(A, "x"), (B, "y"), (A, "x")]) == f"{A}: x; {B}: y"
    assert "before any" in summary([])
