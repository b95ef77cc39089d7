"""Long polls and streams (keys-api, sections 10 and 15)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from kvraft import limits
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from tests.api.wire import Answer, Client, Wire, answer, get, put, unchunk

KEY = b"/v2/keys/a"
STREAM = KEY + b"?wait=true&stream=true"


def write(wire: Wire, value: bytes, path: bytes = b"/a") -> None:
    wire.service.commit(Request(Op.SET, path, value), lambda _: None)


def lines(chunks: bytes) -> list[str]:
    """The values in the documents of a stream that is still open."""
    body, rest = unchunk(chunks + b"0\r\n\r\n")
    assert rest == b""
    return [json.loads(line)["node"]["value"] for line in body.splitlines()]


def test_head_comes_at_once_and_the_event_ends_the_answer(wire: Wire, client: Client) -> None:
    head = client.ask(get(KEY + b"?wait=true"))
    assert head.endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    assert b"X-Etcd-Index: 3\r\n" in head
    assert wire.service.store.hub.count == 1
    write(wire, b"other", b"/b")
    assert client.take() == b""
    write(wire, b"1")
    whole = answer(head + client.take())
    assert json.loads(whole.body)["node"]["value"] == "1"
    assert wire.service.store.hub.count == 0
    assert answer(client.ask(get(KEY))).status == 200, "the connection is kept"


def test_what_is_in_the_history_is_answered_at_once(wire: Wire, client: Client) -> None:
    write(wire, b"1")
    write(wire, b"2")
    found = answer(client.ask(get(KEY + b"?wait=true&waitIndex=4")))
    assert json.loads(found.body)["node"]["value"] == "1"
    head, _, rest = client.ask(get(STREAM + b"&waitIndex=4")).partition(b"\r\n\r\n")
    assert lines(rest) == ["1", "2"]
    write(wire, b"3")
    assert lines(client.take()) == ["3"]


def test_who_asks_is_told_that_a_stream_is_complete(wire: Wire) -> None:
    """Nobody else sees that header, nor do those behind a proxy, which may hold events back."""
    asking = b"X-Kvraft-Stream: complete"
    proxied = b"X-Forwarded-For: 127.0.0.1"
    for path, headers, told in (
        (STREAM, (asking,), True),
        (STREAM, (), False),
        (STREAM, (asking, proxied), False),
        (KEY + b"?wait=true", (asking,), False),
    ):
        head = wire.client().ask(get(path, *headers))
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert (b"\r\nX-Kvraft-Stream: complete\r\n" in head) is told


def test_errors_are_ordinary_answers(wire: Wire, client: Client) -> None:
    for number in range(limits.HISTORY_EVENTS + 10):
        write(wire, b"%d" % number)
    refused = answer(client.ask(get(KEY + b"?wait=true&waitIndex=5")))
    assert refused.status == 400
    assert json.loads(refused.body)["errorCode"] == 401
    assert refused.headers[b"Content-Length"] == b"%d" % len(refused.body)
    assert refused.headers[b"X-Etcd-Index"] == b"%d" % wire.service.store.index


def test_slow_readers_get_what_was_kept_and_then_an_end(wire: Wire, client: Client) -> None:
    head = client.ask(get(STREAM))
    write(wire, b"first")
    client.connection.pause_writing()
    for number in range(limits.WATCH_QUEUE + 50):
        write(wire, b"%d" % number)
    first = client.take()
    assert lines(first) == ["first"]
    client.connection.resume_writing()
    whole = answer(head + first + client.take())
    values = [json.loads(line)["node"]["value"] for line in whole.body.splitlines()]
    assert values == ["first", *(str(number) for number in range(limits.WATCH_QUEUE))]
    assert answer(client.ask(get(KEY))).status == 200, "a proper end keeps the connection"


def test_streams_pause_with_the_client(wire: Wire, client: Client) -> None:
    client.ask(get(STREAM))
    transport_write: Callable[[bytes], None] = client.transport.write

    def write_and_pause(data: bytes) -> None:
        transport_write(data)
        client.connection.pause_writing()

    client.connection.pause_writing()
    for number in range(3):
        write(wire, b"%d" % number)
    client.connection._write = write_and_pause
    for number in range(3):
        assert client.take() == b""
        client.connection.resume_writing()
        assert lines(client.take()) == [str(number)]
    assert wire.service.store.hub.count == 1


def test_hanging_up_takes_the_watcher_off_the_list(wire: Wire, client: Client) -> None:
    client.ask(get(STREAM))
    closing = wire.client()
    closing.ask(get(KEY + b"?wait=true"))
    assert wire.service.store.hub.count == 2
    client.hang_up()
    assert wire.service.store.hub.count == 1
    assert closing.connection.eof_received() is False, "the transport closes then"
    closing.hang_up()
    assert wire.service.store.hub.count == 0
    write(wire, b"1")


def test_requests_behind_a_watch_wait_for_its_end(wire: Wire, client: Client) -> None:
    head = client.ask(get(KEY + b"?wait=true") + get(b"/version"))
    write(wire, b"1")
    body, rest = unchunk(client.take())
    assert head.endswith(b"\r\n\r\n")
    assert json.loads(body)["action"] == "set"
    assert answer(rest).status == 200


def test_old_clients_get_bare_documents(wire: Wire, client: Client) -> None:
    head = client.ask(b"GET %b HTTP/1.0\r\n\r\n" % STREAM)
    assert b"Transfer-Encoding" not in head
    write(wire, b"1")
    assert client.take().startswith(b'{"action":"set"')
    client.connection.drain()
    assert client.take() == b""
    assert client.transport.closed


def test_watchers_survive_the_replacement_of_the_store(wire: Wire, client: Client) -> None:
    client.ask(get(STREAM))
    gone = wire.client()
    gone.ask(get(STREAM))
    old = wire.service.store
    wire.service.store = Store()
    wire.service.store.index = old.index
    wire.service.store.succeed(old)
    gone.hang_up()
    write(wire, b"1")
    assert lines(client.take()) == ["1"]
    assert wire.service.store.hub.count == 1


def test_draining(wire: Wire, client: Client) -> None:
    idle = wire.client()
    head = client.ask(get(KEY + b"?wait=true"))
    writing = wire.client()
    wire.service.held = []
    writing.send(put(KEY, b"value=1"))
    asyncio.run(_drain_and_release(wire, [idle, client, writing]))
    assert idle.transport.closed
    assert answer(head + client.take()).body == b""
    assert wire.service.store.hub.count == 0
    written: Answer = answer(writing.take())
    assert (written.status, written.headers[b"Connection"]) == (201, b"close")
    assert wire.client().take().startswith(b"HTTP/1.1 503 ")


async def _drain_and_release(wire: Wire, clients: list[Client]) -> None:
    draining = asyncio.ensure_future(wire.port.drain(10))
    await asyncio.sleep(0)
    assert not clients[-1].over
    wire.service.release()
    for each in clients:
        assert each.transport.closed
        assert not each.transport.aborted
        each.hang_up()
    await draining


def test_what_does_not_end_is_aborted(wire: Wire, client: Client) -> None:
    wire.service.held = []
    client.send(put(KEY, b"value=1"))
    asyncio.run(wire.port.drain(0))
    assert client.transport.aborted
