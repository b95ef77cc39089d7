"""Which Content-Types announce a form, and which are errors."""

from __future__ import annotations

import pytest

from kvraft.api.mediatype import is_form


@pytest.mark.parametrize(
    ("content_type", "form", "problem"),
    [
        (b"application/x-www-form-urlencoded", True, None),
        (b"Application/X-WWW-Form-URLEncoded", True, None),
        (b"application/x-www-form-urlencoded; charset=utf-8", True, None),
        (b'application/x-www-form-urlencoded ; a="b\\"c" ; d=e', True, None),
        (b"application/x-www-form-urlencoded;", True, None),
        (b"application/x-www-form-urlencoded; ", True, None),
        (b"application/json", False, None),
        (b"multipart/form-data; boundary=B", False, None),
        (b"text", False, None),
        (b"", False, None),
        (b";;;", False, b"mime: no media type"),
        (b" ", False, b"mime: no media type"),
        (b"a/b; =", False, b"mime: invalid media parameter"),
        (b"a/b; c", False, b"mime: invalid media parameter"),
        (b"application/x-www-form-urlencoded; =", True, b"mime: invalid media parameter"),
        (b"a/b; c=1; C=2", False, b"mime: duplicate parameter name"),
        (b"a/b; c=1; C=1", False, None),
        (b"a b", False, b"mime: expected slash after first token"),
        (b"a/", False, b"mime: expected token after slash"),
        (b"a/b c", False, b"mime: unexpected content after media subtype"),
    ],
)
def test_content_types(content_type: bytes, form: bool, problem: bytes | None) -> None:
    assert is_form(content_type) == (form, problem)
