"""The search: against trying all orders, and on histories that are right or wrong on purpose."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen_like.check.linear import KEEP, Call, Keep, Needs, Verdict, search


def read(value: bytes | None, start: int, end: int | None) -> Call:
    return Call(f"read {value!r}", start, end, Needs.EQUAL, value, KEEP)


def write(value: bytes, start: int, end: int | None) -> Call:
    return Call(f"write {value!r}", start, end, Needs.ANYTHING, None, value)


def swap(old: bytes, new: bytes, start: int, end: int | None) -> Call:
    return Call(f"swap {old!r} {new!r}", start, end, Needs.EQUAL, old, new)


def not_swapped(old: bytes, start: int, end: int | None) -> Call:
    return Call(f"swap {old!r} fails", start, end, Needs.OTHER, old, KEEP)


def create(value: bytes, start: int, end: int | None) -> Call:
    return Call(f"create {value!r}", start, end, Needs.EQUAL, None, value)


def update(value: bytes, start: int, end: int | None) -> Call:
    return Call(f"update {value!r}", start, end, Needs.OTHER, None, value)


def delete(start: int, end: int | None) -> Call:
    return Call("delete", start, end, Needs.OTHER, None, None)


def fits(call: Call, state: bytes | None) -> bool:
    if call.needs is Needs.EQUAL:
        return state == call.value
    return call.needs is Needs.ANYTHING or (state is not None and state != call.value)


def by_trying_all(calls: list[Call]) -> bool:
    """Every order of every choice among the unknown ones."""
    certain = [call for call in calls if call.ended_ns is not None]
    unknown = [call for call in calls if call.ended_ns is None]
    for chosen in range(1 << len(unknown)):
        done = certain + [call for n, call in enumerate(unknown) if chosen >> n & 1]
        if any(explains(order) for order in permutations(done)):
            return True
    return False


def explains(order: tuple[Call, ...]) -> bool:
    state: bytes | None = None
    for place, call in enumerate(order):
        if any(
            later.ended_ns is not None and later.ended_ns < call.invoked_ns
            for later in order[place + 1 :]
        ):
            return False
        if not fits(call, state):
            return False
        if not isinstance(call.leaves, Keep):
            state = call.leaves
    return True


VALUES = st.sampled_from([b"a", b"b"])
STARTS = st.integers(0, 8)
LENGTHS = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def any_call(draw: st.DrawFn) -> Call:
    start, length = draw(STARTS), draw(LENGTHS)
    end = None if length is None else start + length
    value = draw(VALUES)
    return draw(
        st.sampled_from(
            [
                *(read(value, start, end), read(None, start, end), write(value, start, end)),
                *(swap(value, draw(VALUES), start, end), not_swapped(value, start, end)),
                *(create(value, start, end), delete(start, end), update(value, start, end)),
            ]
        )
    )


@settings(max_examples=400, deadline=None)
@given(calls=st.lists(any_call(), max_size=6))
def test_agrees_with_trying_all_orders(calls: list[Call]) -> None:
    expected = Verdict.LINEARIZABLE if by_trying_all(calls) else Verdict.VIOLATION
    assert search(calls).verdict is expected


def test_nothing_at_all_is_linearizable() -> None:
    assert search([]).verdict is Verdict.LINEARIZABLE


VIOLATIONS = {
    "stale read": [write(b"1", 0, 1), write(b"2", 2, 3), read(b"1", 4, 5)],
    "lost write": [write(b"1", 0, 1), read(None, 2, 3)],
    "applied twice": [
        *(write(b"1", 0, 1), write(b"2", 2, 3), read(b"1", 4, 5), read(b"2", 4, 5)),
        read(b"1", 6, 7),
    ],
    "never written": [write(b"1", 0, 1), read(b"9", 2, 3)],
    "a swap that should have failed": [
        *(write(b"1", 0, 1), write(b"2", 2, 3)),
        *(swap(b"1", b"3", 4, 5), read(b"3", 6, 7)),
    ],
    "a swap that should not have failed": [write(b"1", 0, 1), not_swapped(b"1", 2, 3)],
    "a refused write that was done": [write(b"1", 0, 1), read(b"2", 2, 3)],
    "created twice": [create(b"1", 0, 1), create(b"2", 2, 3)],
    "two swaps from one value": [
        write(b"0", 0, 1),
        *(swap(b"0", b"1", 2, 9), swap(b"0", b"2", 2, 9)),
    ],
    "an unknown write before it began": [read(b"1", 0, 1), write(b"1", 2, None)],
    "an unknown write twice": [
        *(write(b"1", 0, None), write(b"2", 1, 2), read(b"1", 3, 4)),
        *(write(b"3", 5, 6), read(b"1", 7, 8)),
    ],
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_are_found_and_explained(name: str) -> None:
    result = search(VIOLATIONS[name])
    assert result.verdict is Verdict.VIOLATION
    assert "this does not fit: " in result.explanation


def test_the_explanation_names_the_call_and_the_state() -> None:
    result = search(VIOLATIONS["stale read"])
    assert "this does not fit: read b'1'" in result.explanation
    assert "the state is b'2'" in result.explanation


def test_an_unknown_write_may_happen_late() -> None:
    calls = [write(b"1", 0, None), read(None, 10, 11), read(b"1", 20, 21), read(b"1", 22, 23)]
    assert search(calls).verdict is Verdict.LINEARIZABLE


def test_an_unknown_write_may_never_happen() -> None:
    assert search([write(b"1", 0, None), read(None, 10, 11)]).verdict is Verdict.LINEARIZABLE


def test_a_write_that_nobody_read_may_be_what_an_update_needs() -> None:
    calls = [write(b"1", 0, None), update(b"2", 1, None), read(b"2", 3, 4)]
    assert search(calls).verdict is Verdict.LINEARIZABLE


def concurrent(ops: int, clients: int, unknown: float, seed: int) -> list[Call]:
    """A right history of overlapping calls; each takes effect at a moment within."""
    rng = random.Random(seed)
    free = [0] * clients
    planned = []
    for number in range(ops):
        client = min(range(clients), key=free.__getitem__)
        start = free[client] + rng.randrange(1, 5)
        effect = start + rng.randrange(1, 50)
        free[client] = end = effect + rng.randrange(1, 50)
        planned.append((effect, start, end, b"%d" % number))
    state: bytes | None = None
    calls = []
    for _, start, end, value in sorted(planned):
        lost = rng.random() < unknown
        until = None if lost else end
        kind = rng.choice(["read", "write", "swap"])
        if kind == "read":
            calls.append(read(state, start, until))
        elif kind == "write" or state is None:
            calls.append(write(value, start, until))
        else:
            calls.append(swap(state, value, start, until))
        if kind != "read" and not (lost and rng.random() < 0.5):
            state = value
    return calls


def test_long_histories_are_cheap() -> None:
    result = search(concurrent(5000, 5, 0.02, seed=1))
    assert result.verdict is Verdict.LINEARIZABLE
    assert result.steps < 500_000


def test_a_wrong_history_with_unknown_outcomes_is_cheap_enough() -> None:
    calls = concurrent(200, 5, 0.05, seed=2)
    calls.append(read(b"nobody's", 1 << 30, 1 << 31))
    result = search(calls)
    assert result.verdict is Verdict.VIOLATION
    assert result.steps < 2_000_000


def test_beyond_the_budget_there_is_no_verdict() -> None:
    result = search(concurrent(400, 20, 0.0, seed=3), budget_steps=1000)
    assert result.verdict is Verdict.UNKNOWN
    assert "no order was found" in result.explanation
