"""Trees as plain values, and their differences."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvraft.client.model import KeyNode
from kvraft_cli.mirror.tree import (
    Difference,
    Entry,
    Kind,
    Tree,
    clean_key,
    compare,
    flatten,
    has_replaced_bytes,
    is_hidden,
    is_within,
    parent_of,
    parents_of,
    tops,
)

NODE = KeyNode(
    "",
    dir=True,
    nodes=(
        KeyNode("/b", "2", modified_index=7),
        KeyNode("/a", dir=True, ttl=5, expiration="soon", nodes=(KeyNode("/a/x", ""),)),
        KeyNode("/over", "gone", expiration="a moment ago"),
    ),
)


def test_a_listing_becomes_a_tree_without_its_root() -> None:
    assert flatten(NODE, 100.0) == {
        "/b": Entry("2", None, 7),
        "/a": Entry(None, 105.0),
        "/a/x": Entry(""),
        "/over": Entry("gone", 100.0),
    }
    assert flatten(None, 0) == {}


def test_seconds_left_are_whole_and_never_none() -> None:
    assert Entry("", 105.2).ttl_s(100.0) == 6
    assert Entry("", 99.0).ttl_s(100.0) == 1
    assert Entry("").ttl_s(100.0) is None


def test_every_kind_of_difference_is_found() -> None:
    source: Tree = {
        "/same": Entry("1", 50.0),
        "/missing": Entry("1"),
        "/changed": Entry("1"),
        "/type": Entry(None),
        "/ttl": Entry("1", 50.0),
        "/only-here": Entry("1", 50.0),
    }
    target: Tree = {
        "/same": Entry("1", 52.0),
        "/changed": Entry("2"),
        "/type": Entry(""),
        "/ttl": Entry("1", 53.1),
        "/only-here": Entry("1"),
        "/extra": Entry("1"),
    }
    found = list(compare(source, target, 2.0))
    assert [(each.key, each.kind) for each in found] == [
        ("/missing", Kind.MISSING),
        ("/changed", Kind.CHANGED),
        ("/type", Kind.TYPE),
        ("/ttl", Kind.TTL),
        ("/only-here", Kind.TTL),
        ("/extra", Kind.EXTRA),
    ]
    assert found[1] == Difference("/changed", Kind.CHANGED, Entry("1"), Entry("2"))


def test_keys() -> None:
    assert [clean_key(key) for key in ("", "/", "a", "/a//b/", "/./a")] == [
        "/", "/", "/a", "/a/b", "/a",
    ]  # fmt: skip
    assert parent_of("/a") == "/"
    assert parent_of("/a/b") == "/a"
    assert list(parents_of("/a/b/c")) == ["/a/b", "/a"]
    assert is_within("/a/b", "/a")
    assert is_within("/a", "/")
    assert not is_within("/ab", "/a")
    assert is_hidden("/a/_b/c", "/a")
    assert is_hidden("/_a", "/")
    assert not is_hidden("/_a/b", "/_a")


def test_only_the_tops_of_keys_are_named() -> None:
    assert set(tops(["/a/b/c", "/a", "/a/b", "/ab", "/x/y"])) == {"/a", "/ab", "/x/y"}


def test_what_is_no_utf8_is_noticed() -> None:
    assert has_replaced_bytes({"/a": Entry("\ufffd"), "/b": Entry("x"), "/d": Entry(None)}) == [
        "/a"
    ]


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")))
def test_a_tree_does_not_differ_from_itself(content: dict[str, str]) -> None:
    tree = {f"/{key}": Entry(value) for key, value in content.items()}
    assert not list(compare(tree, dict(tree), 0.0))
