"""What is asked: keys with any characters, parameters in their places."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.client import requests

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)
KEYS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
VALUES = st.one_of(st.text(st.characters(codec="utf-8")), st.binary())


def fields(request: requests.Request) -> dict[bytes, bytes]:
    assert request.body is not None
    pairs = (pair.partition(b"=") for pair in request.body.split(b"&"))
    return {name: unquote_to_bytes(value.replace(b"+", b" ")) for name, _, value in pairs}


@given(KEYS)
def test_a_server_finds_the_key_that_was_meant(key: str) -> None:
    target = requests.get(key, recursive=True).target
    assert target.isascii()
    assert not set(target) & set(' #"<>\r\n\t\x00;')
    path, _, query = target.partition("?")
    assert query == "recursive=true"
    assert unquote_to_bytes(path).decode() == "/v2/keys" + key
    assert urlsplit("http://h" + target).path == path  # nothing in it ends the path early


@given(KEYS, VALUES, st.integers(0, 2**64))
def test_values_travel_whole(key: str, value: str | bytes, ttl: int) -> None:
    request = requests.put(key, value=value, ttl=ttl)
    raw = value if isinstance(value, bytes) else value.encode()
    assert fields(request) == {b"value": raw, b"ttl": str(ttl).encode()}
    assert request.changes
    assert request.content_type == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("given_", "clean"),
    [
        ("a", "/a"),
        ("", "/"),
        ("/", "/"),
        ("//a///b", "/a/b"),
        ("/a/", "/a/"),  # permissions see the difference
        ("...", "/..."),
        ("/a/.b", "/a/.b"),
    ],
)
def test_keys_are_brought_into_one_form(given_: str, clean: str) -> None:
    assert requests.clean_key(given_) == clean


@pytest.mark.parametrize("key", [".", "/a/../b", "/..", "a/.", "../etc"])
def test_a_key_does_not_lead_elsewhere(key: str) -> None:
    with pytest.raises(ValueError, match="component"):
        requests.get(key)


def test_a_key_is_text() -> None:
    with pytest.raises(TypeError, match="bytes"):
        requests.clean_key(b"/a")  # type: ignore[arg-type]


def test_bytes_that_are_no_text_can_be_named() -> None:
    assert requests.get("/a\udcff").target == "/v2/keys/a%FF"
    assert fields(requests.put("/a", value="\udcff")) == {b"value": b"\xff"}


@pytest.mark.parametrize("ttl", [-1, 1.5, "3", True])
def test_a_ttl_is_a_number_of_seconds(ttl: int) -> None:
    with pytest.raises((ValueError, TypeError), match="TTL"):
        requests.put("/a", value="", ttl=ttl)


def test_create_update_and_directories() -> None:
    assert requests.put("/a", value="").target == "/v2/keys/a"
    assert requests.put("/a", value="", exist=False).target == "/v2/keys/a?prevExist=false"
    assert requests.put("/a", value="", exist=True).target == "/v2/keys/a?prevExist=true"
    directory = requests.put("/a", exist=False, directory=True, ttl=5)
    assert directory.target == "/v2/keys/a?prevExist=false&dir=true"
    assert fields(directory) == {b"ttl": b"5"}


def test_conditions_of_a_swap() -> None:
    request = requests.compare_and_swap("/a", "x", prev_value="old & ü", prev_index=7, ttl=3)
    assert request.target == "/v2/keys/a?prevIndex=7"
    assert fields(request) == {b"value": b"x", b"ttl": b"3", b"prevValue": "old & ü".encode()}


def test_conditions_of_a_deletion_stand_in_the_query() -> None:
    request = requests.compare_and_delete("/a", prev_value=b"\xff &", prev_index=7)
    query = parse_qs(request.target.partition("?")[2], encoding="latin-1")
    assert query == {"prevIndex": ["7"], "prevValue": ["\xff &"]}
    assert request.body is None


@pytest.mark.parametrize("index", [0, -1, True, "7"])
def test_an_index_that_compares_nothing_is_refused(index: int) -> None:
    with pytest.raises((ValueError, TypeError), match="prev_index"):
        requests.compare_and_swap("/a", "x", prev_index=index)


def test_a_swap_needs_something_to_compare_with() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        requests.compare_and_swap("/a", "x")
    with pytest.raises(ValueError, match="nothing to compare"):
        requests.compare_and_delete("/a")


def test_refreshing_keeps_the_value() -> None:
    request = requests.refresh("/a", 30, 7)
    assert request.target == "/v2/keys/a?prevExist=true&refresh=true&prevIndex=7"
    assert fields(request) == {b"ttl": b"30"}


def test_names_are_one_component() -> None:
    assert requests.name_target("/v2/auth/users", "jo ü?") == "/v2/auth/users/jo%20%C3%BC%3F"
    for name in ("", "a/b", ".", ".."):
        with pytest.raises(ValueError, match="not a name"):
            requests.name_target("/v2/auth/users", name)


def test_lists_of_urls() -> None:
    assert requests.url_list("http://a:1, http://b:2,") == ["http://a:1", "http://b:2"]
    assert requests.url_list(("http://a:1",)) == ["http://a:1"]
