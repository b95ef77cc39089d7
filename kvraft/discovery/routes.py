"""What a path means to the discovery service, and how it reads forms and numbers.

Pure: paths and texts in, decisions out. The table of routes is the reference's (discovery, 2.2),
and the router's manners are those of Go, which the service programs in use were written in.
"""

from __future__ import annotations

import posixpath
import re
from enum import Enum
from html import escape as escape_html
from typing import Final, NamedTuple
from urllib.parse import quote as escape
from urllib.parse import unquote_to_bytes

from kvraft.server.quoting import quote

REGISTRY: Final = "/_etcd/registry"
"""Below this key all tokens are kept; their directories are named as they are."""
DEFAULT_SIZE: Final = "3"

_TOKEN: Final = re.compile(r"/([a-f0-9]{32})(?:/|/([^/]+)|/_config/size)?")
_CUT_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_NUMBER: Final = re.compile(r"[+-]?[0-9]+").fullmatch
_MAX_DIGITS: Final = 20


class Kind(Enum):
    """The pages of the service."""

    ROOT = "/"
    NEW = "/new"
    HEALTH = "/health"
    ROBOTS = "/robots.txt"
    METRICS = "/metrics"
    TOKEN = "a token"
    MEMBER = "a token's member"
    CONFIG = "a token's settings"
    SIZE = "a token's size"
    MOVED = "a path that should be written otherwise"
    MALFORMED = "a path that cannot be read"
    UNKNOWN = "none of the others"


class Route(NamedTuple):
    """Where a request goes; `key` is what it is about in the store, or the cleaned path."""

    kind: Kind
    token: str = ""
    key: str = ""


_FIXED: Final = {
    kind.value: kind for kind in (Kind.ROOT, Kind.NEW, Kind.HEALTH, Kind.ROBOTS, Kind.METRICS)
}
# Other kinds take any method.
METHODS: Final = {
    Kind.TOKEN: ("GET", "PUT"),
    Kind.MEMBER: ("GET", "PUT", "DELETE"),
    Kind.CONFIG: ("GET", "PUT", "DELETE"),
    Kind.SIZE: ("GET",),
}


def route(raw_path: str) -> Route:
    """Find the page for the path of a request line, as sent and without its query."""
    if _CUT_ESCAPE(raw_path):
        return Route(Kind.MALFORMED)
    path = unquote_to_bytes(raw_path.encode("utf-8", "surrogateescape"))
    text = path.decode("utf-8", "surrogateescape")
    clean = clean_path(text)
    if clean != text:
        return Route(Kind.MOVED, key=clean)
    fixed = _FIXED.get(text)
    if fixed is not None:
        return Route(fixed)
    found = _TOKEN.fullmatch(text)
    if found is None:
        return Route(Kind.UNKNOWN)
    token, segment = found[1], found[2]
    key = f"{REGISTRY}{text.rstrip('/')}"
    if segment is not None:
        return Route(Kind.CONFIG if segment == "_config" else Kind.MEMBER, token, key)
    return Route(Kind.SIZE if text.endswith("/size") else Kind.TOKEN, token, key)


def clean_path(path: str) -> str:
    """The path without `//`, `.` and `..`; a slash at its end stays."""
    clean = posixpath.normpath("/" + path).replace("//", "/", 1)
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def redirection(location: str) -> str:
    """The page that a redirected GET shows to a reader."""
    return f'<a href="{escape_html(location)}">Moved Permanently</a>.\n\n'


def escape_path(path: str) -> str:
    """A path as it is sent."""
    return escape(path.encode("utf-8", "surrogateescape"), safe="/$&+,:;=@~")


def form_value(form: str, name: str) -> str | None:
    """The first value of a field in a query or a form; what cannot be read is passed over."""
    for pair in form.split("&"):
        if ";" in pair or _CUT_ESCAPE(pair):
            continue
        field, _, value = pair.partition("=")
        if _decode(field) == name:
            return _decode(value)
    return None


def _decode(text: str) -> str:
    raw = text.replace("+", " ").encode("utf-8", "surrogateescape")
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def read_size(text: str | None) -> int:
    """The size of a new cluster. Raises ValueError with the text for the client."""
    text = text or DEFAULT_SIZE
    if not _NUMBER(text):
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    digits = text.lstrip("+-").lstrip("0") or "0"
    number = int(digits[: _MAX_DIGITS + 1]) * (-1 if text.startswith("-") else 1)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: value out of range")
    if number < 1:
        raise ValueError(f"a cluster has at least one member: size is {number}")
    return number
