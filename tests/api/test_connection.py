"""The life of a connection: order, bounds, refusals, deadlines, the end."""

from __future__ import annotations

import gc
import logging
import random

import pytest

from kvraft import limits
from kvraft.api.guards import Guards
from tests.api.wire import (
    FORM_TYPE,
    HOST,
    Answer,
    Client,
    Wire,
    answer,
    answers,
    get,
    put,
    request,
)

KEY = b"/v2/keys/a"
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n400 Bad Request"
)


def values(series: list[Answer]) -> list[bytes]:
    """The values shown by a series of answers."""
    return [each.body.partition(b'"value":"')[2].partition(b'"')[0] for each in series]


def test_head_of_an_answer_is_gos(wire: Wire, client: Client) -> None:
    client.ask(put(KEY, b"value=1"))
    head, _, body = client.ask(get(KEY)).partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert names == [
        b"Content-Type",
        b"X-Etcd-Cluster-Id",
        b"X-Etcd-Index",
        b"X-Raft-Index",
        b"X-Raft-Term",
        b"Date",
        b"Content-Length",
    ]
    assert body == (
        b'{"action":"get","node":{"key":"/a","value":"1","modifiedIndex":4,"createdIndex":4}}\n'
    )
    assert client.transport.writes == 2


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50])
def test_requests_may_come_in_pieces(client: Client, piece: int) -> None:
    data = put(KEY, b"value=abc&ttl=5") + get(KEY) + get(KEY + b"?recursive=true")
    for start in range(0, len(data), piece):
        client.send(data[start : start + piece])
    series = answers(client.take())
    assert [each.status for each in series] == [201, 200, 200]
    assert values(series) == [b"abc"] * 3


def test_pipelined_requests_are_answered_in_order(wire: Wire, client: Client) -> None:
    wire.service.held = []
    client.send(put(KEY, b"value=1") + get(KEY) + put(KEY, b"value=2") + get(KEY))
    assert client.take() == b""
    assert len(wire.service.held) == 1, "each may depend on the one before"
    while wire.service.held:
        held, wire.service.held = wire.service.held, []
        for proposal, done in held:
            wire.service.commit(proposal, done)
    assert values(answers(client.take())) == [b"1", b"1", b"2", b"2"]


def test_reading_stops_when_too_many_requests_wait(wire: Wire, client: Client) -> None:
    wire.service.held = []
    client.send(put(KEY, b"value=1"))
    flood = 4000
    data = get(KEY) * flood
    for start in range(0, len(data), 200_000):
        client.send(data[start : start + 200_000])
    assert not client.transport.reading
    per_slice = limits.PARSE_SLICE_BYTES // len(get(KEY)) + 1
    assert len(client.connection._waiting) <= limits.MAX_PIPELINED + per_slice
    wire.service.release()
    assert wire.loop.run() > 5, "a flood takes many turns of the loop, so that others have theirs"
    assert client.transport.reading
    assert len(answers(client.take())) == 1 + flood


def test_a_client_that_does_not_read_is_not_served_further(wire: Wire, client: Client) -> None:
    client.ask(put(KEY, b"value=1"))
    client.connection.pause_writing()
    client.send(get(KEY) * 1000)
    assert client.take() == b""
    assert not client.transport.reading
    client.connection.resume_writing()
    wire.loop.run()
    assert len(answers(client.take())) == 1000
    assert client.transport.reading


def test_chunked_bodies(client: Client) -> None:
    head = request(b"PUT", KEY, None, b"Transfer-Encoding: chunked", FORM_TYPE[:-2])
    body = b"5\r\nvalue\r\n4;x=y\r\n=chu\r\n4\r\nnked\r\n0\r\nTrailer: x\r\n\r\n"
    assert values(answers(client.ask(head + body + get(KEY)))) == [b"chunked"] * 2


def test_expect_continue(wire: Wire, client: Client) -> None:
    head = request(b"PUT", KEY, None, b"Expect: 100-continue", b"Content-Length: 7", FORM_TYPE[:-2])
    assert client.ask(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer(client.ask(b"value=1")).status == 201
    assert answer(client.ask(head + b"value=2")).status == 200, "the body was there already"

    wire.service.held = []
    client.send(put(KEY, b"value=3") + head)
    assert client.take() == b"", "the answer to the first request comes before"
    wire.service.release()
    first, _, rest = client.take().partition(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer(first).status == 200
    assert rest == b""
    assert values([answer(client.ask(b"value=4"))]) == [b"4"]


def test_other_expectations(client: Client) -> None:
    sent = client.ask(request(b"PUT", KEY, None, b"Expect: gold", b"Content-Length: 7"))
    assert sent.startswith(b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nDate: ")
    assert client.over


def test_head_and_methods(client: Client) -> None:
    client.ask(put(KEY, b"value=1"))
    (head,) = answers(client.ask(request(b"HEAD", KEY)), heads=[0])
    assert head.status == 200
    assert int(head.headers[b"Content-Length"]) == len(answer(client.ask(get(KEY))).body)
    for method in (b"PATCH", b"get", b"TRACE", b"BREW"):
        refused = answer(client.ask(request(method, KEY)))
        assert refused.status == 405
        assert refused.headers[b"Allow"] == b"HEAD,GET,PUT,POST,DELETE"


def test_versions_and_keeping_alive(wire: Wire) -> None:
    one = wire.client()
    sent = one.ask(b"GET /version HTTP/1.0\r\n\r\n")
    assert sent.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Connection" not in sent
    assert one.transport.closed
    two = wire.client()
    sent = two.ask(b"GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: keep-alive\r\n" in sent
    assert not two.over
    three = wire.client()
    sent = three.ask(get(b"/version", b"Connection: close") + get(b"/version"))
    assert answer(sent).headers[b"Connection"] == b"close"
    assert three.transport.closed
    assert wire.client().ask(b"GET / HTTP/2.0\r\n\r\n").startswith(b"HTTP/1.1 505 ")


def test_no_request_shows_in_the_answer_to_the_next(wire: Wire) -> None:
    wire.client().ask(put(b"/v2/keys/large", b"value=" + b"v" * 2 * limits.SMALL_ANSWER_BYTES))
    wire.client().ask(put(KEY, b"value=1"))
    requests = [
        request(b"HEAD", KEY),
        request(b"HEAD", b"/v2/keys/large"),
        b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % KEY,
        get(KEY, b"Origin: http://a.example"),
        get(KEY, b"Accept-Encoding: gzip"),
        request(b"OPTIONS", KEY),
        request(b"PATCH", KEY),
        get(b"/v2/keys/none"),
        get(b"/v2//keys"),
        get(KEY),
        get(b"/v2/keys/large"),
        get(b"/v2/keys/?recursive=true"),
        get(KEY + b"?wait=true&waitIndex=1"),
        get(b"/v2/members"),
    ]
    for guards in (Guards(), Guards(cors_origins=["http://a.example"])):
        wire.port.guards = guards
        alone = {asked: wire.client().ask(asked) for asked in requests}
        for first in requests:
            for second in requests:
                client = wire.client()
                assert client.ask(first) == alone[first]
                assert client.ask(second) == alone[second], (first, second)


def test_large_answers_are_chunked_for_those_who_know(wire: Wire, client: Client) -> None:
    for size in (limits.SMALL_ANSWER_BYTES, 200_000):
        client.ask(put(KEY, b"value=" + b"v" * size))
        chunked = answer(client.ask(get(KEY)))
        assert chunked.headers[b"Transfer-Encoding"] == b"chunked"
        assert len(chunked.body) > size
        (head,) = answers(client.ask(request(b"HEAD", KEY)), heads=[0])
        assert not {b"Content-Length", b"Transfer-Encoding"} & head.headers.keys()
        old = wire.client()
        plain = old.ask(b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % KEY)
        head_lines, _, body = plain.partition(b"\r\n\r\n")
        assert body == chunked.body
        assert b"Connection" not in head_lines
        assert old.transport.closed


def test_absolute_targets_and_other_spellings(client: Client) -> None:
    client.ask(put(b"/v2/keys/caf%C3%A9", b"value=1"))
    for target in (
        b"http://elsewhere/v2/keys/caf%C3%A9",
        b"/v2/keys/caf\xc3\xa9",
        b"/v2%2Fkeys/caf%c3%a9/",
    ):
        assert values([answer(client.ask(get(target)))]) == [b"1"]
    moved = answer(client.ask(get(b"http://elsewhere?x=1")))
    assert (moved.status, moved.headers[b"Location"]) == (301, b"/?x=1")


@pytest.mark.parametrize(
    "data",
    [
        get(b"/v2/keys/a b"),
        get(b"/v2/keys/a\x01"),
        get(b"v2/keys/a"),
        get(b"/v2/keys/%zz"),
        get(b"*"),
        b"GET /a\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        request(b"G(T", KEY),
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        get(KEY, b"X : y"),
        get(KEY, b"X"),
        get(KEY, b"X: a\x01"),
        get(KEY, b"Host: again"),
        request(b"PUT", KEY, None, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        request(b"PUT", KEY, None, b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        request(b"PUT", KEY, None, b"Content-Length: 3", b"Content-Length: 4") + b"abc",
        request(b"PUT", KEY, None, b"Content-Length: -1"),
        request(b"PUT", KEY, None, b"Transfer-Encoding: chunked") + b"zz\r\n",
    ],
)
def test_malformed_requests(wire: Wire, client: Client, data: bytes) -> None:
    assert client.ask(data) == BAD_REQUEST
    assert client.over
    assert client.ask(get(KEY)) == b"", "nothing that follows is looked at"


def test_a_malformed_request_waits_for_those_before_it(wire: Wire, client: Client) -> None:
    wire.service.held = []
    client.send(put(KEY, b"value=1") + b"GET /a b HTTP/1.1\r\n\r\n")
    assert client.take() == b""
    wire.service.release()
    sent = client.take()
    assert sent.endswith(BAD_REQUEST)
    assert answer(sent[: -len(BAD_REQUEST)]).status == 201


def test_hosts(wire: Wire) -> None:
    missing = wire.client().ask(b"GET /version HTTP/1.1\r\n\r\n")
    assert missing.startswith(b"HTTP/1.1 400 Bad Request: missing required Host header\r\n")
    malformed = wire.client().ask(request(b"GET", KEY, host=b"Host: a b\r\n"))
    assert malformed.startswith(b"HTTP/1.1 400 Bad Request: malformed Host header\r\n")
    empty = wire.client().ask(request(b"GET", b"/version", host=b"Host:\r\n"))
    assert answer(empty).status == 200


@pytest.mark.parametrize("encoding", [b"gzip", b"gzip, chunked", b"identity"])
def test_transfer_encodings(client: Client, encoding: bytes) -> None:
    sent = client.ask(request(b"PUT", KEY, None, b"Transfer-Encoding: " + encoding))
    assert sent.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert sent.endswith(b"\r\n\r\nUnsupported transfer encoding")


def test_offers_of_other_protocols_are_not_taken_up(client: Client) -> None:
    offer = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings")
    series = answers(
        client.ask(get(b"/version", *offer) + request(b"PUT", KEY, b"value=1", *offer) + get(KEY))
    )
    assert [each.status for each in series] == [200, 201, 200]
    assert values(series)[1:] == [b"1", b"1"]
    many = get(b"/version", *offer) * (limits.PARSE_SLICE_BYTES // 50)
    assert len(answers(client.ask(many))) == limits.PARSE_SLICE_BYTES // 50


@pytest.mark.parametrize("line", [True, False])
def test_too_large_a_head(wire: Wire, client: Client, line: bool) -> None:
    def head(size: int) -> bytes:
        if line:
            return get(b"/version?" + b"x" * size)
        return get(b"/version", b"X: " + b"x" * size)

    accepted = head(limits.MAX_HEAD_BYTES - 200)
    refused = head(limits.MAX_HEAD_BYTES + 200)
    for start in range(0, len(accepted), 100_000):
        client.send(accepted[start : start + 100_000])
    assert answer(client.take()).status == 200
    for start in range(0, len(refused), 100_000):
        client.send(refused[start : start + 100_000])
    assert client.take().startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def test_too_many_headers(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000)
    assert client.take().startswith(b"HTTP/1.1 431 ")


def test_the_largest_form(client: Client) -> None:
    def send(size: int) -> Answer:
        data = put(KEY, b"value=" + b"v" * (size - 6))
        for start in range(0, len(data), 1 << 20):
            client.send(data[start : start + (1 << 20)])
        return answer(client.take())

    assert send(limits.MAX_FORM_BYTES).status == 201
    for excess in (1, 100):
        refused = send(limits.MAX_FORM_BYTES + excess)
        assert (refused.status, refused.headers[b"X-Etcd-Index"]) == (400, b"0")
        assert b'"cause":"http: POST too large"' in refused.body
        assert not client.over
    assert send(limits.MAX_FORM_BYTES + 2 * limits.MAX_DISCARD_BYTES).status == 400
    assert client.over, "the rest of the body is not waited for"


def test_bodies_without_a_meaning_are_ignored(client: Client) -> None:
    for method in (b"GET", b"DELETE"):
        assert answer(client.ask(request(method, KEY, b"value=1&dir=x"))).status == 404
    other = request(b"PUT", KEY, b"value=1", b"Content-Type: application/json")
    assert values([answer(client.ask(other))]) == [b""]


def test_unfinished_bodies_are_bounded_together(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvraft.api.connection.MAX_BUFFERED_BODY_BYTES", 100_000)
    head = request(b"PUT", KEY, None, FORM_TYPE[:-2], b"Content-Length: 90000")
    first, second = wire.client(), wire.client()
    first.send(head + b"v" * 60_000)
    second.send(head)
    second.send(b"v" * 60_000)
    assert second.take().startswith(b"HTTP/1.1 503 ")
    first.send(b"v" * 30_000)
    assert answer(first.take()).status == 201
    assert wire.port.buffered_bytes == 0
    third = wire.client()
    third.send(head + b"v" * 60_000)
    third.hang_up()
    assert wire.port.buffered_bytes == 0


def test_framing_without_data_is_bounded(client: Client) -> None:
    client.send(request(b"PUT", KEY, None, b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n")
    for _ in range(limits.MAX_SILENT_FRAMING_BYTES // 1000 + 100):
        client.send(b"X: %b\r\n" % (b"y" * 995))
    assert client.take() == BAD_REQUEST


def test_slow_senders_are_cut_off(wire: Wire, client: Client) -> None:
    wire.port.start()
    client.send(b"GE")
    other = wire.client()
    other.send(b"GET / HTTP/1.1\r\nX: ")
    body = wire.client()
    body.send(request(b"PUT", KEY, None, b"Content-Length: 100"))
    for _ in range(int(limits.HEAD_TIMEOUT_S) - 1):
        wire.loop.advance(1.0)
        other.send(b"x")
        body.send(b"x")
    assert not client.over
    assert not other.over
    wire.loop.advance(3.0)
    assert client.transport.aborted
    assert other.transport.aborted
    assert not body.over
    wire.loop.advance(limits.REQUEST_TIMEOUT_S)
    assert body.transport.aborted


def test_idle_connections_are_closed(wire: Wire, client: Client) -> None:
    wire.port.start()
    waiting = wire.client()
    waiting.send(get(KEY + b"?wait=true"))
    wire.loop.advance(limits.IDLE_TIMEOUT_S - 2)
    client.ask(get(KEY))
    wire.loop.advance(10)
    assert not client.over
    wire.loop.advance(limits.IDLE_TIMEOUT_S)
    assert client.transport.aborted
    assert not waiting.over, "a watch may take as long as it takes"


def test_a_client_that_takes_nothing_is_given_up(wire: Wire, client: Client) -> None:
    wire.port.start()
    client.send(get(KEY + b"?wait=true&stream=true"))
    client.connection.pause_writing()
    wire.loop.advance(limits.STALL_TIMEOUT_S - 2)
    assert not client.over
    wire.loop.advance(4)
    assert client.transport.aborted


def test_a_refused_client_may_read_its_answer(wire: Wire, client: Client) -> None:
    wire.port.start()
    client.send(get(b"/a b"))
    assert client.transport.eof_sent
    assert not client.transport.closed
    client.send(b"more of the same")
    wire.loop.advance(limits.LINGER_TIMEOUT_S + 2)
    assert client.transport.aborted


def test_an_answer_on_its_way_is_not_cut(wire: Wire, client: Client) -> None:
    wire.port.start()
    client.transport.unsent = 1_000_000
    client.send(get(KEY, b"Connection: close"))
    wire.loop.advance(60)
    assert not client.transport.aborted
    wire.loop.advance(limits.STALL_TIMEOUT_S)
    assert client.transport.aborted


def test_clients_beyond_the_cap_are_turned_away(wire: Wire, client: Client) -> None:
    wire.port.max_connections = 1
    other = wire.client()
    assert other.take().startswith(b"HTTP/1.1 503 ")
    other.hang_up()
    assert answer(client.ask(get(KEY))).status == 404


def test_the_half_closed_are_answered(wire: Wire, client: Client) -> None:
    assert client.connection.eof_received() is False
    other = wire.client()
    wire.service.held = []
    other.send(put(KEY, b"value=1") + get(KEY))
    assert other.connection.eof_received() is True
    wire.service.release()
    assert [each.status for each in answers(other.take())] == [201, 200]
    assert other.transport.closed


def test_answers_for_the_departed_are_dropped(wire: Wire, client: Client) -> None:
    wire.service.held = []
    client.send(put(KEY, b"value=1"))
    client.hang_up()
    assert not wire.port.connections
    wire.service.release()
    assert client.take() == b""
    assert answer(wire.client().ask(get(KEY))).status == 200


def test_what_breaks_is_logged_and_ends_the_connection(
    wire: Wire, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("on purpose")

    wire.port.router.add(b"/broken", (), broken)
    with caplog.at_level(logging.ERROR):
        client.send(get(b"/broken"))
        waiting = wire.client()
        wire.service.held = []
        waiting.send(put(KEY, b"value=1") + get(b"/broken"))
        wire.service.release()
    assert client.transport.aborted
    assert waiting.transport.aborted
    assert answer(waiting.take()).status == 201
    assert caplog.text.count("on purpose") >= 2


def test_guarded_ports(client: Client) -> None:
    wire = Wire(Guards(["kv.example"], strict=True))
    known = wire.client().ask(request(b"GET", KEY, host=b"Host: kv.example:1\r\n"))
    assert answer(known).status == 404
    foreign = answer(wire.client().ask(request(b"GET", KEY, host=b"Host: evil.example\r\n")))
    assert foreign.status == 403
    assert b"--host-whitelist" in foreign.body
    for origin, status in ((b"http://evil.example", 403), (b"http://localhost", 201)):
        posted = client.ask(request(b"PUT", KEY, b"value=1", b"Origin: " + origin))
        assert answer(posted).status == status
    assert answer(client.ask(get(KEY, b"Origin: http://evil.example"))).status == 200


@pytest.mark.parametrize(
    "mark",
    [
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        b"Referer: http://evil.example/",
        b"Sec-Fetch-Site: same-origin",
        b"origin: http://evil.example",
    ],
)
def test_a_foreign_name_is_refused_to_browsers_only(mark: bytes) -> None:
    wire = Wire(Guards(["kv.example"]))
    foreign = b"Host: evil.example\r\n"
    browser = answer(wire.client().ask(request(b"GET", KEY, b"", mark, host=foreign)))
    assert browser.status == 403
    assert b"--host-whitelist" in browser.body
    tool = request(b"GET", KEY, b"", b"User-Agent: curl/8.0", host=foreign)
    assert answer(wire.client().ask(tool)).status == 404


def test_cross_origin_answers() -> None:
    wire = Wire(Guards(None, ["http://a.example"]))
    client = wire.client()
    sent = client.ask(get(KEY, b"Origin: http://a.example"))
    names = [line.partition(b":")[0] for line in sent.split(b"\r\n")[1:5]]
    assert names == [
        b"Access-Control-Allow-Headers",
        b"Access-Control-Allow-Methods",
        b"Access-Control-Allow-Origin",
        b"Content-Type",
    ]
    assert answer(sent).headers[b"Access-Control-Allow-Origin"] == b"http://a.example"
    assert b"Access-Control" not in client.ask(get(KEY))
    assert b"Access-Control" not in client.ask(get(KEY, b"Origin: http://b.example"))


def test_random_bytes_never_break_the_server(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    good = [
        get(KEY),
        put(KEY, b"value=1&ttl=5"),
        request(b"HEAD", b"/v2/keys/?recursive=true"),
        request(b"POST", KEY, None, b"Transfer-Encoding: chunked") + b"3\r\nx=y\r\n0\r\n\r\n",
        get(b"/v2/keys//a"),
        get(b"/v2/keys/a?wait=true&waitIndex=1"),
        HOST,
    ]
    for _ in range(2000):
        client = wire.client()
        data = bytearray(b"".join(rng.choices(good, k=rng.randrange(1, 4))))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        while data:
            size = rng.randrange(1, len(data) + 1)
            client.send(bytes(data[:size]))
            del data[:size]
        client.hang_up()
    assert not wire.port.connections
    assert not wire.service.store.hub.count
    assert not caplog.records


def test_usual_requests_leave_nothing_to_the_collector(client: Client) -> None:
    """In a server it only runs now and then: cycles would pile up until it pauses all."""
    requests = [
        put(b"/v2/keys/a", b"value=1"),
        put(b"/v2/keys/a?prevExist=true", b"value=1&ttl=5"),
        get(b"/v2/keys/a"),
        get(b"/v2/keys/a?quorum=true"),
        get(b"/v2/keys/none"),
        request(b"DELETE", b"/v2/keys/none"),
    ]
    for data in requests:
        client.ask(data)
    gc.collect()
    gc.disable()
    try:
        for data in requests * 20:
            client.ask(data)
        assert gc.collect() == 0
    finally:
        gc.enable()
