"""The first members of a cluster out of DNS SRV records (`--discovery-srv`).

`_etcd-server-ssl._tcp.<domain>` gives https URLs, `_etcd-server._tcp.<domain>` http ones; both
count. The record that leads to the same address and port as an own advertised peer URL is this
member and gets its name, the others are called `0`, `1`, ...: names differ from member to member,
ids do not, as names are not hashed. (Discovery reference, section 9.)

All look-ups go through `Resolver`, so that a test needs no DNS; none blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from kvraft import limits
from kvraft.discovery.errors import SrvFailed
from kvraft.server import logs
from kvraft.server.logs import LogLine
from kvraft.server.quoting import quote
from kvraft.server.urls import address

_log = logs.logger("discovery")
_SERVICES: Final = (("etcd-server-ssl", "https"), ("etcd-server", "http"))


class Target(NamedTuple):
    """Where a record points to; the host without the dot at its end."""

    host: str
    port: int


class LookupFailed(Exception):
    """A name could not be looked up; the text is what a Go program says about it."""


class Resolver(Protocol):
    """The two questions that are asked of DNS."""

    async def services(self, name: str) -> list[Target]:
        """The SRV records of a name in the order of the answer. Raises LookupFailed."""

    async def address(self, host: str) -> str:
        """The first address of a host, IPv4 preferred. Raises LookupFailed."""


class SystemResolver:
    """Asks the name servers of this machine; for addresses its hosts file as well."""

    async def services(self, name: str) -> list[Target]:
        """See `Resolver.services`."""
        try:
            resolver = dns.asyncresolver.Resolver()
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"lookup {name}: {error}") from None
        where = f"lookup {name}"
        if resolver.nameservers:
            where += f" on {resolver.nameservers[0]}:{resolver.port}"
        try:
            answer = await resolver.resolve(name, "SRV", lifetime=limits.DNS_LOOKUP_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise LookupFailed(f"{where}: no such host") from None
        except dns.resolver.LifetimeTimeout:
            raise LookupFailed(f"{where}: i/o timeout") from None
        except (dns.exception.DNSException, OSError):
            raise LookupFailed(f"{where}: server misbehaving") from None
        records = [record for record in answer if isinstance(record, SRV)]
        records.sort(key=lambda record: (record.priority, -record.weight))
        return [
            Target(record.target.to_text(omit_final_dot=True), record.port)
            for record in records[: limits.DNS_MAX_RECORDS]
        ]

    async def address(self, host: str) -> str:
        """See `Resolver.address`."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            raise LookupFailed(f"lookup {host}: no such host") from None
        return str(min(found, key=lambda item: item[0] != socket.AF_INET)[4][0])


async def srv_cluster(
    domain: str,
    name: str,
    advertise_peer_urls: Sequence[str],
    resolver: Resolver | None = None,
    *,
    proxy: bool = False,
) -> str:
    """The initial cluster `name=url,...` of a domain. Raises SrvFailed.

    A proxy need not be among the members; any member has to.
    """
    resolver = resolver or SystemResolver()
    own = set() if proxy else await _own_places(advertise_peer_urls, resolver)
    parts: list[str] = []
    failures: list[str] = []
    others = 0
    found_self = False
    for service, scheme in _SERVICES:
        query = f"_{service}._tcp.{domain}"
        try:
            targets = await resolver.services(query)
        except LookupFailed as failure:
            failures.append(str(failure))
            _log.warning("error querying DNS SRV records for _%s %s", service, failure)
            continue
        for target in targets:
            place = await _place(target, resolver)
            if place is None:
                continue
            if place in own:
                label, found_self = name, True
            else:
                others += str(others) == name  # which is taken
                label, others = str(others), others + 1
            url = f"{scheme}://{_host_port(*target)}"
            parts.append(f"{label}={url}")
            _log.log(logs.NOTICE, "got bootstrap from DNS for %s at %s", service, url)
    if len(failures) == len(_SERVICES):
        text = "SRV discovery failed: too many errors querying DNS SRV records"
        raise SrvFailed(failures[-1], [LogLine(logging.ERROR, "discovery", text)])
    if not proxy and not found_self:
        raise SrvFailed(f"cannot find local etcd member {quote(name)} in SRV records")
    return ",".join(parts)


async def _own_places(urls: Sequence[str], resolver: Resolver) -> set[tuple[str, int]]:
    """The addresses and ports at which this member says it can be reached."""
    places = set()
    for url in urls:
        _, host, port = address(url)
        try:
            places.add((await resolver.address(host), port))
        except LookupFailed as failure:
            text = f"couldn't resolve host {_host_port(host, port)} during SRV discovery"
            raise SrvFailed(str(failure), [LogLine(logging.ERROR, "discovery", text)]) from None
    return places


async def _place(target: Target, resolver: Resolver) -> tuple[str, int] | None:
    """The address and port of a record; None if the host has none."""
    try:
        return await resolver.address(target.host), target.port
    except LookupFailed:
        _log.warning("couldn't resolve host %s during SRV discovery", _host_port(*target))
        return None


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
