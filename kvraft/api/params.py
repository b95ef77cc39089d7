"""The parameters of a keys request: strict parsing and the fixed order of validation.

Bytes in, bytes out: values may be any bytes. Everything is checked for every method, whether
the method uses it or not, before the key is looked at; the first failure in the fixed order is
the one reported. (keys-api, sections 2 and 3.)

Invariant: a Params is immutable, so that those of frequent queries can be shared.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from kvraft.api.errors import (
    INDEX_NOT_A_NUMBER,
    INVALID_FIELD,
    INVALID_FORM,
    PREV_VALUE_REQUIRED,
    REFRESH_TTL_REQUIRED,
    REFRESH_VALUE,
    TTL_NOT_A_NUMBER,
    ErrorCode,
)
from kvraft.limits import MAX_SHARED_QUERIES, MAX_SHARED_QUERY_BYTES

_TRUE: Final = frozenset((b"1", b"t", b"T", b"TRUE", b"true", b"True"))
_FALSE: Final = frozenset((b"0", b"f", b"F", b"FALSE", b"false", b"False"))
_DIGITS = re.compile(rb"[0-9]{1,2000}").fullmatch
_MAX_UINT64: Final = (1 << 64) - 1
_ESCAPE_CUT = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL).search
_SEMICOLON: Final = b"invalid semicolon separator in query"
_GO_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


class BadParameters(Exception):
    """The request is refused before the key is looked at."""

    def __init__(self, code: ErrorCode, cause: bytes) -> None:
        super().__init__(code, cause)
        self.code = code
        self.cause = cause


class Params(NamedTuple):
    """The parameters of one request after validation; the defaults stand for "not given"."""

    value: bytes = b""
    ttl_seconds: int | None = None
    directory: bool = False
    prev_exist: bool | None = None
    prev_value: bytes = b""
    prev_index: int = 0
    refresh: bool = False
    recursive: bool = False
    sorted: bool = False
    quorum: bool = False
    wait: bool = False
    stream: bool = False
    wait_index: int = 0
    no_value: bool = False


NO_PARAMS: Final = Params()
_get_queries: dict[bytes, Params] = {}
known_get_params: Final = _get_queries.get
"""The parameters of a query that a GET has had lately; None if there was none."""


def get_params(query: bytes) -> Params:
    """Parse and validate the query of a GET; short ones that recur are parsed only once."""
    if not query:
        return NO_PARAMS
    params = _get_queries.get(query)
    if params is None:
        params = parse_params(query, b"", b"GET")
        if len(query) <= MAX_SHARED_QUERY_BYTES:
            if len(_get_queries) >= MAX_SHARED_QUERIES:
                _get_queries.clear()
            _get_queries[query] = params
    return params


def parse_params(query: bytes, form: bytes, method: bytes) -> Params:
    """Parse and validate the query and the form body of a request."""
    if not query and form[:6] == b"value=" and is_plain(form):
        return Params(form[6:])
    fields: dict[bytes, bytes] = {}
    problem = _collect(form, fields) if form else None
    if query:
        problem = _collect(query, fields) if problem is None else problem
    if problem is not None:
        raise BadParameters(INVALID_FORM, problem)
    return validate(fields, method)


def is_plain(form: bytes) -> bool:
    """Whether a form of one pair needs no decoding."""
    return not (b"&" in form or b"%" in form or b"+" in form or b";" in form)


def _collect(text: bytes, fields: dict[bytes, bytes]) -> bytes | None:
    """Add the pairs of a form, the first value of a name counts; return what is wrong with it."""
    if b";" in text:
        return _SEMICOLON
    escaped = b"%" in text
    if escaped and _ESCAPE_CUT(text) is not None:
        return _escape_problem(text)
    if b"+" in text:
        text = text.replace(b"+", b" ")
    for pair in text.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            if escaped:
                name = unquote_to_bytes(name)
                value = unquote_to_bytes(value)
            if name not in fields:
                fields[name] = value
    return None


def _escape_problem(text: bytes) -> bytes | None:
    """Find the first malformed escape, within its own name or value, and quote it."""
    for pair in text.split(b"&"):
        for part in pair.split(b"=", 1):
            wrong = _ESCAPE_CUT(part)
            if wrong is not None:
                return b"invalid URL escape " + _go_quote(wrong[0])
    return None


def _go_quote(text: bytes) -> bytes:
    quoted = []
    for character in text.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if character in _GO_ESCAPES:
            quoted.append(_GO_ESCAPES[character])
        elif 0xDC80 <= code <= 0xDCFF:
            quoted.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            quoted.append(f"\\x{code:02x}")
        elif character.isprintable():
            quoted.append(character)
        else:
            quoted.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return b'"%b"' % "".join(quoted).encode()


def validate(fields: dict[bytes, bytes], method: bytes) -> Params:
    """Check the fields in the fixed order; the first failure is raised."""
    take = fields.get
    prev_index = _index(take(b"prevIndex"), b"prevIndex")
    wait_index = _index(take(b"waitIndex"), b"waitIndex")
    recursive = _boolean(take(b"recursive"), b'"recursive"')
    in_order = _boolean(take(b"sorted"), b'"sorted"')
    wait = _boolean(take(b"wait"), b'"wait"')
    directory = _boolean(take(b"dir"), b'"dir"')
    quorum = _boolean(take(b"quorum"), b'"quorum"')
    stream = _boolean(take(b"stream"), b'"stream"')
    if wait and method != b"GET":
        raise BadParameters(INVALID_FIELD, b'"wait" can only be used with GET requests')
    prev_value = take(b"prevValue")
    if prev_value == b"":
        raise BadParameters(PREV_VALUE_REQUIRED, b'"prevValue" cannot be empty')
    # Unknown to 2.3, so it must not disturb where it has no effect.
    changes = method in (b"PUT", b"POST")
    no_value = changes and _boolean(take(b"noValueOnSuccess"), b'"noValueOnSuccess"')
    ttl_seconds = _ttl(take(b"ttl"))
    exist = take(b"prevExist")
    prev_exist = None if exist is None else _boolean(exist, b"prevExist")
    refresh = _boolean(take(b"refresh"), b"refresh")
    value = take(b"value", b"")
    if refresh:
        if value:
            raise BadParameters(REFRESH_VALUE, b"A value was provided on a refresh")
        if ttl_seconds is None:
            raise BadParameters(REFRESH_TTL_REQUIRED, b"No TTL value set")
    return Params(
        value,
        ttl_seconds,
        directory,
        prev_exist,
        prev_value or b"",
        prev_index,
        refresh,
        recursive,
        in_order,
        quorum,
        wait,
        stream,
        wait_index,
        no_value,
    )


def _boolean(text: bytes | None, name: bytes) -> bool:
    if text is None or text in _FALSE:
        return False
    if text in _TRUE:
        return True
    raise BadParameters(INVALID_FIELD, b"invalid value for " + name)


def _unsigned(text: bytes) -> int | None:
    """A decimal number of 64 bits; None if it is none."""
    if _DIGITS(text) is None:
        return None
    number = int(text)
    return number if number <= _MAX_UINT64 else None


def _index(text: bytes | None, name: bytes) -> int:
    if text is None:
        return 0
    number = _unsigned(text)
    if number is None:
        raise BadParameters(INDEX_NOT_A_NUMBER, b'invalid value for "%b"' % name)
    return number


def _ttl(text: bytes | None) -> int | None:
    if not text:
        return None
    number = _unsigned(text)
    if number is None:
        raise BadParameters(TTL_NOT_A_NUMBER, b'invalid value for "ttl"')
    return number
