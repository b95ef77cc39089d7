"""Where the discovery service keeps its tokens: any v2 key space.

The service asks questions about keys and passes the answers on; it does not care whether they come
from a cluster elsewhere (`HttpBackend`) or from a member in this process (`embedded.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple, Protocol

import aiohttp
from yarl import URL

from kvraft import limits
from kvraft.discovery.routes import escape_path, form_value

_HOP_BY_HOP: Final = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade".split()
)
_OWN_AFFAIR: Final = _HOP_BY_HOP | {"host", "content-length", "expect"}


class BackendDown(Exception):
    """The key space gives no answer; the text is for the log."""


class Question(NamedTuple):
    """A request of the v2 keys API. `key` is decoded, `query` is as sent."""

    method: str
    key: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Answer(NamedTuple):
    """What comes back; `length` is that of the whole body, None if it is not known yet."""

    status: int
    headers: tuple[tuple[str, str], ...]
    length: int | None
    chunks: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """The whole body. Raises BackendDown if it breaks off or is too long."""
        parts = bytearray()
        async for chunk in self.chunks:
            parts += chunk
            if len(parts) > limits.DISCOVERY_MAX_ANSWER_BYTES:
                raise BackendDown("the answer is too long")
        return bytes(parts)


class Backend(Protocol):
    """A key space of the v2 API."""

    async def start(self) -> None:
        """Become ready for questions."""

    async def stop(self) -> None:
        """Let go of everything."""

    def ask(self, question: Question) -> AbstractAsyncContextManager[Answer]:
        """Ask; leaving the context ends the answer, also one that is not complete.

        Raises BackendDown. So may the chunks of the answer.
        """


class HttpBackend:
    """The key space of any v2 server, at one address."""

    def __init__(self, url: str) -> None:
        """`url` is `http://host:port` or `https://host:port`."""
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """See `Backend.start`."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.DISCOVERY_MAX_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.DISCOVERY_BACKEND_CONNECT_S
            ),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            auto_decompress=False,
        )
        # A create-only PUT must not be repeated, as aiohttp would do: it would find its own key.
        self._session._retry_connection = False

    async def stop(self) -> None:
        """See `Backend.stop`."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Answer]:
        """See `Backend.ask`."""
        response = await self._send(question)
        try:
            headers = tuple(end_to_end(response.headers.items()))
            yield Answer(response.status, headers, response.content_length, _chunks(response))
        finally:
            # What has not been read is not waited for: the connection is closed then.
            response.release()

    async def _send(self, question: Question) -> aiohttp.ClientResponse:
        assert self._session is not None, "not started"
        query = f"?{question.query}" if question.query else ""
        url = URL(f"{self._url}/v2/keys{escape_path(question.key)}{query}", encoded=True)
        # The head of a wait need not come before its event: not all v2 servers send it early.
        waits = form_value(question.query, "wait") is not None
        limit_s = limits.DISCOVERY_SERVED_WAIT_S if waits else limits.DISCOVERY_BACKEND_ANSWER_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._session.request(
                    question.method,
                    url,
                    data=question.body or None,
                    headers=list(end_to_end(question.headers)),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise BackendDown(str(error) or type(error).__name__) from error


def end_to_end(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The headers that a proxy passes on."""
    items = list(headers)
    named = {
        word.strip().lower()
        for name, value in items
        if name.lower() == "connection"
        for word in value.split(",")
    }
    return (item for item in items if item[0].lower() not in _OWN_AFFAIR | named)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise BackendDown(str(error) or type(error).__name__) from error
