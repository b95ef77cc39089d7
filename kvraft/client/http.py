"""One request to one endpoint over aiohttp.

All that matters to the caller about a failure is whether the server may have seen the request.
aiohttp tells when it begins to write a request; before that moment nothing can have happened,
whatever fails. Must not know other endpoints: whoever calls decides about retries.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from kvraft.client.answers import Answer
from kvraft.client.endpoints import origin_of
from kvraft.client.requests import Request
from kvraft.limits import (
    CLIENT_BODY_AT_ONCE_BYTES,
    CLIENT_IDLE_S,
    CLIENT_MAX_ANSWER_BYTES,
    CLIENT_MAX_REDIRECTS,
    CLIENT_MAX_REFUSAL_BYTES,
    CLIENT_TCP_PROBE_S,
)

_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_KEEP_METHOD: Final = frozenset((301, 302, 307, 308))
_SEE_OTHER: Final = 303
_AUTO_HEADERS: Final = ("Accept-Encoding", "Content-Type")
# How a server ends a handshake that, for the client, is already over (TLS 1.3).
_HANDSHAKE_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")


class Failed(Exception):
    """An attempt without an answer.

    `sent`: the server may have seen the request. `reused`: it was sent over a kept connection,
    which the server may have closed just then.
    """

    def __init__(self, text: str, sent: bool, reused: bool) -> None:
        super().__init__(text)
        self.text = text
        self.sent = sent
        self.reused = reused


class _Progress:
    """How far an attempt has come."""

    __slots__ = ("reused", "sent")

    def __init__(self) -> None:
        self.sent = False
        self.reused = False


class Http:
    """Connections to the endpoints of one client, kept between requests; of one event loop."""

    def __init__(
        self,
        *,
        authorization: str,
        tls: ssl.SSLContext | None,
        connect_timeout_s: float,
        connector: aiohttp.BaseConnector | None,
        trusted: Callable[[str], bool],
    ) -> None:
        """`trusted` says whether an URL belongs to the cluster, so that it gets the credentials."""
        self._authorization = authorization
        self._tls = tls
        self._trusted = trusted
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        trace.on_connection_reuseconn.append(_note_reused)
        self._session = aiohttp.ClientSession(
            connector=connector
            or aiohttp.TCPConnector(
                limit=0,  # each watch holds one; their number is the program's business
                keepalive_timeout=CLIENT_IDLE_S,
                socket_factory=_socket,
            ),
            connector_owner=connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTO_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
            trace_configs=[trace],
        )
        # aiohttp would repeat a PUT or DELETE on a new connection if an old one turns out to be
        # dead, and so perhaps execute it twice. There is no argument for this.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        await self._session.close()

    async def ask(self, endpoint: str, request: Request, timeout_s: float) -> Answer:
        """Send a request, return its complete answer. Raises Failed."""
        progress = _Progress()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(endpoint, request, progress)
                try:
                    body = await _read(response)
                finally:
                    _release(response)
        except _FAILURES as error:
            raise _failed(error, progress) from error
        return Answer(response.status, response.headers, body, endpoint)

    async def open(
        self, endpoint: str, request: Request, timeout_s: float
    ) -> aiohttp.ClientResponse:
        """Send a request, return its answer as soon as the head has come. Raises Failed.

        The caller reads the body and closes the response.
        """
        progress = _Progress()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(endpoint, request, progress)
        except _FAILURES as error:
            raise _failed(error, progress) from error

    async def _send(
        self, endpoint: str, request: Request, progress: _Progress
    ) -> aiohttp.ClientResponse:
        """Send, and follow redirects with method and body kept.

        A redirecting server has not done what was asked, so following is safe also for a change.
        """
        url = endpoint + request.target
        for _ in range(CLIENT_MAX_REDIRECTS + 1):
            response = await self._request(url, request, progress)
            target = response.headers.get("Location")
            if target is None or response.status not in _KEEP_METHOD | {_SEE_OTHER}:
                return response
            _release(response)
            if response.status == _SEE_OTHER and request.changes:
                # "It is done, look there": nobody who speaks this API says that.
                raise aiohttp.ClientPayloadError(f"a change was answered with 303 to {target}")
            target = urljoin(url, target)
            if not target.startswith(("http://", "https://")):
                progress.sent = False
                raise aiohttp.InvalidURL(target, "redirected to something else than http")
            url = target
        progress.sent = False  # all of them have only pointed at the next one
        raise aiohttp.ClientPayloadError(f"more than {CLIENT_MAX_REDIRECTS} redirects")

    async def _request(
        self, url: str, request: Request, progress: _Progress
    ) -> aiohttp.ClientResponse:
        headers = dict(request.headers)
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if self._authorization and self._trusted(url):
            headers["Authorization"] = self._authorization
        progress.sent = progress.reused = False
        return await self._session.request(
            request.method,
            URL(url, encoded=True),
            data=_payload(request.body),
            headers=headers,
            allow_redirects=False,
            ssl=True if self._tls is None else self._tls,
            trace_request_ctx=progress,
        )


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """The body as aiohttp wants it: it warns of long ones that it has to send at once."""
    if body is None or len(body) <= CLIENT_BODY_AT_ONCE_BYTES:
        return body
    return io.BytesIO(body)


async def _note_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object
) -> None:
    context.trace_request_ctx.sent = True


async def _note_reused(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object
) -> None:
    context.trace_request_ctx.reused = True


def basic(username: str, password: str) -> str:
    """The value of an Authorization header. Raises ValueError for a colon in the name."""
    if ":" in username:
        raise ValueError("a user name cannot hold a colon")
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    limit = CLIENT_MAX_ANSWER_BYTES if response.status < 300 else CLIENT_MAX_REFUSAL_BYTES
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            response.close()
            if response.status >= 300:
                break  # of a page that explains at length, the beginning is enough
            raise aiohttp.ClientPayloadError(f"the answer has more than {limit} bytes")
    return b"".join(pieces)


def _release(response: aiohttp.ClientResponse) -> None:
    """Keep the connection if the body has been read to its end, close it otherwise."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def _failed(error: BaseException, progress: _Progress) -> Failed:
    sent = progress.sent
    if sent and not progress.reused and _is_handshake_alert(error):
        sent = False
    return Failed(reason(error), sent, progress.reused)


def _is_handshake_alert(error: BaseException) -> bool:
    """Whether the server refused the client's certificate: it never looks at the request then."""
    text = str(error).upper()
    return "ALERT" in text and any(name in text for name in _HANDSHAKE_ALERTS)


def reason(error: BaseException) -> str:
    """What to say about a failure: some of them have no text of their own."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not good: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or cause}"
        if cause.errno and cause.errno > 0:
            return os.strerror(cause.errno).lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    return str(error) or type(error).__name__


def origins(urls: list[str]) -> frozenset[tuple[str, str, int]]:
    """Where these URLs lead, for comparing."""
    return frozenset(map(origin_of, urls))


def _socket(address: Any) -> socket.socket:
    """A socket that notices when the server's machine is gone, however quiet a watch is."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", CLIENT_TCP_PROBE_S),
        ("TCP_KEEPINTVL", CLIENT_TCP_PROBE_S),
        ("TCP_KEEPCNT", 2),
    ):
        if hasattr(socket, name):  # Linux has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
