"""A connection to a client port that knows whether a request may have reached the server.

That difference decides what a client may claim later: a refused connection means that nothing was
done, anything after the first byte was sent means that nobody knows.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

CONNECT_TIMEOUT_S = 1.0
SMALL_SEGMENT_BYTES = 536  # the kernel of the other end buffers in proportion to them
LINE_BYTES = 1 << 20  # the longest line of an answer that is read at once

# Whoever only waits never learns that the other end is gone if that word was lost on the way.
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
)

Address = tuple[str, int]
BROKEN = (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError)
"""What reading from a connection may end with."""


class NotSentError(Exception):
    """Nobody listens there: the request was certainly not seen."""


class BrokenError(Exception):
    """The connection ended or went silent after the request was sent."""


class Answer(NamedTuple):
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON document in the body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Connection:
    """One connection, for one request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(
        cls,
        address: Address,
        timeout_s: float = CONNECT_TIMEOUT_S,
        buffer_bytes: int = LINE_BYTES,
    ) -> Self:
        """Connect to a host and port. Raises NotSentError."""
        try:
            async with asyncio.timeout(timeout_s):
                link = await _connected(address, buffer_bytes)
                reader, writer = await asyncio.open_connection(sock=link, limit=buffer_bytes)
        except (OSError, TimeoutError) as error:
            raise NotSentError(repr(error)) from error
        return cls(reader, writer, address[0])

    async def ask(
        self, method: str, target: str, form: dict[str, str] | None, timeout_s: float
    ) -> Answer:
        """Send a request and wait for its whole answer. Raises BrokenError."""
        try:
            async with asyncio.timeout(timeout_s):
                self._send(method, target, form)
                status, headers = await self._head()
                if headers.get("transfer-encoding") == "chunked":
                    body = b"".join([chunk async for chunk in self._chunks()])
                else:
                    body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except BROKEN as error:
            raise BrokenError(repr(error)) from error
        return Answer(status, headers, body)

    async def follow(self, target: str, timeout_s: float) -> AsyncIterator[Answer]:
        """The lines of a watch that streams, each as an answer. Raises BrokenError.

        An answer that is no stream is the only one. The end of the stream ends the iteration.
        """
        status, headers = await self.begin(target, timeout_s)
        async for line in self.lines(headers):
            yield Answer(status, headers, line)

    async def begin(self, target: str, timeout_s: float) -> tuple[int, dict[str, str]]:
        """Ask for something that may take long: status and headers, which come at once.

        Raises BrokenError. `lines` gives the rest.
        """
        try:
            async with asyncio.timeout(timeout_s):
                self._send("GET", target, None)
                return await self._head()
        except BROKEN as error:
            raise BrokenError(repr(error)) from error

    async def lines(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        """The body as it comes, line by line; a body of known length in one. Raises BrokenError."""
        try:
            if headers.get("transfer-encoding") != "chunked":
                yield await self._reader.readexactly(int(headers.get("content-length", "0")))
                return
            rest = b""
            async for chunk in self._chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
        except BROKEN as error:
            raise BrokenError(repr(error)) from error

    def close(self) -> None:
        """Give the connection up at once."""
        self._writer.transport.abort()

    def _send(self, method: str, target: str, form: dict[str, str] | None) -> None:
        body = b"" if form is None else urlencode(form).encode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        if form is not None:
            lines.append("Content-Type: application/x-www-form-urlencoded")
            lines.append(f"Content-Length: {len(body)}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            data = await self._reader.readexactly(size + 2)
            if not size:
                return
            yield data[:-2]


async def _connected(address: Address, buffer_bytes: int) -> socket.socket:
    """A connected socket. With a small buffer its other end cannot send far ahead either."""
    link = socket.socket()
    try:
        link.setblocking(False)
        for level, option, value in KEEPALIVE:
            link.setsockopt(level, option, value)
        if buffer_bytes < LINE_BYTES:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT_BYTES)
        await asyncio.get_running_loop().sock_connect(link, address)
    except BaseException:
        link.close()
        raise
    return link


async def once(address: Address, target: str, timeout_s: float) -> Answer:
    """GET on a connection of its own. Raises NotSentError or BrokenError."""
    connection = await Connection.open(address)
    try:
        return await connection.ask("GET", target, None, timeout_s)
    finally:
        connection.close()
