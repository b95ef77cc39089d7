"""A snapshot on its way to another member: a connection of its own, piece by piece.

The sender writes the InstallSnapshot frame, the chunks as byte strings, and at the end the CRC-32
of frame and chunks; the receiver answers with one byte once it has the whole on disk. TCP's own
sums let one damaged segment in some thousands pass, and a state taken from one would differ from
everybody else's for good. Nobody holds more than a chunk or two in memory, and neither event loop
is kept busy longer than one chunk takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgpack

from kvraft import limits
from kvraft.transport.codec import MalformedFrame, bounded_unpacker
from kvraft.transport.handshake import SNAPSHOT_PATH, AnswerReader, HandshakeError, request_head
from kvraft.transport.peer import connect_timeout_s, context_for

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from kvraft.transport.codec import Frame, FrameEncoder
    from kvraft.transport.handshake import Hello
    from kvraft.transport.tls import ContextSource

_RECEIVED = b"\x01"
_READ_BYTES = 256 << 10
_TIMEOUT = limits.SNAPSHOT_TRANSFER_TIMEOUT_MS / 1000


async def send_snapshot(
    target: SplitResult,
    hello: Hello,
    message: Frame,
    chunks: AsyncIterator[bytes],
    encoder: FrameEncoder,
    source: ContextSource | None = None,
) -> None:
    """Transfer a snapshot. Raises OSError, TimeoutError or HandshakeError if it failed."""
    context = context_for(target.geturl(), source)
    async with asyncio.timeout(connect_timeout_s(context)):
        reader, writer = await asyncio.open_connection(target.hostname, target.port, ssl=context)
    try:
        writer.write(request_head(SNAPSHOT_PATH, target.netloc, hello))
        await _accepted(reader)
        head = encoder.encode([message])
        crc = crc32(head)
        writer.write(head)
        async for chunk in chunks:
            _require_open(writer)
            crc = crc32(chunk, crc)
            writer.write(msgpack.packb(chunk))
            async with asyncio.timeout(_TIMEOUT):
                await writer.drain()
        _require_open(writer)
        writer.write(msgpack.packb(crc))
        async with asyncio.timeout(_TIMEOUT):
            answer = await reader.read(1)
        if answer != _RECEIVED:
            raise HandshakeError("the member could not take the snapshot")
    finally:
        writer.close()


def _require_open(writer: asyncio.StreamWriter) -> None:
    """Raise ConnectionError if the receiver is gone: uvloop's transports do not say it as one."""
    if writer.is_closing():
        raise ConnectionError("the connection broke off")


async def _accepted(reader: asyncio.StreamReader) -> None:
    answer = AnswerReader()
    rest = None
    async with asyncio.timeout(_TIMEOUT):
        while rest is None:
            data = await reader.read(_READ_BYTES)
            if not data:
                raise HandshakeError("connection closed")
            rest = answer.feed(data)


async def items(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """What the sender wrote: the frame as a tuple, byte strings, and None if all is as it was sent.

    Raises MalformedFrame, TimeoutError, or ConnectionError when it breaks off.
    """
    unpacker = bounded_unpacker(limits.MAX_SNAPSHOT_CHUNK_BYTES)
    crc = 0
    while True:
        async with asyncio.timeout(_TIMEOUT):
            data = await reader.read(_READ_BYTES)
        if not data:
            raise ConnectionError("the snapshot broke off")
        try:
            unpacker.feed(data)
            for item in unpacker:
                if type(item) is int:
                    if item != crc:
                        raise MalformedFrame("a snapshot was damaged on its way")
                    yield None
                    return
                crc = crc32(item if type(item) is bytes else msgpack.packb(item), crc)
                yield item
        except (msgpack.UnpackException, ValueError) as error:
            raise MalformedFrame(str(error)) from error


async def confirm(writer: asyncio.StreamWriter) -> None:
    """Tell the sender that the snapshot is here."""
    writer.write(_RECEIVED)
    async with asyncio.timeout(_TIMEOUT):
        await writer.drain()
