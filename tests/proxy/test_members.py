"""Member lists from strangers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.proxy.members import BadMemberList, Found, read_members


def test_urls_of_all_members() -> None:
    text = (
        b'[{"id":8729200085569202685,"peerURLs":["http://b:2","http://a:2"],"name":"n1",'
        b'"clientURLs":["http://a:1"]},{"id":18446744073709551615,"peerURLs":["http://c:2"]}]\n'
    )
    assert read_members(text) == Found(("http://a:2", "http://b:2", "http://c:2"), ("http://a:1",))


@pytest.mark.parametrize(
    "document",
    [{}, None, 1, [1], [{}], [], [{"peerURLs": "http://a:1"}], [{"peerURLs": [1]}],
     [{"peerURLs": ["a"]}], [{"peerURLs": ["http://a:1"], "clientURLs": ["http://a:1/path"]}]],
)  # fmt: skip
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(BadMemberList):
        read_members(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"404 page not found\n", b"\xff", b"[" * 200_000])
def test_no_json(text: bytes) -> None:
    with pytest.raises(BadMemberList):
        read_members(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["peerURLs", "clientURLs", "id"]) | st.text(), inner)
    ),
)


@given(VALUES)
def test_nothing_else_is_raised(document: object) -> None:
    try:
        read_members(json.dumps(document).encode())
    except BadMemberList:
        pass
