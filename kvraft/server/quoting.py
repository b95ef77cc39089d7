"""Text in double quotes the way Go's `%q` writes it.

Messages about bad flags, variables and URLs quote what the user gave, and people search for
those messages; so the quoting is part of the interface. Knows nothing of what is quoted.
"""

from __future__ import annotations

from typing import Final

_NAMED: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}
_ASCII_END: Final = 0x80
_BMP_END: Final = 0x10000
# Python decodes an undecodable byte of the command line to one of these.
_LONE_BYTES: Final = range(0xDC80, 0xDD00)


def quote(text: str) -> str:
    """`text` in double quotes, with everything unprintable escaped."""
    return '"' + "".join(map(_quote_character, text)) + '"'


def _quote_character(character: str) -> str:
    if (named := _NAMED.get(character)) is not None:
        return named
    if character.isprintable():
        return character
    code = ord(character)
    if code in _LONE_BYTES:
        return f"\\x{code & 0xFF:02x}"
    if code < _ASCII_END:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BMP_END else f"\\U{code:08x}"
