"""Bounds that hold for all clients together, and less patience when they are near."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from kvraft import limits
from kvraft.api.port import PATIENT, PRESSED
from tests.api.wire import FORM_TYPE, Client, Wire, answer, answers, get, put, request

KEY = b"/v2/keys/a"


@pytest.fixture
def wire() -> Wire:
    return Wire()


class SealedTransport:
    """What a transport with TLS does otherwise: it cannot end one direction only."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> object:
        return getattr(self.client.transport, name)

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError


def sealed(wire: Wire) -> Client:
    client = wire.client()
    client.connection.transport = cast(asyncio.Transport, SealedTransport(client))
    return client


def test_a_refused_client_may_read_its_answer_with_tls_too(wire: Wire) -> None:
    wire.port.start()
    client = sealed(wire)
    client.send(get(b"/a b"))
    assert client.take().startswith(b"HTTP/1.1 400 ")
    assert not client.over, "unread bytes would make its system throw the answer away"
    client.send(b"more of the same")
    while not client.transport.closed:
        wire.loop.advance(0.5)
    assert not client.transport.aborted, "the end is said, not just there"
    wire.loop.advance(limits.LINGER_TIMEOUT_S + 2)
    assert client.transport.aborted, "if the client does not answer to that"


def test_an_answered_client_is_closed_at_once_with_tls(wire: Wire) -> None:
    client = sealed(wire)
    client.send(get(KEY, b"Connection: close"))
    assert client.transport.closed


def test_idle_and_slow_clients_go_sooner_when_there_is_hardly_room(wire: Wire) -> None:
    wire.port.start()
    wire.port.max_connections = 10
    idle = [wire.client() for _ in range(6)]
    slow, watching = wire.client(), wire.client()
    slow.send(b"GET / HT")
    watching.send(get(KEY + b"?wait=true"))
    wire.loop.advance(limits.PRESSED_IDLE_TIMEOUT_S + 3)
    assert not any(client.over for client in (*idle, slow)), "8 of 10: there is room"
    more = wire.client()
    wire.loop.advance(1.5)
    assert wire.port.patience is PRESSED
    assert all(client.over for client in (*idle, slow))
    assert not watching.over
    assert not more.over, "it has only just come"
    for client in (*idle, slow):
        client.hang_up()
    wire.loop.advance(1.1)
    assert wire.port.patience is PATIENT


def test_newcomers_take_the_places_of_the_silent(wire: Wire) -> None:
    wire.port.start()
    wire.port.max_connections = 4
    silent, slow, watching = wire.client(), wire.client(), wire.client()
    slow.send(b"GET / HT")
    watching.send(get(KEY + b"?wait=true"))
    busy = wire.client()
    wire.loop.advance(1.1)
    wire.service.held = []
    busy.send(put(KEY, b"value=1"))
    newcomers = [wire.client() for _ in range(3)]
    assert silent.transport.aborted
    assert slow.transport.aborted
    assert not watching.over
    assert not busy.over, "it has asked since it was seen at rest"
    assert [answer(client.ask(get(KEY))).status for client in newcomers[:2]] == [404, 404]
    assert newcomers[2].take().startswith(b"HTTP/1.1 503 ")
    wire.service.release()


def test_far_beyond_the_cap_there_is_not_even_an_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvraft.api.connection.MAX_REFUSED_CONNECTIONS", 2)
    wire.port.max_connections = 1
    clients = [wire.client() for _ in range(4)]
    assert not clients[0].over
    assert all(client.take().startswith(b"HTTP/1.1 503 ") for client in clients[1:3])
    assert clients[3].transport.aborted
    assert clients[3].take() == b""


def test_heads_count_like_bodies(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.api.connection.MAX_BUFFERED_BODY_BYTES", 100_000)
    first, second = wire.client(), wire.client()
    for client in (first, second):
        client.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000)
    assert not first.over
    assert second.take().startswith(b"HTTP/1.1 503 ")
    first.hang_up()
    assert wire.port.buffered_bytes == 0


def test_waiting_requests_are_bounded_in_bytes(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.api.connection.MAX_PIPELINED_BYTES", 50_000)
    wire.service.held = []
    client = wire.client()
    body = b"value=" + b"v" * 20_000
    client.send(put(KEY, body))
    assert wire.port.buffered_bytes == 0, "the first one is in the hands of the member"
    for _ in range(3):
        assert client.transport.reading
        client.send(put(KEY, body))
    assert not client.transport.reading
    assert wire.port.buffered_bytes > 60_000
    while client.connection._waiting or wire.service.held:
        wire.service.release()
    wire.loop.run()
    assert len(answers(client.take())) == 4
    assert client.transport.reading
    assert wire.port.buffered_bytes == 0


def test_what_waits_when_a_client_leaves_is_given_back(wire: Wire) -> None:
    wire.service.held = []
    client = wire.client()
    client.send(put(KEY, b"value=1") + put(KEY, b"value=2"))
    client.send(request(b"PUT", KEY, None, FORM_TYPE[:-2], b"Content-Length: 100"))
    assert wire.port.buffered_bytes > 0
    client.hang_up()
    assert wire.port.buffered_bytes == 0
    wire.service.release()


def test_answers_that_nobody_takes_are_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.api.connection.MAX_UNSENT_BYTES", 100_000)
    clients = [wire.client() for _ in range(3)]
    for client in clients[:2]:
        client.transport.unsent = 40_000
        client.connection.pause_writing()
    for _ in range(10):
        clients[0].connection.resume_writing()
        clients[0].connection.pause_writing()
    assert wire.port.unsent_bytes == 80_000, "who only pauses now and then is counted once"
    clients[2].transport.unsent = 40_000
    clients[2].connection.pause_writing()
    assert clients[2].transport.aborted
    clients[2].hang_up()
    assert wire.port.unsent_bytes == 80_000
    assert answer(wire.client().ask(get(KEY))).status == 404
    wire.port.start()
    clients[0].transport.unsent = 10_000
    wire.loop.advance(1.1)
    assert wire.port.unsent_bytes == 50_000, "counted anew by each sweep"
    for client in clients[:2]:
        client.hang_up()
    assert wire.port.unsent_bytes == 0
