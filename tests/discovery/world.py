"""A discovery service in this process: real front and pages, a store that agrees with itself."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import aiohttp
from yarl import URL

from kvraft.discovery.backend import Answer, Backend, Question
from kvraft.discovery.embedded import MemberBackend
from kvraft.discovery.front import Front
from kvraft.discovery.rate import RateLimit
from kvraft.discovery.routes import REGISTRY
from kvraft.discovery.service import DiscoveryService
from kvraft.store.request import Op, Request
from tests.api.fakes import FakeService

TOKEN = "0123456789abcdef0123456789abcdef"


class Reply(NamedTuple):
    """One answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Asked(NamedTuple):
    """One request as a server sees it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class World:
    """A service with its store; `backend` stands between them if it is given."""

    def __init__(
        self,
        backend: Callable[[FakeService], Backend] = MemberBackend,
        *,
        token_ttl_s: int = 0,
        new_rate: RateLimit | None = None,
        max_connections: int = 100,
    ) -> None:
        self.store = FakeService()
        self.access_log = io.StringIO()
        self.service = DiscoveryService(
            backend(self.store), "http://host", token_ttl_s=token_ttl_s, new_rate=new_rate
        )
        self.front = Front(self.service, max_connections, self.access_log)
        self.url = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        host, port = await self.front.start("127.0.0.1", 0)
        self.url = self.service.host = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession(
            skip_auto_headers=("Content-Type",), timeout=aiohttp.ClientTimeout(total=10)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()
        await self.front.stop()

    async def ask(self, method: str, target: str, body: str | None = None, **headers: str) -> Reply:
        """One request; redirects are not followed, and paths are sent as they are."""
        assert self._session is not None
        if isinstance(body, str):
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        async with self._session.request(
            method,
            URL(self.url + target, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
        ) as response:
            raw = await response.read()
            return Reply(response.status, dict(response.headers), raw)

    async def new(self, size: int = 3) -> str:
        """A new token; its path on the service."""
        reply = await self.ask("GET", f"/new?size={size}")
        assert reply.status == 200, reply
        return reply.text.removeprefix(self.url)

    # --- what others do behind the service's back ---------------------------------------

    def put(self, path: str, value: str, ttl_s: int | None = None) -> None:
        key = f"{REGISTRY}{path}".encode()
        self.apply(Request(Op.SET, key, value.encode(), ttl_seconds=ttl_s))

    def delete(self, path: str) -> None:
        self.apply(Request(Op.DELETE, f"{REGISTRY}{path}".encode(), recursive=True))

    def apply(self, request: Request) -> None:
        self.store.commit(request, lambda outcome: None)

    def value(self, path: str) -> str:
        body = self.store.store.get_body(f"{REGISTRY}{path}".encode(), False, False, 0)
        assert isinstance(body, bytes)
        value: str = json.loads(body)["node"]["value"]
        return value


Script = Callable[[Asked], Awaitable[bytes | None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server whose answers, down to the bytes, a test writes; None closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = tuple(
                    (name, value.strip())
                    for name, _, value in (line.partition(":") for line in head[1:] if line)
                )
                length = int(dict(headers).get("Content-Length", "0"))
                body = await reader.readexactly(length)
                answer = await script(Asked(method, target, headers, body))
                if answer is None:
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


def http_answer(
    status: int, body: object = b"", content_type: str = "application/json", index: int | None = 7
) -> bytes:
    """An answer for a script; an object that is no bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(raw)}\r\n"
    if index is not None:
        head += f"X-Etcd-Index: {index}\r\n"
    return head.encode() + b"\r\n" + raw


class Recording:
    """A backend that notes the questions it passes on."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.questions: list[Question] = []

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    @asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Answer]:
        self.questions.append(question)
        async with self._inner.ask(question) as answer:
            yield answer
