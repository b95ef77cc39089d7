"""Missed, repeated, foreign and misdescribed events."""

from __future__ import annotations

from jepsen_like.check.history import Delivered, Watch
from jepsen_like.workloads.followers import Notebook, Told
from jepsen_like.workloads.watched import judge

A, B, DIRECTORY = b"/c/w/a", b"/c/w/b", b"/c/w"
EVENTS = {
    10: Told("set", A, b"1", None),
    12: Told("set", B, b"2", None),
    13: Told("set", A, b"3", (b"1", 10)),
    14: Told("delete", A, None, (b"3", 13)),
    17: Told("create", A, b"4", None),
}


def watch(path: bytes, *indexes: int, first: int = 10, recursive: bool = False) -> Watch:
    made = Watch(0, 0, path)
    made.recursive, made.stream, made.first_index = recursive, True, first
    made.events = [Delivered(i, EVENTS[i].action, EVENTS[i].key, None) for i in indexes]
    return made


def test_all_of_it() -> None:
    watches = [
        watch(DIRECTORY, 10, 12, 13, 14, 17, recursive=True),
        watch(DIRECTORY, 13, 14, first=13, recursive=True),
        watch(A, 10, 13, 14, 17),
        watch(A, 14, 17, first=14),
        watch(B),
    ]
    assert judge(watches, EVENTS) == []


def test_a_missed_event() -> None:
    assert "not shown [12]" in judge([watch(DIRECTORY, 10, 13, recursive=True)], EVENTS)[0]
    assert "not shown [13]" in judge([watch(A, 10, 14)], EVENTS)[0]
    assert "not shown [10]" in judge([watch(A, 13)], EVENTS)[0]


def test_repeated_and_turned_round() -> None:
    assert "after 13" in judge([watch(A, 10, 13, 13)], EVENTS)[0]
    assert "after 14" in judge([watch(A, 14, 13)], EVENTS)[0]
    assert "after 10" in judge([watch(A, 10, first=11)], EVENTS)[0]


def test_an_event_of_another_key() -> None:
    assert "was shown b'/c/w/b'" in judge([watch(A, 10, 12)], EVENTS)[0]


def test_more_than_one_event_was_not_asked_for() -> None:
    single = watch(A, 10, 13)
    single.stream = False
    assert "asked for one" in judge([single], EVENTS)[0]


def test_refused_only_if_forgotten() -> None:
    refused = watch(A, first=100)
    refused.refused_cause, refused.registered_index = b"cleared", 1100
    assert judge([refused], {}) == []
    refused.registered_index = 1099
    assert "not forgotten" in judge([refused], {})[0]


def test_the_directory_may_go() -> None:
    gone = Told("delete", DIRECTORY, None, (None, 5))
    told, untold = watch(A, 10, 13, 14, 17), watch(A, 10, 13, 14, 17)
    told.events.append(Delivered(18, "delete", DIRECTORY, None))
    assert judge([told, untold], EVENTS | {18: gone}) == []


def test_a_wrong_node_before() -> None:
    for wrong in ((b"0", 10), (b"3", 10), (b"1", 11), (b"2", 12), (b"1", 15)):
        events = EVENTS | {13: Told("set", A, b"3", wrong)}
        problems = judge([], events)
        assert any("as the node before" in text for text in problems) == (wrong != (b"1", 11))


def test_two_events_at_one_index() -> None:
    notebook = Notebook()
    node = {"key": "/c/w/a", "value": "1", "modifiedIndex": 10}
    notebook.note({"action": "set", "node": node})
    notebook.note({"action": "set", "node": dict(node)})
    assert not notebook.conflicts
    notebook.note({"action": "set", "node": node | {"value": "2"}})
    assert len(notebook.conflicts) == 1
