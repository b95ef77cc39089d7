"""The flags of the server: names, defaults, and what `--help` says about them.

The names and defaults are etcd 2.3's, so that its unit files, scripts and manuals keep working.
What the flags mean together is decided in `config.py`.
"""

from __future__ import annotations

import platform
import sys
import textwrap
from collections.abc import Callable
from typing import Final, NamedTuple

from kvraft import __version__
from kvraft.server import flags
from kvraft.server.flags import Flag, FlagSet, Value
from kvraft.versions import SERVER_VERSION

DEFAULT_NAME: Final = "default"
DEFAULT_PEER_URLS: Final = ("http://localhost:2380", "http://localhost:7001")
DEFAULT_CLIENT_URLS: Final = ("http://localhost:2379", "http://localhost:4001")
DEFAULT_SNAPSHOT_COUNT: Final = 10000

_HELP_WIDTH: Final = 92
_HELP_INDENT: Final = " " * 6

USAGE: Final = """\
usage: kvraft [flags]           start a member of a cluster, or a proxy
       kvraft --check [flags]   say what these flags would run into; start nothing
       kvraft --version         show the version
       kvraft --help            show every flag, with examples
       kvraft dev               start a cluster in memory, for trying things out
       kvraft backup, kvraft verify, kvraft restore
                                copy, prove and restore data; each has a --help
"""

EXAMPLES: Final = """\
examples:
  One member, for trying things out; it listens on this machine only:

      kvraft --data-dir /tmp/one
      curl http://localhost:2379/v2/keys/greeting -XPUT -d value=hello

  The first of three members; the others differ in name and addresses only:

      kvraft --name a --data-dir /var/lib/kvraft \\
          --listen-client-urls http://10.0.0.1:2379 \\
          --advertise-client-urls http://10.0.0.1:2379 \\
          --listen-peer-urls http://10.0.0.1:2380 \\
          --initial-advertise-peer-urls http://10.0.0.1:2380 \\
          --initial-cluster \\
          a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

  A fourth that joins later: announce it to the cluster with POST /v2/members, then
  start it with all four in --initial-cluster and with --initial-cluster-state existing.

  Every flag can be given as a variable too: ETCD_DATA_DIR for --data-dir.
  The command line wins. Booleans take a value as --flag=false only.
"""


class _Option(NamedTuple):
    """A flag with its lines in the help."""

    name: str
    read: Callable[[str], Value]
    default: Value
    help: str
    boolean: bool = False


def _text(name: str, help_: str, default: str = "") -> _Option:
    return _Option(name, flags.read_text, default, help_)


def _number(name: str, default: int, help_: str) -> _Option:
    return _Option(name, flags.read_unsigned, default, help_)


def _boolean(name: str, help_: str, default: bool = False) -> _Option:
    return _Option(name, flags.read_boolean, default, help_, True)


def _urls(name: str, default: tuple[str, ...], help_: str) -> _Option:
    return _Option(name, flags.read_urls, default, help_)


def _choice(name: str, *choices: str, help_: str) -> _Option:
    """The first choice is the default."""
    return _Option(name, flags.read_choice(*choices), choices[0], help_)


def _tls(prefix: str, callers: str) -> tuple[_Option, ...]:
    """The five flags of one port's certificates; `callers` is who connects there."""
    return (
        _text(f"{prefix}cert-file", f"Certificate shown to {callers}, PEM; for https URLs."),
        _text(f"{prefix}key-file", "The key that belongs to it, PEM."),
        _boolean(f"{prefix}client-cert-auth", f"Ask {callers} for a certificate."),
        _text(f"{prefix}trusted-ca-file", f"Who must have signed the certificates of {callers}."),
        _text(
            f"{prefix}ca-file",
            f"Deprecated: --{prefix}trusted-ca-file and --{prefix}client-cert-auth in one.",
        ),
    )


_GROUPS: Final[tuple[tuple[str, tuple[_Option, ...]], ...]] = (
    (
        "member",
        (
            _text("name", "Name of this member; unique in the cluster.", DEFAULT_NAME),
            _text("data-dir", "Where everything is kept. Default: <name>.etcd right here."),
            _text("wal-dir", "Another place, such as a faster disk, for the log alone."),
            _number(
                "snapshot-count",
                DEFAULT_SNAPSHOT_COUNT,
                "Changes between two snapshots; 0 stands for the default.",
            ),
            _number("heartbeat-interval", 100, "Milliseconds between two heartbeats."),
            _number(
                "election-timeout",
                1000,
                "Milliseconds without a leader before an election; "
                "from 5 heartbeats to 50000, alike on all members.",
            ),
            _urls("listen-peer-urls", DEFAULT_PEER_URLS, "Where to listen for other members."),
            _urls("listen-client-urls", DEFAULT_CLIENT_URLS, "Where to listen for clients."),
            _number("max-snapshots", 5, "Snapshot files to keep; 0 keeps all."),
            _number("max-wals", 5, "Log files to keep; 0 keeps all."),
            _Option(
                "cors",
                flags.read_origins,
                (),
                "Origins, separated by commas, whose web pages may call the API; * for all.",
            ),
            _Option(
                "host-whitelist",
                flags.read_words,
                (),
                "Further host names, separated by commas, under which clients may call this "
                "member; * for all. Addresses, localhost and own names are always allowed. "
                "Without this flag other names are refused to web browsers only.",
            ),
        ),
    ),
    (
        "cluster",
        (
            _urls(
                "initial-advertise-peer-urls",
                DEFAULT_PEER_URLS,
                "Where other members reach this one.",
            ),
            _text("initial-cluster", "All first members: name=url,name=url,... Default: this one."),
            _choice(
                "initial-cluster-state",
                "new",
                "existing",
                help_="Whether the cluster is founded (new) or joined (existing). No effect once "
                "there are data.",
            ),
            _text(
                "initial-cluster-token",
                "A word that tells clusters with equal addresses apart.",
                "etcd-cluster",
            ),
            _urls("advertise-client-urls", DEFAULT_CLIENT_URLS, "Where clients reach this member."),
            _text("discovery", "URL under which the first members find each other."),
            _choice(
                "discovery-fallback",
                "proxy",
                "exit",
                help_="What to do when the discovered cluster is full: proxy or exit.",
            ),
            _text("discovery-proxy", "HTTP proxy for the way to the discovery URL only."),
            _text("discovery-srv", "Domain whose SRV records name the first members."),
            _boolean(
                "strict-reconfig-check",
                "Refuse changes of the membership that would cost the majority.",
                True,
            ),
        ),
    ),
    (
        "proxy",
        (
            _choice(
                "proxy",
                "off",
                "readonly",
                "on",
                help_="Pass requests on to the members of a cluster instead of being one: off, "
                "readonly or on.",
            ),
            _number(
                "proxy-failure-wait",
                5000,
                "Milliseconds for which a member that did not answer is left alone.",
            ),
            _number("proxy-refresh-interval", 30000, "Milliseconds between looks for members."),
            _number("proxy-dial-timeout", 1000, "Milliseconds to reach a member; 0: no limit."),
            _number("proxy-write-timeout", 5000, "Milliseconds to hand over a request; 0: none."),
            _number("proxy-read-timeout", 0, "Milliseconds to wait for an answer; 0: for ever."),
        ),
    ),
    ("security", (*_tls("", "clients"), *_tls("peer-", "other members"))),
    (
        "logging and diagnosis",
        (
            _boolean("debug", "Log everything."),
            _text("log-package-levels", "Levels of parts: etcdserver=WARNING,raft=CRITICAL"),
            _choice("log-format", "text", "json", help_="How a line of the log is written."),
            _number(
                "slow-request-ms",
                500,
                "Log requests that take longer than so many milliseconds, and why; 0: none.",
            ),
            _number(
                "corrupt-check-interval",
                600,
                "Seconds between comparisons of the members' key spaces; 0: none.",
            ),
            _boolean("enable-pprof", "Serve what the process is doing under /debug/pprof."),
        ),
    ),
    (
        "unsafe",
        (
            _boolean(
                "force-new-cluster",
                "Make a cluster of one out of this member's data, when the majority is lost for "
                "good. Never while another member runs; leave it out at the next start.",
            ),
        ),
    ),
    (
        "other",
        (
            _boolean("check", "Say what these flags would run into, and end; changes nothing."),
            _boolean("version", "Show the version."),
            _boolean("enable-v2", "Accepted for scripts made for etcd 3; always the case."),
        ),
    ),
)

# The preview of the v3 API is known to etcd 2.3; it is not served here.
_EXPERIMENTAL: Final = (
    _boolean("experimental-v3demo", "Refused."),
    _text("experimental-gRPC-addr", "Without effect.", "127.0.0.1:2378"),
    _number("experimental-auto-compaction-retention", 0, "Without effect."),
)
_V3_NAMES: Final = tuple(option.name for option in _EXPERIMENTAL)
_OLD_ADDRESSES: Final = ("addr", "bind-addr", "peer-addr", "peer-bind-addr")
_GONE: Final = ("peers", "peers-file")
_IGNORED: Final = (
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-election-timeout",
    "peer-heartbeat-interval",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
)


_OBSOLETE_HELP: Final = (
    ("flags of etcd 0.4 that stand for a URL each (deprecated)", _OLD_ADDRESSES),
    ("flags of etcd 0.4 that are ignored", _IGNORED),
    ("flags of etcd 0.4 that are refused", _GONE),
    ("flags for etcd's preview of the v3 API, which is not served", _V3_NAMES),
)


def new_flag_set() -> FlagSet:
    """All flags with their defaults."""
    listed = (option for _title, options in _GROUPS for option in options)
    known = [Flag(o.name, o.read, o.default, o.boolean) for o in (*listed, *_EXPERIMENTAL)]
    known += (Flag(name, flags.read_ip_port, "") for name in _OLD_ADDRESSES)
    known += (Flag(name, flags.refuse(name), "") for name in _GONE)
    known += (Flag(name, flags.read_text, "", boolean=True, ignored=True) for name in _IGNORED)
    return FlagSet(known)


def help_text() -> str:
    """What `--help` prints: usage, an empty line, every flag, examples."""
    parts = [USAGE]
    for title, options in _GROUPS:
        parts.append(f"\n{title} flags:\n")
        for option in options:
            parts.append(f"  --{option.name}{_shown_default(option.default)}\n")
            parts.append(_filled(option.help))
    for title, names in _OBSOLETE_HELP:
        parts.append(f"\n{title}:\n")
        parts.append(_filled(", ".join(f"--{name}" for name in names)))
    parts.append("\n" + EXAMPLES)
    return "".join(parts)


def version_text() -> str:
    """What `--version` prints; tools read its first line only."""
    return (
        f"etcd Version: {SERVER_VERSION}\n"
        f"kvraft Version: {__version__}\n"
        f"Python Version: {platform.python_implementation()} {platform.python_version()}\n"
        f"OS/Arch: {sys.platform}/{platform.machine()}\n"
    )


def _filled(text: str) -> str:
    lines = textwrap.wrap(
        text,
        _HELP_WIDTH,
        initial_indent=_HELP_INDENT,
        subsequent_indent=_HELP_INDENT,
        break_on_hyphens=False,  # a flag must stay in one piece to be found
    )
    return "\n".join(lines) + "\n"


def _shown_default(default: Value) -> str:
    if isinstance(default, bool):
        return "=true" if default else ""
    if isinstance(default, tuple):
        default = ",".join(default)
    return f" '{default}'" if default != "" else ""
