"""The peer port: who is let in, and what a malformed byte costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from zlib import crc32

import msgpack
import pytest
import pytest_asyncio

from kvraft import limits
from kvraft.raft.message import Heartbeat
from kvraft.transport.handshake import SNAPSHOT_PATH, STREAM_PATH, Hello, request_head
from tests.transport.members import (
    CLUSTER,
    HELLO,
    PEER,
    SELF,
    FakeMember,
    Port,
    calling,
    encode,
    listening,
    until,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

BEAT = Heartbeat(SELF, PEER, 7, 1, 1, 9)


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    async with listening(FakeMember()) as opened:
        yield opened


async def refused(port: Port, path: str, hello: Hello) -> tuple[int, str]:
    """Status and text of the answer to a greeting; the connection must have been closed."""
    async with calling(port) as caller:
        caller.send(request_head(path, "127.0.0.1", hello))
        head = await caller.head()
        body = await caller.rest()
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize("path", [STREAM_PATH, SNAPSHOT_PATH])
async def test_who_is_refused_and_why(port: Port, path: str) -> None:
    assert await refused(port, path, HELLO._replace(cluster_id=0xBAD)) == (
        412,
        "request cluster ID mismatch (got bad want c1)",
    )
    assert await refused(port, path, HELLO._replace(to=3)) == (
        412,
        "to field mismatch (got 3 want 1)",
    )
    port.member.removed.add(PEER)
    assert await refused(port, path, HELLO) == (410, "removed member")
    assert len(port.member.warnings) == 3
    assert port.member.frames == []


async def test_a_greeting_without_names_is_refused(port: Port) -> None:
    async with calling(port) as caller:
        head = request_head(STREAM_PATH, "127.0.0.1", HELLO)
        caller.send(head.replace(b"X-Raft-To", b"X-Raft-Two"))
        assert (await caller.head()).startswith("HTTP/1.1 400 ")
        assert await caller.rest()


async def test_an_upgrade_elsewhere_is_not_found(port: Port) -> None:
    status, _ = await refused(port, "/raft", HELLO)
    assert status == 404


async def test_frames_arrive_in_order_and_together(port: Port) -> None:
    beats = [BEAT._replace(read_round=number) for number in range(100)]
    async with calling(port) as caller:
        await caller.upgrade()
        caller.send(encode(*beats))
        await until(lambda: len(port.member.frames) == 100)
    assert port.member.frames == beats
    assert port.member.batches < 100


async def test_frames_may_follow_the_greeting_at_once(port: Port) -> None:
    async with calling(port) as caller:
        caller.send(request_head(STREAM_PATH, "127.0.0.1", HELLO) + encode(BEAT))
        await port.member.arrived.wait()
    assert port.member.frames == [BEAT]


@pytest.mark.parametrize(
    "bad",
    [
        b"\xc1",
        b"\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xdd\xff\xff\xff\xff",
        encode(BEAT)[:1] + b"\xc0" + encode(BEAT)[2:],
        encode(BEAT._replace(to=3)),
        encode(BEAT._replace(sender=3)),
        encode(BEAT._replace(term=-1)),
        encode(BEAT._replace(sender=0)),
    ],
)
async def test_a_bad_frame_ends_the_connection_and_applies_nothing(port: Port, bad: bytes) -> None:
    async with calling(port) as caller:
        await caller.upgrade()
        caller.send(encode(BEAT) + bad)
        assert await caller.rest() == b""
    assert port.member.frames == [], "nor what came in one piece with it"
    [warning] = port.member.warnings
    assert "closing the stream from member 2" in warning


async def test_what_came_before_a_bad_frame_stays(port: Port) -> None:
    async with calling(port) as caller:
        await caller.upgrade()
        caller.send(encode(BEAT))
        await port.member.arrived.wait()
        caller.send(b"\xc1" + encode(BEAT))
        await caller.rest()
    assert port.member.frames == [BEAT]


async def test_half_a_frame_is_nothing(port: Port) -> None:
    async with calling(port) as caller:
        await caller.upgrade()
        caller.send(encode(BEAT)[:-1])
        caller.writer.write_eof()
        await caller.rest()
    assert port.member.frames == []
    assert port.member.warnings == []


async def test_an_oversized_frame_ends_the_connection(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(port) as caller:
        await caller.upgrade()
        caller.send(b"\x98\x05\xc6" + (limits.MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        block = bytes(1 << 20)
        for _ in range(limits.MAX_FRAME_BYTES // len(block) + 1):
            caller.send(block)
            try:
                await caller.writer.drain()
            except ConnectionError:
                break
        await caller.rest()
    assert port.member.frames == []
    assert port.member.warnings


async def test_documents_are_answered_and_the_connection_goes_on(port: Port) -> None:
    async with calling(port) as caller:
        for _ in range(3):
            caller.send(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await caller.head()
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert "Content-Type: application/json\r\n" in head
            assert "X-Etcd-Cluster-Id" not in head
            assert "\r\nDate: " in head
            body = await caller.reader.readexactly(11)
            assert json.loads(body) == {"path": 1}
        caller.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await caller.head()).startswith("HTTP/1.1 404 ")
        await caller.reader.readuntil(b"\n")
        caller.send(b"DELETE /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await caller.head()).startswith("HTTP/1.1 405 ")


async def plain(port: Port, line: str, headers: str = "") -> tuple[str, str]:
    """Head and body of the answer to one request, whose connection ends with it."""
    async with calling(port) as caller:
        caller.send(f"{line}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        head = await caller.head()
        return head, (await caller.rest()).decode()


@pytest.mark.parametrize(
    "target", ["/members", "/members?x=%zz", "/m%65mbers", "http://other:1/members?"]
)
async def test_a_document_is_found_by_its_decoded_path(port: Port, target: str) -> None:
    head, body = await plain(port, f"GET {target} HTTP/1.1")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert f"X-Etcd-Cluster-Id: {CLUSTER:x}\r\n" in head
    assert "Connection: close\r\n" in head
    assert body == "[]\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_other_methods_are_told_which_one_is_allowed(port: Port, method: str) -> None:
    head, body = await plain(port, f"{method} /members HTTP/1.1")
    assert head.startswith("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n")
    assert "X-Content-Type-Options: nosniff\r\n" in head
    assert "X-Etcd-Cluster-Id" not in head
    assert "Content-Length: 19\r\n" in head
    assert body == ("" if method == "HEAD" else "Method Not Allowed\n")
    head, body = await plain(port, f"{method} /raft/probing HTTP/1.1")
    assert head.startswith("HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("target", ["/", "/members/", "/v2/keys", "/health", "/metrics", "/%FF"])
async def test_anything_else_is_not_found(port: Port, target: str) -> None:
    head, body = await plain(port, f"GET {target} HTTP/1.1")
    assert head.startswith("HTTP/1.1 404 Not Found\r\n")
    assert "X-Content-Type-Options: nosniff\r\n" in head
    assert "X-Etcd-Cluster-Id" not in head
    assert body == "404 page not found\n"
    assert (await plain(port, f"HEAD {target} HTTP/1.1"))[1] == ""


@pytest.mark.parametrize("target", ["/members%", "/%zz", "*"])
async def test_a_malformed_target_is_refused(port: Port, target: str) -> None:
    head, _ = await plain(port, f"GET {target} HTTP/1.1")
    assert head.startswith("HTTP/1.1 400 ")


async def test_the_connection_of_an_old_client_ends_with_the_answer(port: Port) -> None:
    async with calling(port) as caller:
        caller.send(b"GET /members HTTP/1.0\r\n\r\n")
        await caller.head()
        assert await caller.rest() == b"[]\n"


async def test_a_stream_may_begin_on_a_connection_that_was_used_before(port: Port) -> None:
    async with calling(port) as caller:
        caller.send(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        await caller.head()
        await caller.reader.readexactly(11)
        await caller.upgrade()
        caller.send(encode(BEAT))
        await port.member.arrived.wait()
    assert port.member.frames == [BEAT]


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
async def test_what_is_no_http_is_refused(port: Port, data: bytes) -> None:
    async with calling(port) as caller:
        caller.send(data)
        assert (await caller.head()).startswith("HTTP/1.1 400 ")
        await caller.rest()


async def test_a_head_without_end_is_refused(port: Port) -> None:
    async with calling(port) as caller:
        caller.send(b"GET /version HTTP/1.1\r\n")
        caller.send(b"X-A: " + b"x" * limits.MAX_PEER_HEAD_BYTES + b"\r\n")
        assert (await caller.head()).startswith("HTTP/1.1 431 ")
        await caller.rest()


async def test_connections_are_bounded(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PEER_CONNECTIONS", 1)
    async with calling(port) as first:
        await first.upgrade()
        async with calling(port) as second:
            second.send(request_head(STREAM_PATH, "127.0.0.1", HELLO))
            assert await second.rest() == b""
        first.send(encode(BEAT))
        await port.member.arrived.wait()
    assert "too many connections" in port.member.warnings[0]
    await until(lambda: not port.connections)
    async with calling(port) as third:
        await third.upgrade()


async def test_who_does_not_introduce_himself_makes_room(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PEER_CONNECTIONS", 2)
    async with calling(port) as member, calling(port) as silent:
        await member.upgrade()
        await until(lambda: len(port.connections) == 2)
        async with calling(port) as second:
            await second.upgrade()
            assert await silent.rest() == b""
            member.send(encode(BEAT))
            await port.member.arrived.wait()
    assert port.member.warnings == []


@pytest.mark.parametrize("said", [b"", b"GET /vers", b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_connections_without_a_request_end(
    port: Port, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(limits, "PEER_REQUEST_TIMEOUT_S", 0.05)
    async with calling(port) as member, calling(port) as other:
        await member.upgrade()
        other.send(said)
        await other.rest()
        member.send(encode(BEAT))
        await port.member.arrived.wait()


async def test_connections_that_end_are_forgotten(port: Port) -> None:
    for path in (STREAM_PATH, SNAPSHOT_PATH):
        async with calling(port) as caller:
            await caller.upgrade(path)
        await until(lambda: not port.connections)


async def test_a_snapshot_connection_hands_over_what_came_with_the_greeting(port: Port) -> None:
    async with calling(port) as caller:
        greeting = request_head(SNAPSHOT_PATH, "127.0.0.1", HELLO)
        caller.send(greeting + b"\xc4\x03abc" + msgpack.packb(crc32(b"abc")))
        await caller.head()
        assert await caller.reader.readexactly(1) == b"\x01"
        assert await caller.rest() == b""
    assert port.member.snapshot == [b"abc", None]
    assert asyncio.get_running_loop().is_running()
