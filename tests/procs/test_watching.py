"""The watch campaign: what its checks find, and the whole of it, short."""

from __future__ import annotations

import random

import pytest

from jepsen_like.__main__ import main
from jepsen_like.base import Violation
from jepsen_like.procs.watching import Consumer, Place, check_events, check_trees
from kvraft.client.client import Client
from kvraft.client.model import KeyNode, Resync, WatchEvent

ORDER = [
    Place(4, "/c/a", "set", "1", None),
    Place(5, "/c/b", "set", "2", None),
    Place(7, "/c/a", "set", "3", None),
    Place(8, "/c/b", "delete", None, None),
    Place(9, "/c/a", "set", "4", None),
]


def event(place: Place) -> WatchEvent:
    return WatchEvent(place.action, KeyNode(place.key, place.value), None, place.at)


def tree(**files: tuple[str, int]) -> KeyNode:
    nodes = (KeyNode(f"/c/{k}", v, False, 1, index) for k, (v, index) in files.items())
    return KeyNode("/c", None, True, nodes=tuple(nodes))


def consumer(*items: WatchEvent | Resync, key: str = "/c", begin: int = 0) -> Consumer:
    one = Consumer("test", Client(), key, random.Random(0), recursive=True)
    one.begin = begin
    one.items = list(items)
    return one


EVENTS = [event(place) for place in ORDER]


@pytest.mark.parametrize(
    "accepted",
    [
        consumer(*EVENTS),
        consumer(*EVENTS[2:], begin=5),
        consumer(EVENTS[0], EVENTS[2], EVENTS[4], key="/c/a"),
        consumer(EVENTS[0], Resync(tree(a=("3", 7)), 8, "cleared"), EVENTS[4]),
        consumer(Resync(tree(a=("4", 9)), 12, "initial")),
    ],
)
def test_complete_ones_pass(accepted: Consumer) -> None:
    check_events(accepted, ORDER)
    check_trees([accepted], ORDER)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (consumer(*EVENTS[:2], *EVENTS[3:]), r"not told of \[7\] between 5 and 8"),
        (consumer(*EVENTS[:4]), r"not told of \[9\], its last was 8"),
        (consumer(*EVENTS[1:]), r"not told of \[4\]"),
        (consumer(*EVENTS[:2], *EVENTS[1:]), r"5 \(/c/b\) was told again"),
        (consumer(EVENTS[1], EVENTS[0]), "not told of"),
        (consumer(*EVENTS, Resync(None, 3, "?")), "goes back from 9 to 3"),
        (consumer(*EVENTS, event(Place(10, "/c/x", "set", "", None))), "no change of its keys"),
        (consumer(event(ORDER[0]._replace(value="9")), *EVENTS[1:]), "at 4 was told"),
        (consumer(Resync(tree(a=("1", 4)), 9, "late")), None),
        (consumer(Resync(tree(a=("4", 9), b=("2", 5)), 9, "late")), None),
        (consumer(Resync(None, 9, "late")), None),
    ],
)
def test_others_do_not(refused: Consumer, why: str | None) -> None:
    if why is None:
        check_events(refused, ORDER)
        with pytest.raises(Violation, match="the tree of the Resync at 9 is wrong"):
            check_trees([refused], ORDER)
    else:
        with pytest.raises(Violation, match=why):
            check_events(refused, ORDER)


@pytest.mark.timeout(240)
def test_nothing_is_missed_while_a_member_dies(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    status = main(["watching", "--events=600", "--strikes=1", f"--seed={seed}"])
    text = capsys.readouterr().out
    assert status == 0, text
    assert f"seed {seed}" in text
    assert "consumer tree" in text
    assert text.endswith("verdict: passed\n")
