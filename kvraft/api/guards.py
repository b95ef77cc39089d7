"""Who may ask: the Host and Origin of a request, and cross-origin answers.

A page of a foreign site must not reach a member through the user's browser: neither by a name
of its own that resolves to the member's address (Host), nor by posting a form (Origin). Only
browsers can be misled like that, so by default only requests that look like a browser's have to
use one of the member's names: clients that reach it under any other name, as they could reach
etcd 2.3, notice nothing. A list of further names makes the rule strict for everybody. Knows nothing
of connections or routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from kvraft.limits import MAX_KNOWN_HOSTS

_HOST = re.compile(rb"[A-Za-z0-9!$%&()*+,\-.:;=\['\]_~]*").fullmatch
FOREIGN_HOST: Final = (
    b"The host name %b is not one of this member's; "
    b"start it with --host-whitelist to allow further names\n"
)
FOREIGN_ORIGIN: Final = b"Requests that change data are not accepted from other origins\n"


def host_name(host: bytes) -> bytes:
    """The name in a Host header, without the port and in lower case."""
    if host[:1] == b"[":
        return host[1:].partition(b"]")[0].lower()
    return host.partition(b":")[0].lower()


def is_address(name: bytes) -> bool:
    """Whether a host is written as an IP address, which nobody can rebind."""
    try:
        ip_address(name.decode("ascii"))
    except ValueError:
        return False
    return True


_BROWSER_HEADERS: Final = frozenset((b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode"))


def from_browser(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request has the marks of a browser's; a page cannot remove them."""
    for name, value in fields:
        lowered = name.lower()
        if lowered in _BROWSER_HEADERS:
            return True
        if lowered == b"user-agent" and value.startswith(b"Mozilla/"):
            return True
    return False


class Guards:
    """The rules of one client port; without rules everything well-formed passes."""

    __slots__ = ("_hosts", "_origins", "known_hosts", "needs_origin", "strict")

    def __init__(
        self,
        hosts: Iterable[str] | None = None,
        cors_origins: Iterable[str] = (),
        *,
        strict: bool = False,
    ) -> None:
        """`hosts`: names that pass beside addresses and localhost; None or `*`: any name.

        `strict`: other names are refused to everybody, not to browsers only.
        """
        self.strict = strict
        names = None if hosts is None else frozenset(name.lower().encode() for name in hosts)
        self._hosts = None if names is None or b"*" in names else names | {b"localhost", b""}
        self._origins = frozenset(origin.encode() for origin in cors_origins)
        self.needs_origin = bool(self._origins)
        self.known_hosts: set[bytes] = set()

    def is_well_formed(self, host: bytes) -> bool:
        """Whether Go would take this for a Host header at all."""
        return _HOST(host) is not None

    def accepts_host(self, host: bytes) -> bool:
        """Whether a well-formed host is one of ours; it may be remembered if so."""
        if self._hosts is not None:
            name = host_name(host)
            if name not in self._hosts and not is_address(name):
                return False
        if b"*" in self._origins:
            return True  # not remembered: the short way for known hosts adds no headers
        if len(self.known_hosts) >= MAX_KNOWN_HOSTS:
            self.known_hosts.clear()
        self.known_hosts.add(host)
        return True

    def accepts_origin(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of this origin may change data here."""
        if b"*" in self._origins or origin in self._origins:
            return True
        return origin.partition(b"://")[2] == host

    def cors_headers(self, origin: bytes | None) -> bytes:
        """What the answer to a request from this origin carries."""
        allowed = b"*" if b"*" in self._origins else origin
        if allowed is None or (allowed != b"*" and allowed not in self._origins):
            return b""
        return (
            b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
            b"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
            b"Access-Control-Allow-Origin: %b\r\n"
        ) % allowed
