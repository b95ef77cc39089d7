"""A server that answers as it is told to, or breaks off at any point of its answer."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Self


class Seen(NamedTuple):
    """One request as the server got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Act = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class Close(Exception):
    """End the connection in order."""


class InOrder(random.Random):
    """Leaves endpoints in the order in which they were given; pauses are short ones."""

    def shuffle(self, x: Any) -> None:
        pass

    def random(self) -> float:
        return 0.0


def head(status: int, headers: str = "", length: int | None = None) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 {status} Whatever\r\n{headers}{framing}\r\n\r\n".encode()


def says(status: int, body: bytes | dict[str, Any] = b"", headers: str = "") -> Act:
    """A complete answer."""
    text = json.dumps(body).encode() if isinstance(body, dict) else body

    async def act(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, headers, len(text)))
        if seen.method != "HEAD":
            writer.write(text)

    return act


def writes(data: bytes) -> Act:
    """So many bytes of an answer, then the end of the connection."""

    async def act(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        raise Close

    return act


def hangs(data: bytes = b"") -> Act:
    """So many bytes of an answer, then silence."""

    async def act(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.Event().wait()

    return act


async def resets(_: Seen, writer: asyncio.StreamWriter) -> None:
    """Not an end, but an abort."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Close


RESULT = {"action": "get", "node": {"key": "/a", "value": "1", "modifiedIndex": 7}}
SUCCESS = says(200, RESULT, "X-Etcd-Index: 7\r\n")


def raft_error(cause: str, code: int = 300, status: int = 500) -> Act:
    return says(status, {"errorCode": code, "message": "Raft Internal Error", "cause": cause})


class Scripted:
    """Gives each request to `act`; `early` ends connections before anything is read."""

    def __init__(
        self, act: Act = SUCCESS, *, early: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self.act = act
        self.seen: list[Seen] = []
        self.connections = 0
        self._early = early
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not self._early:
                seen = await _read(reader)
                self.seen.append(seen)
                await self.act(seen, writer)
                await writer.drain()
        except (Close, OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Seen:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.partition(": ") for line in lines[1:] if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


async def unused_url() -> str:
    """Where nobody listens."""
    async with Scripted() as server:
        return server.url
