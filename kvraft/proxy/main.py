"""A running proxy: it keeps finding the members, and sends clients to them.

Started by the server's process instead of a member. Nothing here is replicated or promised: a proxy
can be thrown away at any time. (server.md, section 6.)
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from kvraft.api.guards import Guards
from kvraft.api.listening import Listener, listen
from kvraft.api.port import connection_cap
from kvraft.api.response import OVERLOADED
from kvraft.clock import Clock, SystemClock
from kvraft.errors import StorageError
from kvraft.limits import PROXY_FIRST_REFRESH_S
from kvraft.proxy import state
from kvraft.proxy.connection import ClientConnection, request_factory
from kvraft.proxy.director import Director, own_addresses
from kvraft.proxy.members import BadMemberList, Found, read_members
from kvraft.proxy.metrics import ProxyMetrics
from kvraft.proxy.reverse import ReverseProxy
from kvraft.proxy.upstream import Broken, Unreachable, Upstream
from kvraft.server import logs
from kvraft.server.certificates import Certificates
from kvraft.server.quoting import quote
from kvraft.server.urls import address

if TYPE_CHECKING:
    from kvraft.server.config import ServerConfig

DRAIN_SECONDS: Final = 0.5
"""How long requests may take to finish when the proxy stops; watches are cut after it."""
_MARK_BYTES: Final = 8
_DUE_CHECK_S: Final = 1.0

_log = logs.logger("proxy")
_main_log = logs.logger("etcdmain")


class ProxyServer:
    """A proxy with its client ports."""

    def __init__(
        self,
        config: ServerConfig,
        peer_urls: Sequence[str],
        on_fatal: Callable[[BaseException], None],
        clock: Clock | None = None,
    ) -> None:
        """`peer_urls`: where to look for members first; `on_fatal` hears of what ends the proxy.

        Reads the certificates; raises TlsError.
        """
        self._config = config
        # A proxy has no peer port to listen on; the files of that side are what it shows members.
        self.certificates = Certificates(dataclasses.replace(config, listen_peer_urls=()))
        self._peer_urls = tuple(peer_urls)
        self._on_fatal = on_fatal
        advertised = config.advertise_client_urls if _says_where(config) else ()
        self._director = Director(
            clock or SystemClock(),
            config.proxy_failure_wait_ms,
            config.proxy_refresh_interval_ms,
            random.Random().shuffle,
            own_addresses(config.listen_client_urls, advertised, [socket.gethostname()]),
        )
        self._saved: tuple[str, ...] | None = None
        self._found_before = False
        self._complaint = ""
        self._upstream: Upstream | None = None
        self._proxy: ReverseProxy | None = None
        self._server: web.Server | None = None
        self._listeners: list[Listener] = []
        self._refreshing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for the members, then listen.

        Raises OSError for an address that cannot be used, StorageError for a directory; nothing
        runs then.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self._config
        await asyncio.to_thread(state.prepare, config.data_dir)
        self._saved = await asyncio.to_thread(state.load, config.data_dir)
        self._upstream = Upstream(
            dial_timeout_ms=config.proxy_dial_timeout_ms,
            write_timeout_ms=config.proxy_write_timeout_ms,
            read_timeout_ms=config.proxy_read_timeout_ms,
            context=self.certificates.peer.client_context,
        )
        looked = asyncio.Event()
        self._refreshing = asyncio.create_task(self._keep_refreshing(self._upstream, looked))
        self._refreshing.add_done_callback(self._refreshing_ended)
        try:
            async with asyncio.timeout(PROXY_FIRST_REFRESH_S):
                await looked.wait()
        except TimeoutError:
            pass  # the members may come later; meanwhile clients are told that there are none
        await self._serve(self._upstream)
        self.certificates.start()

    async def stop(self) -> None:
        """Let requests finish for a moment, cut the rest, close everything."""
        for listener in self._listeners:
            listener.close()
        if self._proxy is not None:
            self._proxy.stopping = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(DRAIN_SECONDS)
        if self._upstream is not None:
            await self._upstream.close()
        await self.certificates.stop()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port of every socket."""
        sockets = (one for listener in self._listeners for one in listener.sockets)
        return [one.getsockname()[:2] for one in sockets]

    # --- clients -----------------------------------------------------------------------

    async def _serve(self, upstream: Upstream) -> None:
        config = self._config
        self._proxy = ReverseProxy(
            self._director,
            upstream,
            _guards(config),
            ProxyMetrics(),
            readonly=config.proxy == "readonly",
            mark=f"kvraft-{secrets.token_hex(_MARK_BYTES)}",
        )
        loop = asyncio.get_running_loop()
        self._server = server = web.Server(
            self._proxy.handle,
            request_factory=request_factory(loop),
            handler_cancellation=True,  # a client that is gone takes its request with it
        )
        cap = connection_cap() // 2  # each client may need a connection to a member
        accept = _capped(server, loop, cap)
        for url in config.listen_client_urls:
            where = address(url)
            context = self.certificates.client.listener(url)
            self._listeners.append(await listen(loop, accept, where.host, where.port, context))
            _main_log.info("proxy: listening for client requests on %s", url)

    # --- members -----------------------------------------------------------------------

    async def _keep_refreshing(self, upstream: Upstream, looked: asyncio.Event) -> None:
        """Refresh when it is due, which is looked at every second: requests change the due time."""
        while True:
            begun_s = time.monotonic()
            await self._refresh(upstream)
            looked.set()
            while True:
                left_s = begun_s + self._director.refresh_after_ms() / 1000 - time.monotonic()
                if left_s <= 0:
                    break
                await asyncio.sleep(min(left_s, _DUE_CHECK_S))
                for url in self._director.released():
                    _log.info("marked endpoint %s available, to retest connectivity", url)

    async def _refresh(self, upstream: Upstream) -> None:
        """Ask one peer after the other; what the first one says, counts."""
        for peer_url in self._peer_urls:
            try:
                found = read_members(await upstream.members(peer_url))
            except (Unreachable, Broken, BadMemberList) as error:
                _log.debug("no member list from %s: %s", peer_url, error)
                continue
            self._complaint = ""
            await self._adopt(found)
            return
        # The endpoints stay as they are: that the peer ports are out of reach says nothing
        # about the client ports.
        complaint = "could not retrieve cluster information from the given urls"
        if complaint != self._complaint:
            _main_log.warning("proxy: %s", complaint)
            self._complaint = complaint

    async def _adopt(self, found: Found) -> None:
        self._peer_urls = found.peer_urls
        self._director.refresh(found.client_urls)
        endpoints = self._director.available()
        if endpoints and not self._found_before:
            self._found_before = True
            _log.info("endpoints found [%s]", " ".join(map(quote, endpoints)))
        if found.peer_urls == self._saved:
            return
        try:
            await asyncio.to_thread(state.save, self._config.data_dir, found.peer_urls)
        except StorageError as error:
            # The file serves the next start only: this one goes on with what it knows.
            _main_log.warning("proxy: %s", error)
            return
        self._saved = found.peer_urls

    def _refreshing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fatal(error)


def _says_where(config: ServerConfig) -> bool:
    """Whether the advertised URLs are this proxy's; their default is that of members, too."""
    return "advertise-client-urls" in config.given


def _guards(config: ServerConfig) -> Guards:
    """The names by which clients may call this proxy, beside addresses."""
    names = {address(url).host for url in config.listen_client_urls}
    if _says_where(config):
        names |= {address(url).host for url in config.advertise_client_urls}
    names |= {socket.gethostname(), *config.host_whitelist}
    return Guards(names, config.cors, strict=bool(config.host_whitelist))


class _Overloaded(asyncio.Protocol):
    """A connection beyond the cap: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, they only behave like them.
        cast("asyncio.Transport", transport).write(OVERLOADED)
        transport.close()


def _capped(
    server: web.Server, loop: asyncio.AbstractEventLoop, cap: int
) -> Callable[[], asyncio.BaseProtocol]:
    """The factory of connections, with a bound on their number."""

    def accept() -> asyncio.BaseProtocol:
        return _Overloaded() if len(server.connections) >= cap else ClientConnection(server, loop)

    return accept
