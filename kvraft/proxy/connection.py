"""A client's connection to a proxy: aiohttp's, with the manners of a member's client port.

The parser is stricter than etcd about the first line of a request, and says what is wrong in words
of its own. Members translate such lines (`api/target.py`) and refuse the way Go does; so does
this. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from kvraft.api.response import BAD_REQUEST, HEAD_TOO_LARGE, raw_refusal
from kvraft.api.target import usual_request_line
from kvraft.limits import (
    IDLE_TIMEOUT_S,
    PROXY_MAX_FIELD_BYTES,
    PROXY_MAX_FIELDS,
    PROXY_MAX_LINE_BYTES,
)
from kvraft.server import logs

_FAILED: Final = raw_refusal(500)
# The order in which Go ends a head; what stands before is sorted.
_OWN_TAIL: Final = ("Date", "Content-Length", "Connection", "Transfer-Encoding")
_FORWARDED_TAIL: Final = ("Connection", "Transfer-Encoding")

CORS: Final = web.RequestKey("cors", dict[str, str])
"""The cross-origin headers of the answer to a request, where it gets any."""
FORWARDED: Final = web.RequestKey("forwarded", bool)
"""Set if the answer is a member's."""
UNTYPED: Final = web.RequestKey("untyped", bool)
"""Set to true if the member's answer has no Content-Type."""

_log = logs.logger("proxy")


class Refused(ConnectionError):
    """The connection ends: its client has been told why, or must see that an answer is cut off."""


class ClientRequest(web.BaseRequest):
    """A request whose answer gets a head as etcd would write it."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Called by aiohttp before it writes a head; its own way of doing that costs a route."""
        fields = response.headers
        fields.popall("Server", None)
        if self.get(UNTYPED):
            fields.popall("Content-Type", None)
        fields.update(self.get(CORS, ()))  # in place of a member's, so that none comes twice
        tail = _FORWARDED_TAIL if self.get(FORWARDED) else _OWN_TAIL
        last = [(name, value) for name in tail for value in fields.popall(name, ())]
        rest = sorted(fields.items(), key=lambda field: field[0].lower())
        fields.clear()
        fields.extend(rest)
        fields.extend(last)


def request_factory(loop: asyncio.AbstractEventLoop) -> Callable[..., ClientRequest]:
    """What `web.Server` makes its requests with."""

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> ClientRequest:
        return ClientRequest(message, payload, protocol, writer, task, loop)

    return make


class ClientConnection(web.RequestHandler):
    """The protocol of one accepted connection."""

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # documented as the way to have none
            auto_decompress=False,  # what was packed arrives packed
            keepalive_timeout=IDLE_TIMEOUT_S,  # until a head is complete: for slow senders, too
            max_line_size=PROXY_MAX_LINE_BYTES,
            max_field_size=PROXY_MAX_FIELD_BYTES,
            max_headers=PROXY_MAX_FIELDS,
        )
        self._first_line: bytes | None = b""  # of the connection, as far as it is here

    def data_received(self, data: bytes) -> None:
        """Bytes from the client.

        Only the first request of a connection has its line translated. Where a later one begins
        is known to the parser alone, and programs that keep connections write usual lines.
        """
        if self._first_line is not None:
            data = self._usual(self._first_line + data)
            if not data:
                return
        super().data_received(data)

    def _usual(self, data: bytes) -> bytes:
        data = data.lstrip(b"\r\n")
        end = data.find(b"\n")
        if end < 0 and len(data) <= PROXY_MAX_LINE_BYTES:
            self._first_line = data
            return b""
        self._first_line = None
        return data if end < 0 else usual_request_line(data[:end]) + data[end:]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse in the words of Go what is no request, or could not be served.

        What is wrong with a request is not logged: the log would be at the mercy of strangers.
        """
        if isinstance(exc, ConnectionError):
            raise exc  # it is over; whoever noticed has said what there was to say
        if isinstance(exc, HttpProcessingError) or status < 500:
            refuse(request, HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else BAD_REQUEST)
        _log.error("a request could not be served", exc_info=exc)
        if request.writer.output_size > 0:
            raise Refused("the answer has begun already")
        refuse(request, _FAILED)


def refuse(request: web.BaseRequest, answer: bytes) -> NoReturn:
    """Answer with these bytes and close the connection; always raises Refused."""
    if request.transport is not None:
        request.transport.write(answer)
    raise Refused
