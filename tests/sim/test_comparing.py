"""A member that differs from the others is found at the very entry, whatever it differs in."""

from __future__ import annotations

import pytest

from jepsen_like.base import Violation
from jepsen_like.check.agreed import AgreedLog, TagOf
from jepsen_like.check.commands import Tally, check_commands
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.sim.comparing import Comparing, Known
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape
from kvraft.raft.entry import Entry, EntryKind
from kvraft.store.request import Op, Request, encode_request
from kvraft.store.store import Store


def pair() -> tuple[Comparing, Comparing]:
    known, agreed = Known(), AgreedLog(TagOf())
    return Comparing(1, known, agreed), Comparing(2, known, agreed)


def store(*values: bytes) -> Store:
    made = Store()
    for value in values:
        made.apply(Request(Op.SET, b"/a", value))
    return made


def test_equal_members_agree() -> None:
    one, other = pair()
    one.batch(0, 2, store(b"x", b"y"), Tally())
    other.batch(0, 2, store(b"x", b"y"), Tally())
    one.everything(2, store(b"x", b"y"))
    other.reached(7, 2, store(b"x", b"y"))


def test_another_event_is_found() -> None:
    one, other = pair()
    one.batch(0, 2, store(b"x", b"y"), Tally())
    with pytest.raises(Violation, match="at store index 1 members 1 and 2 saw different"):
        other.batch(0, 1, store(b"z"), Tally())


def test_a_refusal_in_the_place_of_another_outcome_is_found() -> None:
    one, other = pair()
    one.batch(0, 2, store(b"x"), Tally())
    counted = store(b"x")
    counted.stats.sets_fail += 1
    with pytest.raises(Violation, match="at log index 2 members 1 and 2 differ"):
        other.batch(0, 2, counted, Tally())


def test_another_state_of_the_machine_is_found() -> None:
    one, other = pair()
    tally = Tally()
    one.batch(0, 1, store(), tally)
    tally.apply(b"x", 1)
    with pytest.raises(Violation, match="differ"):
        other.batch(0, 1, store(), tally)


def test_what_no_event_shows_is_found_by_the_digest() -> None:
    one, other = pair()
    one.everything(1, store(b"x"))
    changed = store(b"x")
    changed.apply(Request(Op.PUT_RECORD, b"hidden", b"1"))
    with pytest.raises(Violation, match="the stores of members 1 and 2 differ"):
        other.everything(1, changed)


def test_digests_are_taken_at_the_same_indexes_everywhere() -> None:
    run = Run(3, Shape(members=3, safety_ms=3000, think_ms=20, digest_every=16, faults=("check",)))
    verdict = run.execute()
    assert not verdict.failure
    digests = run.cluster.agreed.digests
    assert {index for index in digests if index % 16 == 0} >= set(range(16, 64, 16))
    assert any(index % 16 for index in digests), "none at a CHECK"
    assert len(run.cluster.known.events) > 50


def command(tag: bytes, outcome: Outcome, index: int = 0, answer: str = "") -> Operation:
    operation = Operation(0, 1, 1, 0)
    operation.tag, operation.outcome = tag, outcome
    operation.index, operation.action, operation.ended_ns = index, answer, 10
    return operation


def test_commands_are_judged() -> None:
    agreed = AgreedLog(TagOf())
    for index, tag in enumerate((b"a", b"b"), 1):
        data = encode_request(index, Request(Op.COMMAND, b"", tag))
        agreed.observe(1, index - 1, [Entry(1, index, EntryKind.NORMAL, data)])
    first = repr(agreed.by_tag[b"a"][0].answer)
    check_commands([command(b"a", Outcome.OK, 1, first), command(b"b", Outcome.UNKNOWN)], agreed)
    wrong = (
        command(b"a", Outcome.OK, 1, "(2, 0)"),
        command(b"b", Outcome.FAILED),
        command(b"c", Outcome.OK, 3, "(3, 0)"),
    )
    for operation in wrong:
        with pytest.raises(Violation):
            check_commands([operation], agreed)
    late = command(b"a", Outcome.OK, 1, first)
    late.invoked_ns, late.ended_ns = 20, 30
    second = command(b"b", Outcome.OK, 2, repr(agreed.by_tag[b"b"][0].answer))
    with pytest.raises(Violation, match="began after"):
        check_commands([second, late], agreed)
