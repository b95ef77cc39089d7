"""What counts as the same output."""

from __future__ import annotations

import pytest

from tests.docs.compare import renewed, same


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("value", "value"),
        ('{"modifiedIndex":8,"createdIndex":8}', '{"modifiedIndex":9,"createdIndex":10}'),
        ("Error:  100: Key not found (/a) [7]", "Error:  100: Key not found (/a) [19]"),
        ("2c10cbbdd8bf4c61: name=m1", "81ffdcfb5f4cde8a: name=m1"),
        ("at 2026-11-20T17:58:26.56Z", "at 2027-01-01T00:00:00.1Z"),
        ("took 3.1 ms", "took 11 ms"),
        ("isLeader=...", "isLeader=false"),
        ("/queue/00000000000000000012", "/queue/00000000000000000013"),
    ],
)
def test_what_varies_is_the_same(expected: str, actual: str) -> None:
    assert same([expected], [actual])


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (["value"], ["other"]),
        (["value"], []),
        ([], ["value"]),
        (["a", "b"], ["b", "a"]),
        (['{"value":"8"}'], ['{"value":"9"}']),
        (["Error:  100: Key not found (/a) [7]"], ["Error:  101: Compare failed (/a) [7]"]),
        (["ttl 30"], ["ttl 31"]),
    ],
)
def test_what_differs_is_not(expected: list[str], actual: list[str]) -> None:
    assert not same(expected, actual)


def test_a_placeholder_alone_stands_for_any_lines() -> None:
    assert same(["a", "...", "z"], ["a", "b", "c", "z"])
    assert same(["...", "z"], ["z"])
    assert not same(["a", "..."], ["b"])


def test_what_is_still_true_stays() -> None:
    old = ["id 2c10cbbdd8bf4c61", "..."]
    assert renewed(old, ["id 81ffdcfb5f4cde8a", "x"]) is old
    assert renewed(old, ["no id  "]) == ["no id"]
