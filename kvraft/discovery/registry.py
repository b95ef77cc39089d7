"""A token's directory in the registry, over HTTP: one method for each request of the protocol.

The wire form is fixed (discovery reference, 3.1): services know exactly these headers, and the
parameters in alphabetical order. Answers come from outside and are checked. What to do about a
failure is the caller's business, so each is put into one of three classes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote as escape
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from kvraft import limits

BAD_ENDPOINT: Final = "discovery: bad discovery endpoint"
UNAVAILABLE: Final = "client: etcd cluster is unavailable or misconfigured"
DEADLINE: Final = "context deadline exceeded"
KEY_EXISTS: Final = 105
HISTORY_CLEARED: Final = 401

_HEADERS: Final = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
_READ: Final = "quorum=false&recursive=false&sorted=false"
_WAIT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=limits.DISCOVERY_REQUEST_S, sock_read=limits.DISCOVERY_WAIT_S
)
_GO_SIZE: Final = re.compile(r"[+-]?[0-9]{1,20}").fullmatch


class Failure(Exception):
    """A request had no usable outcome; the text is what etcd 2.3 says about it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Unreachable(Failure):
    """No answer, or one that says that the service is in trouble: it may be better later."""


class Refused(Failure):
    """The store behind the service answered with a numbered error."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        code, message = document["errorCode"], document.get("message", "")
        cause, index = document.get("cause", ""), document.get("index", 0)
        super().__init__(f"{code}: {message} ({cause}) [{index}]")
        self.code = code


class Registration(NamedTuple):
    """What a member has left: `name=url[,name=url]` under its id, and when it came."""

    id_hex: str
    value: str
    created_index: int


class Listing(NamedTuple):
    """The registrations under a token, in the order in which they came.

    `store_index` is the store's at that moment; `directory` is the token's key in the store, which
    a service's URL does not show.
    """

    store_index: int
    directory: str
    registrations: tuple[Registration, ...]


class Event(NamedTuple):
    """A change at or below the token's directory; `is_directory` as the changed node is one."""

    action: str
    key: str
    is_directory: bool
    value: str
    created_index: int
    modified_index: int


class Registry:
    """The requests about one token. An async context manager: it holds the connection."""

    def __init__(self, url: str, proxy: str = "", request_timeout_s: float | None = None) -> None:
        """`proxy` is a complete URL, or empty; raises Failure for a URL of another kind."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Failure(f'unsupported protocol scheme "{parts.scheme}"')
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._prefix = "/".join(["", *filter(None, parts.path.split("/"))])
        self._proxy = proxy or None
        limit_s = limits.DISCOVERY_REQUEST_S if request_timeout_s is None else request_timeout_s
        self._patience = aiohttp.ClientTimeout(total=limit_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            skip_auto_headers=("Accept",),
        )
        # aiohttp repeats a PUT whose connection broke: the second one finds the first one's key,
        # and this member would take itself for another one.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    # --- the requests ------------------------------------------------------------------

    async def size(self) -> int:
        """How many members the cluster is to have."""
        _, document = await self._ask("GET", "/_config/size", _READ)
        text = _node(document).get("value", "")
        if type(text) is not str or not _GO_SIZE(text) or int(text) < 1:
            raise Failure("discovery: size key is bad")
        return int(text)

    async def listing(self) -> Listing:
        """Who has registered so far."""
        index, document = await self._ask("GET", "", _READ)
        node = _node(document)
        children = node.get("nodes") or []
        if type(children) is not list or len(children) > limits.DISCOVERY_MAX_REGISTRATIONS:
            raise Failure(BAD_ENDPOINT)
        found = [_registration(child) for child in children if not _is_directory(child)]
        found.sort(key=lambda item: item.created_index)
        return Listing(index, _text(node, "key"), tuple(found))

    async def register(self, id_hex: str, value: str) -> int:
        """Take a place; the index at which it was taken. Raises Refused if the id has one."""
        body = urlencode({"value": value})
        try:
            _, document = await self._ask("PUT", f"/{id_hex}", "prevExist=false", body)
        except Unreachable:
            # Whether the place is taken is unknown, and asking twice would find oneself there.
            raise Failure(UNAVAILABLE) from None
        return _number(_node(document), "createdIndex")

    async def wait_for_own(self, id_hex: str, index: int) -> None:
        """Return once the member that answers reads has seen the registration at `index`."""
        await self._ask("GET", f"/{id_hex}", f"recursive=false&wait=true&waitIndex={index}")

    async def wait(self, index: int) -> Event | None:
        """The first event at or after `index`; None if the service ended the wait without one."""
        query = f"recursive=true&wait=true&waitIndex={index}"
        try:
            status, _, body = await self._send("GET", "", query, None, _WAIT)
        except TimeoutError:
            return None
        if status == HTTPStatus.OK and not body.strip():
            return None
        document = _document(status, body)
        node = _node(document)
        return Event(
            _text(document, "action"),
            _text(node, "key"),
            _is_directory(node),
            str(node.get("value", "")),
            _number(node, "createdIndex"),
            _number(node, "modifiedIndex"),
        )

    # --- sending -----------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, query: str, body: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The store's index and the document of an answer."""
        try:
            status, index, raw = await self._send(method, path, query, body, self._patience)
        except TimeoutError:
            raise Failure(DEADLINE) from None
        document = _document(status, raw)
        if not index.isascii() or not index.isdigit() or len(index) > limits.MAX_INDEX_DIGITS:
            raise Failure(BAD_ENDPOINT)
        return int(index), document

    async def _send(
        self,
        method: str,
        path: str,
        query: str,
        body: str | None,
        patience: aiohttp.ClientTimeout,
    ) -> tuple[int, str, bytes]:
        """Status, index and body of an answer that is no server's error. Raises TimeoutError."""
        assert self._session is not None, "used outside of its context"
        target = f"{self.base}{escape(self._prefix, safe='/%~:@!$&()*+,;=')}{path}?{query}"
        form = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            async with self._session.request(
                method,
                URL(target, encoded=True),
                data=body,
                headers=form,
                timeout=patience,
                proxy=self._proxy,
                # A redirected PUT has no body any more, so nobody may rely on it.
                allow_redirects=method == "GET",
            ) as response:
                raw = await _read(response)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"dial tcp {error}: i/o timeout") from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from None
        if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            raise Unreachable(f"unexpected redirect from {self.base}")
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(self._trouble(response))
        return response.status, response.headers.get("X-Etcd-Index", ""), raw

    def _trouble(self, response: aiohttp.ClientResponse) -> str:
        if response.status in (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE):
            return f"client: etcd member {self.base} has no leader"
        try:
            phrase = HTTPStatus(response.status).phrase
        except ValueError:
            phrase = ""
        return f"client: etcd member {self.base} returns server error [{phrase}]"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for chunk in response.content.iter_any():
        parts += chunk
        if len(parts) > limits.DISCOVERY_MAX_ANSWER_BYTES:
            raise Failure(BAD_ENDPOINT)
    return bytes(parts)


def _reason(error: Exception) -> str:
    """A failed connection in the words of a Go program."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientSSLError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        text = os.strerror(number).lower() if number else str(error.os_error)
        return f"dial tcp {error.host}:{error.port}: connect: {text}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unexpected EOF"
    return str(error) or type(error).__name__


# --- answers ---------------------------------------------------------------------------


def _document(status: int, raw: bytes) -> dict[str, Any]:
    """The JSON object of an answer. Raises Refused for a numbered error."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise Failure(BAD_ENDPOINT) from None
    if type(document) is not dict:
        raise Failure(BAD_ENDPOINT)
    if type(document.get("errorCode")) is int:
        raise Refused(document)
    if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise Failure(BAD_ENDPOINT)
    return document


def _node(document: dict[str, Any]) -> dict[str, Any]:
    node = document.get("node")
    if type(node) is not dict:
        raise Failure(BAD_ENDPOINT)
    return node


def _text(node: dict[str, Any], name: str) -> str:
    text = node.get(name)
    if type(text) is not str:
        raise Failure(BAD_ENDPOINT)
    return text


def _number(node: dict[str, Any], name: str) -> int:
    number = node.get(name)
    if type(number) is not int or number < 0:
        raise Failure(BAD_ENDPOINT)
    return number


def _is_directory(node: object) -> bool:
    return type(node) is dict and node.get("dir") is True


def _registration(node: object) -> Registration:
    if type(node) is not dict:
        raise Failure(BAD_ENDPOINT)
    id_hex = _text(node, "key").rpartition("/")[2]
    return Registration(id_hex, str(node.get("value", "")), _number(node, "createdIndex"))
