"""Decisions about keys: examples, and a search for any that differ from the plain rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.auth.model import GUEST_ROLE, Access, Names, Role
from kvraft.auth.permission import (
    Rules,
    compile_patterns,
    compile_role,
    decide_guest,
    decide_user,
)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a*", b"/a", True),
        ("/a*", b"/ab", True),
        ("/a*", b"/a/x", True),
        ("/a/*", b"/a", False),
        ("/a/*", b"/a/", True),
        ("/a/*", b"/a/b/c", True),
        ("/a/*", b"/ab", False),
        ("*", b"", True),
        ("*", b"/anything", True),
        ("/*", b"", False),
        ("/*", b"/", True),
        ("/b", b"/b", True),
        ("/b", b"/b/", False),
        ("/b/", b"/b/", True),
        ("/b", b"/b/c", False),
        ("/x*y", b"/x*y", True),
        ("/x*y", b"/xzy", False),
        ("/x*y*", b"/x*yz", True),
        ("/**", b"/*", True),
        ("/**", b"/a", False),
        ("noslash", b"/noslash", False),
        ("/\u00e9", "/\u00e9".encode(), True),
        ("", b"", False),
        ("", b"/", False),
    ],
)
def test_patterns(pattern: str, path: bytes, matches: bool) -> None:
    assert compile_patterns((pattern,)).match(path, recursive=False) == matches


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/d", b"/d", False),
        ("/d*", b"/d", True),
        ("/d/*", b"/d", False),
        ("/d/*", b"/d/", True),
        ("/d/*", b"/d/e", True),
        ("*", b"", True),
    ],
)
def test_all_below_a_path_takes_a_star(pattern: str, path: bytes, matches: bool) -> None:
    assert compile_patterns((pattern,)).match(path, recursive=True) == matches


def test_the_default_guest_may_do_everything_but_name_the_root_by_nothing() -> None:
    guest = compile_role(GUEST_ROLE)
    for write in (False, True):
        assert decide_guest(guest, b"/any/key", write).allowed
        assert decide_guest(guest, b"/", write).allowed
        assert not decide_guest(guest, b"", write).allowed
    assert decide_guest(None, b"/any", False) == (False, 0, 1)


def test_roles_are_asked_in_their_order_until_one_allows() -> None:
    roles = {
        "r": compile_role(Role("r", Access(("/r",), None))),
        "w": compile_role(Role("w", Access(None, ("/r",)))),
    }
    names = ("gone", "r", "w", "gone", "root")
    assert decide_user(names, roles.get, b"/r", False, False) == (True, 1, 1)
    assert decide_user(names, roles.get, b"/r", True, False) == (True, 2, 1)
    assert decide_user(names, roles.get, b"/other", True, True) == (True, 2, 2)
    assert decide_user(names[:-1], roles.get, b"/other", True, True) == (False, 2, 2)
    assert decide_user((), roles.get, b"/r", False, False) == (False, 0, 0)


# --- against the rules as they are written -----------------------------------------------------

PIECE = st.sampled_from(["", "/", "a", "b", "*", "a*", "/*"])
PATH = st.lists(PIECE, max_size=4).map("".join)
LIST = st.none() | st.lists(PATH, max_size=4).map(tuple)
ROLES = st.dictionaries(st.sampled_from(["r1", "r2", "guest"]), st.builds(Access, LIST, LIST))


def plainly_matches(patterns: Names | None, path: str, recursive: bool) -> bool:
    for pattern in patterns or ():
        if pattern.endswith("*"):
            if path[: len(pattern) - 1] == pattern[:-1]:
                return True
        elif pattern and pattern == path and not recursive:
            return True
    return False


@given(
    ROLES,
    st.lists(st.sampled_from(["r1", "r2", "gone", "root"]), max_size=4),
    PATH,
    st.booleans(),
    st.booleans(),
)
def test_decisions_follow_the_plain_rules(
    roles: dict[str, Access], names: list[str], path: str, write: bool, recursive: bool
) -> None:
    def rules(name: str) -> Rules | None:
        return compile_role(Role(name, roles[name])) if name in roles else None

    def patterns(name: str) -> Names | None:
        access = roles.get(name, Access())
        return access.write if write else access.read

    expected = "root" in names or any(
        plainly_matches(patterns(name), path, recursive) for name in names
    )
    assert decide_user(names, rules, path.encode(), write, recursive).allowed == expected
    guest = plainly_matches(patterns("guest"), path, recursive=False)
    assert decide_guest(rules("guest"), path.encode(), write).allowed == guest
