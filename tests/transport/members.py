"""A member as its peer port sees it, and raw connections to that port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.transport.codec import FrameEncoder
from kvraft.transport.handshake import STREAM_PATH, Hello, request_head
from kvraft.transport.listener import Document, PeerConnection, peer_protocol_factory
from kvraft.transport.snapshot import confirm, items

CLUSTER = 0xC1
SELF, PEER = 1, 2
HELLO = Hello(CLUSTER, PEER, SELF)


class FakeMember:
    """Takes everything down; implements `PeerPort`."""

    def __init__(self, member_id: int = SELF) -> None:
        self.cluster_id = CLUSTER
        self.member_id = member_id
        self.frames: list[Any] = []
        self.batches = 0
        self.received_bytes = 0
        self.removed: set[int] = set()
        self.callers: list[Hello] = []
        self.warnings: list[str] = []
        self.snapshot: list[Any] = []
        self.snapshot_error: Exception | None = None
        self.arrived = asyncio.Event()

    def receive_frames(self, frames: list[Any]) -> None:
        self.frames += frames
        self.batches += 1
        self.arrived.set()

    async def receive_snapshot(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async for item in items(reader):
                self.snapshot.append(item)
        except Exception as error:  # the test looks at it
            self.snapshot_error = error
            self.arrived.set()
            return
        await confirm(writer)
        self.arrived.set()

    def document(self, path: str) -> Document | None:
        documents = {
            "/version": Document("application/json", b'{"path":1}\n'),
            "/members": Document("application/json", b"[]\n", names_cluster=True),
            "/raft/probing": Document("text/plain; charset=utf-8", b"ok", methods=()),
        }
        return documents.get(path)

    def called_by(self, hello: Hello) -> None:
        self.callers.append(hello)

    def is_removed(self, member_id: int) -> bool:
        return member_id in self.removed

    def count_received(self, member_id: int, size: int) -> None:
        self.received_bytes += size

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Port:
    """A listening peer port."""

    def __init__(self, member: FakeMember, server: asyncio.Server) -> None:
        self.member = member
        self.server = server
        self.connections: set[PeerConnection] = set()

    @property
    def number(self) -> int:
        number: int = self.server.sockets[0].getsockname()[1]
        return number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}"

    def close(self) -> None:
        self.server.close()
        for connection in list(self.connections):
            connection.abort()


@contextlib.asynccontextmanager
async def listening(member: FakeMember, number: int = 0) -> AsyncIterator[Port]:
    connections: set[PeerConnection] = set()
    factory = peer_protocol_factory(member, frame_from_wire, connections)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", number)
    port = Port(member, server)
    port.connections = connections
    try:
        yield port
    finally:
        port.close()
        await until(lambda: not connections)
        await asyncio.sleep(0.005)  # sockets are closed a turn of the loop later
        port.close()


async def until(reached: Callable[[], bool]) -> None:
    """Let the loop work until it is so; the test's own timeout ends it otherwise."""
    while not reached():  # noqa: ASYNC110 - what is waited for is whatever the test asks
        await asyncio.sleep(0.001)


def encoder() -> FrameEncoder:
    return FrameEncoder(FRAME_NUMBERS)


def encode(*frames: Any) -> bytes:
    return encoder().encode(frames)


class Caller:
    """A raw connection to a peer port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def rest(self) -> bytes:
        """Everything until the other side ends the connection, however it does."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def upgrade(self, path: str = STREAM_PATH, hello: Hello = HELLO) -> None:
        self.send(request_head(path, "127.0.0.1", hello))
        assert (await self.head()).startswith("HTTP/1.1 101 ")


@contextlib.asynccontextmanager
async def calling(port: Port) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
