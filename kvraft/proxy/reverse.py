"""The side of a proxy that faces clients: who may ask, what is answered here, what goes on.

An answer flows as it comes: its head and each piece of its body are passed on at once, so that a
watcher behind a proxy sees what it would see without one. A client that goes away takes its request
with it. A request is repeated at the next endpoint only if that cannot execute it twice: when
nothing has been sent, or when it changes nothing. (server.md, sections 6 and 8.)

Must not know where endpoints come from.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import ClientError, ClientResponse, web
from aiohttp.http_exceptions import HttpProcessingError

from kvraft.api.guards import FOREIGN_HOST, FOREIGN_ORIGIN, Guards, from_browser
from kvraft.api.response import (
    BAD_REQUEST,
    CONTINUE,
    MALFORMED_HOST,
    MISSING_HOST,
    go_json,
    message,
)
from kvraft.api.routes import METHOD_NOT_ALLOWED
from kvraft.api.target import clean_path, decode_path, location, origin_form, redirect_page
from kvraft.limits import (
    MAX_BUFFERED_BODY_BYTES,
    PROXY_MAX_BODY_BYTES,
    REQUEST_TIMEOUT_S,
    STALL_TIMEOUT_S,
)
from kvraft.proxy import headers
from kvraft.proxy.connection import CORS, FORWARDED, UNTYPED, Refused, refuse
from kvraft.proxy.director import Director
from kvraft.proxy.metrics import (
    CONTENT_TYPE,
    FAILED_GETTING,
    FAILED_SENDING,
    ZERO_ENDPOINTS,
    ProxyMetrics,
)
from kvraft.proxy.upstream import Answer, Broken, Unreachable, Upstream
from kvraft.server import logs

CONFIG_PATH: Final = b"/v2/config/local/proxy"
METRICS_PATH: Final = b"/metrics"

_SAFE: Final = frozenset(("GET", "HEAD"))  # they change nothing, so they may be repeated
_WRITES: Final = frozenset(("PUT", "POST", "DELETE"))
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff#]")  # `#` is a plain character of a target
_JSON: Final = {"Content-Type": "application/json"}
_PLAIN_ERROR: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
}
_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
_HTML: Final = {"Content-Type": "text/html; charset=utf-8"}

_log = logs.logger("proxy")


class _Answered(Exception):
    """The request is answered here; carries the answer."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer)
        self.answer = answer


class ReverseProxy:
    """Answers all requests of one proxy.

    `mark` is a name that no other process has: a request that comes back with it runs in a circle.
    """

    def __init__(
        self,
        director: Director,
        upstream: Upstream,
        guards: Guards,
        metrics: ProxyMetrics,
        *,
        readonly: bool,
        mark: str,
    ) -> None:
        self._director = director
        self._upstream = upstream
        self._guards = guards
        self._metrics = metrics
        self._readonly = readonly
        self._mark = mark
        self._buffered_bytes = 0
        self.stopping = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        if self._readonly and request.method != "GET":
            return _answer(501)
        try:
            self._admit(request)
            return await self._route(request)
        except _Answered as answered:
            return answered.answer

    # --- before it is forwarded --------------------------------------------------------

    def _admit(self, request: web.BaseRequest) -> None:
        """Check who asks, and note the cross-origin headers of the answer. Raises _Answered."""
        guards, fields = self._guards, request.raw_headers
        hosts = [value for name, value in fields if name.lower() == b"host"]
        if len(hosts) > 1 or (not hosts and request.version >= (1, 1)):
            refuse(request, MISSING_HOST)
        host = hosts[0] if hosts else b""
        if not guards.is_well_formed(host):
            refuse(request, MALFORMED_HOST)
        if not guards.accepts_host(host) and (guards.strict or from_browser(fields)):
            raise _Answered(_answer(403, _PLAIN_ERROR, FOREIGN_HOST % host))
        origin = next((value for name, value in fields if name.lower() == b"origin"), None)
        if (
            origin is not None
            and request.method in _WRITES
            and not guards.accepts_origin(origin, host)
        ):
            raise _Answered(_answer(403, _PLAIN_ERROR, FOREIGN_ORIGIN))
        if lines := guards.cors_headers(origin).decode("latin-1").splitlines():
            fields_of_lines = (line.partition(": ") for line in lines)
            request[CORS] = {name: value for name, _, value in fields_of_lines}

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return _answer(200)
        raw = request.raw_path.encode("utf-8", "surrogateescape")
        target = _NOT_ASCII.sub(_percent, origin_form(raw) or b"")
        raw_path, _, query = target.partition(b"?")
        path = decode_path(raw_path)
        if path is None or not target:
            refuse(request, BAD_REQUEST)
        cleaned = clean_path(path)
        if cleaned != path:
            return self._redirect(request, location(cleaned, query))
        if path == CONFIG_PATH:
            if request.method != "GET":
                return _answer(405, {"Allow": "GET", **_PLAIN_ERROR}, METHOD_NOT_ALLOWED)
            document = go_json({"endpoints": self._director.available()}) + b"\n"
            return _answer(200, _TEXT, document)
        if path == METRICS_PATH:
            return _answer(200, {"Content-Type": CONTENT_TYPE}, self._metrics.exposition())
        return await self._forward(request, target.decode("ascii"))

    @staticmethod
    def _redirect(request: web.BaseRequest, target: bytes) -> web.Response:
        where = {"Location": target.decode("latin-1")}
        if request.method == "GET":
            return _answer(301, {**_HTML, **where}, redirect_page(target))
        return _answer(301, {**_HTML, **where} if request.method == "HEAD" else where)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        """The whole body, as it may have to be sent twice; raises _Answered if there is none."""
        if not request.body_exists:
            return b""
        content = request.content
        if content.is_eof() and content.total_raw_bytes <= PROXY_MAX_BODY_BYTES:
            return content.read_nowait()  # came along with the head, as nearly all of them do
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(CONTINUE)
        body = bytearray()
        counted = 0
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    body += chunk
                    counted += len(chunk)
                    self._buffered_bytes += len(chunk)
                    if len(body) > PROXY_MAX_BODY_BYTES:
                        raise _unread(413, "http: request body too large")
                    if self._buffered_bytes > MAX_BUFFERED_BODY_BYTES:
                        raise _unread(503, "too many unfinished requests")
        except TimeoutError:
            raise _unread(500, "timeout") from None
        except (ClientError, HttpProcessingError, web.RequestPayloadError, OSError) as error:
            raise _unread(500, str(error) or type(error).__name__) from None
        finally:
            self._buffered_bytes -= counted
        return bytes(body)

    # --- forwarding --------------------------------------------------------------------

    async def _forward(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        if headers.has_passed(request.raw_headers, self._mark):
            _log.error("request for %s runs in a circle: an endpoint leads back here", target)
            text = "proxy: this request has been here before, an endpoint leads back to this proxy"
            return _answer(508, _JSON, message(text))
        body = await self._read_body(request)
        endpoints = self._director.available()
        if not endpoints:
            self._metrics.dropped(request.method, ZERO_ENDPOINTS)
            text = "zero endpoints currently available"
            _log.info("%s", text)
            return _answer(503, _JSON, message(f"proxy: {text}"))
        client = _client(request)
        start_s = time.perf_counter()
        answer = None
        try:
            answer = await self._first_answer(request, target, body, endpoints)
            self._metrics.handled(
                request.method, answer.response.status, time.perf_counter() - start_s
            )
            return await self._relay(request, answer)
        except Refused:
            raise
        except (asyncio.CancelledError, ConnectionError):
            if not self.stopping:
                _log.info("client %s closed request prematurely", client)
            raise
        finally:
            if answer is not None:
                answer.close()

    async def _first_answer(
        self, request: web.BaseRequest, target: str, body: bytes, endpoints: list[str]
    ) -> Answer:
        """Ask one endpoint after the other; raises _Answered if none of them answers."""
        tried = 0
        remark = ""
        for endpoint in endpoints:
            tried += 1
            sent = headers.for_member(
                request.raw_headers,
                host=endpoint.partition("://")[2],
                client=request.remote or "",
                mark=self._mark,
                keep_origin=self._keeps_origin(request),
            )
            try:
                return await self._upstream.send(endpoint, request.method, target, sent, body)
            except (Unreachable, Broken) as error:
                self._failed(request.method, endpoint, error)
                if isinstance(error, Broken) and request.method not in _SAFE:
                    remark = "; the request may have been executed"
                    break
        self._metrics.dropped(request.method, FAILED_GETTING)
        text = f"unable to get response from {tried} endpoint(s){remark}"
        _log.info("%s", text)
        raise _Answered(_answer(502, _JSON, message(f"proxy: {text}")))

    def _keeps_origin(self, request: web.BaseRequest) -> bool:
        """Whether a member is to judge the Origin, as this proxy has no opinion on it."""
        origin = request.headers.get("Origin")
        if origin is None:
            return False
        host = request.headers.get("Host", "").encode("utf-8", "surrogateescape")
        return not self._guards.accepts_origin(origin.encode("utf-8", "surrogateescape"), host)

    def _failed(self, method: str, endpoint: str, error: Exception) -> None:
        self._metrics.dropped(method, FAILED_SENDING)
        _log.info("failed to direct request to %s: %s", endpoint, error)
        if self._director.fail(endpoint):
            _log.info("marked endpoint %s unavailable", endpoint)

    async def _relay(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        """Pass an answer on, each piece when it comes."""
        response = answer.response
        passed = headers.for_client(response.raw_headers)
        request[FORWARDED] = True
        request[UNTYPED] = "Content-Type" not in passed
        if answer.body is not None:
            passed.popall("Content-Length", None)
            return web.Response(
                status=response.status, reason=response.reason, headers=passed, body=answer.body
            )
        relayed = web.StreamResponse(status=response.status, reason=response.reason, headers=passed)
        await relayed.prepare(request)
        if request.method == "HEAD":
            return relayed
        while chunk := await self._next_piece(response, request):
            try:
                async with asyncio.timeout(STALL_TIMEOUT_S):
                    await relayed.write(chunk)
            except TimeoutError:
                raise ConnectionResetError("the client takes nothing any more") from None
        return relayed

    @staticmethod
    async def _next_piece(response: ClientResponse, request: web.BaseRequest) -> bytes:
        """What has come of an answer's body; empty at its end.

        Raises Refused if the member breaks off: ending the answer in order would tell the client
        that it has got everything.
        """
        try:
            return await response.content.readany()
        except (ClientError, OSError, TimeoutError) as error:
            _log.info("the answer to %s was cut off: %s", _client(request), error)
            raise Refused("the member's answer was cut off") from error


def _answer(
    status: int, fields: Mapping[str, str] | None = None, body: bytes = b""
) -> web.Response:
    return web.Response(status=status, headers=fields, body=body)


def _unread(status: int, reason: str) -> _Answered:
    text = f"proxy: failed to read request body: {reason}"
    _log.info("%s", text.removeprefix("proxy: "))
    answer = _answer(status, _JSON, message(text))
    answer.force_close()
    return _Answered(answer)


def _client(request: web.BaseRequest) -> str:
    """The address that the log names."""
    peer = request.get_extra_info("peername")
    if not peer:
        return request.remote or "unknown"
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
