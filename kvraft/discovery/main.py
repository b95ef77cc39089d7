"""`kvraft-discovery`: the service's process, from its settings to its end.

With `--embedded` a member of its own runs in the same process and keeps the tokens; the service is
then complete, and one command. It ends as the server does: by the signal that stopped it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import Final

from kvraft.discovery import settings
from kvraft.discovery.backend import Backend, HttpBackend
from kvraft.discovery.embedded import MemberBackend
from kvraft.discovery.front import Front
from kvraft.discovery.rate import RateLimit
from kvraft.discovery.service import DiscoveryService
from kvraft.discovery.settings import Settings
from kvraft.server import config as configuration
from kvraft.server import lifecycle, logs, process, supervision
from kvraft.server.config import ServerConfig
from kvraft.server.lifecycle import MemberServer
from kvraft.server.modes import StartRefused
from kvraft.server.process import How

MEMBER_NAME: Final = "discovery"
_ELSEWHERE: Final = "192.0.2.1"  # an address of the documentation: nothing is ever sent there

_log = logs.logger("discovery")


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command; ends the process."""
    outcome = settings.parse(sys.argv[1:] if argv is None else argv, os.environ)
    if isinstance(outcome, settings.Exit):
        sys.stdout.write(outcome.stdout)
        sys.stderr.write(outcome.stderr)
        sys.exit(outcome.code)
    if sys.flags.optimize:
        sys.exit("kvraft-discovery: run without -O: the assertions guard the data")
    logs.configure(formatter=process.log_formatter("text", os.environ))
    process.arrange()
    supervision.raise_descriptor_limit()
    ended_by = process.runner()(run(outcome))
    if isinstance(ended_by, signal.Signals):
        process.die_by(ended_by)
    sys.exit(ended_by)


async def run(given: Settings) -> How:
    """Serve until a signal or a failure; the exit code, or the signal."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[How] = loop.create_future()

    def end(how: How) -> None:
        if not ended.done():
            ended.set_result(how)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    member: MemberServer | None = None
    if given.embedded_dir:
        try:
            member = await lifecycle.start_member(
                member_config(given),
                lambda error: lifecycle.fatal(error, end),
                on_removed=lambda: end(0),
                alone=False,
            )
        except StartRefused as refusal:
            logs.emit(refusal.lines)
            return refusal.code
    backend: Backend = HttpBackend(given.etcd) if member is None else MemberBackend(member.member)
    await backend.start()
    try:
        how = await _serve(given, backend, ended)
    finally:
        await backend.stop()
        if member is not None:
            await member.stop()
    return how


async def _serve(given: Settings, backend: Backend, ended: asyncio.Future[How]) -> How:
    loop = asyncio.get_running_loop()
    rate = RateLimit(given.new_per_minute, loop.time) if given.new_per_minute else None
    service = DiscoveryService(backend, given.host, token_ttl_s=given.token_ttl_s, new_rate=rate)
    front = Front(service, given.max_connections, sys.stdout)
    try:
        _, port = await front.start(given.listen_host or None, given.listen_port)
    except OSError as error:
        _log.critical("%s", error.strerror or error)
        return 1
    prefix = service.host = given.host or own_url(given.listen_host, port)
    store = given.etcd or f"embedded:{given.embedded_dir}"
    _log.info('discovery server started with etcd "%s" and host "%s"', store, prefix)
    host = f"[{given.listen_host}]" if ":" in given.listen_host else given.listen_host
    _log.info("discovery serving on %s:%d", host, port)
    if given.embedded_dir:
        _log.info("for a new token: curl -w '\\n' '%s/new?size=3'", prefix)
    how = await ended
    if isinstance(how, signal.Signals):
        _log.log(logs.NOTICE, "received signal %s, shutting down...", how.name)
    await front.stop()
    return how


def member_config(given: Settings) -> ServerConfig:
    """The settings of the embedded member: alone, and without a port for peers."""
    urls = (given.client_url,) if given.client_url else ()
    words = ["--name", MEMBER_NAME, "--data-dir", given.embedded_dir]
    parsed = configuration.parse(words, {})
    assert isinstance(parsed, ServerConfig), parsed
    peer_urls = parsed.initial_advertise_peer_urls
    return replace(
        parsed,
        listen_peer_urls=(),
        listen_client_urls=urls,
        advertise_client_urls=urls or parsed.advertise_client_urls,
        initial_cluster={MEMBER_NAME: peer_urls},
    )


def own_url(listen_host: str, port: int) -> str:
    """Where this service can be reached, as far as that can be known from here."""
    host = listen_host
    if host in ("", "0.0.0.0", "::"):
        host = _outward_address()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _outward_address() -> str:
    """The address that this machine shows to others; the loopback one if it is alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ELSEWHERE, 9))  # of a datagram socket: only looks up the route
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
