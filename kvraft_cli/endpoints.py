"""Where the requests go: which of the many settings counts, and what a URL says.

Pure, but for `look_up_service`, which asks the DNS. URLs are taken apart as Go does it, since its
complaints are part of the interface. (etcdctl reference, section 1.1.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from kvraft_cli.errors import ConfigError
from kvraft_cli.flags import Flags

DEFAULT: Final = "http://127.0.0.1:2379,http://127.0.0.1:4001"
# Flag and variable of each name, the newest first: the first that is not empty counts.
PRECEDENCE: Final = (
    ("endpoints", "ETCDCTL_ENDPOINTS"),
    ("endpoint", "ETCDCTL_ENDPOINT"),
    ("peers", "ETCDCTL_PEERS"),
)
PORTS: Final = {"http": 80, "https": 443}

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SAFE_IN_PATH: Final = (_LETTERS + "0123456789-._~$&+,/:;=@").encode()
_SAFE_IN_FORM: Final = (_LETTERS + "0123456789-._~").encode()
_BAD_IN_HOST: Final = frozenset(' "<>\\^`{|}')
_DELETE: Final = 0x7F


class Url(NamedTuple):
    """A URL in its parts; `path` is decoded, `host` includes the port as written.

    `raw_path` is the path as it was written, where escaping `path` again would give another one.
    """

    scheme: str
    host: str
    path: str = ""
    query: str = ""
    user: str | None = None
    opaque: str = ""
    raw_path: str = ""

    def with_path(self, path: str, query: str = "") -> Url:
        """The same server, another thing on it."""
        return self._replace(path=path, raw_path="", query=query)

    def __str__(self) -> str:
        scheme = f"{self.scheme}:" if self.scheme else ""
        query = f"?{self.query}" if self.query else ""
        if self.opaque:
            return scheme + self.opaque + query
        user = "" if self.user is None else f"{self.user}@"
        there = self.host or user or (self.scheme and self.path)
        return scheme + ("//" if there else "") + user + self.host + self._escaped_path() + query

    @property
    def target(self) -> str:
        """What the request line names."""
        query = f"?{self.query}" if self.query else ""
        return (self._escaped_path() or "/") + query

    def _escaped_path(self) -> str:
        return self.raw_path or escape_path(self.path)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        host, port = self.host, ""
        end = host.rfind("]")
        colon = host.rfind(":")
        if colon > end:
            host, port = host[:colon], host[colon + 1 :]
        if host.startswith("["):
            host = host[1:-1]
        return host, int(port) if port else PORTS.get(self.scheme, 0)


class UrlError(ValueError):
    """This is no URL; the text is Go's."""


def _quoted(text: str) -> str:
    from kvraft.server.quoting import quote

    return quote(text)


def parse_url(text: str) -> Url:
    """Take a URL apart; UrlError with Go's words if that cannot be done."""
    try:
        return _parse(text)
    except UrlError as error:
        raise UrlError(f"parse {_quoted(text)}: {error}") from None


def _parse(text: str) -> Url:
    if any(ord(character) < ord(" ") or ord(character) == _DELETE for character in text):
        raise UrlError("net/url: invalid control character in URL")
    scheme, rest = _split_scheme(text.partition("#")[0])
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "", query=query, opaque=rest)
        if ":" in rest.partition("/")[0]:
            raise UrlError("first path segment in URL cannot contain colon")
    user, host = None, ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        if "@" in authority:
            user, _, authority = authority.rpartition("@")
        host = _check_host(authority)
    path = _unescape(rest)
    return Url(scheme, host, path, query, user, raw_path="" if escape_path(path) == rest else rest)


def _split_scheme(text: str) -> tuple[str, str]:
    for place, character in enumerate(text):
        if character in _LETTERS:
            continue
        if character in "0123456789+-." and place:
            continue
        if character == ":":
            if not place:
                raise UrlError("missing protocol scheme")
            return text[:place].lower(), text[place + 1 :]
        break
    return "", text


def _check_host(host: str) -> str:
    name, port = host, ""
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise UrlError("missing ']' in host")
        name, port = host[: end + 1], host[end + 1 :]
    elif ":" in host:
        colon = host.rfind(":")
        name, port = host[:colon], host[colon:]
    if port and not (port[0] == ":" and (port[1:] == "" or _is_decimal(port[1:]))):
        raise UrlError(f"invalid port {_quoted(port)} after host")
    for character in name:
        if character in _BAD_IN_HOST:
            raise UrlError(f"invalid character {_quoted(character)} in host name")
    return host


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _unescape(path: str) -> str:
    if "%" not in path:
        return path
    data = path.encode("utf-8", "surrogateescape")
    out = bytearray()
    place = 0
    while place < len(data):
        if data[place] != ord("%"):
            out.append(data[place])
            place += 1
            continue
        digits = data[place + 1 : place + 3]
        try:
            if len(digits) < 2 or not digits.isalnum():
                raise ValueError(digits)
            out.append(int(digits, 16))
        except ValueError:
            wrong = data[place : place + 3].decode("utf-8", "surrogateescape")
            raise UrlError(f"invalid URL escape {_quoted(wrong)}") from None
        place += 3
    return out.decode("utf-8", "surrogateescape")


def _escape(text: str, safe: bytes) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return "".join([chr(byte) if byte in safe else f"%{byte:02X}" for byte in data])


def escape_path(path: str) -> str:
    """A path as it stands in a URL."""
    return _escape(path, _SAFE_IN_PATH)


def encode_form(pairs: Sequence[tuple[str, str]]) -> str:
    """`a=1&b=2`, in the order given; a space is a plus."""
    return "&".join(f"{_form(name)}={_form(value)}" for name, value in pairs)


def _form(text: str) -> str:
    if text.isascii() and text.isalnum():
        return text
    return _escape(text, _SAFE_IN_FORM).replace("%20", "+")


def clean_path(path: str) -> str:
    """A path with one leading slash and without `//`, `.` and `..`; a trailing slash stays."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    cleaned = "/" + "/".join(parts)
    return cleaned + "/" if path.endswith("/") and parts else cleaned


def chosen(flags: Flags, environ: Mapping[str, str]) -> str:
    """The list that counts, as written: flags and variables, the newest name first."""
    for flag, variable in PRECEDENCE:
        if text := flags.string(flag) or environ.get(variable, ""):
            return text
    return DEFAULT


def with_scheme(text: str) -> Url:
    """One given endpoint; `http` unless it says what else."""
    try:
        url = parse_url(text)
        if url.scheme:
            return url
        # what was a path without a scheme may turn out to be a host with one
        return parse_url(str(url._replace(scheme="http")))
    except UrlError as error:
        raise ConfigError(str(error)) from None


def given_endpoints(
    flags: Flags,
    environ: Mapping[str, str],
    look_up: Callable[[str], list[str]],
) -> list[Url]:
    """The endpoints that flags and variables name, as they are used before a synchronisation.

    Raises ConfigError for what is no URL, or a domain without any answer.
    """
    domain = flags.string("discovery-srv") or environ.get("ETCDCTL_DISCOVERY_SRV", "")
    texts = look_up(domain) if domain else []
    return [with_scheme(text) for text in texts or chosen(flags, environ).split(",")]


def look_up_service(domain: str) -> list[str]:
    """Client URLs from the SRV records of a domain, encrypted ones first; perhaps none.

    Raises ConfigError if neither kind of record can be asked for.
    """
    from kvraft_cli.srv import look_up

    urls: list[str] = []
    errors: list[str] = []
    for service, scheme in (("etcd-client-ssl", "https"), ("etcd-client", "http")):
        try:
            found = look_up(service, domain)
        except LookupError as error:
            errors.append(str(error.args[0]))
            continue
        urls += [f"{scheme}://{host}:{port}" for host, port in found]
    if len(errors) > 1:
        raise ConfigError(f"dns lookup errors: {errors[0]} and {errors[1]}")
    return urls
