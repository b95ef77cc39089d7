"""Answers of servers, of what claims to be one, and what is printed of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft_cli.answers import Answer, EmptyBody, Node, read_answer
from kvraft_cli.errors import BadAnswer, ServerRefused
from kvraft_cli.output import go_string, go_time, listed, rendered, unsupported

INVALID = (
    "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint."
)


def node(key: str = "/k", value: str = "", **fields: Any) -> dict[str, object]:
    return {"key": key, "value": value, "createdIndex": 3, "modifiedIndex": 4, **fields}


def read(document: object, index: str = "9") -> Answer:
    return read_answer(200, index, json.dumps(document).encode())


def test_a_whole_answer() -> None:
    answer = read(
        {
            "action": "set",
            "node": node(value="v", ttl=5, expiration="2026-01-02T03:04:05.5Z"),
            "prevNode": node(value="old"),
        }
    )
    assert answer == Answer(
        "set",
        Node("/k", "v", False, 3, 4, 5, "2026-01-02T03:04:05.5Z", None),
        Node("/k", "old", False, 3, 4, 0, None, None),
        9,
    )


def test_what_is_left_out_is_empty() -> None:
    answer = read({"node": {"dir": True, "nodes": [{}], "unknown": 1}}, "")
    assert answer.action == ""
    assert answer.etcd_index == 0
    assert answer.node.key == ""
    assert answer.node.nodes == [Node("", "", False, 0, 0, 0, None, None)]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b"{}",
        b'{"node":null}',
        b'{"node":[]}',
        b'{"node":{"value":5}}',
        b'{"node":{"key":true}}',
        b'{"node":{"dir":"yes"}}',
        b'{"node":{"ttl":"5"}}',
        b'{"node":{"createdIndex":1.5}}',
        b'{"node":{"createdIndex":true}}',
        b'{"node":{"nodes":{}}}',
        b'{"node":{"nodes":[1]}}',
        b'{"node":{},"prevNode":1}',
        b'{"node":{}} junk',
        b'{"node":' + b'{"nodes":[' * 10_000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer) as caught:
        read_answer(200, "1", body)
    assert caught.value.text == INVALID
    with pytest.raises(BadAnswer):
        read_answer(201, "many", b'{"node":{}}')


def test_an_empty_success() -> None:
    with pytest.raises(EmptyBody, match="^client: response body is empty$"):
        read_answer(200, "1", b"")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            b'{"errorCode":100,"message":"Key not found","cause":"/a","index":7}',
            "100: Key not found (/a) [7]",
        ),
        (b"{}", "0:  () [0]"),
        (b"null", "0:  () [0]"),
        (b'{"ErrorCode":5,"MESSAGE":"m","other":[]}', "5: m () [0]"),
    ],
)
def test_refusals(body: bytes, text: str) -> None:
    for status in (400, 404, 202, 418):
        with pytest.raises(ServerRefused) as caught:
            read_answer(status, "1", body)
        assert caught.value.text == text


@pytest.mark.parametrize("body", [b"", b"404 page not found\n", b"[]", b'{"errorCode":"5"}', b"{"])
def test_refusals_that_nobody_understands(body: bytes) -> None:
    with pytest.raises(BadAnswer) as caught:
        read_answer(404, "1", body)
    assert caught.value.text == INVALID


def test_texts_never_hold_half_characters() -> None:
    answer = read_answer(
        200, "1", b'{"node":{"key":"/\\ud800","value":"\xff\\udc80\\ud83d\\ude00"}}'
    )
    assert answer.node.key == "/\ufffd"
    assert answer.node.value == "\ufffd\ufffd\U0001f600"


def shown(action: str, format_: str, prev: str | None = None, **fields: Any) -> str | None:
    document: dict[str, object] = {"action": action, "node": node(value="v", **fields)}
    if prev is not None:
        document["prevNode"] = node(value=prev)
    return rendered(read(document), format_)


def test_simple() -> None:
    assert shown("get", "simple") == "v\n"
    assert shown("delete", "simple", "old") == "PrevNode.Value: old\n"
    assert shown("delete", "simple") == "PrevNode.Value: \n"
    assert shown("compareAndDelete", "simple", "old") == "v\n"


def test_extended() -> None:
    head = "Key: /k\nCreated-Index: 3\nModified-Index: 4\n"
    assert shown("get", "extended", ttl=7) == f"{head}TTL: 7\nIndex: 9\n\nv\n"
    assert shown("set", "extended", "old") == (
        f"{head}PrevNode.Value: old\nTTL: 0\nIndex: 9\n\nv\n"
    )
    assert shown("delete", "extended", "old") == f"{head}PrevNode.Value: old\nTTL: 0\nIndex: 9\n"


def test_json() -> None:
    inner = '"key":"/k","value":"v","nodes":null,"createdIndex":3,"modifiedIndex":4'
    assert shown("get", "json") == f'{{"action":"get","node":{{{inner}}},"prevNode":null}}\n'
    assert shown("set", "json", "v", ttl=7, expiration="2026-01-02T03:04:05.560Z") == (
        f'{{"action":"set","node":{{{inner},"expiration":"2026-01-02T03:04:05.56Z","ttl":7}},'
        f'"prevNode":{{{inner}}}}}\n'
    )
    assert shown("get", "json", dir=True, nodes=[]) == (
        '{"action":"get","node":{"key":"/k","dir":true,"value":"v","nodes":[],'
        '"createdIndex":3,"modifiedIndex":4},"prevNode":null}\n'
    )


def test_other_formats() -> None:
    assert shown("get", "yaml") is None
    assert shown("get", "") is None
    assert unsupported("") == "Unsupported output format: \n"


@pytest.mark.parametrize(
    ("given_time", "text"),
    [
        ("2026-01-02T03:04:05.500000000Z", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.10+01:00", "2026-01-02T03:04:05.1+01:00"),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:50.009Z", "2026-01-02T03:04:50.009Z"),
    ],
)
def test_times(given_time: str, text: str) -> None:
    assert go_time(given_time) == text


def test_strings_as_go_writes_them() -> None:
    assert go_string('a"b\\c<d>&e\t\n\r\b\f\x00\x1f\x7f/') == (
        '"a\\"b\\\\c\\u003cd\\u003e\\u0026e\\t\\n\\r\\u0008\\u000c\\u0000\\u001f\x7f/"'
    )
    assert go_string("h\u00e9 \u2603 \U0001f600 \u2028\u2029 \ufffd") == (
        '"h\u00e9 \u2603 \U0001f600 \\u2028\\u2029 \ufffd"'
    )


@given(st.text())
def test_strings_read_back(text: str) -> None:
    written = go_string(text)
    assert json.loads(written) == text
    assert not re.search("[\x00-\x1f<>&\u2028\u2029]", written)


def test_listings() -> None:
    tree = read(
        {
            "node": node(
                "/d",
                dir=True,
                nodes=[
                    node("/d/e", dir=True, nodes=[node("/d/e/k")]),
                    node("/d/f", dir=True),
                    node("/d/z"),
                ],
            )
        }
    ).node
    assert list(listed(tree, False)) == ["/d/e", "/d/e/k", "/d/f", "/d/z"]
    assert list(listed(tree, True)) == ["/d/e/", "/d/e/k", "/d/f/", "/d/z"]
    assert list(listed(read({"node": node("/f")}).node, True)) == ["/f"]
    assert list(listed(read({"node": node("/d", dir=True)}).node, True)) == []
