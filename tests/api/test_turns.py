"""Expensive work waits for its turn, in order, and never keeps small work from its own."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kvraft import limits
from kvraft.api.turns import Turns
from kvraft.store.request import Op, Request
from tests.api.wire import FakeLoop, Wire, answers, get

KEY = b"/v2/keys/large"


def test_a_full_turn_ends_with_the_turn() -> None:
    loop = FakeLoop()
    turns = Turns(cast(Any, loop))
    turns.spend(limits.TURN_BYTES)
    assert not turns.full
    turns.spend(1)
    assert turns.full
    assert loop.run() == 1
    assert not turns.full
    assert loop.run() == 0, "an idle loop stays idle"


def test_jobs_run_in_order_as_far_as_there_is_room() -> None:
    loop = FakeLoop()
    turns = Turns(cast(Any, loop))
    done: list[int] = []

    def job(number: int) -> None:
        done.append(number)
        turns.spend(limits.TURN_BYTES // 2 + 1)

    for number in range(6):
        turns.later(lambda number=number: job(number))  # type: ignore[misc]
    for count in range(1, 7):
        assert loop.run(1) == 1
        assert len(done) == count
        assert not turns.full, "half of the turn is left for those who come now"
    assert done == list(range(6))


def test_a_job_that_fails_does_not_hold_up_the_others() -> None:
    loop = FakeLoop()
    turns = Turns(cast(Any, loop))
    done: list[int] = []
    turns.later(lambda: done.append(1 // 0))
    turns.later(lambda: done.append(2))
    with pytest.raises(ZeroDivisionError):
        loop.run(1)
    loop.run()
    assert done == [2]


def test_large_answers_are_spread_over_turns() -> None:
    wire = Wire()
    wire.service.store.apply(Request(Op.SET, b"/large", b"v" * 1_000_000))
    clients = [wire.client() for _ in range(10)]
    for client in clients:
        client.connection.data_received(get(KEY))
    answered = [bool(client.transport.sent) for client in clients]
    assert answered == [True] * 3 + [False] * 7, "three megabytes, then the next turn"
    assert not clients[9].transport.reading, "what is put off is not added to"
    wire.loop.run(1)
    assert sum(bool(client.transport.sent) for client in clients) == 5
    wire.loop.run()
    assert all(len(answers(client.take())) == 1 for client in clients)
    assert all(client.transport.reading for client in clients)


def test_whoever_is_put_off_may_hang_up() -> None:
    wire = Wire()
    wire.port.turns.spend(limits.TURN_BYTES + 1)
    client = wire.client()
    client.connection.data_received(get(KEY))
    client.hang_up()
    wire.loop.run()
    assert client.take() == b""


def test_a_watcher_that_is_put_off_gets_its_event_later() -> None:
    wire = Wire()
    client, gone = wire.client(), wire.client()
    for each in (client, gone):
        each.ask(get(KEY + b"?wait=true"))
    wire.port.turns.spend(limits.TURN_BYTES + 1)
    wire.service.store.apply(Request(Op.SET, b"/large", b"x"))
    for watcher in wire.service.store.take_woken():
        assert watcher.owner is not None
        watcher.owner.watch_ready(watcher)
    gone.hang_up()
    assert client.take() == b""
    wire.loop.run()
    assert b'"value":"x"' in client.take()
    assert gone.take() == b""
