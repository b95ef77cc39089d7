"""Clusters out of DNS: names, errors and their lines; the system's resolver on a fake server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from kvraft import limits
from kvraft.discovery.errors import SrvFailed
from kvraft.discovery.srv import LookupFailed, SystemResolver, Target, srv_cluster
from kvraft.server import ids, logs
from kvraft.server.config import parse_cluster
from kvraft.server.logs import LineFormatter

pytestmark = pytest.mark.asyncio
SSL = "_etcd-server-ssl._tcp.example.com"
PLAIN = "_etcd-server._tcp.example.com"
_RESOLVER = dns.asyncresolver.Resolver


class Names:
    """A resolver that knows what a test tells it."""

    def __init__(self, services: dict[str, list[Target]], hosts: dict[str, str]) -> None:
        self._services = services
        self._hosts = hosts
        self.asked: list[str] = []

    async def services(self, name: str) -> list[Target]:
        self.asked.append(name)
        if name not in self._services:
            raise LookupFailed(f"lookup {name} on 127.0.0.1:53: no such host")
        return self._services[name]

    async def address(self, host: str) -> str:
        if host not in self._hosts:
            raise LookupFailed(f"lookup {host}: no such host")
        return self._hosts[host]


def three(scheme: str = PLAIN) -> Names:
    targets = [Target(f"infra{number}.example.com", 2380) for number in (1, 2, 0)]
    hosts = {f"infra{number}.example.com": f"10.0.0.{number}" for number in range(3)}
    return Names({scheme: targets}, hosts | {"10.0.0.0": "10.0.0.0", "me.local": "10.0.0.2"})


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged: level letter and text."""
    logs.configure()
    logging.getLogger(logs.ROOT).propagate = True
    formatter = LineFormatter()
    return lambda: [formatter.format(record).split(" ", 2)[2] for record in caplog.records]


def shown(error: SrvFailed) -> list[str]:
    formatter = LineFormatter()
    return [formatter.format_line(line, 0).split(" ", 2)[2] for line in error.lines]


async def test_three_members(said: Callable[[], list[str]]) -> None:
    names = three()
    cluster = await srv_cluster("example.com", "infra0", ["http://infra0.example.com:2380"], names)
    assert cluster == (
        "0=http://infra1.example.com:2380,1=http://infra2.example.com:2380,"
        "infra0=http://infra0.example.com:2380"
    )
    assert names.asked == [SSL, PLAIN]
    got = "N | discovery: got bootstrap from DNS for etcd-server at"
    assert said() == [
        (
            "W | discovery: error querying DNS SRV records for _etcd-server-ssl "
            f"lookup {SSL} on 127.0.0.1:53: no such host"
        ),
        *(f"{got} http://infra{number}.example.com:2380" for number in (1, 2, 0)),
    ]


async def test_names_differ_and_ids_do_not() -> None:
    clusters = []
    for number in range(3):
        text = await srv_cluster(
            "example.com", f"m{number}", [f"http://infra{number}.example.com:2380"], three()
        )
        members = parse_cluster(text)
        assert f"m{number}" in members
        clusters.append(sorted(ids.member_id(urls, "tok") for urls in members.values()))
    assert clusters[0] == clusters[1] == clusters[2]


async def test_the_address_counts_not_the_name_and_dns_has_the_say() -> None:
    cluster = await srv_cluster("example.com", "x", ["http://me.local:2380"], three())
    assert "x=http://infra2.example.com:2380" in cluster
    cluster = await srv_cluster("example.com", "x", ["http://10.0.0.0:2380"], three(SSL))
    assert "x=https://infra0.example.com:2380" in cluster


async def test_a_name_that_is_a_number_stays_ones_own() -> None:
    cluster = await srv_cluster("example.com", "0", ["http://me.local:2380"], three())
    assert sorted(part.partition("=")[0] for part in cluster.split(",")) == ["0", "1", "2"]
    assert "0=http://infra2.example.com:2380" in cluster


async def test_both_services_count() -> None:
    names = Names(
        {SSL: [Target("a", 1)], PLAIN: [Target("b", 2), Target("::1", 3)]},
        {"a": "10.0.0.1", "b": "10.0.0.2", "::1": "::1"},
    )
    cluster = await srv_cluster("example.com", "x", ["http://b:2"], names)
    assert cluster == "0=https://a:1,x=http://b:2,1=http://[::1]:3"


async def test_a_target_without_an_address_is_passed_over(said: Callable[[], list[str]]) -> None:
    names = Names({PLAIN: [Target("gone", 1), Target("b", 2)]}, {"b": "10.0.0.2"})
    assert await srv_cluster("example.com", "x", ["http://b:2"], names) == "x=http://b:2"
    assert "W | discovery: couldn't resolve host gone:1 during SRV discovery" in said()


async def test_not_listed() -> None:
    with pytest.raises(SrvFailed) as raised:
        await srv_cluster("example.com", "x", ["http://10.0.0.0:9"], three())
    text = 'cannot find local etcd member "x" in SRV records'
    assert shown(raised.value) == [f"C | etcdmain: error setting up initial cluster: {text}"]
    cluster = await srv_cluster("example.com", "x", ["http://nowhere:9"], three(), proxy=True)
    assert cluster.startswith("0=http://infra1.example.com:2380,1=")


async def test_no_records(said: Callable[[], list[str]]) -> None:
    with pytest.raises(SrvFailed) as raised:
        await srv_cluster("nosuch.com", "x", ["http://b:2"], Names({}, {"b": "10.0.0.2"}))
    where = "_tcp.nosuch.com on 127.0.0.1:53: no such host"
    assert said() == [
        f"W | discovery: error querying DNS SRV records for {service} lookup {service}.{where}"
        for service in ("_etcd-server-ssl", "_etcd-server")
    ]
    assert shown(raised.value) == [
        ("E | discovery: SRV discovery failed: too many errors querying DNS SRV records"),
        f"C | etcdmain: error setting up initial cluster: lookup _etcd-server.{where}",
    ]


async def test_the_own_host_has_no_address() -> None:
    with pytest.raises(SrvFailed) as raised:
        await srv_cluster("example.com", "x", ["http://zzz.example.com:2380"], three())
    text = "lookup zzz.example.com: no such host"
    assert shown(raised.value) == [
        "E | discovery: couldn't resolve host zzz.example.com:2380 during SRV discovery",
        f"C | etcdmain: error setting up initial cluster: {text}",
    ]


# --- the system's resolver -------------------------------------------------------------


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with the same records, or an error; None means silence."""

    def __init__(self, records: list[str] | dns.rcode.Rcode | None) -> None:
        self._records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if self._records is None:
            return
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        if isinstance(self._records, list):
            name = query.question[0].name
            if self._records:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *self._records))
        else:
            answer.set_rcode(self._records)
        self._transport.sendto(answer.to_wire(), addr)


async def looked_up(
    records: list[str] | dns.rcode.Rcode | None, monkeypatch: pytest.MonkeyPatch
) -> list[Target] | str:
    """What the system's resolver makes of a name server's answer; `{port}` is that one's."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(records), local_addr=("127.0.0.1", 0)
    )
    number = transport.get_extra_info("sockname")[1]

    def resolver() -> dns.asyncresolver.Resolver:
        made = _RESOLVER(configure=False)
        made.nameservers = ["127.0.0.1"]
        made.port = number
        return made

    monkeypatch.setattr(dns.asyncresolver, "Resolver", resolver)
    try:
        return await SystemResolver().services(PLAIN)
    except LookupFailed as failure:
        return str(failure).replace(str(number), "{port}")
    finally:
        transport.close()


async def test_records_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    records = ["20 0 2380 c.example.com.", "10 1 2380 b.example.com.", "10 5 2381 a.example.com."]
    assert await looked_up(records, monkeypatch) == [
        Target("a.example.com", 2381),
        Target("b.example.com", 2380),
        Target("c.example.com", 2380),
    ]


async def test_failed_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"lookup {PLAIN} on 127.0.0.1:{{port}}"
    assert await looked_up(dns.rcode.NXDOMAIN, monkeypatch) == f"{where}: no such host"
    assert await looked_up([], monkeypatch) == f"{where}: no such host"
    assert await looked_up(dns.rcode.SERVFAIL, monkeypatch) == f"{where}: server misbehaving"
    monkeypatch.setattr(limits, "DNS_LOOKUP_S", 0.05)
    assert await looked_up(None, monkeypatch) == f"{where}: i/o timeout"


async def test_a_machine_without_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.asyncresolver, "Resolver", fail)
    with pytest.raises(LookupFailed, match=f"^lookup {PLAIN}: "):
        await SystemResolver().services(PLAIN)


async def test_addresses() -> None:
    assert await SystemResolver().address("127.0.0.1") == "127.0.0.1"
    assert await SystemResolver().address("localhost") == "127.0.0.1"
    with pytest.raises(LookupFailed, match=r"lookup a\.invalid: no such host"):
        await SystemResolver().address("a.invalid")
