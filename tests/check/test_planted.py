"""One lie of each kind, planted in a history that real members have left: who finds it?

The history is in `data/clean.jsonl`, recorded while leaders of a cluster of three were killed. The
same changes are planted in it at the same places every time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jepsen_like.base import SECOND_NS
from jepsen_like.check import records
from jepsen_like.check.coverage import Seen, Session, merge
from jepsen_like.check.evidence import Evidence
from jepsen_like.check.explain import Explanation
from jepsen_like.check.history import Operation, Outcome, Watch
from jepsen_like.check.judge import FAILED, PASSED, UNKNOWN, judge
from jepsen_like.check.replay import replay
from kvraft.store.request import Op, Request

CLEAN = Path(__file__).parent / "data" / "clean.jsonl"

Plant = Callable[[Evidence], None]
PLANTS: dict[str, tuple[Plant, str, str]] = {}


def plant(checker: str, verdict: str = FAILED) -> Callable[[Plant], Plant]:
    """Has to be found by this checker."""

    def add(function: Plant) -> Plant:
        PLANTS[function.__name__] = function, checker, verdict
        return function

    return add


def test_nobody_objects_to_the_history_itself() -> None:
    assert [one for one in judge(records.load(CLEAN)) if one.verdict != PASSED] == []


# --- finding places ----------------------------------------------------------------------


def request_of(operation: Operation) -> Request:
    assert operation.request is not None
    return operation.request


def middle(found: list[Any]) -> Any:
    assert found, "the recorded history has no place for this"
    return found[len(found) // 2]


def writes(evidence: Evidence, *ops: Op, outcome: Outcome = Outcome.OK) -> list[Operation]:
    return [
        operation
        for operation in evidence.operations
        if operation.outcome is outcome
        and operation.request is not None
        and operation.request.op in (ops or tuple(Op))
    ]


def reads(evidence: Evidence, *, quorum: bool) -> list[Operation]:
    return [
        operation
        for operation in evidence.operations
        if operation.request is None
        and operation.outcome is Outcome.OK
        and operation.quorum == quorum
        and operation.node_value is not None
    ]


def overwritten(evidence: Evidence, *, quorum: bool) -> Iterator[tuple[Operation, Operation]]:
    """A read, and an older write of the same key, that another one had followed before the read."""
    for read in reads(evidence, quorum=quorum):
        done = [
            write
            for write in writes(evidence, Op.SET)
            if write.node_path == read.node_path and write.ended_ns < read.invoked_ns
        ]
        if len(done) > 1 and done[0].index < read.index:
            yield read, done[0]


def everywhere(evidence: Evidence, index: int) -> Iterator[tuple[Session, int, Seen]]:
    """An event in all sessions that show it: session, place, event."""
    for session in evidence.sessions:
        for place, seen in enumerate(session.events):
            if seen.place == index:
                yield session, place, seen


def put_event(evidence: Evidence, seen: Seen) -> None:
    """Show an event to everybody."""
    for session in evidence.sessions:
        if session.first_index <= seen.place <= session.last_index:
            session.events = sorted([*session.events, seen], key=lambda one: one.place)


def free_index(evidence: Evidence) -> int:
    """An index that the server used for itself, in sight of the watchers."""
    taken = {seen.place for session in evidence.sessions for seen in session.events}
    taken |= {operation.index for operation in writes(evidence)}
    last = max(session.last_index for session in evidence.sessions)
    return next(index for index in range(last - 1, 0, -1) if index not in taken)


def event_of(path: bytes, value: bytes, index: int) -> Seen:
    node = {"key": path.decode(), "value": value.decode()}
    node |= {"modifiedIndex": index, "createdIndex": index}  # type: ignore[dict-item]
    return Seen(index, b"planted", {"action": "create", "node": node})


def unknown_but_seen(evidence: Evidence) -> Operation:
    values = {
        seen.document["node"].get("value", "").encode()
        for session in evidence.sessions
        for seen in session.events
    }
    found = [o for o in writes(evidence, outcome=Outcome.UNKNOWN) if request_of(o).value]
    return next(o for o in found if request_of(o).value in values)


def busy_stream(evidence: Evidence) -> Watch:
    return max((w for w in evidence.watches if w.stream), key=lambda watch: len(watch.events))


# --- what clients are told of writes -------------------------------------------------------


@plant("order")
def an_acknowledged_write_is_lost(evidence: Evidence) -> None:
    lost = middle(writes(evidence, Op.SET))
    for session, _, seen in list(everywhere(evidence, lost.index)):
        session.events.remove(seen)


@plant("order")
def a_write_is_done_twice(evidence: Evidence) -> None:
    done = middle(writes(evidence, Op.CREATE_IN_ORDER))
    index = free_index(evidence)
    path = done.node_path.rpartition(b"/")[0] + b"/%020d" % index
    put_event(evidence, event_of(path, done.node_value, index))


@plant("order")
def a_value_appears_that_nobody_wrote(evidence: Evidence) -> None:
    put_event(evidence, event_of(b"/c/keys/k0", b"nobody's", free_index(evidence)))


@plant("order")
def a_failed_write_was_done(evidence: Evidence) -> None:
    unknown_but_seen(evidence).outcome = Outcome.FAILED


@plant("order")
def two_writes_have_one_index(evidence: Evidence) -> None:
    one, other = writes(evidence, Op.SET)[:2]
    one.index = other.index


@plant("replay")
def a_wrong_previous_value_is_told(evidence: Evidence) -> None:
    found = [o for o in writes(evidence, Op.SET) if o.previous is not None]
    middle(found).previous = (b"something else", 1)


@plant("replay")
def a_swap_succeeds_that_should_have_failed(evidence: Evidence) -> None:
    swap = middle([o for o in writes(evidence, Op.COMPARE_AND_SWAP) if request_of(o).prev_value])
    swap.request = request_of(swap)._replace(prev_value=b"something else")


@plant("replay")
def a_swap_fails_that_should_have_succeeded(evidence: Evidence) -> None:
    """Refused at the very version it asked for."""
    model = replay(Explanation(evidence.operations, merge(evidence.sessions)))
    swap = middle(
        [o for o in writes(evidence, outcome=Outcome.REFUSED) if o.error == "COMPARE_FAILED"]
    )
    node = model.at(request_of(swap).path, swap.index)
    assert node is not None
    swap.request = request_of(swap)._replace(prev_value=node.value or b"", prev_index=0)


@plant("replay")
def a_create_succeeds_on_an_existing_key(evidence: Evidence) -> None:
    later = middle([o for o in writes(evidence, Op.SET) if o.previous is not None])
    later.request = request_of(later)._replace(op=Op.CREATE)
    later.action = "create"
    for session, place, seen in list(everywhere(evidence, later.index)):
        document = copy.deepcopy(seen.document) | {"action": "create"}
        session.events[place] = seen._replace(document=document)


@plant("real time")
def a_write_comes_before_one_that_had_ended(evidence: Evidence) -> None:
    done = middle(writes(evidence, Op.SET))
    done.invoked_ns += 3 * SECOND_NS
    done.ended_ns += 3 * SECOND_NS


# --- reads -----------------------------------------------------------------------------


def make_a_read_stale(evidence: Evidence, *, quorum: bool) -> None:
    read, old = middle(list(overwritten(evidence, quorum=quorum)))
    read.index, read.node_value, read.node_modified = old.index, old.node_value, old.index


@plant("real time")
def a_quorum_read_is_stale(evidence: Evidence) -> None:
    make_a_read_stale(evidence, quorum=True)


@plant("registers")
def a_quorum_read_is_stale_and_its_index_hides_it(evidence: Evidence) -> None:
    read, old = middle(list(overwritten(evidence, quorum=True)))
    read.node_value = old.node_value


@plant("local reads")
def a_plain_read_goes_back_on_its_member(evidence: Evidence) -> None:
    make_a_read_stale(evidence, quorum=False)


@plant("reads")
def a_read_shows_another_value(evidence: Evidence) -> None:
    middle(reads(evidence, quorum=False)).node_value = b"something else"


@plant("reads")
def a_read_finds_nothing_where_a_key_is(evidence: Evidence) -> None:
    read = middle(reads(evidence, quorum=True))
    read.outcome, read.error, read.node_value = Outcome.REFUSED, "KEY_NOT_FOUND", None


@plant("reads")
def a_directory_lacks_a_child(evidence: Evidence) -> None:
    look = middle([o for o in evidence.operations if o.tree])
    here = look.node_path.count(b"/") + 1
    look.listing = sorted(path for path in look.tree if path.count(b"/") == here)
    look.listing.pop()
    look.tree = None


@plant("reads")
def a_deleted_tree_leaves_something_behind(evidence: Evidence) -> None:
    look = middle([o for o in evidence.operations if o.tree])
    look.tree[look.node_path + b"/orphan"] = (b"1", 1)


# --- watchers of everything -------------------------------------------------------------


@plant("watchers")
def a_watcher_misses_an_event(evidence: Evidence) -> None:
    session = max(evidence.sessions, key=lambda one: len(one.events))
    del session.events[len(session.events) // 2]


@plant("watchers")
def a_watcher_is_shown_events_out_of_order(evidence: Evidence) -> None:
    events = evidence.sessions[0].events
    events[3], events[4] = events[4], events[3]


@plant("watchers")
def two_watchers_are_told_different_things(evidence: Evidence) -> None:
    done = next(o for o in writes(evidence, Op.SET) if any(everywhere(evidence, o.index)))
    session, place, seen = next(everywhere(evidence, done.index))
    document = copy.deepcopy(seen.document)
    document["node"]["value"] = "something else"
    session.events[place] = seen._replace(text=b"planted", document=document)


@plant("sight", UNKNOWN)
def the_beginning_was_seen_by_nobody(evidence: Evidence) -> None:
    for session in evidence.sessions:
        session.events = session.events[20:]
        if session.events:
            session.first_index = max(session.first_index, session.events[0].place)


# --- watches of the workload -------------------------------------------------------------


@plant("watches")
def a_watch_leaves_an_event_out(evidence: Evidence) -> None:
    events = busy_stream(evidence).events
    del events[len(events) // 2]


@plant("watches")
def a_watch_shows_an_event_twice(evidence: Evidence) -> None:
    events = busy_stream(evidence).events
    events.insert(1, events[0])


@plant("watches")
def a_watch_tells_a_wrong_previous_value(evidence: Evidence) -> None:
    busy_stream(evidence).events[-1].previous = b"something else"


@plant("watches")
def a_watch_shows_a_foreign_key(evidence: Evidence) -> None:
    watch = busy_stream(evidence)
    watch.path, watch.recursive = b"/c/elsewhere", False


@plant("watches")
def a_watch_is_refused_although_recent_enough(evidence: Evidence) -> None:
    watch = busy_stream(evidence)
    watch.refused_cause, watch.registered_index = b"too old", watch.first_index + 10


# --- time ------------------------------------------------------------------------------


def expiries(evidence: Evidence) -> list[Seen]:
    return [
        seen
        for session in evidence.sessions
        for seen in session.events
        if seen.document["action"] == "expire"
    ]


@plant("expiry")
def a_key_expires_early(evidence: Evidence) -> None:
    done = middle([o for o in writes(evidence) if request_of(o).ttl_seconds is not None])
    ttl_seconds = 1000
    for operation in writes(evidence):
        if request_of(operation).ttl_seconds is not None:
            operation.request = request_of(operation)._replace(ttl_seconds=ttl_seconds)
    assert request_of(done).ttl_seconds == ttl_seconds


@plant("expiry")
def a_key_expires_late(evidence: Evidence) -> None:
    evidence.moments.clear()
    for session in evidence.sessions:
        session.events = [
            seen._replace(at_ns=seen.at_ns + 60 * SECOND_NS) for seen in session.events
        ]


@plant("replay")
def a_key_without_a_ttl_expires(evidence: Evidence) -> None:
    index = middle(expiries(evidence)).document["prevNode"]["modifiedIndex"]
    setter = next(o for o in evidence.operations if o.index == index and o.request is not None)
    setter.request = request_of(setter)._replace(ttl_seconds=None)


# --- the end ---------------------------------------------------------------------------


def forget(node: dict[str, Any]) -> None:
    """Take the last file out of a tree."""
    last = node["nodes"][-1]
    if last.get("nodes"):
        forget(last)
    else:
        node["nodes"].pop()


@plant("final state")
def all_members_have_forgotten_a_key(evidence: Evidence) -> None:
    document = copy.deepcopy(evidence.finals[0].document)
    forget(document["node"])
    evidence.finals = [look._replace(document=document) for look in evidence.finals]


@plant("convergence")
def one_member_has_forgotten_a_key(evidence: Evidence) -> None:
    document = copy.deepcopy(evidence.finals[0].document)
    forget(document["node"])
    evidence.finals[0] = evidence.finals[0]._replace(document=document)


@plant("convergence")
def one_member_stays_behind(evidence: Evidence) -> None:
    look = evidence.finals[1]
    evidence.finals[1] = look._replace(store_index=look.store_index - 1)


@plant("convergence", UNKNOWN)
def nobody_looked_in_the_end(evidence: Evidence) -> None:
    evidence.finals.clear()


@plant("progress")
def hardly_anything_was_done(evidence: Evidence) -> None:
    evidence.writes_expected = 10_000


@pytest.mark.parametrize("name", PLANTS)
def test_each_lie_is_found_by_its_checker(name: str) -> None:
    function, checker, verdict = PLANTS[name]
    evidence = records.load(CLEAN)
    function(evidence)
    found = {finding.checker: finding for finding in judge(evidence)}
    assert found[checker].verdict == verdict, found
    if verdict == FAILED:
        assert found[checker].text
