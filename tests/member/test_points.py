"""Failpoints: what is armed strikes once, where and when it was told to."""

from __future__ import annotations

import time

import pytest

from jepsen_like.member import places
from jepsen_like.member.listening import answer
from jepsen_like.member.points import Order, Points, device_error, parse_order
from kvraft.storage.wal import Wal


class Cut(BaseException):
    """In place of the end of the process."""


def _cut(mode: str) -> None:
    raise Cut(mode)


@pytest.fixture
def points() -> Points:
    found = Points(_cut)
    found.declare(["here"], device_error)
    found.declare(["there"], None)
    return found


def test_it_strikes_at_the_passing_it_was_told_and_only_once(points: Points) -> None:
    points.arm("here", Order("power", after=3, mode="torn"))
    points.hit("here")
    points.hit("there")
    points.hit("here")
    with pytest.raises(Cut, match="torn"):
        points.hit("here")
    points.hit("here")
    assert points.passed == {"here": 4, "there": 1}


def test_an_error_is_one_of_a_disk(points: Points) -> None:
    points.arm("here", Order("error"))
    with pytest.raises(OSError, match="Input/output error"):
        points.hit("here")
    with pytest.raises(ValueError, match="no call can fail"):
        points.arm("there", Order("error"))


def test_sleeping_holds_up_whoever_passes(points: Points) -> None:
    points.arm("there", Order("sleep", seconds=0.05))
    began_s = time.monotonic()
    points.hit("there")
    assert time.monotonic() - began_s >= 0.05


def test_disarmed_it_does_nothing(points: Points) -> None:
    points.arm("here", Order("kill"))
    points.disarm()
    points.hit("here")


@pytest.mark.parametrize(
    ("name", "order"),
    [("nowhere", Order("kill")), ("here", Order("jump")), ("here", Order("kill", after=0))],
)
def test_nonsense_is_refused(points: Points, name: str, order: Order) -> None:
    with pytest.raises(ValueError, match=r"no failpoint|cannot do"):
        points.arm(name, order)


def test_a_disk_that_loses_nothing_has_no_power_cut() -> None:
    points = Points(None)
    points.declare(["here"], None)
    with pytest.raises(ValueError, match="does not lose"):
        points.arm("here", Order("power"))


def test_orders_of_the_command_line() -> None:
    assert parse_order("before apply=kill") == ("before apply", Order("kill"))
    assert parse_order("a=sleep:2:0.5") == ("a", Order("sleep", 2, 0.5))
    with pytest.raises(ValueError, match="NAME=DO"):
        parse_order("=kill")


def test_a_place_that_is_gone_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Wal, "cut")
    kept = {place: vars(place.owner).get(place.attribute) for place in places.PLACES}
    try:
        with pytest.raises(AttributeError, match=r"segment cut.*no cut in Wal"):
            places.install(Points(None))
    finally:
        for place, original in kept.items():
            if original is not None:
                setattr(place.owner, place.attribute, original)


def test_requests_of_the_control_socket() -> None:
    calls = {"add": lambda a, b: a + b}
    assert answer(calls, b'{"call": "add", "a": 1, "b": 2}') == {"result": 3}
    for wrong in (b"{", b"[]", b'{"call": "sub"}', b'{"call": "add", "c": 1}'):
        assert "error" in answer(calls, wrong)
