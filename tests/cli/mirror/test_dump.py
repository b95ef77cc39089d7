"""The export file: what is written is read again, and anything less is refused with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.client.model import KeyNode
from kvraft_cli.mirror.dump import BadDump, Dump, Head, Record, decode, encode, records_of

HEAD = Head("/", ("/_hidden",), 42, 1795286400.125, "2.3.8", "kvraftctl 1")
RECORDS = [
    Record("/a", "x", None, None, 7, 6),
    Record("/d", None, 30, "2026-11-21T18:00:30Z", 8, 8),
    Record("/d/ü", "line\nbreak \u2028 <&> \ud800", 0, "2026-11-21T18:00:00Z", 9, 9),
]


def lines() -> list[bytes]:
    return list(encode(HEAD, RECORDS))


def test_what_was_written_is_read_again() -> None:
    assert decode(lines()) == Dump(HEAD, RECORDS)


def test_the_form_is_the_documented_one() -> None:
    documents = [json.loads(line) for line in lines()]
    assert documents[0]["kvraft_export"] == 1
    assert documents[0]["etcd_index"] == 42
    assert documents[1] == {"key": "/a", "value": "x", "modified_index": 7, "created_index": 6}
    assert documents[2]["dir"] is True
    assert documents[2]["ttl"] == 30
    assert documents[-1]["count"] == 3
    assert set(documents[-1]) == {"end", "count", "sha256"}


def test_a_listing_is_written_in_order_and_directories_first() -> None:
    node = KeyNode(
        "",
        dir=True,
        nodes=(
            KeyNode("/a-b", "1"),
            KeyNode("/a", dir=True, nodes=(KeyNode("/a/c", "3", ttl=4, expiration="then"),)),
            KeyNode("/0", "late", expiration="before"),
        ),
    )
    assert list(records_of(node)) == [
        Record("/0", "late", 0, "before"),
        Record("/a", None),
        Record("/a/c", "3", 4, "then"),
        Record("/a-b", "1"),
    ]


@pytest.mark.parametrize("kept", range(5))
def test_a_file_that_breaks_off_is_refused(kept: int) -> None:
    with pytest.raises(BadDump) as caught:
        decode(lines()[:kept])
    assert str(caught.value).startswith(f"line {kept + 1}: ")
    assert caught.value.line == kept + 1


def test_a_line_that_breaks_off_is_named() -> None:
    whole = b"".join(lines())
    cut = whole[: len(whole) - 20].splitlines(keepends=True)
    with pytest.raises(BadDump, match=r"line 5: the file is truncated within this line; "):
        decode(cut)


def with_line(number: int, text: str) -> list[bytes]:
    changed = lines()
    changed[number - 1] = text.encode() + b"\n"
    return changed


@pytest.mark.parametrize(
    ("number", "text", "reason"),
    [
        (1, "{}", "no head"),
        (1, '{"kvraft_export": 2}', "format 2"),
        (1, '{"kvraft_export": 1}', "no `time`"),
        (1, '{"kvraft_export": 1, "time": 1, "etcd_index": "7"}', "whole number"),
        (2, "[]", "no JSON object"),
        (2, "{", "no JSON"),
        (2, "[" * 100_000, "no JSON"),
        (2, '{"key": "a", "value": ""}', "'a' is no key"),
        (2, '{"key": "/", "dir": true}', "'/' is no key"),
        (2, '{"key": "/a//b", "value": ""}', "is no key"),
        (2, '{"key": "/a"}', "neither"),
        (2, '{"key": "/a", "value": 5}', "neither"),
        (2, '{"key": "/a", "value": "", "ttl": true}', "whole number"),
        (3, '{"key": "/a", "value": ""}', "twice"),
        (5, '{"end": true, "count": 2, "sha256": ""}', "3 keys were read"),
        (5, '{"end": true, "count": 3, "sha256": "00"}', "digest"),
        (2, '{"end": true, "count": 0, "sha256": ""}', "follows the end"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(number: int, text: str, reason: str) -> None:
    with pytest.raises(BadDump, match=reason) as caught:
        decode(with_line(number, text))
    assert "; " in str(caught.value), "what to do about it"


def test_a_changed_value_is_noticed() -> None:
    changed = [line.replace(b'"x"', b'"y"') for line in lines()]
    with pytest.raises(BadDump, match="line 5: the digest"):
        decode(changed)


NAMES = st.text(st.characters(exclude_characters="/"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(NAMES, st.text(st.characters())))
def test_any_text_survives(content: dict[str, str]) -> None:
    records = [Record(f"/{name}", value) for name, value in content.items()]
    assert decode(list(encode(HEAD, records))).records == records
