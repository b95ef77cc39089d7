"""One process's life: which mode it starts in, what is started and stopped in which order.

The data directory decides what the process is, before any flag does. Addresses are taken before
anything is created or registered anywhere, so that a start that fails leaves nothing behind.
SIGINT and SIGTERM end the process in order, a second one at once; SIGHUP looks for renewed
certificates; SIGUSR1 does nothing, as in etcd.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from kvraft.api.guards import Guards
from kvraft.api.listening import Listener, bind, listen, usual_backlog
from kvraft.api.port import ClientPort
from kvraft.api.profiling import add_profiling_routes
from kvraft.clock import SystemClock
from kvraft.discovery.errors import ClusterFull
from kvraft.errors import StorageError
from kvraft.server import bootstrap, logs, modes, process, supervision
from kvraft.server.certificates import Certificates
from kvraft.server.collector import Collector
from kvraft.server.ids import format_id
from kvraft.server.initial import first_peer_urls
from kvraft.server.member import Bound, Member
from kvraft.server.modes import Mode, StartRefused, refused
from kvraft.server.notify import Notifier
from kvraft.server.opening import Opened, open_member
from kvraft.server.process import How
from kvraft.server.supervision import Supervision
from kvraft.server.urls import address
from kvraft.storage import PosixFiles
from kvraft.transport.tls import TlsError
from kvraft.versions import SERVER_VERSION

if TYPE_CHECKING:
    from kvraft.proxy.main import ProxyServer
    from kvraft.server.config import ServerConfig

DRAIN_SECONDS: Final = 0.5
"""How long requests may take to finish when the member stops."""
_SIGNAL_NAMES: Final = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminated"}

_log = logs.logger("etcdserver")
_main_log = logs.logger("etcdmain")
_os_log = logs.logger("osutil")


class Server(supervision.Server, Protocol):
    """What a process runs: a member or a proxy."""

    def reload(self) -> None:
        """Look for renewed certificates."""

    async def hand_over(self) -> None:
        """Give duties to others before stopping."""

    async def stop(self) -> None:
        """End in order."""


class _Ending:
    """How the process is to end, once it is known."""

    def __init__(self) -> None:
        self.future: asyncio.Future[How] = asyncio.get_running_loop().create_future()

    def by(self, how: How) -> None:
        """The first one to come counts; a second signal does not wait for the first."""
        if not self.future.done():
            self.future.set_result(how)
        elif isinstance(how, signal.Signals):
            _os_log.log(logs.NOTICE, "received %s signal again, not waiting", _SIGNAL_NAMES[how])
            process.die_by(how)

    def fatal(self, error: BaseException) -> None:
        """See `fatal`."""
        fatal(error, self.by)


def fatal(error: BaseException, end: Callable[[How], None]) -> None:
    """Something that cannot be lived with: say so and stop, acknowledging nothing more."""
    _log.critical("%s", error, exc_info=None if isinstance(error, StorageError) else error)
    logging.shutdown()
    if isinstance(error, StorageError):
        # What is on the disk is unknown now: no orderly stop may write to it again.
        os._exit(1)
    end(1)


async def run(config: ServerConfig) -> How:
    """Run a member or a proxy until a signal or a failure."""
    loop = asyncio.get_running_loop()
    ending = _Ending()
    for number in _SIGNAL_NAMES:
        loop.add_signal_handler(number, ending.by, number)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # no certificates have been read yet
    notifier = Notifier(os.environ)
    starting = asyncio.ensure_future(_start(config, ending))
    while not starting.done() and not ending.future.done():
        notifier.still_starting(supervision.EXTENSION_S)
        await asyncio.wait(
            (starting, ending.future),
            timeout=supervision.EXTEND_EVERY_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
    if not starting.done():  # a signal while it waits for others
        starting.cancel()
        await asyncio.wait((starting,))
    if starting.cancelled():
        return _noted(await ending.future)
    try:
        server = starting.result()
    except StartRefused as refusal:
        logs.emit(refusal.lines)
        return refusal.code
    return await _serve(server, ending, notifier)


async def _serve(server: Server, ending: _Ending, notifier: Notifier) -> How:
    loop = asyncio.get_running_loop()
    supervised = Supervision(server, notifier)

    def reload() -> None:
        notifier.reloading()
        server.reload()
        notifier.ready()

    loop.add_signal_handler(signal.SIGHUP, reload)
    supervised.start()
    how = _noted(await ending.future)
    notifier.stopping()
    if isinstance(how, signal.Signals):
        await server.hand_over()
    await server.stop()
    await supervised.stop()
    notifier.close()
    return how


def _noted(how: How) -> How:
    if isinstance(how, signal.Signals):
        _os_log.log(logs.NOTICE, "received %s signal, shutting down...", _SIGNAL_NAMES[how])
    return how


async def _start(config: ServerConfig, ending: _Ending) -> Server:
    """Start what the data directory says, or else the flags. Raises StartRefused."""
    mode, lines = modes.decide(PosixFiles(), config.data_dir)
    logs.emit(lines)
    if mode is Mode.PROXY or (mode is Mode.EMPTY and config.proxy != "off"):
        return await _start_proxy(config, ending)
    supervision.check_descriptor_limit()
    try:
        return await start_member(config, ending.fatal, on_removed=lambda: ending.by(0))
    except ClusterFull as full:
        if mode is Mode.MEMBER or config.discovery_fallback != "proxy":
            raise StartRefused(*full.lines) from full
    _main_log.log(logs.NOTICE, "discovery cluster full, falling back to proxy")
    return await _start_proxy(config, ending)


# --- a member -------------------------------------------------------------------------------


class MemberServer:
    """A member with its client port."""

    def __init__(
        self, member: Member, guards: Guards, certificates: Certificates, *, alone: bool = True
    ) -> None:
        """`alone`: see `start_member`."""
        self.member = member
        self.certificates = certificates
        self._port = ClientPort(member, asyncio.get_running_loop(), guards)
        self._listeners: list[Listener] = []
        self._collector = Collector(member.metrics.gc_pauses) if alone else None

    async def start(self, config: ServerConfig, bound: Bound) -> None:
        """Open both ports. Raises OSError for an address that cannot be used."""
        await self.member.start(config.listen_peer_urls, bound)
        if config.slow_request_ms:
            self._port.slow.limit_s = config.slow_request_ms / 1000
        if config.enable_pprof:
            add_profiling_routes(self._port.router)
        if config.corrupt_check_interval_s:
            self.member.corruption.start(config.corrupt_check_interval_s)
        loop = asyncio.get_running_loop()
        for url in config.listen_client_urls:
            where = address(url)
            context = self.certificates.client.listener(url)
            self._listeners.append(
                await listen(
                    loop,
                    self._port.connection,
                    where.host,
                    where.port,
                    context,
                    sockets=bound.get(url),
                )
            )
        self._port.start()
        if self._collector is not None:
            self._collector.start()
        self.certificates.start()

    def ready(self) -> bool:
        """See `supervision.Server`: a leader is known, and so is what the cluster can do."""
        member = self.member
        known = member.leader() is not None and member.cluster_version is not None
        return known and member.accepting()

    def status(self) -> str:
        """See `supervision.Server`."""
        member = self.member
        leader = member.leader()
        if leader is None:
            role = "without a leader"
        elif leader.id == member.member_id:
            role = "leading"
        else:
            role = f"following {leader.name or format_id(leader.id)}"
        own, cluster = format_id(member.member_id), format_id(member.cluster_id)
        return f"member {own} of cluster {cluster} with {len(member.members())} members, {role}"

    def reload(self) -> None:
        """See `Server.reload`."""
        self.certificates.look()

    async def hand_over(self) -> None:
        """See `Server.hand_over`."""
        await self.member.transfer_leadership()

    async def stop(self) -> None:
        """Let clients finish, then stop the member."""
        for listener in self._listeners:
            listener.close()
        await self._port.drain(DRAIN_SECONDS)
        await self.member.stop()
        await self.certificates.stop()
        if self._collector is not None:
            self._collector.stop()


async def start_member(
    config: ServerConfig,
    on_fatal: Callable[[BaseException], None],
    *,
    on_removed: Callable[[], None],
    alone: bool = True,
) -> MemberServer:
    """Start a member and open its ports. Raises StartRefused, or ClusterFull of discovery.

    `on_removed` is called when the member has been removed from its cluster and may end now;
    `alone` says that the process is there for the member only, and may be tuned to it.
    """
    try:
        certificates = Certificates(config)
    except TlsError as error:
        raise refused(str(error)) from error
    lock = modes.lock_held(PosixFiles(), config.data_dir, config.wal_dir)
    if lock:  # otherwise its addresses would be what is in the way first
        raise modes.in_use(f"{lock}: another process uses this data directory")
    bound = await _bind(config)
    try:
        opened = await open_member(config, certificates.peer.client_context)
        member = _member(config, opened, certificates, on_fatal, on_removed)
        server = MemberServer(member, _guards(config), certificates, alone=alone)
        try:
            await server.start(config, bound)
        except OSError as error:
            await server.stop()
            raise refused(str(error.strerror or error)) from error
    except BaseException:
        for sockets in bound.values():
            for sock in sockets:
                sock.close()
        raise
    if opened.founders:
        member.campaign_when_new(opened.founders)
    else:
        member.campaign_when_alone()
    return server


async def _bind(config: ServerConfig) -> dict[str, tuple[socket.socket, ...]]:
    """Take all addresses. Clients who connect from now on are served when the member is ready;
    peers are refused until then, so that they need not wait to hear that nobody is there."""
    loop = asyncio.get_running_loop()
    bound: dict[str, tuple[socket.socket, ...]] = {}
    for purpose, urls, backlog in (
        ("peers", config.listen_peer_urls, 0),
        ("client requests", config.listen_client_urls, usual_backlog()),
    ):
        for url in urls:
            where = address(url)
            taken = [sock for sockets in bound.values() for sock in sockets]
            try:
                bound[url] = await bind(loop, where.host, where.port, backlog, taken)
            except OSError as error:
                for sock in taken:
                    sock.close()
                raise refused(str(error.strerror or error)) from error
            _main_log.info("listening for %s on %s", purpose, url)
    return bound


def _member(
    config: ServerConfig,
    opened: Opened,
    certificates: Certificates,
    on_fatal: Callable[[BaseException], None],
    on_removed: Callable[[], None],
) -> Member:
    identity = opened.recovered.identity
    clock = SystemClock()
    replica = bootstrap.build_replica(
        bootstrap.replica_config(config),
        bootstrap.raft_config(identity.member_id, config.election_ticks),
        random.Random(),
        clock,
        opened.start,
        opened.recovered,
        opened.store,
    )
    member = Member(
        identity,
        replica,
        opened.storage,
        clock,
        on_fatal=on_fatal,
        max_snapshots=config.max_snapshots,
        max_wals=config.max_wals,
        tls=certificates.peer,
        on_removed=on_removed,
        known_members=opened.known_members,
    )
    version = member.cluster_version
    shown = "to_be_decided" if version is None else version.rpartition(".")[0]
    _log.info("starting server... [version: %s, cluster version: %s]", SERVER_VERSION, shown)
    return member


def _guards(config: ServerConfig) -> Guards:
    """Names by which clients may call this member, beside addresses."""
    names = {address(url).host for url in config.advertise_client_urls}
    names |= {socket.gethostname(), *config.host_whitelist}
    return Guards(names, config.cors, strict=bool(config.host_whitelist))


# --- a proxy --------------------------------------------------------------------------------


class _Proxy:
    """A proxy as its process sees it."""

    def __init__(self, server: ProxyServer) -> None:
        self._server = server

    def ready(self) -> bool:
        """See `supervision.Server`: started means listening."""
        return True

    def status(self) -> str:
        """See `supervision.Server`."""
        return "passing requests on to the members of a cluster"

    def reload(self) -> None:
        """See `Server.reload`."""
        self._server.certificates.look()

    async def hand_over(self) -> None:
        """See `Server.hand_over`: it has no duties."""

    async def stop(self) -> None:
        """See `Server.stop`."""
        await self._server.stop()


async def _start_proxy(config: ServerConfig, ending: _Ending) -> Server:
    # A member need not load the HTTP client and server of a proxy.
    from kvraft.proxy import state
    from kvraft.proxy.main import ProxyServer

    modes.make_data_dir(PosixFiles(), config.data_dir)
    try:
        saved = state.load(config.data_dir)
        path = state.cluster_file(config.data_dir)
        if saved is not None:
            urls = saved
            _warn_of_ignored_sources(config, path)
            shown = " ".join(urls)
            _main_log.info('proxy: using peer urls [%s] from cluster file "%s"', shown, path)
        else:
            urls = await first_peer_urls(config)
            _main_log.info("proxy: using peer urls [%s]", " ".join(urls))
        server = ProxyServer(config, urls, ending.fatal)
        try:
            await server.start()
        except BaseException:
            await server.stop()
            raise
    except StorageError as error:
        raise refused(str(error)) from error
    except OSError as error:
        raise refused(str(error.strerror or error)) from error
    except TlsError as error:
        raise refused(str(error)) from error
    return _Proxy(server)


def _warn_of_ignored_sources(config: ServerConfig, path: str) -> None:
    ignored = "ignored since the proxy has already been initialized. Valid cluster file found at"
    if config.discovery:
        _main_log.warning('discovery token %s "%s"', ignored, path)
    if config.discovery_srv:
        _main_log.warning('DNS SRV discovery %s "%s"', ignored, path)
