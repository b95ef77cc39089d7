"""One life of a node: a member, its client port, and their sockets, from start to end.

Tunes nothing that the rest of the process could notice: no signal handlers, no logging, no
collector, no limits. Invariant: whatever `start` has opened is closed when it raises, or by `stop`.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from kvraft.api.guards import Guards
from kvraft.api.listening import Listener, bind, listen, usual_backlog
from kvraft.api.port import ClientPort
from kvraft.clock import SystemClock
from kvraft.embedded.errors import StartFailed
from kvraft.embedded.opening import Origin, founder, open_storage, reopen_storage
from kvraft.embedded.settings import (
    MEMORY_DATA_DIR,
    Settings,
    memory_peer_url,
    server_config,
)
from kvraft.limits import EMBEDDED_MEMORY_SEGMENT_BYTES, WAL_SEGMENT_BYTES
from kvraft.server import bootstrap
from kvraft.server.diskthread import DiskThread, InlineQueue
from kvraft.server.member import Member
from kvraft.server.modes import StartRefused
from kvraft.server.opening import Opened, check_same_cluster, open_member
from kvraft.server.replica import ReplicaConfig
from kvraft.server.urls import address
from kvraft.storage import PosixFiles
from kvraft.storage.memory import MemoryFiles
from kvraft.transport.handshake import HandshakeError
from kvraft.transport.memory import MemoryNetwork
from kvraft.versions import CLUSTER_VERSION

if TYPE_CHECKING:
    import ssl

    from kvraft.server.replica import Replica
    from kvraft.store.machine import Machine

DRAIN_S: Final = 0.5
"""How long requests may take to finish when a node stops."""
MAX_SNAPSHOTS: Final = 2
MAX_WALS: Final = 5


class Sockets:
    """The addresses of a node, taken before anything is created anywhere."""

    def __init__(self) -> None:
        self.client_url: str | None = None
        self.peer_url: str | None = None
        self.bound: dict[str, tuple[socket.socket, ...]] = {}

    async def take(
        self, client_url: str | None, peer_url: str | None, *, early: bool = True
    ) -> None:
        """Take them; a port of 0 becomes a real one. Raises StartFailed.

        `early`: clients who connect from now on wait until they are served; otherwise they are
        refused until then, as peers are.
        """
        try:
            if peer_url is not None:
                self.peer_url = await self._take(peer_url, 0)
            if client_url is not None:
                self.client_url = await self._take(client_url, usual_backlog() if early else 0)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise StartFailed(str(error.strerror or error)) from error
            raise

    async def _take(self, url: str, backlog: int) -> str:
        where = address(url)
        loop = asyncio.get_running_loop()
        taken = [sock for sockets in self.bound.values() for sock in sockets]
        sockets = await bind(loop, where.host, where.port, backlog, taken)
        if where.port == 0:  # of several addresses each would get another port
            for other in sockets[1:]:
                other.close()
            sockets = sockets[:1]
        host = where.host
        if host in ("", "0.0.0.0", "::"):
            host = "127.0.0.1"  # what callers of this machine can use
        shown = f"[{host}]" if ":" in host else host
        real = f"{where.scheme}://{shown}:{sockets[0].getsockname()[1]}"
        self.bound[real] = sockets
        return real

    def close(self) -> None:
        """Give them back; harmless for those that somebody listens to."""
        for sockets in self.bound.values():
            for sock in sockets:
                sock.close()


class Life:
    """A started member. `end` or `stop` it; nothing can be done with it afterwards."""

    def __init__(
        self,
        member: Member,
        replica: Replica,
        sockets: Sockets,
        machine: Machine | None,
        founders: Sequence[int],
    ) -> None:
        """`founders`: the ids of those who found the cluster, if this member does so, too."""
        self.member = member
        self.replica = replica
        self.sockets = sockets
        self.machine = machine
        self.ended = False
        """Whether nothing more will be applied."""
        self._founders = founders
        hosts = {socket.gethostname()}
        if sockets.client_url is not None:
            hosts.add(address(sockets.client_url).host)
        self.port = ClientPort(member, asyncio.get_running_loop(), Guards(hosts))
        self._listener: Listener | None = None

    async def open(self) -> None:
        """Serve peers and clients. Raises OSError."""
        sockets = self.sockets
        peer_urls = () if sockets.peer_url is None else (sockets.peer_url,)
        await self.member.start(peer_urls, sockets.bound)
        if sockets.client_url is not None:
            where = address(sockets.client_url)
            self._listener = await listen(
                self.port.loop,
                self.port.connection,
                where.host,
                where.port,
                None,
                sockets=sockets.bound[sockets.client_url],
            )
        self.port.start()

    def campaign(self) -> None:
        """Do not wait for an election timeout where nobody can be leading yet."""
        if self._founders:
            self.member.campaign_when_new(self._founders)
        else:
            self.member.campaign_when_alone()

    def is_ready(self) -> bool:
        """Whether clients are served, a leader is known, and what the cluster can do."""
        member = self.member
        known = member.leader() is not None and member.cluster_version is not None
        return known and member.accepting()

    def pause(self) -> None:
        """Stand still, as a process does that got SIGSTOP."""
        if self._listener is not None:
            self._listener.pause()
        self.port.pause()
        self.member.pause()

    async def resume(self) -> None:
        """Go on."""
        if self._listener is not None:
            await self._listener.resume()
        self.member.resume()
        self.port.resume()

    def end(self) -> None:
        """Cut everybody off at once and acknowledge nothing more; `stop` is still due."""
        self.member.end()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.port.connections):
            connection.abort()

    async def stop(self, hand_over: bool) -> None:
        """Let clients finish, then end; as a leader, hand over before if that is wanted."""
        if hand_over:
            await self.member.transfer_leadership()
        if self._listener is not None:
            self._listener.close()
        await self.port.drain(DRAIN_S)
        await self.member.stop()
        self.sockets.close()
        for _ in range(2):  # loops let go of sockets a turn or two later
            await asyncio.sleep(0)


class Starter:
    """What all lives of a node share: its settings, and its files if they are in memory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.origin: Origin | None = None
        """What it begins with, if that is known already: a newcomer in a network in memory."""
        self.memory = MemoryFiles() if settings.data_dir is None else None
        self._lives = 0
        self._urls: tuple[str | None, str | None] = (settings.client_url, settings.peer_url)

    async def take_addresses(self, *, early: bool = True) -> Sockets:
        """Bind the sockets of the next life, at the same addresses as before; see `Sockets`."""
        sockets = Sockets()
        await sockets.take(*self._urls, early=early)
        self._urls = (sockets.client_url, sockets.peer_url)
        return sockets

    async def start(
        self,
        sockets: Sockets,
        machine: Machine | None,
        *,
        initial_cluster: Mapping[str, Sequence[str]] | None,
        on_fatal: Callable[[BaseException], None],
        on_removed: Callable[[], None],
    ) -> Life:
        """Start a life with these addresses, which are given back if it fails.

        Raises StartFailed, StorageError (Locked: somebody else has the data), ValueError.
        """
        try:
            opened = await self._open(sockets, initial_cluster)
            self._lives += 1
            try:
                life = self._life(opened, sockets, machine, on_fatal, on_removed)
            except BaseException:
                opened.storage.close()
                raise
            try:
                await life.open()
            except BaseException as error:
                await _finish(life.stop(hand_over=False))
                if isinstance(error, OSError):
                    raise StartFailed(str(error.strerror or error)) from error
                raise
        except BaseException:
            sockets.close()
            raise
        return life

    async def _open(
        self, sockets: Sockets, initial_cluster: Mapping[str, Sequence[str]] | None
    ) -> Opened:
        settings = self.settings
        if sockets.peer_url is not None:
            return await self._open_among_others(sockets.peer_url, initial_cluster)
        if self.memory is not None:
            return open_storage(
                self.memory, MEMORY_DATA_DIR, self._origin(), EMBEDDED_MEMORY_SEGMENT_BYTES
            )
        assert settings.data_dir is not None
        opened = await _in_thread(
            open_storage, PosixFiles(), settings.data_dir, self._origin(), WAL_SEGMENT_BYTES
        )
        assert opened is not None
        return opened

    async def _open_among_others(
        self, peer_url: str, initial_cluster: Mapping[str, Sequence[str]] | None
    ) -> Opened:
        """As the server does it; but reading a large log keeps nobody else in this loop waiting."""
        given = self.settings
        if initial_cluster is not None:
            urls = {name: tuple(urls) for name, urls in initial_cluster.items()}
            given = given._replace(initial_cluster=urls)
        config = server_config(given, peer_url)
        try:
            if self.memory is None:
                opened = await _in_thread(reopen_storage, PosixFiles(), config.data_dir)
            else:
                opened = reopen_storage(self.memory, config.data_dir)
            if opened is None:
                return await open_member(config, _no_tls, self.memory)
            try:
                check_same_cluster(config, opened.recovered, opened.store)
            except StartRefused:
                opened.storage.close()
                raise
            return opened
        except StartRefused as refused:
            if refused.__cause__ is not None:
                raise refused.__cause__ from None
            raise StartFailed("; ".join(line.text for line in refused.lines)) from refused

    def _origin(self) -> Origin:
        if self.origin is not None:
            return self.origin
        settings = self.settings
        names = settings.initial_cluster or {settings.name: ()}
        urls = {name: urls or (memory_peer_url(name),) for name, urls in names.items()}
        return founder(urls, settings.initial_cluster_token, settings.name)

    def _life(
        self,
        opened: Opened,
        sockets: Sockets,
        machine: Machine | None,
        on_fatal: Callable[[BaseException], None],
        on_removed: Callable[[], None],
    ) -> Life:
        settings = self.settings
        identity = opened.recovered.identity
        clock = SystemClock()
        client_urls = () if sockets.client_url is None else (sockets.client_url,)
        replica = bootstrap.build_replica(
            ReplicaConfig(
                name=settings.name,
                client_urls=client_urls,
                tick_ms=settings.tick_ms,
                election_ticks=settings.election_ticks,
                request_timeout_ms=settings.request_timeout_ms,
                snapshot_count=settings.snapshot_count,
                snapshot_keep_entries=bootstrap.SNAPSHOT_KEEP_ENTRIES,
                cluster_version=CLUSTER_VERSION,
            ),
            bootstrap.raft_config(identity.member_id, settings.election_ticks),
            random.Random(),
            clock,
            opened.start,
            opened.recovered,
            opened.store,
            machine,
            settings.clock,
        )
        network = settings.network
        if network is None and sockets.peer_url is None:
            network = MemoryNetwork()  # of its own: nobody else is in it
        member = Member(
            identity,
            replica,
            opened.storage,
            clock,
            on_fatal=on_fatal,
            max_snapshots=MAX_SNAPSHOTS,
            max_wals=MAX_WALS,
            on_removed=on_removed,
            known_members=opened.known_members,
            network=network,
            make_queue=DiskThread if self.memory is None else InlineQueue,
        )
        return Life(member, replica, sockets, machine, opened.founders)


P = ParamSpec("P")


async def _in_thread(
    open_it: Callable[P, Opened | None], *args: P.args, **kwargs: P.kwargs
) -> Opened | None:
    """Open a data directory in a thread, which cannot be called back: then it is closed again."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_it, *args, **kwargs))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opened = await _finish(opening)
        if opened is not None:
            opened.storage.close()
        raise


async def _finish(work: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> Any:
    """Wait for something that must not be left half-done, whoever cancels meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()


def _no_tls() -> ssl.SSLContext:
    raise HandshakeError("this member is not set up to dial https")
