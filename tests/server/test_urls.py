"""kvraft/server/urls.py: what passes, and the text of what does not."""

from __future__ import annotations

import pytest

from kvraft.server import urls
from kvraft.server.urls import Address, UrlError

NO_PORT = 'URL address does not have the form "host:port": '


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("ftp://1:1", "URL scheme must be http or https: ftp://1:1"),
        ("unix:///run/x", "URL scheme must be http or https: unix:///run/x"),
        ("localhost:2379", "URL scheme must be http or https: localhost:2379"),
        ("", "URL scheme must be http or https: "),
        ("foo", "URL scheme must be http or https: foo"),
        ("http://127.0.0.1", NO_PORT + "http://127.0.0.1"),
        ("http:", NO_PORT + "http:"),
        ("http://::1:2", NO_PORT + "http://::1:2"),
        ("http://[::1]", NO_PORT + "http://[::1]"),
        ("http://a[b:1", NO_PORT + "http://a[b:1"),
        ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
        ("http://127.0.0.1:1/", "URL must not contain a path: http://127.0.0.1:1/"),
        (
            "127.0.0.1:2379",
            'parse "127.0.0.1:2379": first path segment in URL cannot contain colon',
        ),
        (":1", 'parse ":1": missing protocol scheme'),
        ("http://h:x", 'parse "http://h:x": invalid port ":x" after host'),
        ("http://[::1]x:1", 'parse "http://[::1]x:1": invalid port "x:1" after host'),
        ("http://[::1:1", "parse \"http://[::1:1\": missing ']' in host"),
        ("http://a b:1", 'parse "http://a b:1": invalid character " " in host name'),
        ("http://u ser@h:1", 'parse "http://u ser@h:1": net/url: invalid userinfo'),
        ("http://h%41:1", 'parse "http://h%41:1": invalid URL escape "%41"'),
        ("http://%zz", 'parse "http://%zz": invalid URL escape "%zz"'),
        ("http://h:1/%z", 'parse "http://h:1/%z": invalid URL escape "%z"'),
        ("http://h:1#%zz", 'parse "http://h:1#%zz": invalid URL escape "%zz"'),
        (
            "http://a\x01:1",
            'parse "http://a\\x01:1": net/url: invalid control character in URL',
        ),
    ],
)
def test_refused(text: str, error: str) -> None:
    with pytest.raises(UrlError) as caught:
        urls.parse_urls([text])
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("text", "url", "address"),
    [
        (" http://127.0.0.1:2379 ", "http://127.0.0.1:2379", Address("http", "127.0.0.1", 2379)),
        ("HTTPS://Host:1", "https://Host:1", Address("https", "Host", 1)),
        ("http://[::1]:2379", "http://[::1]:2379", Address("http", "::1", 2379)),
        ("http://:2379", "http://:2379", Address("http", "", 2379)),
        ("http://h:", "http://h:", Address("http", "h", 0)),
        ("http://u:p@h:1", "http://u:p@h:1", Address("http", "h", 1)),
    ],
)
def test_accepted(text: str, url: str, address: Address) -> None:
    assert urls.parse_url(text) == url
    assert urls.address(url) == address


def test_a_list_is_sorted_as_text() -> None:
    given = ["http://b:9", "http://b:10", "http://a:1"]
    assert urls.parse_urls(given) == ("http://a:1", "http://b:10", "http://b:9")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(UrlError, match="^no valid URLs given$"):
        urls.parse_urls([])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("127.0.0.1", "address 127.0.0.1: missing port in address"),
        ("::1:1", "address ::1:1: too many colons in address"),
    ],
)
def test_split_host_port_refuses(text: str, error: str) -> None:
    with pytest.raises(UrlError) as caught:
        urls.split_host_port(text)
    assert str(caught.value) == error


def _resolve(host: str) -> str:
    known = {"one": "10.0.0.1", "two": "10.0.0.2", "10.0.0.1": "10.0.0.1"}
    if host not in known:
        raise OSError(host)
    return known[host]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (["http://unknown:1"], ["http://unknown:1"], True),
        (["http://one:1", "http://two:1"], ["http://two:1", "http://10.0.0.1:1"], True),
        (["http://one:1"], ["http://two:1"], False),
        (["http://one:1"], ["http://one:2"], False),
        (["http://one:1"], ["https://one:1"], False),
        (["http://one:1"], ["http://unknown:1"], False),
        (["http://one:1"], ["http://one:1", "http://two:1"], False),
    ],
)
def test_same_urls(left: list[str], right: list[str], same: bool) -> None:
    assert urls.same_urls(left, right, _resolve) is same


def test_resolving_an_address_needs_no_name_server() -> None:
    assert urls.resolve_host("127.0.0.1") == "127.0.0.1"
    assert urls.resolve_host("::1") == "::1"


def test_any_kind_of_url_can_be_checked() -> None:
    urls.check_url("app://some/where?x=%zz")
    with pytest.raises(UrlError):
        urls.check_url("http://a b")
