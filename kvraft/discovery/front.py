"""The discovery service's port: connections within bounds, and a line for each request.

aiohttp speaks HTTP; what it leaves open is bounded here: how many connections there may be, and how
long one may stay silent before its first request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Final, TextIO

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from kvraft import limits
from kvraft.discovery.service import SENT_BYTES, DiscoveryService
from kvraft.server import logs

_log = logs.logger("discovery")
# What aiohttp logs is mostly what strangers send: a stack trace for each malformed request.
_QUIET: Final = logging.Logger("quiet", logging.CRITICAL)
_OVERLOADED: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 21\r\nConnection: close\r\n\r\ntoo many connections\n"
)
_ESCAPED: Final = {ord('"'): '\\"', ord("\\"): "\\\\"} | {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)
}


class Front:
    """Listens for the clients of a service.

    `access_log` takes a line for each request; None means that nobody wants them.
    """

    def __init__(
        self,
        service: DiscoveryService,
        max_connections: int = limits.DISCOVERY_MAX_CONNECTIONS,
        access_log: TextIO | None = None,
    ) -> None:
        self._service = service
        self._max_connections = max_connections
        self._access_log = access_log
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,  # so that the wait of a client that left ends
            keepalive_timeout=limits.IDLE_TIMEOUT_S,
            access_log=None,
            auto_decompress=False,
            logger=_QUIET,
        )
        self._listener: asyncio.Server | None = None

    async def start(self, host: str | None, port: int) -> tuple[str, int]:
        """Listen; the address, with the number that the port 0 was replaced by. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._accept, host, port, backlog=limits.LISTEN_BACKLOG
        )
        name = self._listener.sockets[0].getsockname()
        return name[0], name[1]

    async def stop(self) -> None:
        """Close the port and all connections; waits that are open end."""
        if self._listener is not None:
            self._listener.close()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        self._service.wind_up()
        self._server.pre_shutdown()
        await self._server.shutdown(limits.DISCOVERY_DRAIN_S)

    def _accept(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if len(self._server.connections) >= self._max_connections:
            return _TurnedAway()
        handler = self._server()
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(limits.HEAD_TIMEOUT_S, self._end_silent, handler)
        return handler

    def _end_silent(self, handler: RequestHandler) -> None:
        """The first request has not come; the pauses after it are aiohttp's business."""
        del self._silent[handler]
        if handler.transport is not None:
            handler.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started_s = time.time()
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        try:
            response = await self._service.handle(request)
        except ConnectionError:
            raise  # the client has gone, which aiohttp knows how to deal with
        except Exception:
            _log.exception("a request could not be served")
            response = web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)
        if self._access_log is not None:
            self._access_log.write(access_line(request, response, started_s) + "\n")
            self._access_log.flush()
        return response


def access_line(request: web.BaseRequest, response: web.StreamResponse, now_s: float) -> str:
    """A request in the common log format."""
    when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(now_s))
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    line = f"{request.method} {request.raw_path} {version}".translate(_ESCAPED)
    size = request.get(SENT_BYTES, 0)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        size = 0 if request.method == "HEAD" else len(response.body)
    return f'{request.remote or "-"} - - [{when}] "{line}" {response.status} {size}'


class _TurnedAway(asyncio.Protocol):
    """A connection beyond the bound: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer before anything is asked."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(_OVERLOADED)
        transport.close()
