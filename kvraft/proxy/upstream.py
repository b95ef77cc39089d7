"""The side of a proxy that faces the members: one request to one of them.

What matters to the caller about a failure is only whether the request may have been executed:
`Unreachable` says that nothing has been sent, `Broken` that it may have been. Must not know of
endpoints in general, or of retries: whoever calls decides.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from kvraft.limits import (
    PROXY_IDLE_UPSTREAM_S,
    PROXY_MAX_FIELD_BYTES,
    PROXY_MAX_FIELDS,
    PROXY_MAX_MEMBERS_BYTES,
    PROXY_MEMBERS_TIMEOUT_S,
    PROXY_SMALL_ANSWER_BYTES,
    PROXY_TCP_PROBE_S,
)

if TYPE_CHECKING:
    from multidict import CIMultiDict

ContextSource = Callable[[], ssl.SSLContext]

_PIECEMEAL_BYTES: Final = 1 << 20
"""A longer body is written piece by piece, with turns of the event loop in between."""
_FAILURES: Final = (ClientError, OSError, TimeoutError)
# What aiohttp would add to a request of its own accord; the client's headers go as they are.
_OWN_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class Unreachable(Exception):
    """No connection to the member: nothing has been sent."""


class Broken(Exception):
    """The connection was lost, or the time was up, after the request had left."""


class Answer:
    """A member's answer: its head, and its body as far as that came along."""

    __slots__ = ("body", "response")

    def __init__(self, response: ClientResponse, body: bytes | None) -> None:
        self.response = response
        self.body = body
        """All of it if it is small; None if it has to be read from the response."""

    def close(self) -> None:
        """End the request: a member notices that nobody listens any more."""
        self.response.close()


class Upstream:
    """Connections to members, kept open between requests."""

    def __init__(
        self,
        *,
        dial_timeout_ms: int,
        write_timeout_ms: int,
        read_timeout_ms: int,
        context: ContextSource | None = None,
    ) -> None:
        """Timeouts of 0 are none. `context` gives the TLS context for https, at each request."""
        self._context = context
        self._write_timeout_ms = write_timeout_ms
        self._session = ClientSession(
            connector=TCPConnector(
                limit=0,  # as many as there are clients, whose number is limited
                keepalive_timeout=PROXY_IDLE_UPSTREAM_S,
                socket_factory=self._socket,
            ),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
            timeout=ClientTimeout(
                connect=dial_timeout_ms / 1000 or None, sock_read=read_timeout_ms / 1000 or None
            ),
            max_line_size=PROXY_MAX_FIELD_BYTES,
            max_field_size=PROXY_MAX_FIELD_BYTES,
            max_headers=PROXY_MAX_FIELDS,
        )
        # aiohttp would repeat a PUT or DELETE on a new connection when an old one turns out to be
        # dead, and so perhaps execute it twice. There is no argument for this.
        self._session._retry_connection = False

    async def send(
        self, endpoint: str, method: str, target: str, headers: CIMultiDict[str], body: bytes
    ) -> Answer:
        """Ask one member. `target` is sent as it is. Raises Unreachable or Broken."""
        url = URL(endpoint + target, encoded=True)
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=io.BytesIO(body) if len(body) > _PIECEMEAL_BYTES else body or None,
                allow_redirects=False,
                ssl=self._ssl(endpoint),
            )
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            raise Unreachable(_reason(error)) from error
        except _FAILURES as error:
            raise Broken(_reason(error)) from error
        try:
            length = response.content_length
            if method == "HEAD" or length is None or length > PROXY_SMALL_ANSWER_BYTES:
                return Answer(response, None)
            return Answer(response, await response.read())
        except _FAILURES as error:
            response.close()
            raise Broken(_reason(error)) from error
        except BaseException:
            response.close()
            raise

    async def members(self, peer_url: str) -> bytes:
        """The member list as a peer port gives it. Raises Unreachable or Broken."""
        try:
            async with self._session.get(
                URL(peer_url + "/members"),
                allow_redirects=False,
                ssl=self._ssl(peer_url),
                timeout=ClientTimeout(total=PROXY_MEMBERS_TIMEOUT_S),
            ) as response:
                if response.status != 200:
                    raise Broken(f"status {response.status}")
                text = bytearray()
                async for chunk in response.content.iter_any():
                    text += chunk
                    if len(text) > PROXY_MAX_MEMBERS_BYTES:
                        raise Broken("the answer is too long")
                return bytes(text)
        except _FAILURES as error:
            raise Unreachable(_reason(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _ssl(self, url: str) -> ssl.SSLContext | bool:
        if self._context is None or not url.startswith("https:"):
            return True
        return self._context()

    def _socket(self, address: Any) -> socket.socket:
        """A socket that notices when the member's machine is gone.

        The write timeout is the kernel's business: it knows how long nothing that was sent has
        been acknowledged, also while the answer is awaited.
        """
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", PROXY_TCP_PROBE_S),
            ("TCP_KEEPINTVL", PROXY_TCP_PROBE_S),
            ("TCP_USER_TIMEOUT", self._write_timeout_ms),
        ):
            if hasattr(socket, name):  # Linux has all of them
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return made


def _reason(error: BaseException) -> str:
    """What to say about a failure: some of them have no text of their own."""
    if isinstance(error, ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"tls: the certificate of {error.host} is not good: {cause.verify_message}"
        if cause.errno and not isinstance(cause, ssl.SSLError):
            return f"dial tcp {error.host}:{error.port}: {os.strerror(cause.errno).lower()}"
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "timeout"
    return str(error) or type(error).__name__
