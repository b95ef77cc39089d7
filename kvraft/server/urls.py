"""The rules for URLs of members: `scheme://host:port` and nothing behind it.

The flags and the members API share them, and with them the texts of the errors, which are
those of etcd 2.3. Pure but for `resolve_host`. A list of URLs is always kept sorted: the order
is input of the member ids.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from kvraft.server.quoting import quote

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
# An escape in a host name may only stand for a byte outside ASCII, or for the percent sign.
_BAD_HOST_ESCAPE: Final = re.compile(r"%(?:25|[89A-Fa-f][0-9A-Fa-f])|(%.{0,2})", re.DOTALL)
_BAD_IN_HOST: Final = re.compile(r"[ \\^`{|}]")
_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_PORT: Final = re.compile(r"(?::[0-9]*)?")


class UrlError(ValueError):
    """A URL, or a list of them, breaks the rules; the text is for the user."""


class Address(NamedTuple):
    """Where a URL points to. The host of `http://:2379` is empty: every interface."""

    scheme: str
    host: str
    port: int


def parse_urls(texts: Iterable[str]) -> tuple[str, ...]:
    """The URLs in their normal form, sorted; raises `UrlError` for the first bad one."""
    urls = sorted(parse_url(text) for text in texts)
    if not urls:
        raise UrlError("no valid URLs given")
    return tuple(urls)


def parse_url(text: str) -> str:
    """One URL without surrounding space and with its scheme in lower case."""
    text = text.strip()
    scheme, host, path = _split(text)
    if scheme not in ("http", "https"):
        raise UrlError(f"URL scheme must be http or https: {text}")
    try:
        split_host_port(host)
    except UrlError:
        raise UrlError(f'URL address does not have the form "host:port": {text}') from None
    if path:
        raise UrlError(f"URL must not contain a path: {text}")
    return scheme + text[len(scheme) :]


def check_url(text: str) -> None:
    """Raise `UrlError` if `text` cannot be read as a URL of any kind."""
    _split(text)


def address(url: str) -> Address:
    """The parts of a URL that `parse_url` has let pass; a missing port is 0."""
    scheme, host, _path = _split(url)
    name, port = split_host_port(host)
    return Address(scheme, name, int(port or "0"))


def split_host_port(text: str) -> tuple[str, str]:
    """`host:port` or `[v6-address]:port` in its two parts, the port being any text."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise UrlError(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UrlError(f"address {text}: too many colons in address")
    if "[" in host or "]" in host:
        raise UrlError(f"address {text}: unexpected bracket in address")
    return host, port


def same_urls(left: Sequence[str], right: Sequence[str], resolve: Callable[[str], str]) -> bool:
    """Whether both lists mean the same places, host names being looked up where texts differ."""
    if sorted(left) == sorted(right):
        return True
    if len(left) != len(right):
        return False
    try:
        return sorted(_resolved(left, resolve)) == sorted(_resolved(right, resolve))
    except OSError:
        return False


def resolve_host(host: str) -> str:
    """The first address of a host name, IPv4 preferred. Blocks; raises OSError."""
    found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    addresses = sorted(found, key=lambda item: item[0] != socket.AF_INET)
    return str(addresses[0][4][0])


def _resolved(urls: Iterable[str], resolve: Callable[[str], str]) -> list[Address]:
    parts = map(address, urls)
    return [Address(scheme, resolve(host), port) for scheme, host, port in parts]


def _split(text: str) -> tuple[str, str, str]:
    """Scheme, host with port, and decoded path; raises `UrlError` where reading stops."""
    try:
        return _split_unquoted(text)
    except UrlError as error:
        raise UrlError(f"parse {quote(text)}: {error}") from None


def _split_unquoted(text: str) -> tuple[str, str, str]:
    rest, _hash, fragment = text.partition("#")
    if _CONTROL.search(rest):
        raise UrlError("net/url: invalid control character in URL")
    if rest.startswith(":"):
        raise UrlError("missing protocol scheme")
    scheme = ""
    if found := _SCHEME.match(rest):
        scheme, rest = found[1].lower(), rest[found.end() :]
    rest = rest.partition("?")[0]
    host = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
        host = _checked_host(host)
    elif not rest.startswith("/"):
        if scheme:
            return scheme, "", ""  # `mailto:x` and the like have neither host nor path
        if ":" in rest.partition("/")[0]:
            raise UrlError("first path segment in URL cannot contain colon")
    for part in (rest, fragment):
        if bad := _BAD_ESCAPE.search(part):
            raise UrlError(f"invalid URL escape {quote(bad[0])}")
    return scheme, host, unquote(rest)


def _checked_host(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise UrlError("net/url: invalid userinfo")
    if host.startswith("["):
        if "]" not in host:
            raise UrlError("missing ']' in host")
        port = host[host.rindex("]") + 1 :]
    else:
        port = host[host.rindex(":") :] if ":" in host else ""
    if not _PORT.fullmatch(port):
        raise UrlError(f"invalid port {quote(port)} after host")
    for found in _BAD_HOST_ESCAPE.finditer(host):
        if found[1] is not None:
            raise UrlError(f"invalid URL escape {quote(found[1])}")
    if bad := _BAD_IN_HOST.search(host):
        raise UrlError(f"invalid character {quote(bad[0])} in host name")
    return host
