"""A member made of a script, and a proxy in front of it, both on free ports of this machine.

The fake reads requests off the raw connection and lets the test decide byte by byte what comes
back, and when: only so can a test break a connection at a chosen moment.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Self

from kvraft.clock import Clock
from kvraft.proxy.main import ProxyServer
from kvraft.server.config import ServerConfig, parse

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUT_S = 10.0


class Seen(NamedTuple):
    """One request as it arrived."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


async def answer_ok(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    fields = [line.partition(": ") for line in lines]
    return first, [(name, value) for name, _, value in fields]


class FakeMember:
    """Serves both the client port and the peer port of a member on one port."""

    def __init__(self, script: Script = answer_ok, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self._tls = tls
        self.lister: Script = self._list
        self.seen: list[Seen] = []
        self.lists_asked = 0
        self.client_urls: list[str] | None = None  # in the member list; its own by default
        self.members_text: bytes | None = None
        self.lost = asyncio.Event()  # a connection has been closed by the other side
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.cut()
        await asyncio.gather(*self._tasks)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, limit=1 << 22, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Be gone from one moment to the next."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut_connections()

    def cut_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                await self._one(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            self.lost.set()
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_head(reader)
        length = next((int(v) for name, v in headers if name.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        seen = Seen(line, headers, body)
        if line.startswith("GET /members "):
            self.lists_asked += 1
            script = asyncio.ensure_future(self.lister(seen, writer))
        else:
            self.seen.append(seen)
            script = asyncio.ensure_future(self.script(seen, writer))
        # A script that waits must not hide that the other side has gone.
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait((script, gone), return_when=asyncio.FIRST_COMPLETED)
        if not script.done():
            script.cancel()
            raise ConnectionResetError
        if gone.done():
            raise ConnectionResetError
        gone.cancel()
        await asyncio.wait((gone,))
        script.result()

    async def _list(self, _seen: Seen, writer: asyncio.StreamWriter) -> None:
        urls = [self.url] if self.client_urls is None else self.client_urls
        member = {"id": 1, "peerURLs": [self.url], "name": "m", "clientURLs": urls}
        text = json.dumps([member]).encode() + b"\n"
        if self.members_text is not None:
            text = self.members_text
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


class Reply(NamedTuple):
    """What a client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Client:
    """One connection to a proxy; sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, method: str, target: str, *headers: str, body: bytes = b"") -> None:
        lines = [f"{method} {target} HTTP/1.1"]
        if not any(header.startswith("Host:") for header in headers):
            lines.append("Host: 127.0.0.1")
        lines += headers
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body)

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(TIMEOUT_S):
            line, headers = await read_head(self.reader)
        return int(line.split()[1]), headers

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; raises IncompleteReadError if it is cut off."""
        async with asyncio.timeout(TIMEOUT_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
            return data

    async def reply(self, *, has_body: bool = True) -> Reply:
        status, headers = await self.head()
        fields = {name.lower(): value for name, value in headers}
        body = b""
        if not has_body:
            return Reply(status, headers, body)
        if fields.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                body += piece
        else:
            async with asyncio.timeout(TIMEOUT_S):
                body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return Reply(status, headers, body)

    async def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> Reply:
        self.send(method, target, *headers, body=body)
        return await self.reply(has_body=method != "HEAD")


def settings(data_dir: Path, *flags: str) -> ServerConfig:
    words = ["--proxy", "on", "--data-dir", str(data_dir)]
    config = parse([*words, "--listen-client-urls", "http://127.0.0.1:0", *flags], {})
    assert isinstance(config, ServerConfig), config
    return config


def no_fatal(error: BaseException) -> None:
    raise AssertionError("the proxy has failed") from error


@asynccontextmanager
async def proxying(
    data_dir: Path, *members: FakeMember, flags: tuple[str, ...] = (), clock: Clock | None = None
) -> AsyncIterator[tuple[ProxyServer, Callable[[], Awaitable[Client]]]]:
    """A proxy that finds these members, and a way to connect to it."""
    config = settings(data_dir, *flags)
    urls = [member.url for member in members]
    proxy = ProxyServer(config, urls, no_fatal, clock)
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Client:
        reader, writer = await asyncio.open_connection(*proxy.addresses[0], limit=1 << 22)
        writers.append(writer)
        return Client(reader, writer)

    await proxy.start()
    try:
        yield proxy, connect
    finally:
        for writer in writers:
            writer.close()
        await proxy.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.001)


async def forever(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()
