"""Request targets: rewriting, decoding, cleaning, redirecting."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.api.target import (
    clean_path,
    decode_path,
    location,
    origin_form,
    redirect_page,
    usual_request_line,
)


@pytest.mark.parametrize(
    ("line", "usual"),
    [
        (b"GET /a HTTP/1.1", b"GET /a HTTP/1.1"),
        (b"get /a HTTP/1.1", b"PATCH /a HTTP/1.1"),
        (b"BREW /a HTTP/1.1", b"PATCH /a HTTP/1.1"),
        (b"GET /caf\xc3\xa9?\xff HTTP/1.1", b"GET /caf%C3%A9?%FF HTTP/1.1"),
        (b"G(T /a HTTP/1.1", b"G(T /a HTTP/1.1"),
        (b"", b" "),
    ],
)
def test_request_lines(line: bytes, usual: bytes) -> None:
    assert usual_request_line(line) == usual


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?b", b"/a?b"),
        (b"http://host/a?b", b"/a?b"),
        (b"foo://host:1/", b"/"),
        (b"http://host", b""),
        (b"http://host?x=1", b"?x=1"),
        (b"*", None),
        (b"host:80", None),
    ],
)
def test_origin_form(target: bytes, expected: bytes | None) -> None:
    assert origin_form(target) == expected


def test_decoding() -> None:
    assert decode_path(b"/a%2fb%00%FF+") == b"/a/b\x00\xff+"
    for path in (b"/%", b"/%4", b"/%zz", b"/%2%30"):
        assert decode_path(path) is None


@given(st.lists(st.sampled_from([b"a", b".", b"..", b"", b"...", b".b"])))
def test_cleaning_is_that_of_posix(segments: list[bytes]) -> None:
    path = b"/" + b"/".join(segments)
    cleaned = clean_path(path)
    normal = posixpath.normpath(path).replace(b"//", b"/")
    if path.endswith(b"/") and normal != b"/":
        normal += b"/"
    assert cleaned == normal
    assert clean_path(cleaned) == cleaned


def test_redirects() -> None:
    # As recorded from a Go server.
    target = location(b"/v2/keys/a '\"<!$&+,;=@:", b"x=<y>'")
    assert target == b"/v2/keys/a%20%27%22%3C%21$&+,;=@:?x=<y>'"
    assert redirect_page(target) == (
        b'<a href="/v2/keys/a%20%27%22%3C%21$&amp;+,;=@:?x=&lt;y&gt;&#39;">'
        b"Moved Permanently</a>.\n\n"
    )
    assert location(b"/\xc3\xa9\x00\x7f~[]()*", b"") == b"/%C3%A9%00%7F~%5B%5D%28%29%2A"
