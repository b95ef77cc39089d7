"""What watchers of several directories have seen, put together."""

from __future__ import annotations

import pytest

from jepsen_like.base import Violation
from jepsen_like.check.coverage import Seen, Session, below, intersect, join, merge


def seen(index: int, key: str, at_ns: int = -1) -> Seen:
    return Seen(index, b"%d" % index, {"node": {"key": key, "modifiedIndex": index}}, at_ns)


def session(root: bytes, first: int, *events: Seen) -> Session:
    made = Session(0, first, root)
    made.events = list(events)
    return made


def test_an_index_is_covered_where_all_directories_were_watched() -> None:
    coverage = merge(
        [
            session(b"/a", 1, seen(4, "/a/x"), seen(9, "/a/y")),
            session(b"/b", 3, seen(5, "/b/x"), seen(12, "/b/y")),
        ]
    )
    assert coverage.ranges == [(3, 9)]
    assert [coverage.covers(index) for index in (2, 3, 9, 10)] == [False, True, True, False]
    assert coverage.shows(b"/b/new")
    assert not coverage.shows(b"/c/new")
    assert not coverage.shows(b"/a/_hidden")


def test_an_event_below_one_directory_is_not_missed_by_watchers_of_another() -> None:
    both = [session(b"/a", 1, seen(4, "/a/x"), seen(9, "/a/y")), session(b"/b", 1, seen(5, "/b/x"))]
    assert sorted(merge(both).events) == [4, 5, 9]


def test_the_removal_of_a_directory_above_is_an_event() -> None:
    assert sorted(merge([session(b"/a/b", 1, seen(4, "/a"))]).events) == [4]


def test_an_event_from_elsewhere_is_none() -> None:
    with pytest.raises(Violation, match="was shown"):
        merge([session(b"/a", 1, seen(4, "/b/x"))])


def test_the_first_to_see_an_event_says_when() -> None:
    sessions = [session(b"/", 1, seen(4, "/a", 700)), session(b"/", 1, seen(4, "/a", 500))]
    assert merge(sessions).events[4].at_ns == 500


def test_below() -> None:
    assert below(b"/", b"/a")
    assert below(b"/a", b"/a")
    assert below(b"/a", b"/a/b")
    assert not below(b"/a", b"/ab")


def test_ranges() -> None:
    assert join([(5, 9), (1, 4), (20, 19)]) == [(1, 9)]
    assert intersect([[(1, 5), (8, 12)], [(4, 9)]]) == [(4, 5), (8, 9)]
    assert intersect([]) == []
