"""Subtrees that are not what was made of them."""

from __future__ import annotations

import random
from typing import Any

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs.clients import Client
from jepsen_like.workloads.tree import Plan, State, orphans
from kvraft.store.request import Op, Request
from tests.workloads.made import done

ROOT = b"/c/tree/s1"


def plan() -> Plan:
    made = Plan(ROOT, random.Random(1))
    make(made, Request(Op.CREATE, ROOT, directory=True))
    make(made, Request(Op.CREATE, ROOT + b"/d", directory=True))
    make(made, Request(Op.SET, ROOT + b"/d/f", b"1"))
    make(made, Request(Op.CREATE_IN_ORDER, ROOT, b"2"), key=ROOT + b"/007")
    return made


def make(
    made: Plan,
    request: Request,
    outcome: Outcome = Outcome.OK,
    key: bytes = b"",
    error: str = "",
) -> str:
    operation = done(request, at=0, outcome=outcome, key=key)
    operation.error = error
    return made.settle(operation)


STATE: State = {ROOT + b"/d": None, ROOT + b"/d/f": b"1", ROOT + b"/007": b"2"}


def test_what_was_made_is_there() -> None:
    assert plan().compare(dict(STATE)) == ""
    assert "d/f" in plan().compare({ROOT + b"/d": None, ROOT + b"/007": b"2"})
    assert "d/f" in plan().compare(STATE | {ROOT + b"/d/f": b"9"})
    assert plan().compare(STATE | {ROOT + b"/x": b""})
    assert plan().compare(None)


def test_a_deleted_directory_goes_with_all_below_it() -> None:
    made = plan()
    assert not make(made, Request(Op.DELETE, ROOT + b"/d", directory=True, recursive=True))
    assert not made.compare({ROOT + b"/007": b"2"})
    assert made.compare({ROOT + b"/007": b"2", ROOT + b"/d/f": b"1"})


def test_a_directory_that_is_not_empty_is_refused() -> None:
    request = Request(Op.DELETE, ROOT + b"/d", directory=True)
    assert not make(plan(), request, Outcome.REFUSED, error="DIRECTORY_NOT_EMPTY")
    assert "should be DIRECTORY_NOT_EMPTY" in make(plan(), request)
    recursive = request._replace(recursive=True)
    assert "should be done" in make(plan(), recursive, Outcome.REFUSED, error="KEY_NOT_FOUND")


def test_a_last_change_of_unknown_outcome() -> None:
    made = plan()
    make(made, Request(Op.CREATE_IN_ORDER, ROOT + b"/d", b"3"), Outcome.UNKNOWN)
    assert made.over
    assert not made.compare(dict(STATE))
    assert not made.compare(STATE | {ROOT + b"/d/0042": b"3"})
    assert made.compare(STATE | {ROOT + b"/d/0042": b"4"})
    assert made.compare(STATE | {ROOT + b"/0042": b"3"})


def test_a_time_to_live_takes_all_or_nothing() -> None:
    made = plan()
    make(made, Request(Op.UPDATE, ROOT, directory=True, ttl_seconds=1))
    assert not made.compare(dict(STATE))
    assert made.compare({ROOT + b"/007": b"2"})
    assert not made.compare(None)
    assert made.over


def test_orphans() -> None:
    assert not orphans({b"/c/t": None, b"/c/t/a": None, b"/c/t/a/b": b"1"}, b"/c")
    assert orphans({b"/c/t/a/b": b"1"}, b"/c")
    assert orphans({b"/c/t": b"file", b"/c/t/a": b"1"}, b"/c")


class Values:
    """The part of a client that a plan needs."""

    def __init__(self) -> None:
        self.count = 0

    def value(self) -> bytes:
        self.count += 1
        return b"v%d" % self.count


def test_drawn_changes_end_with_nothing() -> None:
    """A perfect server: the state that is kept is the state that results."""
    for seed in range(50):
        made = Plan(ROOT, random.Random(seed))
        values: Any = Values()
        client: Client = values
        posts = 0
        while not made.over:
            request = made.next(client)
            posts += 1
            operation = perfect(made, request, posts)
            assert not made.settle(operation), (seed, operation.describe())
            if made.leaving:
                assert not made.compare(None)
        assert not made.compare(None), seed


def perfect(made: Plan, request: Request, posts: int) -> Operation:
    if request.op == Op.CREATE_IN_ORDER:
        return done(request, at=0, key=b"%b/%020d" % (request.path, posts))
    prefix = request.path + b"/"
    full = made.state is not None and any(path.startswith(prefix) for path in made.state)
    if request.op == Op.DELETE and request.directory and not request.recursive and full:
        refused = done(request, at=0, outcome=Outcome.REFUSED)
        refused.error = "DIRECTORY_NOT_EMPTY"
        return refused
    return done(request, at=0)
