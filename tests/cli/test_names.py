"""Looking up names, and what is said of those that nobody knows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.resolver
import pytest

from kvraft_cli import names, srv


def test_localhost() -> None:
    assert {address[4][1] for address in names.look_up("localhost", 5, 10)} == {5}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "no such host"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "server misbehaving"),
        (UnicodeError("label too long"), "no such host"),
    ],
)
@pytest.mark.parametrize("server", ["", "10.0.0.1"])
def test_unknown_names(
    error: Exception, reason: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(names, "first_name_server", lambda: server)
    with pytest.raises(LookupError) as caught:
        names.look_up("h.x", 1, 10)
    where = f" on {server}:53" if server else ""
    assert caught.value.args == (f"lookup h.x{where}: {reason}",)


def test_a_lookup_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10))
    with pytest.raises(TimeoutError):
        names.look_up("h.x", 1, 0.01)
    over.set()


def test_the_name_server(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# nameserver 1.1.1.1\nsearch x\nnameserver\t10.0.0.1\nnameserver 10.0.0.2\n")
    assert names.first_name_server(str(file)) == "10.0.0.1"
    file.write_text("")
    assert names.first_name_server(str(file)) == ""
    assert names.first_name_server(str(tmp_path / "none")) == ""


class Record:
    def __init__(self, priority: int, weight: int, target: str, port: int) -> None:
        self.priority, self.weight, self.target, self.port = priority, weight, target, port


class Resolver:
    nameservers = ("10.0.0.1",)
    found: list[Record] | type[Exception]

    def resolve(self, name: str, kind: str, search: bool) -> Iterator[Record]:
        assert (name, kind, search) == ("_etcd-client._tcp.d.e", "SRV", False)
        if not isinstance(self.found, list):
            raise self.found
        return iter(self.found)


def test_service_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns.resolver, "Resolver", Resolver)
    Resolver.found = [
        Record(2, 0, "c.d.e.", 1),
        Record(1, 1, "b.d.e.", 2),
        Record(1, 9, "a.d.e.", 3),
    ]
    assert srv.look_up("etcd-client", "d.e") == [("a.d.e", 3), ("b.d.e", 2), ("c.d.e", 1)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (dns.resolver.NXDOMAIN, "no such host"),
        (dns.resolver.NoNameservers, "server misbehaving"),
        (dns.exception.Timeout, "i/o timeout"),
    ],
)
def test_no_service_records(
    error: type[Exception], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns.resolver, "Resolver", Resolver)
    Resolver.found = error
    with pytest.raises(LookupError) as caught:
        srv.look_up("etcd-client", "d.e")
    assert caught.value.args == (f"lookup _etcd-client._tcp.d.e on 10.0.0.1:53: {reason}",)


def test_no_resolver_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", fail)
    with pytest.raises(LookupError, match="^lookup _etcd-client._tcp.d.e: no such host$"):
        srv.look_up("etcd-client", "d.e")
