"""Members that come back."""

from __future__ import annotations

from jepsen_like.workloads.membership import Members, judge


def members(names: str) -> Members:
    return {name: (name, f"http://{name}") for name in names}


def test_members_come_and_go() -> None:
    seen = {1: [members("abc"), members("ab"), members("abd")], 1001: [members("abc")]}
    assert judge(seen, members("abd")) == []


def test_a_removed_member_comes_back() -> None:
    assert "c came back" in judge({1: [members("abc"), members("ab"), members("abc")]}, {})[0]
    assert "is there" in judge({1: [members("abc"), members("ab")]}, members("abc"))[0]


def test_a_member_behind_may_show_the_past() -> None:
    seen = {1: [members("abc"), members("ab")], 2: [members("abc")]}
    assert judge(seen, members("ab")) == []
