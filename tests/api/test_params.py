"""Parsing and validation of parameters, against keys-api sections 2 and 3."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote_from_bytes, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kvraft.api.params import NO_PARAMS, BadParameters, Params, get_params, parse_params
from kvraft.limits import MAX_SHARED_QUERIES


def failure(query: bytes, form: bytes = b"", method: bytes = b"PUT") -> tuple[int, bytes]:
    with pytest.raises(BadParameters) as caught:
        parse_params(query, form, method)
    return caught.value.code.number, caught.value.cause


# In the order of validation: each entry is wrong in itself, and hides all that follow.
IN_ORDER = [
    (b"prevIndex=x", 203, b'invalid value for "prevIndex"'),
    (b"waitIndex=-1", 203, b'invalid value for "waitIndex"'),
    (b"recursive=yes", 209, b'invalid value for "recursive"'),
    (b"sorted=", 209, b'invalid value for "sorted"'),
    (b"wait=tRUE", 209, b'invalid value for "wait"'),
    (b"dir", 209, b'invalid value for "dir"'),
    (b"quorum=2", 209, b'invalid value for "quorum"'),
    (b"stream=on", 209, b'invalid value for "stream"'),
    (b"prevValue=", 201, b'"prevValue" cannot be empty'),
    (b"noValueOnSuccess=maybe", 209, b'invalid value for "noValueOnSuccess"'),
    (b"ttl=1.5", 202, b'invalid value for "ttl"'),
    (b"prevExist=", 209, b"invalid value for prevExist"),
    (b"refresh=no", 209, b"invalid value for refresh"),
]


@pytest.mark.parametrize("position", range(len(IN_ORDER)))
def test_first_failure_in_order_is_reported(position: int) -> None:
    wrong = b"&".join(query for query, _, _ in reversed(IN_ORDER[position:]))
    assert failure(wrong) == IN_ORDER[position][1:]


def test_wait_is_for_get_only() -> None:
    only_get = (209, b'"wait" can only be used with GET requests')
    for method in (b"HEAD", b"PUT", b"POST", b"DELETE"):
        assert failure(b"wait=true&prevValue=", method=method) == only_get
    assert parse_params(b"wait=true", b"", b"GET").wait


def test_refresh_takes_a_ttl_and_no_value() -> None:
    assert failure(b"refresh=true&value=x") == (211, b"A value was provided on a refresh")
    assert failure(b"refresh=true&ttl=") == (212, b"No TTL value set")
    assert parse_params(b"refresh=true&ttl=0&value=", b"", b"PUT") == Params(
        refresh=True, ttl_seconds=0
    )
    assert parse_params(b"refresh=false&value=x", b"", b"PUT") == Params(value=b"x")


@pytest.mark.parametrize("text", [b"1", b"t", b"T", b"TRUE", b"true", b"True"])
def test_spellings_of_true(text: bytes) -> None:
    assert parse_params(b"dir=" + text, b"", b"PUT").directory


@pytest.mark.parametrize("text", [b"0", b"f", b"F", b"FALSE", b"false", b"False"])
def test_spellings_of_false(text: bytes) -> None:
    assert parse_params(b"prevExist=" + text, b"", b"PUT").prev_exist is False


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"18446744073709551615", 2**64 - 1),
        (b"0" * 100 + b"5", 5),
    ],
)
def test_numbers(text: bytes, number: int) -> None:
    assert parse_params(b"ttl=" + text, b"", b"PUT").ttl_seconds == number
    assert parse_params(b"prevIndex=" + text, b"", b"PUT").prev_index == number


@pytest.mark.parametrize(
    "text",
    [b"+1", b"-1", b"%201", b"1_0", b"1.0", b"1e3", b"0x1", b"18446744073709551616", b"%d9%a1"],
)
def test_no_numbers(text: bytes) -> None:
    assert failure(b"ttl=" + text)[0] == 202
    assert failure(b"waitIndex=" + text)[0] == 203


def test_an_empty_ttl_is_none_and_an_empty_index_an_error() -> None:
    assert parse_params(b"ttl=", b"", b"PUT").ttl_seconds is None
    assert failure(b"prevIndex=")[0] == 203


def test_unknown_parameters_are_ignored_where_they_have_no_effect() -> None:
    assert get_params(b"noValueOnSuccess=maybe&x=y&Wait=true") == NO_PARAMS
    assert parse_params(b"noValueOnSuccess=maybe", b"", b"DELETE") == NO_PARAMS
    assert parse_params(b"noValueOnSuccess=true", b"", b"POST").no_value


def test_the_form_comes_before_the_query() -> None:
    assert parse_params(b"value=query&ttl=5", b"value=form", b"PUT") == Params(b"form", 5)
    assert parse_params(b"", b"value=1&value=2", b"PUT").value == b"1"


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (b"value=plain", b"plain"),
        (b"value=a+b%20c", b"a b c"),
        (b"value=%2b%26%3D", b"+&="),
        (b"value=a=b", b"a=b"),
        (b"&&value=x&&", b"x"),
        (b"value", b""),
        (b"%76alue=x", b"x"),
        (b"value=%ff%00", b"\xff\x00"),
        (b"value=\xff", b"\xff"),
        (b"Value=x", b""),
        (b"value=line\r\n", b"line\r\n"),
    ],
)
def test_decoding(form: bytes, value: bytes) -> None:
    assert parse_params(b"", form, b"PUT").value == value


@pytest.mark.parametrize(
    ("form", "cause"),
    [
        (b"value=%zz", b'"%zz"'),
        (b"value=%", b'"%"'),
        (b"value=%4", b'"%4"'),
        (b"value=%4&x=1", b'"%4"'),
        (b"x=%u0041", b'"%u0"'),
        (b"%gg=%hh", b'"%gg"'),
        (b"a=1&b=%41%x", b'"%x"'),
        (b'value=%"x', b'"%\\"x"'),
        (b"value=%\n\x01", b'"%\\n\\x01"'),
        (b"value=%\xff\xc3\xa9", b'"%\\xff\\xc3"'),
        (b"value=%\xc3\xa9", '"%é"'.encode()),
        (b"value=%+", b'"%+"'),
    ],
)
def test_malformed_escapes(form: bytes, cause: bytes) -> None:
    assert failure(b"", form) == (210, b"invalid URL escape " + cause)


def test_semicolons_and_the_order_of_form_and_query() -> None:
    semicolon = (210, b"invalid semicolon separator in query")
    assert failure(b"", b"a;b=1") == semicolon
    assert failure(b"", b"value=%zz&x;y") == semicolon
    assert failure(b"value=%zz", b"a;b") == semicolon
    assert failure(b"a;b", b"value=%zz") == (210, b'invalid URL escape "%zz"')
    assert failure(b"a;b&dir=x", b"value=1") == semicolon


def test_shared_queries_stay_bounded() -> None:
    for number in range(2 * MAX_SHARED_QUERIES):
        assert get_params(b"waitIndex=%d" % number).wait_index == number
    assert get_params(b"waitIndex=3") is get_params(b"waitIndex=3")
    long = b"recursive=true&x=" + b"y" * 100
    assert get_params(long) == get_params(long) == Params(recursive=True)


@given(st.binary(), st.binary())
def test_any_value_survives_encoding(value: bytes, other: bytes) -> None:
    for encode in (quote_plus, quote_from_bytes):
        form = f"x={encode(other)}&value={encode(value)}".encode()
        assert parse_params(b"", form, b"PUT").value == value


@given(st.text(alphabet="ab=&%41+v", max_size=20))
def test_pairs_are_split_as_everywhere(text: str) -> None:
    assume(not re.search("%(?![0-9A-Fa-f]{2})", text))
    params = parse_params(b"", text.encode(), b"PUT")
    pairs = dict(reversed(parse_qsl(text, keep_blank_values=True)))
    assert params.value == pairs.get("value", "").encode()
