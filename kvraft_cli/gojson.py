"""Where Go's JSON reader stops, in its words.

The commands on members, users and roles print what their JSON reader says about an answer that is
none, so its texts are part of the output. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from kvraft.server.quoting import quote

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_PARTS: Final = re.compile(
    r"(?P<minus>-)(?![0-9])"
    r"|-?(?:0|[1-9][0-9]*)(?P<point>\.)(?![0-9])"
    r"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?P<exponent>[eE][+-]?+)(?![0-9])"
)
_IN_NUMBER: Final = {
    "minus": "in numeric literal",
    "point": "after decimal point in numeric literal",
    "exponent": "in exponent of numeric literal",
}
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_WORDS: Final = ("true", "false", "null")
_CUT: Final = "unexpected end of JSON input"


class _Stop(Exception):
    """The place at which the text stops to be JSON, and what was expected there."""

    def __init__(self, place: int, expected: str) -> None:
        super().__init__(place, expected)
        self.place = place
        self.expected = expected


def syntax_error(text: str) -> str | None:
    """Why this is not JSON; None if it is."""
    try:
        end = _space(text, _value(text, 0))
        if end < len(text):
            raise _Stop(end, "after top-level value")
    except _Stop as stop:
        if stop.place >= len(text):
            return _CUT
        return f"invalid character {_character(text[stop.place])} {stop.expected}"
    return None


def _character(found: str) -> str:
    if found == "'":
        return "'\\''"
    if found == '"':
        return "'\"'"
    return f"'{quote(found)[1:-1]}'"


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _value(text: str, at: int) -> int:
    """The end of the value that begins here, after space; without recursion: depth is foreign."""
    open_parts: list[str] = []  # the closing characters that are still to come
    while True:
        at = _space(text, at)
        first = text[at : at + 1]
        if first in ("{", "["):
            at = _space(text, at + 1)
            close = "}" if first == "{" else "]"
            if text[at : at + 1] != close:
                open_parts.append(close)
                if first == "{":
                    at = _name(text, at, "looking for beginning of object key string")
                continue
            at += 1
        else:
            at = _scalar(text, at)
        # a value has ended: so may any number of what it stands in
        while open_parts:
            at = _space(text, at)
            close = open_parts[-1]
            found = text[at : at + 1]
            if found == ",":
                at += 1
                if close == "}":
                    at = _name(text, _space(text, at), "looking for beginning of object key string")
                break
            if found != close:
                what = "object key:value pair" if close == "}" else "array element"
                raise _Stop(at, f"after {what}")
            open_parts.pop()
            at += 1
        else:
            return at


def _name(text: str, at: int, expected: str) -> int:
    """The end of a name and its colon."""
    if text[at : at + 1] != '"':
        raise _Stop(at, expected)
    at = _space(text, _string(text, at))
    if text[at : at + 1] != ":":
        raise _Stop(at, "after object key")
    return at + 1


def _scalar(text: str, at: int) -> int:
    first = text[at : at + 1]
    if first == '"':
        return _string(text, at)
    if first and first in "-0123456789":
        return _number(text, at)
    for word in _WORDS:
        if first == word[0:1]:
            for offset, letter in enumerate(word):
                if text[at + offset : at + offset + 1] != letter:
                    raise _Stop(at + offset, f"in literal {word} (expecting {_character(letter)})")
            return at + len(word)
    raise _Stop(at, "looking for beginning of value")


def _number(text: str, at: int) -> int:
    cut = _NUMBER_PARTS.match(text, at)
    if cut is not None and cut.lastgroup is not None:
        raise _Stop(cut.end(), _IN_NUMBER[cut.lastgroup])
    found = _NUMBER.match(text, at)
    assert found is not None
    return found.end()


def _string(text: str, at: int) -> int:
    found = _STRING.match(text, at)
    assert found is not None
    end = found.end()
    if text[end : end + 1] == '"':
        return end + 1
    if text[end : end + 1] != "\\":
        raise _Stop(end, "in string literal")
    if text[end + 1 : end + 2] != "u":
        raise _Stop(end + 1, "in string escape code")
    bad = end + 2
    while text[bad : bad + 1] and text[bad] in "0123456789abcdefABCDEF":
        bad += 1
    raise _Stop(bad, "in \\u hexadecimal character escape")
