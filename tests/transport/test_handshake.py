"""How connections between members begin, without sockets."""

from __future__ import annotations

import httptools
import pytest

from kvraft.transport.handshake import (
    ACCEPTANCE,
    STREAM_PATH,
    AnswerReader,
    HandshakeError,
    Hello,
    hello_from_headers,
    request_head,
)

HELLO = Hello(0xFFFF_0000_1234_5678, 0xA, 0xB)


class Request:
    """What an HTTP parser makes of a request head."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        parser = httptools.HttpRequestParser(self)
        with pytest.raises(httptools.HttpParserUpgrade):
            parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value


def test_the_greeting_is_understood() -> None:
    request = Request(request_head(STREAM_PATH, "10.0.0.1:2380", HELLO))
    assert request.url == STREAM_PATH.encode()
    assert request.headers[b"host"] == b"10.0.0.1:2380"
    assert hello_from_headers(request.headers) == HELLO


@pytest.mark.parametrize("name", ["X-Etcd-Cluster-ID", "X-Server-From", "X-Raft-To"])
@pytest.mark.parametrize("value", [None, b"", b"xyz", b"1 2"])
def test_a_greeting_without_numbers_is_none(name: str, value: bytes | None) -> None:
    headers = Request(request_head(STREAM_PATH, "h:1", HELLO)).headers
    if value is None:
        del headers[name.lower().encode()]
    else:
        headers[name.lower().encode()] = value
    assert hello_from_headers(headers) is None


def test_an_acceptance_may_come_in_pieces_and_with_bytes_behind_it() -> None:
    reader = AnswerReader()
    for place in range(len(ACCEPTANCE) - 1):
        assert reader.feed(ACCEPTANCE[place : place + 1]) is None
    assert reader.feed(ACCEPTANCE[-1:] + b"rest") == b"rest"


def test_a_refusal_carries_its_reason() -> None:
    body = b"request cluster ID mismatch"
    head = b"HTTP/1.1 412 Refused\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(HandshakeError, match="412: request cluster ID mismatch"):
        AnswerReader().feed(head + body)


def test_a_refusal_may_come_in_pieces() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\nre") is None
    with pytest.raises(HandshakeError, match="410: reXY"):
        reader.feed(b"XY")


def test_long_reasons_are_kept_short() -> None:
    head = b"HTTP/1.1 500 Error\r\nContent-Length: 100000\r\n\r\n"
    with pytest.raises(HandshakeError) as caught:
        AnswerReader().feed(head + b"x" * 100_000)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_other_protocols_are_told_apart(data: bytes) -> None:
    with pytest.raises(HandshakeError, match="no HTTP answer"):
        AnswerReader().feed(data)
