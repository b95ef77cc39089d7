"""`kvraft --check`: what a start with these settings would run into, without starting anything.

Looks at addresses, names, certificates, the data directory and its disk, the clock and the limits
of the process, and says everything it finds, not only the first thing. What would end a start is
an error, what would only disappoint a warning. It takes addresses for a moment and writes to a file
without a name; nothing else is touched, and nothing is registered anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TextIO
from urllib.parse import urlsplit

from kvraft import limits
from kvraft.api.listening import bind
from kvraft.api.port import connection_cap
from kvraft.server import bootstrap, checkdisk, initial, joining, modes, supervision
from kvraft.server import config as configuration
from kvraft.server.findings import Finding, Mark, error, ok, warning, write
from kvraft.server.ids import format_id
from kvraft.server.joining import JoinError
from kvraft.server.logs import NOTICE
from kvraft.server.modes import Mode, StartRefused
from kvraft.server.urls import address, resolve_host
from kvraft.storage import PosixFiles
from kvraft.transport.tls import Tls, TlsError, TlsFiles, prepare

if TYPE_CHECKING:
    from kvraft.server.config import ServerConfig
    from kvraft.transport.tls import ContextSource

_DAY_S: Final = 86_400
_MIN_CLOCK_S: Final = 1_735_689_600  # 2025-01-01: a clock before that was never set
_COMFORTABLE_CLIENTS: Final = 1000


def run(config: ServerConfig, out: TextIO) -> int:
    """Report to `out`; 0 if a start would succeed as far as can be told, else 1."""
    colour = out.isatty() and not os.environ.get("NO_COLOR")
    counts = write(examine(config), out, colour)
    if counts[Mark.ERROR]:
        out.write(f"It would not start: {_count(counts[Mark.ERROR], 'error')}.\n")
        return 1
    out.write(f"It could start: {_count(counts[Mark.WARNING], 'warning')}.\n")
    return 0


def examine(config: ServerConfig) -> Iterator[Finding]:
    """All findings, each as soon as it is known; takes some seconds."""
    supervision.raise_descriptor_limit()
    mode = yield from _mode(config)
    for line in config.lines:
        if line.level > NOTICE:
            yield warning(f"{line.text}.")
    yield from _listening(config, mode)
    if mode is not Mode.PROXY:
        yield from _advertised(config)
    tls = yield from _certificates(config, mode)
    if mode is Mode.PROXY:
        yield from _first_members(config, mode)
    elif checkdisk.would_bootstrap(config):
        yield from _bootstrap(config, tls)
    yield from checkdisk.check_disk(config, mode, os.geteuid())
    yield from _clock(time.time())
    if mode is not Mode.PROXY:
        yield from _descriptors()


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


# --- addresses --------------------------------------------------------------------------


def _mode(config: ServerConfig) -> Generator[Finding, None, Mode]:
    try:
        mode, lines = modes.decide(PosixFiles(), config.data_dir)
    except StartRefused as refusal:
        yield error(_text(refusal))
        return Mode.MEMBER
    for line in lines:
        if line.level > NOTICE:
            yield warning(f"{line.text}.")
    if mode is Mode.EMPTY:
        mode = Mode.MEMBER if config.proxy == "off" else Mode.PROXY
    elif mode is Mode.MEMBER and config.proxy != "off":
        yield warning("The data directory belongs to a member, so --proxy has no effect.")
    yield ok(f"This will be a {mode.value}.")
    return mode


def _text(refusal: StartRefused) -> str:
    return "; ".join(line.text for line in refusal.lines)


def _listening(config: ServerConfig, mode: Mode) -> Iterator[Finding]:
    wanted = [(url, "listen-client-urls") for url in config.listen_client_urls]
    if mode is not Mode.PROXY:
        wanted += [(url, "listen-peer-urls") for url in config.listen_peer_urls]
    yield from asyncio.run(_take_addresses(wanted))


async def _take_addresses(wanted: Iterable[tuple[str, str]]) -> list[Finding]:
    """Take all at once, so that two flags that name the same address are noticed."""
    loop = asyncio.get_running_loop()
    findings: list[Finding] = []
    taken: list[socket.socket] = []
    for url, flag in wanted:
        where = address(url)
        try:
            # Listening, since two sockets may share an address as long as neither does.
            taken += await bind(loop, where.host, where.port, backlog=1)
        except OSError as problem:
            findings.append(error(_why_not(problem, url, flag)))
        else:
            findings.append(ok(f"{url} can be listened at."))
    for sock in taken:
        sock.close()
    return findings


def _why_not(problem: OSError, url: str, flag: str) -> str:
    advice = {
        errno.EADDRINUSE: "another process, or another of these flags, has this address; stop that "
        f"process or choose another port in --{flag}",
        errno.EADDRNOTAVAIL: "this machine does not have that address; name one that it has, or "
        f"0.0.0.0 for all, in --{flag}",
        errno.EACCES: f"ports below 1024 are for root; choose another one in --{flag}",
    }.get(problem.errno or 0, f"correct --{flag}")
    return f"Cannot listen at {url} ({problem.strerror or problem}): {advice}."


def _advertised(config: ServerConfig) -> Iterator[Finding]:
    others = [
        url for name, urls in config.initial_cluster.items() if name != config.name for url in urls
    ]
    spread = any(not _is_local(address(url).host) for url in others)
    for flag, urls in (
        ("advertise-client-urls", config.advertise_client_urls),
        ("initial-advertise-peer-urls", config.initial_advertise_peer_urls),
    ):
        for url in urls:
            yield from _callable(url, f"--{flag}", spread)
    for url in others:
        yield from _callable(url, "--initial-cluster", False)


def _callable(url: str, flag: str, spread: bool) -> Iterator[Finding]:
    host = address(url).host
    if _is_wildcard(host):
        yield warning(f"{url} in {flag} is no address that others can call; name a real one.")
    elif spread and _is_local(host):
        yield warning(
            f"{url} in {flag} leads every machine to itself, but the cluster has members "
            "elsewhere; name an address of this machine."
        )
    else:
        try:
            resolve_host(host)
        except OSError as problem:
            yield warning(
                f"The host of {url} in {flag} cannot be looked up ({problem.strerror or problem}): "
                "correct it, or put it into DNS or /etc/hosts before others need it."
            )


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- certificates -----------------------------------------------------------------------


def _certificates(config: ServerConfig, mode: Mode) -> Generator[Finding, None, Tls | None]:
    """Returns what other members are dialled with."""
    proxy = mode is Mode.PROXY
    yield from _side(config.client_tls, config.listen_client_urls, config.advertise_client_urls)
    listening = () if proxy else config.listen_peer_urls
    return (
        yield from _side(config.peer_tls, listening, config.initial_advertise_peer_urls, peer=True)
    )


def _side(
    files: TlsFiles, listening: Sequence[str], advertised: Sequence[str], *, peer: bool = False
) -> Generator[Finding, None, Tls | None]:
    side = "peer" if peer else "client"
    try:
        tls, warnings = prepare(files, listening, peer=peer)
    except TlsError as problem:
        yield error(f"TLS of the {side} side: {problem}.")
        return None
    for text in (*warnings, *tls.problems(time.time())):
        yield warning(f"TLS of the {side} side: {text.removesuffix('.')}.")
    for what, _begin_s, end_s in tls.validities:
        days = int((end_s - time.time()) // _DAY_S)
        if days * _DAY_S >= limits.CERTIFICATE_NOTICE_S:
            yield ok(f"{what[0].upper()}{what[1:]} is good for another {days} days.")
    for url in advertised:
        reason = tls.refusal_of_name(address(url).host) if url.startswith("https:") else ""
        if reason:
            yield warning(
                f"The certificate in {tls.files.cert_file} is not for {url}, where others are told "
                f"to connect ({reason}): add the name or address to the certificate."
            )
    return tls


# --- the first members ------------------------------------------------------------------


def _bootstrap(config: ServerConfig, peer_tls: Tls | None) -> Iterator[Finding]:
    if config.initial_cluster_state == "existing":
        yield from _joining(config, peer_tls)
        return
    if config.discovery:
        yield from _discovery(config)
        return
    try:
        config = asyncio.run(initial.with_first_members(config))
    except StartRefused as refusal:
        yield error(_text(refusal))
        return
    refusal_of = configuration.check_new_cluster(config)
    if refusal_of is not None:
        yield error("; ".join(line.text for line in refusal_of.lines))
        return
    founding = bootstrap.found(config.initial_cluster, config.initial_cluster_token, config.name)
    own_id = founding.identity.member_id
    own, cluster = (format_id(i) for i in founding.identity)
    size = len(founding.members)
    yield ok(f"A start founds cluster {cluster} of {_count(size, 'member')}; this one is {own}.")
    if size % 2 == 0:
        yield warning(
            f"A cluster of {size} survives no more failures than one of {size - 1}: an odd number "
            "of members is better."
        )
    others = [url for one in founding.members if one.id != own_id for url in one.peer_urls]
    context = None if peer_tls is None else peer_tls.client_context
    if not others:
        return
    if asyncio.run(_is_known(own_id, others, context)):
        yield error(
            f"The cluster runs and knows member {own}: its data must have been here. Restore "
            "them, or remove the member, add it again and start with "
            "--initial-cluster-state existing."
        )


async def _is_known(own_id: int, urls: Sequence[str], context: ContextSource | None) -> bool:
    """Whether a running cluster has seen this member before."""
    probe_s = limits.BOOTSTRAP_PROBE_S
    return bool(await joining.already_bootstrapped(own_id, urls, probe_s, context))


def _joining(config: ServerConfig, peer_tls: Tls | None) -> Iterator[Finding]:
    if config.discovery:
        yield error("--discovery is for new clusters; leave it out to join an existing one.")
        return
    try:
        config = asyncio.run(initial.with_first_members(config))
        refusal_of = configuration.check_joining(config)
        if refusal_of is not None:
            raise StartRefused(*refusal_of.lines)
        context = None if peer_tls is None else peer_tls.client_context
        joined = asyncio.run(joining.join(config.initial_cluster, config.name, context))
    except StartRefused as refusal:
        yield error(_text(refusal))
    except JoinError as problem:
        yield error(
            f"The running cluster would not take this member: {problem}. Add it there first, and "
            "name all members in --initial-cluster as the cluster does."
        )
    else:
        own, cluster = (format_id(i) for i in joined.identity)
        yield ok(f"A start joins cluster {cluster} as member {own}.")


def _discovery(config: ServerConfig) -> Iterator[Finding]:
    try:
        host = urlsplit(config.discovery).hostname or ""
        found = bool(host and resolve_host(host))
    except (OSError, ValueError):
        found = False
    if found:
        yield ok(
            f"The members will be found through {config.discovery}; it is not asked now, as asking "
            "registers this member."
        )
    else:
        yield error(f"The host in --discovery {config.discovery} cannot be looked up; correct it.")


def _first_members(config: ServerConfig, mode: Mode) -> Iterator[Finding]:
    """Where a proxy looks for members, unless it has found some before."""
    assert mode is Mode.PROXY
    if config.discovery:
        yield from _discovery(config)
        return
    try:
        urls = asyncio.run(initial.first_peer_urls(config))
    except StartRefused as refusal:
        yield error(_text(refusal))
    else:
        yield ok(f"The proxy looks for members at {' '.join(urls)}, if it knows none yet.")


# --- the machine ------------------------------------------------------------------------


def _clock(now_s: float) -> Iterator[Finding]:
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < _MIN_CLOCK_S:
        yield warning(
            f"The clock says {shown}, which cannot be: keys would expire at the wrong time and "
            "certificates be refused; set it, and run a time service."
        )
    else:
        yield ok(f"The clock says {shown}.")


def _descriptors() -> Iterator[Finding]:
    try:
        supervision.check_descriptor_limit()
    except StartRefused as refusal:
        yield error(f"{_text(refusal)}; raise it with ulimit -n or LimitNOFILE=.")
        return
    clients = connection_cap()
    text = f"The limit of open files leaves room for {clients} clients at once"
    if clients < _COMFORTABLE_CLIENTS:
        yield warning(f"{text}; raise it with ulimit -n or LimitNOFILE=.")
    else:
        yield ok(f"{text}.")
