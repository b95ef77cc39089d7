"""Is a Content-Type that of a form, and is it well-formed as Go's mime package sees it?

A malformed Content-Type is an error of the request even where the body would be ignored, so
the grammar has to be told apart as finely as there are messages. (keys-api, section 2.)
"""

from __future__ import annotations

import re
from typing import Final

FORM: Final = b"application/x-www-form-urlencoded"

NO_MEDIA_TYPE: Final = b"mime: no media type"
INVALID_PARAMETER: Final = b"mime: invalid media parameter"
DUPLICATE_PARAMETER: Final = b"mime: duplicate parameter name"
EXPECTED_SLASH: Final = b"mime: expected slash after first token"
EXPECTED_TOKEN: Final = b"mime: expected token after slash"
UNEXPECTED_CONTENT: Final = b"mime: unexpected content after media subtype"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+").match
_SPACE: Final = b" \t\r\n\v\f"
_PARAMETER = re.compile(
    rb"""\s*;\s*([!#$%&'*+\-.^_`{|}~0-9A-Za-z]+)\s*=\s*
    ([!#$%&'*+\-.^_`{|}~0-9A-Za-z]+|"(?:[^"\\\r\n]|\\.)*")""",
    re.VERBOSE,
).match


def is_form(content_type: bytes) -> tuple[bool, bytes | None]:
    """Say whether the body is a form, and what is wrong with the Content-Type, if anything."""
    if content_type == FORM:
        return True, None
    if not content_type:
        return False, None
    base, _, _ = content_type.partition(b";")
    media_type = base.strip(_SPACE).lower()
    problem = _type_problem(media_type) or _parameter_problem(content_type[len(base) :])
    return media_type == FORM, problem


def _type_problem(media_type: bytes) -> bytes | None:
    first = _TOKEN(media_type)
    if first is None:
        return NO_MEDIA_TYPE
    rest = media_type[first.end() :]
    if not rest:
        return None
    if rest[:1] != b"/":
        return EXPECTED_SLASH
    second = _TOKEN(rest, 1)
    if second is None:
        return EXPECTED_TOKEN
    return UNEXPECTED_CONTENT if second.end() < len(rest) else None


def _parameter_problem(parameters: bytes) -> bytes | None:
    known: dict[bytes, bytes] = {}
    position = 0
    while parameters[position:].strip(_SPACE) not in (b"", b";"):
        match = _PARAMETER(parameters, position)
        if match is None:
            return INVALID_PARAMETER
        name = match[1].lower()
        if known.setdefault(name, match[2]) != match[2]:
            return DUPLICATE_PARAMETER
        position = match.end()
    return None
