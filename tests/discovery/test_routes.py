"""Which page a path means, and how sizes are read: the tables of the reference, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.discovery.routes import Kind, Route, clean_path, form_value, read_size, route
from tests.discovery.world import TOKEN

KEY = f"/_etcd/registry/{TOKEN}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Route(Kind.ROOT)),
        ("/new", Route(Kind.NEW)),
        ("/%6eew", Route(Kind.NEW)),
        ("/health", Route(Kind.HEALTH)),
        ("/robots.txt", Route(Kind.ROBOTS)),
        ("/metrics", Route(Kind.METRICS)),
        (f"/{TOKEN}", Route(Kind.TOKEN, TOKEN, KEY)),
        (f"/{TOKEN}/", Route(Kind.TOKEN, TOKEN, KEY)),
        (f"/{TOKEN}/m", Route(Kind.MEMBER, TOKEN, f"{KEY}/m")),
        (f"/{TOKEN}/size", Route(Kind.MEMBER, TOKEN, f"{KEY}/size")),
        (f"/{TOKEN}/a%20b", Route(Kind.MEMBER, TOKEN, f"{KEY}/a b")),
        (f"/{TOKEN}/_config", Route(Kind.CONFIG, TOKEN, f"{KEY}/_config")),
        (f"/{TOKEN}/%5Fconfig", Route(Kind.CONFIG, TOKEN, f"{KEY}/_config")),
        (f"/{TOKEN}/_config/size", Route(Kind.SIZE, TOKEN, f"{KEY}/_config/size")),
        *(
            (path, Route(Kind.UNKNOWN))
            for path in (
                "/new/",
                "/New",
                f"/{TOKEN.upper()}",
                f"/{TOKEN[1:]}",
                f"/{TOKEN}0",
                f"/{TOKEN}/_config/",
                f"/{TOKEN}/_config/size/",
                f"/{TOKEN}/m/",
                f"/{TOKEN}/m/sub",
                f"/{TOKEN}/m%2Fsub",
                f"/{TOKEN}/_config/other",
                "/v2/keys",
                "/version",
                f"/{TOKEN}%0A",
            )
        ),
        ("//new", Route(Kind.MOVED, key="/new")),
        ("/a/../new", Route(Kind.MOVED, key="/new")),
        ("/%2e%2e/new", Route(Kind.MOVED, key="/new")),
        (f"/{TOKEN}/./m", Route(Kind.MOVED, key=f"/{TOKEN}/m")),
        (f"/{TOKEN}/../", Route(Kind.MOVED, key="/")),
        ("//a//", Route(Kind.MOVED, key="/a/")),
        ("/%zz", Route(Kind.MALFORMED)),
        ("/%4", Route(Kind.MALFORMED)),
    ],
)
def test_paths(path: str, expected: Route) -> None:
    assert route(path) == expected


@given(st.text(st.sampled_from("ab/._%"), max_size=12))
def test_a_clean_path_is_clean(text: str) -> None:
    clean = clean_path("/" + text)
    assert clean_path(clean) == clean
    assert clean.startswith("/")
    assert not {"", ".", ".."} & set(clean.strip("/").split("/")) or clean == "/"


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("size=5", "5"),
        ("size=%2B5", "+5"),
        ("size=+5", " 5"),
        ("a=1&size=2&size=3", "2"),
        ("size", ""),
        ("SIZE=9", None),
        ("", None),
        ("size=;3", None),
        ("size=%zz&size=4", "4"),
        ("s%69ze=4", "4"),
    ],
)
def test_the_first_readable_field_counts(form: str, value: str | None) -> None:
    assert form_value(form, "size") == value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, 3),
        ("", 3),
        ("5", 5),
        ("007", 7),
        ("+5", 5),
        ("1000000", 1000000),
        ("9223372036854775807", (1 << 63) - 1),
        ("0" * 30 + "1", 1),
    ],
)
def test_sizes(text: str | None, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *(
            (text, f'strconv.Atoi: parsing "{text}": invalid syntax')
            for text in ("abc", "3.5", "0x10", " 5", "1_0", "+", "-", "5 ", "٣")
        ),
        *(
            (text, f'strconv.Atoi: parsing "{text}": value out of range')
            for text in ("99999999999999999999", "9223372036854775808", "-9223372036854775809")
        ),
        ("0", "a cluster has at least one member: size is 0"),
        ("-1", "a cluster has at least one member: size is -1"),
    ],
)
def test_no_sizes(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        read_size(text)
    assert str(raised.value) == problem
