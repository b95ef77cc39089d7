"""Strings and times in JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.store.jsontext import escape, remaining_seconds, rfc3339, wrap64

NS = 1_000_000_000


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        (b"", b""),
        (b"plain / text", b"plain / text"),
        (b'"\\', b'\\"\\\\'),
        (b"\n\r\t", b"\\n\\r\\t"),
        (b"\b\f\x00\x1f", b"\\u0008\\u000c\\u0000\\u001f"),
        (b"<&>", b"\\u003c\\u0026\\u003e"),
        ("\u2028\u2029".encode(), b"\\u2028\\u2029"),
        (b"\x7f", b"\x7f"),
        ("ü \U0001f600 \ufffd".encode(), "ü \U0001f600 \ufffd".encode()),
        (b"\xff", b"\\ufffd"),
        (b"\xe2\x82", b"\\ufffd\\ufffd"),  # one for each byte of a sequence cut short
        (b"\xed\xa0\x80", b"\\ufffd\\ufffd\\ufffd"),  # a surrogate is no character
        (b"\xc0\xaf", b"\\ufffd\\ufffd"),  # overlong
        (b"\xf4\x90\x80\x80", b"\\ufffd" * 4),  # beyond U+10FFFF
        (b"<\xffa\n\xc3\xbc", b"\\u003c\\ufffda\\n\xc3\xbc"),
        (b"\\u2028", b"\\\\u2028"),
    ],
)
def test_escape(plain: bytes, escaped: bytes) -> None:
    assert escape(plain) == escaped


@given(st.text())
def test_valid_text_survives(text: str) -> None:
    escaped = escape(text.encode())
    assert json.loads(b'"%b"' % escaped) == text
    assert not set(escaped) & set(b'<>&\n\r\t"') or b'\\"' in escaped


@given(st.binary())
def test_any_bytes_become_a_json_string(value: bytes) -> None:
    shown = json.loads((b'"%b"' % escape(value)).decode())
    expected = value.decode(errors="surrogateescape")
    assert shown == "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in expected)


@given(st.binary(), st.binary())
def test_a_path_may_be_escaped_in_parts(left: bytes, right: bytes) -> None:
    assert escape(left + b"/" + right) == escape(left) + b"/" + escape(right)


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (0, b"1970-01-01T00:00:00Z"),
        (1, b"1970-01-01T00:00:00.000000001Z"),
        (1_795_197_788_189_422_340, b"2026-11-20T18:03:08.18942234Z"),
        (-1, b"1969-12-31T23:59:59.999999999Z"),
        (-(1 << 63), b"1677-09-21T00:12:43.145224192Z"),
        ((1 << 63) - 1, b"2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_rfc3339(time_ns: int, expected: bytes) -> None:
    assert rfc3339(time_ns) == expected


@pytest.mark.parametrize(
    ("left_ns", "seconds"),
    [
        (10 * NS, 10),
        (10 * NS - 1, 10),
        (9 * NS + 1, 10),
        (1, 1),
        (0, 0),
        (-1, 0),
        (-NS + 1, 0),
        (-NS, -1),
        (-6 * NS - 5, -6),
        (-(1 << 64), -9223372036),
    ],
)
def test_remaining_seconds(left_ns: int, seconds: int) -> None:
    assert remaining_seconds(1000 + left_ns, 1000) == seconds


@given(st.integers())
def test_wrap64(number: int) -> None:
    wrapped = wrap64(number)
    assert -(1 << 63) <= wrapped < 1 << 63
    assert (wrapped - number) % (1 << 64) == 0
