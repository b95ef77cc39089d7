"""Which handler serves which path, and what is answered where none does.

A route is an exact path, or with a slash at its end a prefix; the longest one counts. Handlers get
the exchange and answer through it, at once or later. (keys-api, section 1; admin-api, section 1.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kvraft.api.exchange import Exchange
from kvraft.api.response import PLAIN_ERROR, TEXT
from kvraft.api.target import clean_path, location, redirect_page

NOT_FOUND: Final = b"404 page not found\n"
METHOD_NOT_ALLOWED: Final = b"Method Not Allowed\n"
HTML: Final = b"Content-Type: text/html; charset=utf-8\r\n"

Handler = Callable[[Exchange], None]


class Route(NamedTuple):
    """A handler, and the methods it knows; none named: all."""

    handler: Handler
    methods: tuple[bytes, ...]


class Router:
    """The table of routes of one port."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[bytes, Route] = {}
        self._prefixes: list[tuple[bytes, Route]] = []

    def add(self, path: bytes, methods: tuple[bytes, ...], handler: Handler) -> None:
        """Serve a path; one that ends in a slash serves everything below it, too."""
        route = Route(handler, methods)
        if path.endswith(b"/"):
            self._prefixes.append((path, route))
            self._prefixes.sort(key=lambda entry: -len(entry[0]))
        else:
            self._exact[path] = route

    def find(self, path: bytes) -> Route | None:
        """The route of a clean path."""
        route = self._exact.get(path)
        if route is not None:
            return route
        for prefix, route in self._prefixes:
            if path.startswith(prefix):
                return route
        return None

    def serve(self, exchange: Exchange) -> None:
        """Answer a request whose path is decoded but not yet cleaned."""
        path = exchange.path
        method = exchange.method
        if method == b"OPTIONS":
            exchange.respond(200, b"", b"")
            return
        cleaned = clean_path(path)
        if cleaned != path:
            redirect(exchange, cleaned)
            return
        route = self.find(path)
        if route is None:
            exchange.respond(404, PLAIN_ERROR, NOT_FOUND)
        elif route.methods and method not in route.methods:
            refuse_method(exchange, route.methods)
        else:
            route.handler(exchange)


def refuse_method(exchange: Exchange, methods: tuple[bytes, ...]) -> None:
    """Answer 405, naming the methods that would have been allowed."""
    headers = b"Allow: %b\r\n%b" % (b",".join(methods), PLAIN_ERROR)
    exchange.respond(405, headers, METHOD_NOT_ALLOWED)


def redirect(exchange: Exchange, cleaned: bytes) -> None:
    """Send the client to the clean path, its query kept."""
    target = location(cleaned, exchange.query)
    is_get = exchange.method == b"GET"
    headers = b"Location: %b\r\n" % target
    if is_get or exchange.method == b"HEAD":
        headers = HTML + headers
    exchange.respond(301, headers, redirect_page(target) if is_get else b"")


def plain_text(exchange: Exchange, text: bytes) -> None:
    """Answer 200 with a text whose type Go would guess."""
    exchange.respond(200, b"", text, TEXT)
