"""The arithmetic of key paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.store.path import clean, depth, hidden_child, is_below

PATHS = st.lists(
    st.sampled_from([b"", b"a", b".", b"..", b".x", b"...", b"_h", b"\xff", b"b"])
).map(b"/".join)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"//", b"/"),
        (b"a", b"/a"),
        (b"/a/", b"/a"),
        (b"/a//b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/../..", b"/"),
        (b"/.a/..b/...", b"/.a/..b/..."),
        (b"/a/\x00\xff", b"/a/\x00\xff"),
    ],
)
def test_clean(path: bytes, cleaned: bytes) -> None:
    assert clean(path) == cleaned


@given(PATHS)
def test_a_clean_path_is_rooted_and_stays_as_it_is(path: bytes) -> None:
    cleaned = clean(path)
    assert clean(cleaned) == cleaned
    assert cleaned.startswith(b"/")
    assert cleaned == b"/" or not {b"", b".", b".."} & set(cleaned[1:].split(b"/"))
    assert depth(cleaned) == len([name for name in cleaned.split(b"/") if name])


@given(PATHS.map(clean), PATHS.map(clean))
def test_below_is_about_components_not_about_strings(path: bytes, ancestor: bytes) -> None:
    names = [name for name in path.split(b"/") if name]
    above = [name for name in ancestor.split(b"/") if name]
    below = len(names) > len(above) and names[: len(above)] == above
    assert is_below(path, ancestor) == below
    if below:
        assert hidden_child(path, ancestor) == names[len(above)].startswith(b"_")
