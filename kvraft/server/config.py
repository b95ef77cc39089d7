"""From a command line and an environment to the settings of one member, or to a way out.

`parse` is a pure function: it prints nothing, looks at no file and starts nothing, so every
mistake a user can make is a test case. It returns either a complete `ServerConfig` or an `Exit`
that holds the status and all the texts. The checks that matter for a new cluster only, which a
restarting member must not fail, are `check_new_cluster` and `check_joining`.

The messages and exit codes are those of etcd 2.3: 2 for flags that cannot be read, 1 for
settings that make no sense.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, TextIO

from kvraft.server import options
from kvraft.server.flags import FlagSet, FlagSyntaxError, FlagValueError, HelpWanted
from kvraft.server.logs import LineFormatter, LogLine, parse_level
from kvraft.server.quoting import quote
from kvraft.server.urls import UrlError, address, parse_urls, resolve_host, same_urls
from kvraft.transport.tls import TlsFiles

MAX_ELECTION_MS: Final = 50_000
MIN_ELECTION_HEARTBEATS: Final = 5
MAX_PORT: Final = 65535
_SEE_HELP: Final = "See 'etcd --help'."


class Exit(NamedTuple):
    """The process ends here: with which status, and what it says before."""

    code: int
    stdout: str = ""
    stderr: str = ""
    lines: tuple[LogLine, ...] = ()
    log_format: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything a member is told from outside; complete and checked.

    URL lists are sorted. `initial_cluster` is empty where discovery or DNS has to fill it. 0 stands
    for "no limit" in `max_*` and `proxy_*_timeout_ms`, for "off" in `slow_request_ms` and
    `corrupt_check_interval_s`. `given` names the flags that were set, here or in the environment;
    `check` is true if the settings are to be examined and nothing started. `lines` holds what
    there is to log about the settings themselves, in order, once logging is set up.
    """

    name: str
    data_dir: str
    wal_dir: str | None
    snapshot_count: int
    heartbeat_ms: int
    election_ms: int
    listen_peer_urls: tuple[str, ...]
    listen_client_urls: tuple[str, ...]
    initial_advertise_peer_urls: tuple[str, ...]
    advertise_client_urls: tuple[str, ...]
    initial_cluster: Mapping[str, tuple[str, ...]]
    initial_cluster_state: str
    initial_cluster_token: str
    max_snapshots: int
    max_wals: int
    cors: tuple[str, ...]
    host_whitelist: tuple[str, ...]
    strict_reconfig_check: bool
    client_tls: TlsFiles
    peer_tls: TlsFiles
    discovery: str
    discovery_fallback: str
    discovery_proxy: str
    discovery_srv: str
    proxy: str
    proxy_failure_wait_ms: int
    proxy_refresh_interval_ms: int
    proxy_dial_timeout_ms: int
    proxy_write_timeout_ms: int
    proxy_read_timeout_ms: int
    force_new_cluster: bool
    enable_pprof: bool
    debug: bool
    log_format: str
    log_package_levels: tuple[tuple[str, int], ...]
    slow_request_ms: int
    corrupt_check_interval_s: int
    check: bool
    given: frozenset[str]
    lines: tuple[LogLine, ...]

    @property
    def election_ticks(self) -> int:
        """The election timeout in heartbeats."""
        return self.election_ms // self.heartbeat_ms

    @property
    def request_timeout_ms(self) -> int:
        """How long a proposal may take: room for two elections on top of 5 s for the disk."""
        return 5000 + 2 * self.election_ms

    @property
    def log_level(self) -> int:
        """The level of all packages that are not in `log_package_levels`."""
        return logging.DEBUG if self.debug else logging.INFO


class _Refused(Exception):
    """The settings are no good; carries the lines that say why, the worst last."""

    def __init__(self, *lines: LogLine) -> None:
        super().__init__(lines)
        self.lines = lines


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig | Exit:
    """Read the words behind the program name, and the environment."""
    flags = options.new_flag_set()
    try:
        left = flags.parse(argv)
    except HelpWanted:
        return Exit(0, stdout=options.help_text())
    except FlagSyntaxError as error:
        return Exit(2, stderr=f"{error}\n{options.USAGE}", lines=tuple(flags.lines))
    try:
        if left:
            raise _unverified(f"'{left[0]}' is not a valid flag.")
        if flags.truth("version"):
            return Exit(0, stdout=options.version_text(), lines=tuple(flags.lines))
        # For this run only, like --version: a forgotten variable must not keep a member down.
        check = flags.truth("check")
        try:
            flags.read_environment(environ, "ETCD")
        except FlagValueError as error:
            raise _fatal(str(error)) from None
        return _build(flags, check)
    except _Refused as refused:
        lines = (*flags.lines, *refused.lines)
        return Exit(1, lines=lines, log_format=flags.text("log-format"))


def report(
    outcome: Exit, stdout: TextIO, stderr: TextIO, formatter: LineFormatter | None = None
) -> int:
    """Say what an `Exit` holds; returns the status for `sys.exit`."""
    formatter = formatter or LineFormatter()
    for line in outcome.lines:
        stderr.write(formatter.format_line(line, time.time()) + "\n")
    stderr.write(outcome.stderr)
    stdout.write(outcome.stdout)
    return outcome.code


def check_new_cluster(
    config: ServerConfig, resolve: Callable[[str], str] = resolve_host
) -> Exit | None:
    """What must hold before a cluster is founded; looks host names up where it has to."""
    try:
        _check_own_name(config)
        _check_own_urls(config, resolve)
        _check_duplicates(config)
    except _Refused as refused:
        return Exit(1, lines=refused.lines)
    return None


def check_joining(config: ServerConfig) -> Exit | None:
    """What must hold before a member without data asks a cluster to let it in."""
    try:
        _check_own_name(config)
        _check_duplicates(config)
    except _Refused as refused:
        return Exit(1, lines=refused.lines)
    return None


def describe(config: ServerConfig, bootstrapping: bool) -> list[LogLine]:
    """The settings that matter most, for the log of a start."""
    texts = [
        f"name = {config.name}",
        f"data dir = {config.data_dir}",
        f"member dir = {config.data_dir.rstrip('/')}/member",
    ]
    if config.wal_dir is not None:
        texts.append(f"dedicated WAL dir = {config.wal_dir}")
    texts += (
        f"heartbeat = {config.heartbeat_ms}ms",
        f"election = {config.election_ms}ms",
        f"snapshot count = {config.snapshot_count}",
    )
    if config.discovery:
        texts.append(f"discovery URL= {config.discovery}")
        if config.discovery_proxy:
            texts.append(f"discovery proxy = {config.discovery_proxy}")
    texts.append(f"advertise client URLs = {','.join(config.advertise_client_urls)}")
    if bootstrapping:
        cluster: Mapping[str, Iterable[str]] = config.initial_cluster
        if config.discovery:  # all that was known before the others were found
            cluster = {config.name: config.initial_advertise_peer_urls}
        texts += (
            f"initial advertise peer URLs = {','.join(config.initial_advertise_peer_urls)}",
            f"initial cluster = {format_cluster(cluster)}",
        )
    return [LogLine(logging.INFO, "etcdserver", text) for text in texts]


def parse_cluster(text: str) -> dict[str, tuple[str, ...]]:
    """`name=url,name=url,...`; a name may come several times. Raises `UrlError`."""
    urls: dict[str, list[str]] = {}
    for part in filter(None, text.split(",")):
        name, _equals, url = part.partition("=")
        urls.setdefault(name, []).append(url)
    return {name: parse_urls(texts) for name, texts in urls.items()}


def format_cluster(cluster: Mapping[str, Iterable[str]]) -> str:
    """The inverse of `parse_cluster`, sorted."""
    return ",".join(sorted(f"{name}={url}" for name, urls in cluster.items() for url in urls))


# --- from flags to settings ------------------------------------------------------------


def _build(flags: FlagSet, check: bool) -> ServerConfig:
    _check_sources(flags)
    peer_tls, client_tls = _has_tls(flags, "peer-"), _has_tls(flags, "")
    listen_peer = _urls(flags, "listen-peer-urls", "peer-bind-addr", peer_tls)
    advertise_peer = _urls(flags, "initial-advertise-peer-urls", "peer-addr", peer_tls)
    listen_client = _urls(flags, "listen-client-urls", "bind-addr", client_tls)
    advertise_client = _urls(flags, "advertise-client-urls", "addr", client_tls)
    _check_advertised(flags)
    heartbeat_ms, election_ms = _timing(flags)
    name = flags.text("name")
    cluster = _initial_cluster(flags, name)
    if flags.truth("experimental-v3demo"):
        raise _fatal("flag -experimental-v3demo is not supported: only the v2 API is served")
    for url in (*listen_peer, *listen_client):
        if address(url).port > MAX_PORT:
            raise _fatal(f"listen tcp: address {address(url).port}: invalid port")
    levels = _package_levels(flags)
    return ServerConfig(
        name=name,
        data_dir=_data_dir(flags, name),
        wal_dir=flags.text("wal-dir") or None,
        snapshot_count=_snapshot_count(flags),
        heartbeat_ms=heartbeat_ms,
        election_ms=election_ms,
        listen_peer_urls=listen_peer,
        listen_client_urls=listen_client,
        initial_advertise_peer_urls=advertise_peer,
        advertise_client_urls=advertise_client,
        initial_cluster=MappingProxyType(cluster),
        initial_cluster_state=flags.text("initial-cluster-state"),
        initial_cluster_token=flags.text("initial-cluster-token"),
        max_snapshots=flags.number("max-snapshots"),
        max_wals=flags.number("max-wals"),
        cors=flags.items("cors"),
        host_whitelist=flags.items("host-whitelist"),
        strict_reconfig_check=flags.truth("strict-reconfig-check"),
        client_tls=_tls_files(flags, ""),
        peer_tls=_tls_files(flags, "peer-"),
        discovery=flags.text("discovery"),
        discovery_fallback=flags.text("discovery-fallback"),
        discovery_proxy=flags.text("discovery-proxy"),
        discovery_srv=flags.text("discovery-srv"),
        proxy=flags.text("proxy"),
        proxy_failure_wait_ms=flags.number("proxy-failure-wait"),
        proxy_refresh_interval_ms=flags.number("proxy-refresh-interval"),
        proxy_dial_timeout_ms=flags.number("proxy-dial-timeout"),
        proxy_write_timeout_ms=flags.number("proxy-write-timeout"),
        proxy_read_timeout_ms=flags.number("proxy-read-timeout"),
        force_new_cluster=flags.truth("force-new-cluster"),
        enable_pprof=flags.truth("enable-pprof"),
        debug=flags.truth("debug"),
        log_format=flags.text("log-format"),
        log_package_levels=levels,
        slow_request_ms=flags.number("slow-request-ms"),
        corrupt_check_interval_s=flags.number("corrupt-check-interval"),
        check=check,
        given=frozenset(flags.given),
        lines=tuple(flags.lines),
    )


def _check_sources(flags: FlagSet) -> None:
    if len(flags.given & {"initial-cluster", "discovery", "discovery-srv"}) > 1:
        raise _unverified(
            "multiple discovery or bootstrap flags are set. "
            'Choose one of "initial-cluster", "discovery" or "discovery-srv".'
        )
    for old, bind in (("peer-addr", "peer-bind-addr"), ("addr", "bind-addr")):
        if old in flags.given and bind not in flags.given:
            _host, _colon, port = flags.text(old).rpartition(":")
            flags.set(bind, f"[::]:{port}")


def _has_tls(flags: FlagSet, prefix: str) -> bool:
    names = ("cert-file", "key-file", "ca-file", "trusted-ca-file")
    return any(flags.text(prefix + name) for name in names)


def _tls_files(flags: FlagSet, prefix: str) -> TlsFiles:
    """One side's certificates; the old flag for a CA also asked for certificates."""
    old, trusted = flags.text(f"{prefix}ca-file"), flags.text(f"{prefix}trusted-ca-file")
    if old and trusted and old != trusted:
        raise _unverified(f"Set only one of flags -{prefix}trusted-ca-file and -{prefix}ca-file.")
    return TlsFiles(
        flags.text(f"{prefix}cert-file"),
        flags.text(f"{prefix}key-file"),
        flags.truth(f"{prefix}client-cert-auth") or bool(old),
        trusted or old,
    )


def _urls(flags: FlagSet, name: str, old_name: str, tls: bool) -> tuple[str, ...]:
    """The URLs of a flag, or the one that its predecessor of etcd 0.4 stands for."""
    if old_name not in flags.given:
        return flags.items(name)
    if name in flags.given:
        raise _unverified(f"Set only one of flags -{name} and -{old_name}.")
    return (f"{'https' if tls else 'http'}://{flags.text(old_name)}",)


def _check_advertised(flags: FlagSet) -> None:
    """Clients cannot find a member that listens elsewhere than it says."""
    may_fall_back = "discovery" in flags.given and flags.text("discovery-fallback") == "proxy"
    if flags.text("proxy") != "off" or may_fall_back:
        return
    if "listen-client-urls" in flags.given and "advertise-client-urls" not in flags.given:
        hint = (
            "When listening on specific address(es), this etcd process must advertise "
            "accessible url(s) to each connected client."
        )
        raise _unverified(
            "-advertise-client-urls is required when -listen-client-urls is set explicitly.",
            LogLine(logging.ERROR, "etcdmain", hint),
        )


def _timing(flags: FlagSet) -> tuple[int, int]:
    heartbeat_ms = flags.number("heartbeat-interval")
    election_ms = flags.number("election-timeout")
    if heartbeat_ms == 0:
        raise _unverified("-heartbeat-interval[0ms] should be greater than 0ms.")
    if election_ms < MIN_ELECTION_HEARTBEATS * heartbeat_ms:
        raise _unverified(
            f"-election-timeout[{election_ms}ms] should be at least as "
            f"{MIN_ELECTION_HEARTBEATS} times as -heartbeat-interval[{heartbeat_ms}ms]."
        )
    if election_ms > MAX_ELECTION_MS:
        raise _unverified(
            f"-election-timeout[{election_ms}ms] is too long, "
            f"and should be set less than {MAX_ELECTION_MS}ms."
        )
    return heartbeat_ms, election_ms


def _initial_cluster(flags: FlagSet, name: str) -> dict[str, tuple[str, ...]]:
    if flags.text("discovery") or flags.text("discovery-srv"):
        return {}
    if "initial-cluster" not in flags.given:
        return {name: options.DEFAULT_PEER_URLS}
    try:
        return parse_cluster(flags.text("initial-cluster"))
    except UrlError as error:
        raise _fatal(f"error setting up initial cluster: {error}") from None


def _data_dir(flags: FlagSet, name: str) -> str:
    directory = flags.text("data-dir")
    if not directory:
        directory = f"{name}.etcd"
        text = f"no data-dir provided, using default data-dir ./{directory}"
        flags.lines.append(LogLine(logging.WARNING, "etcdmain", text))
    return directory


def _snapshot_count(flags: FlagSet) -> int:
    count = flags.number("snapshot-count")
    if count == 0:
        count = options.DEFAULT_SNAPSHOT_COUNT
        text = f"set snapshot count to default {count}"
        flags.lines.append(LogLine(logging.INFO, "etcdserver", text))
    return count


def _package_levels(flags: FlagSet) -> tuple[tuple[str, int], ...]:
    """The levels of packages; a mistake costs a warning and all of them, not the start."""
    levels: list[tuple[str, int]] = []
    for part in filter(None, flags.text("log-package-levels").split(",")):
        package, equals, word = part.strip().partition("=")
        level = parse_level(word)
        if not equals or "=" in word or level is None:
            reason = (
                f"couldn't parse log level {quote(word)}"
                if equals and "=" not in word
                else f"oddly structured `pkg=level` option: {part.strip()}"
            )
            text = f"couldn't parse log level string: {reason}, continuing with default levels"
            flags.lines.append(LogLine(logging.WARNING, "etcdmain", text))
            return ()
        levels.append((package, level))
    return tuple(levels)


# --- checks before the first start -----------------------------------------------------


def _check_own_name(config: ServerConfig) -> None:
    if config.name not in config.initial_cluster:
        name = quote(config.name)
        raise _fatal(f"couldn't find local name {name} in the initial cluster configuration")


def _check_own_urls(config: ServerConfig, resolve: Callable[[str], str]) -> None:
    """What this member tells the others must be what the others were told of it."""
    advertised = config.initial_advertise_peer_urls
    if same_urls(advertised, config.initial_cluster[config.name], resolve):
        return
    wanted = format_cluster({config.name: advertised})
    given = ",".join(advertised)
    texts = [
        f"--initial-cluster must include {wanted} given --initial-advertise-peer-urls={given}",
    ]
    if "initial-cluster" not in config.given:
        texts.append("forgot to set --initial-cluster flag?")
    if advertised == options.DEFAULT_PEER_URLS:
        texts.append("forgot to set --initial-advertise-peer-urls flag?")
    raise _Refused(*(LogLine(logging.INFO, "etcdmain", text) for text in texts))


def _check_duplicates(config: ServerConfig) -> None:
    urls = [url for member in config.initial_cluster.values() for url in member]
    if len(urls) != len(set(urls)):
        cluster = format_cluster(config.initial_cluster)
        raise _fatal(f"initial cluster {cluster} has duplicate url")


def _unverified(reason: str, *more: LogLine) -> _Refused:
    text = f"error verifying flags, {reason} {_SEE_HELP}"
    return _Refused(LogLine(logging.ERROR, "etcdmain", text), *more)


def _fatal(text: str) -> _Refused:
    return _Refused(LogLine(logging.CRITICAL, "etcdmain", text))
