"""A snapshot on its way: whole, or refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import msgpack
import pytest

from kvraft import limits
from kvraft.raft.entry import Membership, SnapshotMeta
from kvraft.raft.message import InstallSnapshot
from kvraft.server.frames import FRAME_NUMBERS
from kvraft.transport import snapshot
from kvraft.transport.codec import MalformedFrame
from kvraft.transport.handshake import SNAPSHOT_PATH, HandshakeError, Hello
from kvraft.transport.snapshot import items, send_snapshot
from tests.transport.members import (
    HELLO,
    PEER,
    SELF,
    FakeMember,
    Port,
    calling,
    encode,
    encoder,
    listening,
    until,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

MESSAGE = InstallSnapshot(SELF, PEER, 7, SnapshotMeta(100, 6, Membership((1, 2), ())))


async def stream(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def send(port: Port, chunks: AsyncIterator[bytes], hello: Hello = HELLO) -> None:
    await send_snapshot(urlsplit(port.url), hello, MESSAGE, chunks, encoder())


async def test_all_chunks_arrive_as_they_were() -> None:
    member = FakeMember()
    chunks = [b"", b"a", bytes(1 << 20), b"z" * 300_000]
    async with listening(member) as port:
        await send(port, stream(chunks))
    first, *received, last = member.snapshot
    assert first == (FRAME_NUMBERS[InstallSnapshot], *MESSAGE)
    assert received == chunks
    assert last is None


async def test_the_sender_holds_no_more_than_the_connection_takes() -> None:
    """The receiver reads nothing: the sender stops asking for chunks."""
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(1 << 20)

    class Deaf(FakeMember):
        async def receive_snapshot(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await asyncio.sleep(0.2)

    async with listening(Deaf()) as port:
        with pytest.raises((OSError, HandshakeError)):
            await send(port, endless())
    assert asked < 64


@pytest.mark.parametrize(
    ("hello", "reason"),
    [(HELLO._replace(cluster_id=1), "412"), (HELLO._replace(to=5), "412")],
)
async def test_a_stranger_is_refused(hello: Hello, reason: str) -> None:
    member = FakeMember()
    async with listening(member) as port:
        with pytest.raises(HandshakeError, match=reason):
            await send(port, stream([b"a"]), hello)
    assert member.snapshot == []


async def test_nobody_there() -> None:
    async with listening(FakeMember()) as port:
        url = port.url
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await send_snapshot(urlsplit(url), HELLO, MESSAGE, stream([]), encoder())


async def test_a_receiver_that_cannot_take_it_shows() -> None:
    class Full(FakeMember):
        async def receive_snapshot(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            """Returns without a confirmation, as for a full disk."""

    async with listening(Full()) as port:
        with pytest.raises((HandshakeError, ConnectionError)):
            await send(port, stream([b"a"]))


async def test_a_receiver_that_is_killed_meanwhile_shows() -> None:
    """As an error that the sender expects, whatever the loop's transports make of it."""

    class Killed(FakeMember):
        async def receive_snapshot(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.transport.abort()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"a"
            await asyncio.sleep(0.01)

    async with listening(Killed()) as port:
        with pytest.raises(ConnectionError):
            await send(port, endless())


async def test_a_receiver_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_TIMEOUT", 0.02)
    released = asyncio.Event()

    class Silent(FakeMember):
        async def receive_snapshot(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await released.wait()

    async with listening(Silent()) as port:
        with pytest.raises(TimeoutError):
            await send(port, stream([b"a"]))
        released.set()


async def test_a_snapshot_that_breaks_off_is_no_snapshot() -> None:
    member = FakeMember()
    async with listening(member) as port:
        async with calling(port) as caller:
            await caller.upgrade(SNAPSHOT_PATH)
            caller.send(encode(MESSAGE) + b"\xc4\x05ab")
        await member.arrived.wait()
    assert len(member.snapshot) == 1
    assert isinstance(member.snapshot_error, ConnectionError)


@pytest.mark.parametrize("bad", [b"\xc1", b"\x81\x01\x01", b"\xa3abc", b"\xd4\x01x"])
async def test_what_is_no_item_is_malformed(bad: bytes) -> None:
    member = FakeMember()
    async with listening(member) as port, calling(port) as caller:
        await caller.upgrade(SNAPSHOT_PATH)
        caller.send(encode(MESSAGE) + b"\xc4\x01a" + bad)
        await member.arrived.wait()
        assert await caller.rest() == b"", "no confirmation"
    assert isinstance(member.snapshot_error, MalformedFrame)
    assert None not in member.snapshot


async def test_a_chunk_beyond_the_bound_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SNAPSHOT_CHUNK_BYTES", 1 << 20)
    reader = asyncio.StreamReader()
    received: list[Any] = []
    reader.feed_data(b"\xc6" + (2 << 20).to_bytes(4, "big") + bytes(2 << 20))
    reader.feed_eof()

    async def receive() -> None:
        received.extend([item async for item in items(reader)])

    with pytest.raises(MalformedFrame):
        await receive()
    assert received == []


async def test_what_follows_the_end_is_not_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\xc4\x01a" + msgpack.packb(crc32(b"a")) + b"\xc4\x01b")
    assert [item async for item in items(reader)] == [b"a", None]


@pytest.mark.parametrize("seed", range(20))
async def test_a_flipped_bit_is_never_taken_for_a_snapshot(seed: int) -> None:
    """Wherever it is: in the frame, in a chunk, in a length, in the sum."""
    rng = random.Random(seed)
    head, chunks = encode(MESSAGE), [rng.randbytes(50), rng.randbytes(300)]
    whole = bytearray(head + b"".join(map(msgpack.packb, chunks)))
    whole += msgpack.packb(crc32(b"".join([head, *chunks])))
    assert (await received(bytes(whole)))[-1] is None
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        with pytest.raises((MalformedFrame, ConnectionError)):
            await received(bytes(damaged))


async def received(data: bytes) -> list[Any]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return [item async for item in items(reader)]


async def test_two_snapshots_at_once_do_not_mix() -> None:
    member = FakeMember()
    async with listening(member) as port:
        await asyncio.gather(*(send(port, stream([b"%d" % n] * 10)) for n in range(3)))
        await until(lambda: member.snapshot.count(None) == 3)
    assert sorted(item for item in member.snapshot if type(item) is bytes) == sorted(
        [b"0", b"1", b"2"] * 10
    )
