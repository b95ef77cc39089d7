"""The request target: making it fit the parser, decoding it, cleaning it, redirecting.

The target is decoded once and cleaned once; everything after works on the decoded path, so
that no spelling of `..` or of a slash reaches another key than the one that was checked.
Knows nothing of routes or of connections. (keys-api, section 1, steps 1 and 3.)
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

PARSER_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"PATCH")
)
OTHER_METHOD: Final = b"PATCH"  # stands for every method that no route knows
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_HIGH = re.compile(rb"[\x80-\xff]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)(.*)", re.DOTALL).fullmatch
_ESCAPED_IN_PATH = re.compile(rb"[^A-Za-z0-9\-_.~$&+,/:;=@]")
_HTML: Final = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&#34;",
    ord("'"): "&#39;",
}


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def usual_request_line(line: bytes) -> bytes:
    """Rewrite a request line that etcd takes and the parser does not.

    Bytes beyond ASCII in the target become escapes, and a method of the client's invention one
    that is known and that nobody serves. What is wrong otherwise is left for the parser to refuse.
    """
    method, _, rest = line.partition(b" ")
    if method not in PARSER_METHODS and _TOKEN(method):
        method = OTHER_METHOD
    if not rest.isascii():
        rest = _HIGH.sub(_percent, rest)
    return b"%b %b" % (method, rest)


def origin_form(target: bytes) -> bytes | None:
    """Reduce an absolute target to path and query; None if it is neither form."""
    if target[:1] == b"/":
        return target
    absolute = _ABSOLUTE(target)
    if absolute is None:
        return None
    rest: bytes = absolute[2]
    return rest


def decode_path(path: bytes) -> bytes | None:
    """Decode the escapes of a path; None if one of them is malformed."""
    if b"%" not in path:
        return path
    if _BAD_ESCAPE(path):
        return None
    return unquote_to_bytes(path)


def clean_path(path: bytes) -> bytes:
    """Resolve empty, `.` and `..` segments; a trailing slash stays."""
    if path[:1] == b"/" and b"//" not in path and b"/." not in path:
        return path
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment and segment != b".":
            kept.append(segment)
    cleaned = b"/" + b"/".join(kept)
    if path[-1:] == b"/" and kept:
        return cleaned + b"/"
    return cleaned


def location(path: bytes, query: bytes) -> bytes:
    """The Location of a redirect to a clean path, with the original query."""
    escaped = _ESCAPED_IN_PATH.sub(_percent, path)
    return b"%b?%b" % (escaped, query) if query else escaped


def redirect_page(target: bytes) -> bytes:
    """The body that Go sends with a redirect."""
    return b'<a href="%b">Moved Permanently</a>.\n\n' % (
        target.decode("latin-1").translate(_HTML).encode("latin-1")
    )
