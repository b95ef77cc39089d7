"""The discovery service: hands out tokens, and lets members see their token's directory.

It keeps nothing itself: tokens are keys in a backend. Members reach them through a proxy that never
redirects (a redirected registration fails) and sends the head of a wait at once. What would let one
client spoil another's token is refused: tokens and their settings are only made by `/new`.

The routes are those of the discovery reference, 2.2. Must not know how the process starts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from kvraft import limits
from kvraft.api.errors import NOT_A_FILE, error_body
from kvraft.discovery.backend import Answer, Backend, BackendDown, Question, end_to_end
from kvraft.discovery.metrics import Requests
from kvraft.discovery.rate import RateLimit
from kvraft.discovery.routes import (
    METHODS,
    REGISTRY,
    Kind,
    Route,
    escape_path,
    form_value,
    read_size,
    redirection,
    route,
)
from kvraft.server import logs

DOCUMENTATION_URL: Final = "https://etcd.io/docs/v2.3/clustering/"
ROBOTS: Final = "User-agent: *\nDisallow: /"
TOKEN_BYTES: Final = 16
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
FORM: Final = "application/x-www-form-urlencoded"
SERVER: Final = "kvraft-discovery"
SENT_BYTES: Final = web.RequestKey("SENT_BYTES", int)
"""Under this key a request keeps how much of an answer was passed on."""
_WITH_FORM: Final = ("POST", "PUT", "PATCH")

_log = logs.logger("discovery")


class DiscoveryService:
    """The pages of the service over a backend.

    `host` is what a token is put behind. `token_ttl_s`: after so long a token is forgotten; 0 means
    never. `new_rate` bounds how often one address may ask for a token; None means no bound.
    """

    def __init__(
        self,
        backend: Backend,
        host: str,
        *,
        token_ttl_s: int = 0,
        new_rate: RateLimit | None = None,
    ) -> None:
        self._backend = backend
        self.host = host.rstrip("/")
        self._token_ttl_s = token_ttl_s
        self._new_rate = new_rate
        self._waits: set[asyncio.Timeout] = set()
        self._requests = Requests()
        self._registry = CollectorRegistry()
        self._registry.register(self._requests)

    def wind_up(self) -> None:
        """The service stops: end the open waits, so that their members ask again at once."""
        for limit in self._waits:
            limit.reschedule(asyncio.get_running_loop().time())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw_path = request.raw_path.partition("?")[0]
        if not raw_path.startswith("/"):  # the form in which requests to proxies come
            raw_path = request.rel_url.raw_path
        where = route(raw_path)
        allowed = METHODS.get(where.kind)
        if allowed is not None and request.method not in allowed:
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            response = await self._serve(where, request)
        except _TooLarge:
            response = _problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "http: request body too large")
        except TimeoutError:
            response = _problem(HTTPStatus.REQUEST_TIMEOUT, "http: the body did not come in time")
        self._requests.count(where.kind, request.method, response.status)
        return response

    async def _serve(self, where: Route, request: web.BaseRequest) -> web.StreamResponse:
        kind = where.kind
        if kind is Kind.NEW:
            return await self._new(request)
        if where.token:
            return await self._token(where, request)
        if kind is Kind.HEALTH:
            return await self._health()
        if kind is Kind.METRICS:
            text = generate_latest(self._registry)
            return _answer(HTTPStatus.OK, text.decode(), CONTENT_TYPE_PLAIN_0_0_4)
        if kind is Kind.ROOT:
            return _moved(request.method, DOCUMENTATION_URL)
        if kind is Kind.MOVED:
            query = request.raw_path.partition("?")[2]
            location = escape_path(where.key) + (f"?{query}" if query else "")
            return _moved(request.method, location)
        if kind is Kind.ROBOTS:
            return _answer(HTTPStatus.OK, ROBOTS)
        if kind is Kind.MALFORMED:
            return _answer(HTTPStatus.BAD_REQUEST, "400 Bad Request")
        return _problem(HTTPStatus.NOT_FOUND, "404 page not found")

    # --- new tokens --------------------------------------------------------------------

    async def _new(self, request: web.BaseRequest) -> web.Response:
        if self._new_rate is not None and not self._new_rate.allows(request.remote or ""):
            text = "too many new tokens for one address, try again later"
            return _problem(HTTPStatus.TOO_MANY_REQUESTS, text)
        try:
            size = read_size(await _size_field(request))
        except ValueError as error:
            return _problem(HTTPStatus.BAD_REQUEST, str(error))
        token = secrets.token_hex(TOKEN_BYTES)
        try:
            await self._create(token, size, self._token_ttl_s)
        except BackendDown as down:
            _log.error("could not store a token: %s", down)
            return _problem(HTTPStatus.BAD_REQUEST, "Unable to generate token")
        _log.info("New cluster created %s", token)
        return _answer(HTTPStatus.OK, f"{self.host}/{token}")

    async def _create(self, token: str, size: int, ttl_s: int) -> None:
        """Make a token's directory with the size in it."""
        create = "prevExist=false"
        if ttl_s:
            await self._write("PUT", f"/{token}", create, f"dir=true&ttl={ttl_s}")
        await self._write("PUT", f"/{token}/_config/size", create, f"value={size}")

    async def _write(self, method: str, path: str, query: str, form: str = "") -> None:
        """A write that has to succeed. Raises BackendDown if it does not."""
        headers = ((hdrs.CONTENT_TYPE, FORM),) if form else ()
        question = Question(method, REGISTRY + path, query, form.encode(), headers)
        async with self._ask(question) as answer:
            body = await answer.read()
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise BackendDown(f"{answer.status} {body[:200]!r}")

    @asynccontextmanager
    async def _ask(self, question: Question) -> AsyncIterator[Answer]:
        """Ask the backend within the time that an answer may take."""
        try:
            async with (
                asyncio.timeout(limits.DISCOVERY_BACKEND_ANSWER_S),
                self._backend.ask(question) as answer,
            ):
                yield answer
        except TimeoutError:
            raise BackendDown("no answer in time") from None

    async def _health(self) -> web.Response:
        token = secrets.token_hex(TOKEN_BYTES)
        step = "setupToken"
        try:
            await self._create(token, 0, 0)
            step = "deleteToken"
            await self._write("DELETE", f"/{token}", "recursive=true")
        except BackendDown as down:
            _log.error("failed to %s: %s", step, down)
            return _problem(HTTPStatus.BAD_REQUEST, f"health failed to {step}")
        return _answer(HTTPStatus.OK, "OK")

    # --- tokens in use -----------------------------------------------------------------

    async def _token(self, where: Route, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await _body(request)
            if request.method == "PUT" or (request.method != "GET" and where.kind is Kind.CONFIG):
                refusal = await self._refusal(where)
                if refusal is not None:
                    return refusal
            question = Question(
                request.method,
                where.key,
                request.raw_path.partition("?")[2],
                body,
                tuple(request.headers.items()),
            )
            return await self._pass_on(question, request)
        except BackendDown as down:
            _log.error("Error making request: %s", down)
            return _answer(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _refusal(self, where: Route) -> web.Response | None:
        """Why a key must not be changed: only `/new` makes tokens, and says how large they are.

        The question is asked linearizably, as a token may be used right after it was made.
        """
        size = Question("GET", f"{REGISTRY}/{where.token}/_config/size", "quorum=true")
        async with self._ask(size) as answer:
            body = await answer.read()
        headers = dict(end_to_end(answer.headers))
        if answer.status != HTTPStatus.OK:
            return web.Response(status=answer.status, body=body, headers=_named(headers))
        if where.kind is Kind.MEMBER:
            return None
        index = headers.get("X-Etcd-Index", "0")
        cause = where.key.encode("utf-8", "surrogateescape")
        document = error_body(NOT_A_FILE, cause, int(index) if index.isdecimal() else 0)
        for name in ("X-Raft-Index", "X-Raft-Term"):
            headers.pop(name, None)
        return web.Response(status=NOT_A_FILE.status, body=document, headers=_named(headers))

    async def _pass_on(self, question: Question, request: web.BaseRequest) -> web.StreamResponse:
        """Hand an answer on as it comes; the head at once."""
        async with self._backend.ask(question) as answer:
            response = web.StreamResponse(
                status=answer.status, headers=_named(dict(end_to_end(answer.headers)))
            )
            if answer.length is not None:
                response.content_length = answer.length
            elif request.version >= (1, 1):
                response.enable_chunked_encoding()
            await response.prepare(request)
            try:
                async with self._limited(answer):
                    async for chunk in answer.chunks:
                        await response.write(chunk)
                        request[SENT_BYTES] = request.get(SENT_BYTES, 0) + len(chunk)
            except TimeoutError:
                # An answer without an event: a member asks again, and who is gone is noticed.
                if answer.length is not None:
                    _cut(request)
            except BackendDown as down:
                _log.error("Error making request: %s", down)
                _cut(request)
            await response.write_eof()
        return response

    @asynccontextmanager
    async def _limited(self, answer: Answer) -> AsyncIterator[None]:
        """The time that passing on may take. Raises TimeoutError."""
        async with asyncio.timeout(limits.DISCOVERY_SERVED_WAIT_S) as limit:
            if answer.length is None:
                self._waits.add(limit)
            try:
                yield
            finally:
                self._waits.discard(limit)


def _cut(request: web.BaseRequest) -> None:
    """Let the client see that its answer is not complete."""
    if request.transport is not None:
        request.transport.abort()


def _named(headers: dict[str, str]) -> dict[str, str]:
    headers[hdrs.SERVER] = SERVER
    return headers


def _answer(status: int, text: str = "", content_type: str = TEXT) -> web.Response:
    headers = {hdrs.SERVER: SERVER, hdrs.CONTENT_TYPE: content_type}
    return web.Response(status=status, body=text.encode(), headers=headers)


def _problem(status: int, text: str) -> web.Response:
    response = _answer(status, text + "\n")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _moved(method: str, location: str) -> web.Response:
    page = redirection(location) if method in ("GET", "HEAD") else ""
    response = _answer(HTTPStatus.MOVED_PERMANENTLY, page, HTML if page else TEXT)
    response.headers[hdrs.LOCATION] = location
    return response


# --- what comes with a request ---------------------------------------------------------


class _TooLarge(Exception):
    """The body of a request exceeds its bound."""


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body. Raises _TooLarge, and TimeoutError for a client that does not send it."""
    parts = bytearray()
    async with asyncio.timeout(limits.DISCOVERY_BODY_S):
        async for chunk in request.content.iter_any():
            parts += chunk
            if len(parts) > limits.DISCOVERY_MAX_BODY_BYTES:
                raise _TooLarge
    return bytes(parts)


async def _size_field(request: web.BaseRequest) -> str | None:
    """The field `size`: of an urlencoded body, of the query, or of a multipart body."""
    query = form_value(request.raw_path.partition("?")[2], "size")
    if request.method not in _WITH_FORM:
        return query
    if request.content_type == FORM:
        body = (await _body(request)).decode("utf-8", "surrogateescape")
        field = form_value(body, "size")
        return query if field is None else field
    if request.content_type == "multipart/form-data" and query is None:
        return await _multipart_field(request)
    return query


async def _multipart_field(request: web.BaseRequest) -> str | None:
    try:
        async with asyncio.timeout(limits.DISCOVERY_BODY_S):
            value = (await request.post()).get("size")
    except (ValueError, web.HTTPException, AssertionError):
        return None
    return value if isinstance(value, str) else None
