"""A server that answers as it is told, and the fleet of this one member."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from benchmarks.members import LOCALHOST
from jepsen_like.procs.fleet import Fleet

Answering = Callable[[str], bytes | None]
"""The first line of a request -> what is sent back; None to hang up."""


class OneMember:
    """The part of a fleet that clients use."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.starts = 0

    def pick(self, rng: random.Random) -> int:
        del rng
        return 0

    def numbers(self) -> list[int]:
        return [0]

    def life(self, number: int) -> int:
        return number + self.starts

    def address(self, number: int) -> tuple[str, int]:
        assert number == 0
        return LOCALHOST, self.port

    def as_fleet(self) -> Fleet:
        return cast(Fleet, self)


def answer(status: int, document: Any, index: int = 9) -> bytes:
    """A whole answer with a JSON document."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\nX-Etcd-Index: {index}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream(*documents: Any, index: int = 9) -> bytes:
    """A chunked answer, complete."""
    lines = [json.dumps(document).encode() + b"\n" for document in documents]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    head = f"HTTP/1.1 200 OK\r\nX-Etcd-Index: {index}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + chunks + b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def server(answering: Answering) -> AsyncIterator[OneMember]:
    """Listens as long as the context lasts; an empty answer is none at all."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
                await reader.readexactly(int(length or "0"))
                text = answering(head.partition("\r\n")[0])
                if text is None:
                    writer.transport.abort()
                    return
                writer.write(text)
                await writer.drain()

    listening = await asyncio.start_server(serve, LOCALHOST, 0)
    try:
        yield OneMember(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await listening.wait_closed()
        await asyncio.sleep(0)
