"""What is said of answers that are not JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft_cli.gojson import syntax_error

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unexpected end of JSON input"),
        ("  ", "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        ('"a', "unexpected end of JSON input"),
        ("tru", "unexpected end of JSON input"),
        ("-", "unexpected end of JSON input"),
        ("garbage", "invalid character 'g' looking for beginning of value"),
        ("<html>", "invalid character '<' looking for beginning of value"),
        ("'x'", r"invalid character '\'' looking for beginning of value"),
        ("é", "invalid character 'é' looking for beginning of value"),
        ("404 page not found\n", "invalid character 'p' after top-level value"),
        ("{} {}", "invalid character '{' after top-level value"),
        ('""""', "invalid character '\"' after top-level value"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('"a\nb"', r"invalid character '\n' in string literal"),
        (r'"\x"', "invalid character 'x' in string escape code"),
        (r'"\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ("tree", "invalid character 'e' in literal true (expecting 'u')"),
    ],
)
def test_where_reading_stops(text: str, error: str) -> None:
    assert syntax_error(text) == error


@given(VALUES)
def test_json_is_let_pass(value: object) -> None:
    assert syntax_error(json.dumps(value)) is None
    assert syntax_error(json.dumps(value, indent=2, ensure_ascii=False)) is None


@given(st.text(alphabet='{}[]":,\\ tru1-.e\nu0'))
def test_it_agrees_with_a_full_reader_on_what_is_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        assert syntax_error(text) is not None
    else:
        assert syntax_error(text) is None
