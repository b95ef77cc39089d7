"""SRV records of a domain, by dnspython, with Go's words when there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.resolver

if TYPE_CHECKING:
    from dns.rdtypes.IN.SRV import SRV


def look_up(service: str, domain: str) -> list[tuple[str, int]]:
    """Hosts and ports of `_service._tcp.domain`, by priority; LookupError carries the reason."""
    name = f"_{service}._tcp.{domain}"
    try:
        resolver = dns.resolver.Resolver()
        answer = resolver.resolve(name, "SRV", search=False)
    except dns.resolver.NoResolverConfiguration:
        raise LookupError(f"lookup {name}: no such host") from None
    except dns.exception.DNSException as error:
        server = resolver.nameservers[0] if resolver.nameservers else ""
        raise LookupError(f"lookup {name} on {server}:53: {_reason(error)}") from None
    records: list[SRV] = sorted(answer, key=lambda record: (record.priority, -record.weight))
    return [(_host(str(record.target)), int(record.port)) for record in records]


def _host(target: str) -> str:
    return target.rstrip(".") or "."


def _reason(error: dns.exception.DNSException) -> str:
    if isinstance(error, dns.resolver.NXDOMAIN | dns.resolver.NoAnswer):
        return "no such host"
    if isinstance(error, dns.exception.Timeout):
        return "i/o timeout"
    return "server misbehaving"
