"""The verdict over a run: what is explained passes, each kind of lie does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jepsen_like.base import Violation
from jepsen_like.check.agreed import execute
from jepsen_like.check.coverage import Coverage, Seen, Session, merge
from jepsen_like.check.evidence import Evidence, LastLook
from jepsen_like.check.explain import ACTIONS
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.judge import FAILED, PASSED, UNKNOWN, Finding, judge
from jepsen_like.check.model import Change, Model, Node, Refused
from kvraft.store.request import Op, Request


class Story:
    """A run in which everything is right, written one operation after the other."""

    def __init__(self) -> None:
        self.model = Model()
        self.operations: list[Operation] = []
        self.session = Session(0, 1)

    def bookkeeping(self) -> None:
        self.model.index += 1

    def write(
        self, op: Op, path: bytes, value: bytes = b"", outcome: Outcome = Outcome.OK, **more: Any
    ) -> Operation:
        """Carried out, and by default acknowledged."""
        operation = self.begin(Request(op, path, value, **more))
        result = execute(self.model, request_of(operation))
        assert isinstance(result, Change | Refused)
        operation.index = result.index
        operation.outcome = outcome
        if isinstance(result, Refused):
            operation.outcome, operation.error = Outcome.REFUSED, result.kind
            return operation
        operation.action = ACTIONS[op]
        operation.node_path = result.path
        operation.node_value = result.node.value if result.node is not None else None
        if result.previous is not None:
            operation.previous = (result.previous.value, result.previous.modified)
        self.session.events.append(event(result))
        return operation

    def begin(self, request: Request | None) -> Operation:
        number = len(self.operations)
        operation = Operation(number, 0, 1, 10 * number)
        operation.ended_ns = 10 * number + 5
        operation.request = request
        operation.tag = (request.value if request is not None else b"") or b"#%d" % number
        operation.outcome = Outcome.UNKNOWN
        self.operations.append(operation)
        return operation

    def read(self, path: bytes) -> Operation:
        operation = self.begin(None)
        operation.quorum = True
        operation.node_path, operation.index = path, self.model.index
        node = self.model.at(path, self.model.index)
        operation.outcome = Outcome.REFUSED if node is None else Outcome.OK
        if node is not None:
            operation.node_value, operation.node_modified = node.value, node.modified
        return operation

    def final(self) -> LastLook:
        shown = {"action": "get", "node": document(self.model.nodes, b"/c")}
        return LastLook(0, b"/", self.model.index, 10 * len(self.operations), shown)

    def findings(self, final: LastLook | None = None) -> dict[str, Finding]:
        """What each checker says of it."""
        evidence = Evidence(operations=self.operations, sessions=[self.session])
        evidence.finals = [final or self.final()]
        return {finding.checker: finding for finding in judge(evidence)}


def refuted(story: Story, checker: str, words: str, final: LastLook | None = None) -> None:
    found = story.findings(final)[checker]
    assert found.verdict == FAILED
    assert words in found.text


def request_of(operation: Operation) -> Request:
    assert operation.request is not None
    return operation.request


def document(nodes: dict[bytes, Node], path: bytes) -> dict[str, Any]:
    node = nodes[path]
    found: dict[str, Any] = {
        "key": path.decode(),
        "createdIndex": node.created,
        "modifiedIndex": node.modified,
    }
    if node.value is not None:
        return found | {"value": node.value.decode()}
    below = [key for key in nodes if key.rpartition(b"/")[0] == path]
    return found | {"dir": True, "nodes": [document(nodes, key) for key in below]}


def event(change: Change) -> Seen:
    node: dict[str, Any] = {"key": change.path.decode(), "modifiedIndex": change.index}
    if change.node is not None:
        node |= {"value": (change.node.value or b"").decode(), "createdIndex": change.node.created}
    else:
        assert change.previous is not None
        node |= {"createdIndex": change.previous.created}
    shown: dict[str, Any] = {"action": change.action, "node": node}
    if change.previous is not None and change.action != "create":
        before = (change.previous.value or b"").decode()
        shown["prevNode"] = {"value": before, "modifiedIndex": change.previous.modified}
    return Seen(change.index, json.dumps(shown).encode(), shown)


@pytest.fixture
def story() -> Story:
    """Writes of every kind and of every outcome."""
    told = Story()
    for _ in range(4):
        told.bookkeeping()
    told.write(Op.SET, b"/c/a", b"1")
    told.write(Op.COMPARE_AND_SWAP, b"/c/a", b"2", prev_value=b"1")
    told.write(Op.COMPARE_AND_SWAP, b"/c/a", b"never", prev_value=b"1")
    told.bookkeeping()
    told.write(Op.SET, b"/c/a", b"3", Outcome.UNKNOWN)
    told.begin(Request(Op.SET, b"/c/a", b"lost"))
    told.write(Op.DELETE, b"/c/a", outcome=Outcome.UNKNOWN)
    told.write(Op.CREATE_IN_ORDER, b"/c/queue", b"4")
    told.write(Op.CREATE_IN_ORDER, b"/c/queue", b"5", Outcome.UNKNOWN)
    told.write(Op.CREATE, b"/c/b", b"6")
    told.read(b"/c/b")
    told.read(b"/c/a")
    told.write(Op.COMPARE_AND_DELETE, b"/c/b", prev_value=b"6", outcome=Outcome.UNKNOWN)
    told.write(Op.SET, b"/c/d", b"7")
    told.write(Op.UPDATE, b"/c/d", b"8")
    return told


def test_a_true_story_is_explained(story: Story) -> None:
    found = story.findings()
    assert {finding.verdict for finding in found.values()} == {PASSED}
    highest = story.model.index
    explained = f"{highest - 5} changes explained, 4 of them of unknown outcome, and 0 expiries"
    assert found["order"].text == explained
    assert found["sight"].text == f"5 of {highest} changes are the server's own"


def test_changes_out_of_sight_are_counted(story: Story) -> None:
    half = Session(0, 7)
    half.events = [seen for seen in story.session.events if seen.place >= 8]
    story.session = half
    found = story.findings()
    unseen = f"4 of {story.model.index} changes were seen by nobody"
    assert found.pop("sight") == Finding("sight", UNKNOWN, unseen)
    assert {finding.verdict for finding in found.values()} == {PASSED}


def test_an_acknowledged_write_that_nobody_saw(story: Story) -> None:
    lost = story.write(Op.SET, b"/c/e", b"9")
    story.write(Op.SET, b"/c/d", b"10")
    del story.session.events[-2]
    refuted(story, "order", "no watcher was shown")
    assert lost.outcome is Outcome.OK


def test_an_acknowledged_write_that_is_not_in_the_final_state(story: Story) -> None:
    final = story.final()
    final.document["node"]["nodes"].pop()
    refuted(story, "final state", "on the members, the model has", final)


def test_a_write_that_failed_and_was_done_nevertheless(story: Story) -> None:
    story.write(Op.SET, b"/c/d", b"9", Outcome.FAILED)
    refuted(story, "order", "answered failed, yet done")


def test_a_write_that_was_done_twice(story: Story) -> None:
    story.write(Op.SET, b"/c/d", b"9", Outcome.UNKNOWN)
    story.write(Op.SET, b"/c/d", b"9", Outcome.UNKNOWN)
    story.operations.pop()
    refuted(story, "order", "or it was done twice")


def test_an_acknowledged_write_that_was_done_twice(story: Story) -> None:
    story.write(Op.SET, b"/c/d", b"9")
    story.write(Op.SET, b"/c/d", b"9", Outcome.UNKNOWN)
    story.operations.pop()
    refuted(story, "order", "or it was done twice")


def test_two_writes_with_one_index(story: Story) -> None:
    twin = story.write(Op.SET, b"/c/d", b"9")
    twin.index -= 1
    refuted(story, "order", "two writes with one index")


def test_a_swap_that_should_have_been_refused(story: Story) -> None:
    swapped = story.write(Op.COMPARE_AND_SWAP, b"/c/d", b"9", prev_value=b"8")
    swapped.request = request_of(swapped)._replace(prev_value=b"7")
    refuted(story, "replay", "COMPARE_FAILED")


def test_a_refusal_that_is_not_justified(story: Story) -> None:
    refused = story.write(Op.COMPARE_AND_SWAP, b"/c/d", b"9", prev_value=b"nothing")
    refused.request = request_of(refused)._replace(prev_value=b"8")
    refuted(story, "replay", "the model says Change")


def test_a_wrong_previous_value(story: Story) -> None:
    told = story.write(Op.SET, b"/c/d", b"9")
    assert told.previous is not None
    told.previous = (b"7", told.previous[1])
    refuted(story, "replay", "the model says")


def test_an_event_with_a_wrong_previous_value(story: Story) -> None:
    story.write(Op.SET, b"/c/d", b"9", Outcome.UNKNOWN)
    story.session.events[-1].document["prevNode"]["value"] = "7"
    refuted(story, "replay", "watchers saw")


def test_index_order_against_real_time(story: Story) -> None:
    early, late = story.write(Op.SET, b"/c/e", b"9"), story.write(Op.SET, b"/c/f", b"10")
    early.invoked_ns, early.ended_ns = late.ended_ns + 10, late.ended_ns + 20
    refuted(story, "real time", "began after another had ended")


def test_a_write_of_unknown_outcome_that_was_done_before_it_was_asked_for(story: Story) -> None:
    early = story.write(Op.SET, b"/c/e", b"9", Outcome.UNKNOWN)
    late = story.write(Op.SET, b"/c/f", b"10")
    early.invoked_ns = late.ended_ns + 10
    refuted(story, "real time", "began after another had ended")


def test_a_stale_quorum_read(story: Story) -> None:
    stale = story.read(b"/c/d")
    story.write(Op.SET, b"/c/d", b"9")
    stale.invoked_ns, stale.ended_ns = 10_000, 10_001
    refuted(story, "real time", "began after another had ended")


def test_a_read_of_a_value_that_was_never_there(story: Story) -> None:
    story.read(b"/c/d").node_value = b"5"
    refuted(story, "reads", "the model has Node")


def test_a_watch_that_leaves_something_out(story: Story) -> None:
    other = Session(1, 1)
    other.events = [seen for seen in story.session.events if seen.place != 6]
    with pytest.raises(Violation, match=r"left out \[6\]"):
        merge([story.session, other])


def test_watches_that_disagree(story: Story) -> None:
    other = Session(1, 1)
    first, *rest = story.session.events
    shown = first.document | {"action": "delete"}
    other.events = [first._replace(text=b"{}", document=shown), *rest]
    with pytest.raises(Violation, match="two events at one index"):
        merge([story.session, other])


def test_the_time_that_is_left_may_differ(story: Story) -> None:
    other = Session(1, 1)
    first, *rest = story.session.events
    shown = first.document | {"node": first.document["node"] | {"ttl": 7}}
    other.events = [first._replace(text=b"{}", document=shown), *rest]
    assert len(merge([story.session, other]).events) == len(story.session.events)


def test_ranges_are_joined_where_they_touch() -> None:
    def session(first: int, last: int) -> Session:
        made = Session(0, first)
        made.events = [Seen(last, b"", {"node": {"key": "/c/a"}})]
        return made

    coverage = merge([session(5, 9), session(1, 4), session(12, 20), session(16, 20)])
    assert coverage.ranges == [(1, 9), (12, 20)]
    assert coverage.covers(9)
    assert not coverage.covers(10)


def test_nothing_at_all_is_covered_by_no_session() -> None:
    assert merge([Session(0, 1)]) == Coverage({}, [], (b"/",))
