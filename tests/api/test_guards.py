"""Whose requests pass: Host, Origin, and cross-origin headers."""

from __future__ import annotations

import pytest

from kvraft import limits
from kvraft.api.guards import Guards


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        (b"localhost", True),
        (b"LocalHost:2379", True),
        (b"127.0.0.1:2379", True),
        (b"10.1.2.3", True),
        (b"[::1]:2379", True),
        (b"", True),
        (b"KV.example:1", True),
        (b"kv.example.evil.example", False),
        (b"evil.example", False),
        (b"127.0.0.1.evil.example", False),
        (b"[evil.example]", False),
    ],
)
def test_hosts(host: bytes, passes: bool) -> None:
    guards = Guards(["kv.example"])
    assert guards.accepts_host(host) is passes
    assert (host in guards.known_hosts) is passes
    assert Guards().accepts_host(host)
    assert Guards(["*"]).accepts_host(host)


def test_known_hosts_stay_bounded() -> None:
    guards = Guards()
    for number in range(3 * limits.MAX_KNOWN_HOSTS):
        guards.accepts_host(b"host%d" % number)
    assert len(guards.known_hosts) <= limits.MAX_KNOWN_HOSTS


@pytest.mark.parametrize(
    ("host", "well_formed"),
    [
        (b"a.b-c_d:1", True),
        (b"[::1%25eth0]", True),
        (b"a b", False),
        (b"a/b", False),
        (b"a@b", False),
    ],
)
def test_well_formed_hosts(host: bytes, well_formed: bool) -> None:
    assert Guards().is_well_formed(host) is well_formed


def test_origins() -> None:
    guards = Guards(None, ["http://a.example"])
    assert guards.accepts_origin(b"http://a.example", b"kv:1")
    assert guards.accepts_origin(b"http://kv:1", b"kv:1")
    for origin in (b"http://b.example", b"http://kv:2", b"null", b"", b"http://a.example.b"):
        assert not guards.accepts_origin(origin, b"kv:1")
    assert Guards(None, ["*"]).accepts_origin(b"http://b.example", b"kv:1")


def test_cors_headers() -> None:
    exact = Guards(None, ["http://a.example"])
    assert exact.cors_headers(b"http://a.example").endswith(b"Origin: http://a.example\r\n")
    assert exact.cors_headers(b"http://b.example") == b""
    assert exact.cors_headers(None) == b""
    everyone = Guards(None, ["*"])
    assert everyone.cors_headers(None).endswith(b"Origin: *\r\n")
