"""Which endpoints count, and URLs taken apart as Go does it."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft_cli import endpoints
from kvraft_cli.endpoints import (
    DEFAULT,
    UrlError,
    chosen,
    clean_path,
    encode_form,
    escape_path,
    given_endpoints,
    parse_url,
    with_scheme,
)
from kvraft_cli.errors import ConfigError
from kvraft_cli.flags import Flags, parse
from kvraft_cli.table import GLOBAL_FLAGS

NAMES = (
    ("flag", "endpoints"),
    ("variable", "ETCDCTL_ENDPOINTS"),
    ("flag", "endpoint"),
    ("variable", "ETCDCTL_ENDPOINT"),
    ("flag", "peers"),
    ("variable", "ETCDCTL_PEERS"),
)


def options(*words: str) -> Flags:
    parsed = parse(GLOBAL_FLAGS, words)
    assert parsed.error is None
    return parsed.flags


@given(st.lists(st.sampled_from(["", "set"]), min_size=6, max_size=6))
def test_the_first_name_that_is_not_empty_counts(given_values: list[str]) -> None:
    words: list[str] = []
    environ = {}
    expected = DEFAULT
    for (kind, name), value in reversed(list(zip(NAMES, given_values, strict=True))):
        text = f"http://{kind}-{name.lower().replace('_', '-')}" if value else ""
        expected = text or expected
        if kind == "flag":
            words.append(f"--{name}={text}")
        else:
            environ[name] = text
    assert chosen(options(*words), environ) == expected


def no_records(domain: str) -> list[str]:
    assert domain == "example.com"
    return []


def test_a_domain_comes_first_but_may_know_nothing() -> None:
    urls = given_endpoints(
        options("-D", "example.com"), {}, lambda domain: [f"https://a.{domain}:1", "http://b:2"]
    )
    assert list(map(str, urls)) == ["https://a.example.com:1", "http://b:2"]
    variable = {"ETCDCTL_DISCOVERY_SRV": "example.com", "ETCDCTL_PEERS": "http://p"}
    assert list(map(str, given_endpoints(options(), variable, no_records))) == ["http://p"]


@pytest.mark.parametrize(
    "failing", ["", "etcd-client", "etcd-client-ssl", "etcd-client-ssl etcd-client"]
)
def test_service_records(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(service: str, domain: str) -> list[tuple[str, int]]:
        if service in failing.split():
            raise LookupError(f"lookup _{service}._tcp.{domain}: no such host")
        return [(f"{service}.{domain}", 2379)]

    monkeypatch.setattr("kvraft_cli.srv.look_up", look_up)
    if " " in failing:
        with pytest.raises(ConfigError) as caught:
            endpoints.look_up_service("d.e")
        assert caught.value.text == (
            "dns lookup errors: lookup _etcd-client-ssl._tcp.d.e: no such host"
            " and lookup _etcd-client._tcp.d.e: no such host\n"
        )
        assert caught.value.code == 1
        return
    expected = ["https://etcd-client-ssl.d.e:2379", "http://etcd-client.d.e:2379"]
    if failing:
        del expected[failing == "etcd-client"]
    assert endpoints.look_up_service("d.e") == expected


@pytest.mark.parametrize(
    ("text", "url", "address"),
    [
        ("http://127.0.0.1:2379", "http://127.0.0.1:2379", ("127.0.0.1", 2379)),
        ("127.0.0.1", "http://127.0.0.1", ("127.0.0.1", 80)),
        ("//h:1", "http://h:1", ("h", 1)),
        ("HTTPS://h", "https://h", ("h", 443)),
        ("http://h:/", "http://h:/", ("h", 80)),
        ("http://[::1]:2379/p", "http://[::1]:2379/p", ("::1", 2379)),
        ("http://[::1]", "http://[::1]", ("::1", 80)),
        ("http://u:p@h:1/a%20b", "http://u:p@h:1/a%20b", ("h", 1)),
        ("localhost:2379", "localhost:2379", ("", 0)),
        ("", "http:", ("", 80)),
    ],
)
def test_endpoints_as_given(text: str, url: str, address: tuple[str, int]) -> None:
    found = with_scheme(text)
    assert str(found) == url
    assert found.address == address


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (" http://x", 'parse " http://x": first path segment in URL cannot contain colon'),
        ("127.0.0.1:1", 'parse "127.0.0.1:1": first path segment in URL cannot contain colon'),
        ("http://a b", 'parse "http://a b": invalid character " " in host name'),
        ("http://h:x", 'parse "http://h:x": invalid port ":x" after host'),
        ("http://[::1", "parse \"http://[::1\": missing ']' in host"),
        ("http://[::1]x", 'parse "http://[::1]x": invalid port "x" after host'),
        (":x", 'parse ":x": missing protocol scheme'),
        ("http://h/%zz", 'parse "http://h/%zz": invalid URL escape "%zz"'),
        ("http://h/%2", 'parse "http://h/%2": invalid URL escape "%2"'),
        ("http://h\n", 'parse "http://h\\n": net/url: invalid control character in URL'),
    ],
)
def test_what_is_no_url(text: str, error: str) -> None:
    with pytest.raises(UrlError) as caught:
        parse_url(text)
    assert str(caught.value) == error
    with pytest.raises(ConfigError) as refused:
        with_scheme(text)
    assert (refused.value.text, refused.value.code) == (error + "\n", 1)


def test_a_foreign_spelling_of_a_path_is_kept() -> None:
    assert str(parse_url("http://h/a%2Fb%61?x=%41")) == "http://h/a%2Fb%61?x=%41"
    assert parse_url("http://h/a%2Fb").path == "/a/b"
    assert parse_url("/else?a=b").target == "/else?a=b"
    assert parse_url("http://h").target == "/"


def test_paths_are_escaped_as_go_does() -> None:
    assert escape_path("/a!*'()[]$&+,:;=@ü~ %?#\udcff") == (
        "/a%21%2A%27%28%29%5B%5D$&+,:;=@%C3%BC~%20%25%3F%23%FF"
    )


def test_forms() -> None:
    assert encode_form([("ttl", "5"), ("value", "a b&c=d+%~-._é\udc80")]) == (
        "ttl=5&value=a+b%26c%3Dd%2B%25~-._%C3%A9%80"
    )
    assert encode_form([("value", "")]) == "value="
    assert encode_form([]) == ""


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("a", "/a"),
        ("/v2/keys//a/./b/../c/", "/v2/keys/a/c/"),
        ("/v2/keys/../../x", "/x"),
        ("/v2/keys/..", "/v2"),
        ("/../..", "/"),
        ("/a/.", "/a"),
        ("/...", "/..."),
    ],
)
def test_paths_are_cleaned(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned


@given(st.text("./ab", max_size=12))
def test_cleaning_agrees_with_posix(path: str) -> None:
    expected = "/" + posixpath.normpath("/" + path).lstrip("/")
    if path.endswith("/") and expected != "/":
        expected += "/"
    assert clean_path(path) == expected


@given(st.text(max_size=30))
def test_nothing_makes_the_parser_stumble(text: str) -> None:
    try:
        url = parse_url(text)
    except UrlError:
        return
    assert isinstance(str(url), str)
    assert isinstance(url.address[1], int)
