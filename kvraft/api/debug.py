"""`/debug/vars` and the log level at run time. (admin-api, section 2.)"""

from __future__ import annotations

import json
from typing import Final

from kvraft.api.exchange import Exchange
from kvraft.api.response import go_json
from kvraft.api.routes import Router
from kvraft.api.service import Service

JSON_UTF8: Final = b"Content-Type: application/json; charset=utf-8\r\n"


class _InvalidBody(Exception):
    """The body is not what the route takes."""


class DebugRoutes:
    """Serves what operators look at when something is wrong."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def variables(self, exchange: Exchange) -> None:
        """Serve `/debug/vars`: one variable per line, in order."""
        values = self._service.diagnostics.variables()
        lines = [b'"%b": %b' % (name.encode(), go_json(values[name])) for name in sorted(values)]
        exchange.respond(200, JSON_UTF8, b"{\n%b\n}\n" % b",\n".join(lines))

    def log_level(self, exchange: Exchange) -> None:
        """Serve `/config/local/log`."""
        try:
            level = _level_in(exchange.body)
        except _InvalidBody:
            exchange.respond_message(400, "Invalid json body")
            return
        if self._service.diagnostics.set_log_level(level):
            exchange.respond(204, b"", b"")
        else:
            exchange.respond_message(400, f"Invalid log level {level}")


def _level_in(body: bytes) -> str:
    """The member "Level" of the first JSON value, read as Go does: in any case, the last counts."""
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        document, _ = json.JSONDecoder(object_pairs_hook=list).raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise _InvalidBody from error
    if document is None:
        return ""
    if not isinstance(document, list) or not text.startswith("{"):
        raise _InvalidBody
    level = ""
    for name, value in document:
        if name.lower() == "level" and value is not None:
            if not isinstance(value, str):
                raise _InvalidBody
            level = value
    return level


def add_debug_routes(router: Router, service: Service) -> None:
    """Enter the routes of this module into a table."""
    routes = DebugRoutes(service)
    router.add(b"/debug/vars", (b"GET",), routes.variables)
    router.add(b"/config/local/log", (b"PUT",), routes.log_level)
