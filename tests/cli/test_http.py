"""Single exchanges: time limits, kept connections, and what may go wrong on the way."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest

from kvraft_cli import http
from kvraft_cli.endpoints import parse_url
from kvraft_cli.errors import DeadlineExceeded, HeaderTimeout, TransportError
from kvraft_cli.http import Reply, Transport
from tests.cli.stub import Asked, Stub, answer


def no_tls() -> ssl.SSLContext:
    raise AssertionError("not asked for")


@pytest.fixture
def transport() -> Transport:
    return Transport(no_tls)


def get(transport: Transport, url: str, **limits: float) -> Reply:
    return transport.exchange("GET", parse_url(url), **limits)  # type: ignore[arg-type]


def failing(call: Callable[[], object]) -> TransportError:
    with pytest.raises(TransportError) as caught:
        call()
    return caught.value


def test_a_request_and_its_answer(transport: Transport) -> None:
    with Stub(lambda _: answer(201, b"\xff", X_Etcd_Index="5")) as stub:
        reply = transport.exchange(
            "PUT",
            parse_url(f"{stub.url}/a%20b?x=1"),
            headers=[("Content-Type", "text/x")],
            body=b"\x00v",
        )
        transport.close()
    assert reply == (201, {"content-length": "1", "x-etcd-index": "5"}, b"\xff")
    (asked,) = stub.asked
    assert (asked.method, asked.target, asked.body) == ("PUT", "/a%20b?x=1", b"\x00v")
    assert asked.headers["host"] == stub.host
    assert asked.headers["content-type"] == "text/x"


def test_a_connection_is_kept(transport: Transport) -> None:
    with Stub(lambda _: answer(200)) as stub:
        for _ in range(3):
            get(transport, stub.url)
        transport.close()
    assert stub.connections == 1
    assert len(stub.asked) == 3


def test_a_connection_that_the_server_closed_is_replaced(transport: Transport) -> None:
    with Stub(lambda _: answer(200, Connection="close")) as stub:
        get(transport, stub.url)
        get(transport, stub.url)
    assert stub.connections == 2

    closing = threading.Event()

    def then_closes(asked: Asked) -> bytes | None:
        return answer(200) if not closing.is_set() else None

    with Stub(then_closes) as stub:
        get(transport, stub.url)
        # behind our back: the next request has to notice before it sends anything
        for connection in stub._open:
            connection.shutdown(socket.SHUT_RDWR)
        get(transport, stub.url)
        transport.close()
    assert stub.connections == 2


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\nX: HTTP/1.1\r\nConnection: close\r\n\r\nold", b"old"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nxsurplus", b"x"),
    ],
)
def test_ways_to_end_an_answer(transport: Transport, sent: bytes, body: bytes) -> None:
    with Stub(lambda _: sent) as stub:
        assert get(transport, stub.url).body == body
        transport.close()


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (None, "EOF"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nab", "unexpected EOF"),
        (
            b'a "b"\r\n\r\n',
            'net/http: HTTP/1.x transport connection broken: malformed HTTP response "a \\"b\\""',
        ),
    ],
)
def test_broken_answers(transport: Transport, sent: bytes | None, text: str) -> None:
    with Stub(lambda _: sent) as stub:
        error = failing(lambda: get(transport, stub.url))
    assert error.text == text
    assert not error.dialing


def test_an_answer_has_a_bound(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CTL_MAX_ANSWER_BYTES", 10)
    with Stub(lambda _: answer(200, "x" * 11)) as stub:
        assert failing(lambda: get(transport, stub.url)).text == "the answer is too large"


def test_a_refusal_before_everything_is_sent_is_heard(transport: Transport) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            connection.sendall(answer(413, "too much", Connection="close"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass

    thread = threading.Thread(target=refuse)
    thread.start()
    url = parse_url(f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        reply = transport.exchange("PUT", url, body=b"x" * (8 << 20))
    finally:
        thread.join()
        listener.close()
    assert reply.body == b"too much"


def test_connection_refused(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failing(lambda: get(transport, f"http://127.0.0.1:{port}"))
    assert error.text == f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert error.dialing


def test_the_first_address_that_answers(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()[1]
    with Stub(lambda _: answer(200, "here")) as stub:
        host, port = stub.host.split(":")

        def addresses(name: str, count: int, clock: object) -> list[tuple[int, tuple[str, int]]]:
            return [(int(socket.AF_INET), (host, one)) for one in (dead, int(port))][:count]

        monkeypatch.setattr(http, "_resolve", addresses)
        assert get(transport, "http://two:2").body == b"here"
        transport.close()
        # the reason that is told is that of the first one
        assert f"{host}:{dead}" in failing(lambda: get(transport, "http://one:1")).text


def test_hosts_and_schemes_that_lead_nowhere(transport: Transport) -> None:
    assert failing(lambda: get(transport, "http:///x")).text == "http: no Host in request URL"
    assert failing(lambda: get(transport, "")).text == 'unsupported protocol scheme ""'
    assert failing(lambda: get(transport, "ftp://h")).text == 'unsupported protocol scheme "ftp"'


def test_a_name_that_nobody_knows(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, port: int, timeout_s: float | None) -> object:
        raise LookupError(f"lookup {host} on 1.2.3.4:53: no such host")

    monkeypatch.setattr("kvraft_cli.names.look_up", unknown)
    error = failing(lambda: get(transport, "http://nohost.invalid"))
    assert error.text == "dial tcp: lookup nohost.invalid on 1.2.3.4:53: no such host"
    assert error.dialing


def test_a_name_that_takes_too_long(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(host: str, port: int, timeout_s: float | None) -> object:
        assert timeout_s is not None
        assert timeout_s <= 0.05
        time.sleep(timeout_s)
        raise TimeoutError

    monkeypatch.setattr("kvraft_cli.names.look_up", slow)
    with pytest.raises(HeaderTimeout):
        get(transport, "http://slow.invalid", header_timeout_s=0.05)


@pytest.fixture
def silent() -> Callable[[Asked], bytes | None]:
    """Answers when the client has gone."""

    def wait(asked: Asked) -> bytes | None:
        time.sleep(0.3)
        return None

    return wait


def test_an_answer_has_to_begin_in_time(
    transport: Transport, silent: Callable[[Asked], bytes | None]
) -> None:
    with Stub(silent) as stub, pytest.raises(HeaderTimeout):
        get(transport, stub.url, header_timeout_s=0.05, deadline=time.monotonic() + 60)


def test_everything_has_to_end_in_time(
    transport: Transport, silent: Callable[[Asked], bytes | None]
) -> None:
    with Stub(silent) as stub, pytest.raises(DeadlineExceeded):
        get(transport, stub.url, header_timeout_s=60, deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlineExceeded):
        get(transport, stub.url, deadline=time.monotonic())


def test_only_the_beginning_of_an_answer_is_bound_by_the_header_timeout(
    transport: Transport,
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def dribble() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
            time.sleep(0.2)
            connection.sendall(b"x")

    thread = threading.Thread(target=dribble)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert get(transport, url, header_timeout_s=0.15).body == b"x"
    transport.close()
    thread.join()
    listener.close()


def test_credentials_of_the_url(transport: Transport) -> None:
    with Stub(lambda _: answer(200)) as stub:
        get(transport, stub.url.replace("//", "//al:pw@"))
        transport.close()
    assert stub.asked[0].headers["authorization"] == "Basic YWw6cHc="


class Broken(socket.socket):
    """A socket whose calls fail as a system's do."""

    failure = OSError()

    def connect(self, address: object) -> None:
        raise self.failure

    def recv(self, *_: object) -> bytes:
        raise self.failure

    def sendall(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ETIMEDOUT, "connect: connection timed out"),
        (errno.EHOSTUNREACH, "connect: no route to host"),
        (errno.ENETUNREACH, "connect: network is unreachable"),
        (None, "i/o timeout"),
    ],
)
def test_why_nobody_was_reached(
    transport: Transport, number: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError(number, "x") if number else TimeoutError("timed out")
    monkeypatch.setattr(Broken, "failure", error)
    monkeypatch.setattr(socket, "socket", Broken)
    failed = failing(lambda: get(transport, "http://127.0.0.1:9"))
    assert failed.text == f"dial tcp 127.0.0.1:9: {words}"
    assert failed.dialing


def test_a_connection_that_is_lost_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, words in (
        (errno.ETIMEDOUT, "connection timed out"),
        (errno.ECONNRESET, "connection reset by peer"),
    ):
        monkeypatch.setattr(Broken, "failure", OSError(number, "x"))
        with Broken() as connection:
            error = failing(lambda: http._talk(connection, b"x", http.Clock(None, None)))
        assert error.text == f"read tcp ?: read: {words}"
