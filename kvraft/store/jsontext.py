"""Strings and times as the keys API writes them into JSON (keys API, sections 5 and 8).

Keys and values are bytes and stay bytes until here. The escaping is exactly that of the original
server, which no JSON library offers: `<`, `>`, `&`, U+2028 and U+2029 are escaped, of the control
characters only newline, return and tab have a short form, and each byte that is not part
of valid UTF-8 becomes the six characters `\\ufffd`, while a real U+FFFD stays as it is.

Must not know: nodes and events. Invariant: escape(a + b"/" + c) is escape(a) + b"/" + escape(c),
so that a listing escapes the path of a directory once for all its children.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

__all__ = ["escape", "remaining_seconds", "rfc3339", "wrap64"]

_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _NS
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MAX64: Final = (1 << 63) - 1

# Maps every byte that needs more thought to something else. Translating a string that has none
# returns the very same object, and is several times faster than any search.
_PLAIN: Final = bytes(
    0x21 if byte < 0x20 or byte > 0x7F or byte in b'"\\<>&' else byte for byte in range(256)
)
_SPECIAL: Final = re.compile(rb'[\x00-\x1f"\\<>&]|\xe2\x80[\xa8\xa9]')
_STRAY: Final = re.compile("[\udc80-\udcff]")
_ESCAPES: Final[dict[bytes, bytes]] = {
    **{bytes([byte]): b"\\u%04x" % byte for byte in (*range(0x20), *b"<>&")},
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}


def escape(text: bytes) -> bytes:
    """Escape a string for JSON, without the quotes."""
    if text.translate(_PLAIN) is text:
        return text
    escaped = _SPECIAL.sub(_escape_one, text)
    if escaped.isascii():
        return escaped
    try:
        escaped.decode()
    except UnicodeDecodeError:
        # Every undecodable byte becomes one lone surrogate, which valid UTF-8 never holds.
        decoded = escaped.decode(errors="surrogateescape")
        return _STRAY.sub(r"\\ufffd", decoded).encode()
    return escaped


def _escape_one(match: re.Match[bytes]) -> bytes:
    return _ESCAPES[match.group()]


def rfc3339(time_ns: int) -> bytes:
    """A moment in UTC, with as many digits of the second's fraction as it needs."""
    days, in_day_ns = divmod(time_ns, _DAY_NS)
    second, fraction_ns = divmod(in_day_ns, _NS)
    day = date.fromordinal(_EPOCH_ORDINAL + days)
    fraction = b""
    if fraction_ns:
        fraction = b"." + (b"%09d" % fraction_ns).rstrip(b"0")
    return b"%s%02d:%02d:%02d%bZ" % (
        day.isoformat().encode() + b"T",
        second // 3600,
        second // 60 % 60,
        second % 60,
        fraction,
    )


def remaining_seconds(expiration_ns: int, now_ns: int) -> int:
    """The time left, rounded up; of a time that has passed, truncated toward zero."""
    left_ns = expiration_ns - now_ns
    if left_ns > 0:
        return (min(left_ns, _MAX64) + _NS - 1) // _NS
    return -(min(-left_ns, _MAX64) // _NS)


def wrap64(number: int) -> int:
    """The number that signed 64-bit arithmetic would have got."""
    return ((number + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
