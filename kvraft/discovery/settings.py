"""The settings of `kvraft-discovery`: from the words behind its name and the environment.

Pure, as `server/config.py` is: nothing is printed or started here. `--addr`, `--etcd` and `--host`
with their letters, variables and messages are those of the usual service program (discovery
reference, 2.1), so that this one can take its place; the others are its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

from kvraft import __version__, limits
from kvraft.server.urls import UrlError, check_url, parse_url, split_host_port

DEFAULT_ADDR: Final = ":8087"
DEFAULT_ETCD: Final = "http://127.0.0.1:2379"
DEFAULT_HOST: Final = "https://discovery.etcd.io"
MAX_PORT: Final = 65535
SYNTAX_STATUS: Final = 2

_HELP: Final = """\
Usage of kvraft-discovery:
  -a, --addr string           where to listen (default ":8087")
  -e, --etcd string           the v2 store with the tokens (default "http://127.0.0.1:2379")
  -h, --host string           what a new token's URL begins with (default
                              "https://discovery.etcd.io"; with --embedded: this machine's address)
      --embedded dir          keep the tokens in a member in this process, with its data in dir
      --client-url url        where the embedded member serves the keys API (default: nowhere)
      --token-ttl seconds     forget a token after so long (default 0: never)
      --new-per-minute n      tokens for one client address in a minute (default {rate}; 0: any)
      --max-connections n     clients at one time (default {connections})
      --version               print the version
      --help                  print this
"""
HELP: Final = _HELP.format(
    rate=limits.DISCOVERY_NEW_PER_MINUTE, connections=limits.DISCOVERY_MAX_CONNECTIONS
)
EXAMPLES: Final = """
Each option can be set in the environment: DISC_ADDR for --addr, DISC_TOKEN_TTL for --token-ttl.

Examples:
  a discovery service of one's own, complete:
    kvraft-discovery --embedded /var/lib/kvraft-discovery
  one whose tokens are kept in a cluster, behind a web server that does TLS:
    kvraft-discovery --addr 127.0.0.1:8087 --etcd http://10.0.0.1:2379 --host https://d.example.com
  a token for three members, and the first of them:
    curl -w '\\n' 'http://127.0.0.1:8087/new?size=3'
    kvraft --name infra0 --discovery http://127.0.0.1:8087/<token> ...
"""


class Settings(NamedTuple):
    """What the service is told. An empty `etcd` stands for a member in this process."""

    listen_host: str
    listen_port: int
    etcd: str
    host: str
    embedded_dir: str
    client_url: str
    token_ttl_s: int
    new_per_minute: int
    max_connections: int


class Exit(NamedTuple):
    """The process ends here: with which status, and what it says before."""

    code: int
    stdout: str = ""
    stderr: str = ""


class _Misused(Exception):
    """The settings are no good; the text is for the user."""


class _Parser(argparse.ArgumentParser):
    """Reports what it does not like instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        raise _Misused(message)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings | Exit:
    """Read the settings; a flag beats its variable, and an empty variable counts as none."""
    parser = _Parser(prog="kvraft-discovery", add_help=False, allow_abbrev=False)
    for letter, name in (("-a", "addr"), ("-e", "etcd"), ("-h", "host")):
        parser.add_argument(letter, f"--{name}")
    for name in ("embedded", "client-url", "token-ttl", "new-per-minute", "max-connections"):
        parser.add_argument(f"--{name}")
    for name in ("help", "version"):
        parser.add_argument(f"--{name}", action="store_true")
    try:
        given, left = parser.parse_known_args(list(argv))
        if given.help:
            return Exit(0, stdout=HELP + EXAMPLES)
        if given.version:
            return Exit(0, stdout=f"kvraft-discovery {__version__}\n")
        if left:
            what = "unknown flag" if left[0].startswith("-") else "unexpected argument"
            raise _Misused(f"{what}: {left[0]}")
        return _build({name: _value(name, vars(given), environ) for name in vars(given)})
    except _Misused as misused:
        return Exit(SYNTAX_STATUS, stderr=f"{misused}\n{HELP}")


def _value(name: str, given: Mapping[str, object], environ: Mapping[str, str]) -> str | None:
    value = given[name]
    return value if isinstance(value, str) else environ.get(f"DISC_{name.upper()}") or None


def _build(texts: Mapping[str, str | None]) -> Settings:
    embedded_dir = texts["embedded"] or ""
    if embedded_dir and texts["etcd"]:
        raise _Misused("set only one of --etcd and --embedded")
    if texts["client_url"] and not embedded_dir:
        raise _Misused("--client-url needs --embedded")
    host, port = _address(texts["addr"] or DEFAULT_ADDR)
    prefix = texts["host"]
    if prefix is None:
        prefix = "" if embedded_dir else DEFAULT_HOST
    return Settings(
        listen_host=host,
        listen_port=port,
        etcd="" if embedded_dir else _host_only(texts["etcd"] or DEFAULT_ETCD),
        host=_host_only(prefix) if prefix else "",
        embedded_dir=embedded_dir,
        client_url=_client_url(texts["client_url"] or ""),
        token_ttl_s=_number("token-ttl", texts["token_ttl"], 0, 0),
        new_per_minute=_number(
            "new-per-minute", texts["new_per_minute"], limits.DISCOVERY_NEW_PER_MINUTE, 0
        ),
        max_connections=_number(
            "max-connections", texts["max_connections"], limits.DISCOVERY_MAX_CONNECTIONS, 1
        ),
    )


def _address(text: str) -> tuple[str, int]:
    try:
        host, port = split_host_port(text)
    except UrlError as error:
        raise _Misused(str(error)) from None
    if not (port.isascii() and port.isdigit() and int(port) <= MAX_PORT):
        raise _Misused(f"address {text}: invalid port")
    return host, int(port)


def _host_only(url: str) -> str:
    """A URL that says where, and nothing else."""
    try:
        check_url(url)
        parts = urlsplit(url)
    except ValueError as error:
        raise _Misused(f"Invalid url given: {error}") from None
    if not parts.netloc:
        raise _Misused("Expected hostname (none given)")
    if parts.path not in ("", "/"):
        raise _Misused(f"Expected url without path ({parts.path})")
    if parts.query:
        raise _Misused(f"Expected url without query (?{parts.query})")
    if parts.fragment:
        raise _Misused(f"Expected url without fragment ({parts.fragment})")
    if parts.scheme not in ("http", "https"):
        raise _Misused(f"Invalid url given: the scheme must be http or https: {url}")
    return url.rstrip("/")


def _client_url(text: str) -> str:
    try:
        url = parse_url(text) if text else ""
    except UrlError as error:
        raise _Misused(f"Invalid url given: {error}") from None
    if url.startswith("https:"):
        raise _Misused("--client-url: an embedded member serves http only")
    return url


def _number(name: str, text: str | None, default: int, least: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise _Misused(f'invalid argument "{text}" for "--{name}": a number from {least} on')
    return int(text)
