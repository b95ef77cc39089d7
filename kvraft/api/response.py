"""The bytes of answers, as Go's HTTP server orders and frames them.

Explicit headers come first, sorted by name; then Date, Content-Length, a Content-Type that was
guessed from the body, Connection and Transfer-Encoding. Knows nothing of requests or routes.
"""

from __future__ import annotations

import json
from decimal import Decimal
from http import HTTPStatus
from typing import Final

from kvraft.store.jsontext import escape

JSON: Final = b"Content-Type: application/json\r\n"
TEXT: Final = b"text/plain; charset=utf-8"
PLAIN_ERROR: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
)
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

STATUS_TEXT: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_TEXT[413] = b"Request Entity Too Large"  # as Go has it, whatever Python calls it


def status_line(status: int, http10: bool) -> bytes:
    """The first line of an answer."""
    return b"HTTP/1.%d %d %b\r\n" % (0 if http10 else 1, status, STATUS_TEXT[status])


def raw_refusal(status: int, detail: bytes = b"", body: bytes | None = None) -> bytes:
    """What Go sends when it cannot make sense of a request; the connection is closed after it."""
    reason = STATUS_TEXT[status] + (b": " + detail if detail else b"")
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%b"
    ) % (status, reason, b"%d %b" % (status, reason) if body is None else body)


BAD_REQUEST: Final = raw_refusal(400)
MISSING_HOST: Final = raw_refusal(400, b"missing required Host header")
MALFORMED_HOST: Final = raw_refusal(400, b"malformed Host header")
HEAD_TOO_LARGE: Final = raw_refusal(431)
TRANSFER_ENCODING: Final = raw_refusal(501, body=b"Unsupported transfer encoding")
HTTP_VERSION: Final = raw_refusal(505, b"unsupported protocol version")
OVERLOADED: Final = raw_refusal(503, b"too many connections or unfinished requests")


def message(text: str) -> bytes:
    """The error document of all routes but the keys."""
    return b'{"message":"%b"}' % escape(text.encode("utf-8", "surrogateescape"))


def go_json(value: object) -> bytes:
    """A JSON document as Go would write it, without a newline."""
    if isinstance(value, str):
        return b'"%b"' % escape(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, dict):
        return b"{%b}" % b",".join(
            b"%b:%b" % (go_json(str(name)), go_json(item)) for name, item in value.items()
        )
    if isinstance(value, (list, tuple)):
        return b"[%b]" % b",".join(go_json(item) for item in value)
    if isinstance(value, float):
        return _go_float(value)
    return json.dumps(value).encode()


def _go_float(number: float) -> bytes:
    """The shortest digits that mean this number; an exponent only for the very large or small."""
    digits = repr(number)
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        digits = format(Decimal(digits), "f")
    return digits.removesuffix(".0").replace("e-0", "e-").encode()
