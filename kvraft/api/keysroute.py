"""The keys over HTTP: from a request to a path, parameters, a permission and an operation.

Knows HTTP methods and Content-Types; the operations themselves are in keys.py.
(keys-api, sections 1, 2 and 4.)
"""

from __future__ import annotations

from typing import Final

from kvraft.api.access import AccessControl
from kvraft.api.errors import INVALID_FORM
from kvraft.api.exchange import Exchange
from kvraft.api.figures import GET, KINDS, QGET, WATCH
from kvraft.api.keys import Keys
from kvraft.api.mediatype import is_form
from kvraft.api.params import BadParameters, Params, get_params, parse_params
from kvraft.store.path import clean

PREFIX: Final = b"/v2/keys"
METHODS: Final = (b"HEAD", b"GET", b"PUT", b"POST", b"DELETE")
TOO_LARGE: Final = b"http: POST too large"


class KeysRoute:
    """Serves `/v2/keys` and everything below it."""

    __slots__ = ("_access", "_auth", "_keys")

    def __init__(self, keys: Keys, access: AccessControl) -> None:
        self._keys = keys
        self._access = access
        self._auth = access.auth

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request, whose method has been checked."""
        asked = exchange.path[len(PREFIX) :]
        path = clean(asked)
        method = exchange.method
        keys = self._keys
        try:
            if method == b"GET":
                params = get_params(exchange.query)
                kind, operation = kind_of_get(params), keys.get
            elif method in (b"PUT", b"POST"):
                params = form_params(exchange)
                kind, operation = KINDS[method], keys.put if method == b"PUT" else keys.post
            else:
                params = parse_params(exchange.query, b"", method)
                kind, operation = KINDS[method], keys.delete if method == b"DELETE" else keys.head
        except BadParameters as bad:
            exchange.refuse(bad.code, bad.cause, 0)
            return
        if not self._auth.guarded:
            exchange.counts_as(kind)
            operation(path, params, exchange)
            return

        def run() -> None:
            exchange.counts_as(kind)
            operation(path, params, exchange)

        write = method not in (b"GET", b"HEAD")
        self._access.admit(exchange, asked, write, params.recursive, run)


def kind_of_get(params: Params) -> int:
    """What a GET counts as."""
    if params.quorum:
        return QGET
    return WATCH if params.wait else GET


def form_params(exchange: Exchange) -> Params:
    """The parameters of a request that may have a form for its body."""
    content_type = exchange.content_type
    form = b""
    if content_type is not None:
        counts, problem = is_form(content_type)
        if problem is None and counts:
            form = exchange.body
            if exchange.body_too_large:
                problem = TOO_LARGE
        if problem is not None:
            raise BadParameters(INVALID_FORM, problem)
    return parse_params(exchange.query, form, exchange.method)
