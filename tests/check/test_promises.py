"""Each checker passes a right history and names the planted mistake in a wrong one."""

from __future__ import annotations

import pytest

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.check import promises
from jepsen_like.check.agreed import AgreedLog, TagOf
from jepsen_like.check.history import Delivered, Operation, Outcome, Watch
from jepsen_like.sim.world import World
from kvraft.raft.entry import Entry, EntryKind
from kvraft.store.request import Op, Request, encode_request


class Story:
    """A log and what clients said about it, written step by step."""

    def __init__(self) -> None:
        self.world = World(1)
        self.agreed = AgreedLog(TagOf(), lambda: self.world.now_ns)
        self.operations: list[Operation] = []

    def apply(self, request: Request) -> None:
        """One more entry is applied, one second after the last."""
        self.world.run_until(self.world.now_ns + SECOND_NS)
        index = len(self.agreed.entries) + 1
        entry = Entry(1, index, EntryKind.NORMAL, encode_request(index, request))
        self.agreed.observe(1, index - 1, [entry])

    def write(self, request: Request) -> Operation:
        """A write that was applied and acknowledged rightly."""
        operation = self.begin(request)
        self.apply(request)
        change = self.agreed.entries[-1].changes[0]
        operation.outcome = Outcome.OK
        operation.index, operation.action = change.index, change.action
        operation.node_path = change.path
        operation.node_value = change.node.value if change.node is not None else None
        if change.previous is not None:
            operation.previous = (change.previous.value, change.previous.modified)
        operation.ended_ns = self.world.now_ns
        return operation

    def begin(self, request: Request | None) -> Operation:
        """An operation without an answer."""
        operation = Operation(len(self.operations), 1, 1001, self.world.now_ns + 1)
        operation.request = request
        operation.tag = request.value if request is not None else b""
        self.operations.append(operation)
        return operation

    def read(self, path: bytes, value: bytes | None, index: int, modified: int) -> Operation:
        """A quorum read that was answered now."""
        operation = self.begin(None)
        operation.node_path, operation.node_value = path, value
        operation.index, operation.node_modified = index, modified
        operation.quorum = True
        operation.outcome = Outcome.OK if value is not None else Outcome.REFUSED
        self.world.run_until(self.world.now_ns + 10)
        operation.ended_ns = self.world.now_ns
        return operation


def _set(value: bytes, path: bytes = b"/a", ttl: int | None = None) -> Request:
    return Request(Op.SET, path, value, ttl_seconds=ttl)


def _told() -> Story:
    story = Story()
    story.write(_set(b"one"))
    story.write(_set(b"two"))
    story.read(b"/a", b"two", 2, 2)
    return story


def _check_all(story: Story) -> None:
    promises.check_answers(story.operations, story.agreed)
    promises.check_order(story.operations)
    promises.check_local_reads(story.operations)
    promises.check_reads(story.operations, story.agreed.model)
    promises.check_ttls(story.operations, story.agreed)


def test_a_right_history_passes() -> None:
    _check_all(_told())


def test_an_acknowledged_write_that_is_in_no_log() -> None:
    story = _told()
    story.operations[1].tag = b"nowhere"
    with pytest.raises(Violation, match="in no log"):
        _check_all(story)


def test_a_write_applied_twice() -> None:
    story = _told()
    story.apply(_set(b"two"))
    with pytest.raises(Violation, match="applied 2 times"):
        _check_all(story)


def test_a_failed_write_that_took_effect() -> None:
    story = _told()
    story.operations[1].outcome = Outcome.FAILED
    with pytest.raises(Violation, match="answered failed, yet applied"):
        _check_all(story)


def test_an_unknown_write_may_have_happened_or_not() -> None:
    story = _told()
    story.operations[1].outcome = Outcome.UNKNOWN
    story.begin(_set(b"lost")).outcome = Outcome.UNKNOWN
    _check_all(story)


@pytest.mark.parametrize("field", ["index", "action", "node_value", "previous"])
def test_an_answer_that_the_model_does_not_give(field: str) -> None:
    story = _told()
    wrong = {"index": 9, "action": "create", "node_value": b"x", "previous": (b"x", 1)}[field]
    setattr(story.operations[1], field, wrong)
    with pytest.raises(Violation, match="the model says"):
        promises.check_answers(story.operations, story.agreed)


def test_a_stale_quorum_read() -> None:
    story = _told()
    story.read(b"/a", b"one", 1, 1)
    with pytest.raises(Violation, match="comes before it"):
        promises.check_order(story.operations)


def test_a_plain_read_may_be_stale_but_not_go_back_on_its_member() -> None:
    story = _told()
    stale = story.read(b"/a", b"one", 1, 1)
    stale.quorum = False
    stale.member = 2001
    _check_all(story)
    stale.member = 1001
    with pytest.raises(Violation, match="comes before it"):
        promises.check_local_reads(story.operations)


def test_a_read_that_returns_what_was_not_there() -> None:
    story = _told()
    story.read(b"/a", b"one", 2, 1)
    with pytest.raises(Violation, match="the model has"):
        promises.check_reads(story.operations, story.agreed.model)


def test_a_read_that_misses_a_key() -> None:
    story = _told()
    story.read(b"/a", None, 2, 0)
    with pytest.raises(Violation, match="the key exists"):
        promises.check_reads(story.operations, story.agreed.model)


def test_members_that_apply_different_entries() -> None:
    story = _told()
    other = Entry(1, 2, EntryKind.NORMAL, encode_request(2, _set(b"other")))
    with pytest.raises(Violation, match="was applied before"):
        story.agreed.observe(2, 1, [other])
    with pytest.raises(Violation, match="after index 0"):
        story.agreed.observe(2, 0, [other])


def test_stores_that_differ() -> None:
    story = _told()
    story.agreed.digest(1, 2, b"x")
    with pytest.raises(Violation, match="stores of members 1 and 2 differ"):
        story.agreed.digest(2, 2, b"y")
    with pytest.raises(Violation, match="store index"):
        story.agreed.store_index(2, 2, 3)


def test_a_key_that_expires_early() -> None:
    story = Story()
    story.write(_set(b"v", ttl=4))
    story.apply(Request(Op.SYNC, b"", time_ns=5 * SECOND_NS))
    with pytest.raises(Violation, match="expired after"):
        promises.check_ttls(story.operations, story.agreed)


def test_a_key_that_expires_late() -> None:
    story = Story()
    story.write(_set(b"v", ttl=1))
    for _ in range(3):
        story.world.run_until(story.world.now_ns + SECOND_NS)
    story.apply(Request(Op.SYNC, b"", time_ns=5 * SECOND_NS))
    promises.check_ttls(story.operations, story.agreed)
    with pytest.raises(Violation, match="late"):
        promises.check_ttls(story.operations, story.agreed, 0, SECOND_NS)


def test_a_key_that_does_not_expire() -> None:
    story = Story()
    story.write(_set(b"v", ttl=4))
    with pytest.raises(Violation, match="still there"):
        promises.check_expired(story.agreed, [b"/a"])


# --- watches ---------------------------------------------------------------------------


def _watched() -> tuple[Story, Watch]:
    story = Story()
    for number, path in enumerate((b"/d/a", b"/e", b"/d/_h", b"/d/b", b"/d/a")):
        story.write(_set(b"v%d" % number, path))
    story.write(Request(Op.DELETE, b"/d", b"v9", recursive=True))
    watch = Watch(0, 1, b"/d")
    watch.recursive = watch.stream = True
    watch.first_index = 1
    watch.reached_index = 6
    watch.events = [
        Delivered(1, "set", b"/d/a", None),
        Delivered(4, "set", b"/d/b", None),
        Delivered(5, "set", b"/d/a", b"v0"),
        Delivered(6, "delete", b"/d", None),
    ]
    return story, watch


def test_a_complete_watch_passes() -> None:
    story, watch = _watched()
    promises.check_watch(watch, story.agreed.model)


@pytest.mark.parametrize("lost", range(4))
def test_a_lost_event(lost: int) -> None:
    story, watch = _watched()
    del watch.events[lost]
    with pytest.raises(Violation, match=r"owed is|never delivered"):
        promises.check_watch(watch, story.agreed.model)


@pytest.mark.parametrize("repeated", range(4))
def test_a_repeated_event(repeated: int) -> None:
    story, watch = _watched()
    watch.events.insert(repeated, watch.events[repeated])
    with pytest.raises(Violation, match="owed is"):
        promises.check_watch(watch, story.agreed.model)


def test_a_hidden_event() -> None:
    story, watch = _watched()
    watch.events.insert(1, Delivered(3, "set", b"/d/_h", None))
    with pytest.raises(Violation, match="owed is"):
        promises.check_watch(watch, story.agreed.model)


def test_a_wrong_previous_value() -> None:
    story, watch = _watched()
    watch.events[2].previous = b"v4"
    with pytest.raises(Violation, match="the model has"):
        promises.check_watch(watch, story.agreed.model)


def test_a_watch_that_ended_owes_nothing_more() -> None:
    story, watch = _watched()
    del watch.events[2:]
    watch.ended = "overflow"
    promises.check_watch(watch, story.agreed.model)


def test_a_one_shot_watch_that_goes_on() -> None:
    story, watch = _watched()
    watch.stream = False
    with pytest.raises(Violation, match="more than one event"):
        promises.check_watch(watch, story.agreed.model)


def test_history_refused_without_need() -> None:
    story, watch = _watched()
    watch.refused_cause = b"the requested history has been cleared [2/1]"
    watch.registered_index = 6
    with pytest.raises(Violation, match="recent enough"):
        promises.check_watch(watch, story.agreed.model)
