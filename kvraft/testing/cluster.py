"""A cluster for tests: members in a background thread, at real URLs, broken and mended by calls.

    with Cluster(3) as cluster:
        client = cluster.client()
        client.set("/a", "1")
        cluster.kill_leader()
        cluster.wait_leader()
        assert client.get("/a").value == "1"

The calls block the thread they are made from, never the members; most last some milliseconds, so
they may be made from asynchronous tests as well. Where that matters `cluster.aio` has the same
operations to be awaited. Any v2 client may be used with `cluster.urls`, in any thread or process.

What is left behind is nothing: `close` ends the members, the clients that came from `client()` and
the thread. Members of one cluster share a thread, and so the machine's pauses: none is taken for
dead because the machine was busy.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from kvraft import limits
from kvraft.client.portal import Portal
from kvraft.testing.awaitable import AwaitableCluster
from kvraft.testing.control import TICK_MS, AsyncCluster, MemberStatus

if TYPE_CHECKING:
    from kvraft.client.client import Client
    from kvraft.client.sync import SyncClient


class Cluster:
    """See the module's description; the operations are those of `AsyncCluster`, waited for here."""

    def __init__(
        self,
        size: int = 3,
        *,
        data_dir: str | None = None,
        ports: Sequence[int] | None = None,
        tick_ms: int = TICK_MS,
    ) -> None:
        """Start `size` members named m1, m2, ..., and wait until one of them leads.

        `data_dir`: where the data are kept; None: in memory. `ports`: of the members for clients;
        None, and 0 for one of them: free ones. `tick_ms`: the interval of heartbeats, of which a
        leader has to miss ten to be replaced.

        Raises ControlError, and OSError for a port that is taken.
        """
        self._portal = Portal("kvraft-testing")
        self._finish = weakref.finalize(self, self._portal.close)  # of one that is forgotten
        self._clients: list[SyncClient] = []
        self._shared: SyncClient | None = None
        try:
            self._cluster = self._portal.call(_started, size, data_dir, ports, tick_ms)
        except BaseException:
            self._finish()
            raise
        self._portal.at_end(self._cluster.close)
        self._urls = self._cluster.urls  # they never change
        self._members = self._cluster.members
        self.aio = AwaitableCluster(self._portal, self._cluster)
        """The same operations for `await`, from any event loop."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that belongs to this cluster; a second call does nothing."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        self._finish()

    # --- what it is ------------------------------------------------------------------------

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all members, running or not: ("m1", "m2", "m3")."""
        return self._members

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they serve clients, in the same order; a member keeps its URL for ever."""
        return self._urls

    @property
    def leader(self) -> str | None:
        """The name of the member that leads a majority now; None while nobody does."""
        return self._portal.call(_leader, self._cluster)

    def url(self, name: str) -> str:
        """Where one member serves clients."""
        return self._portal.call(_url, self._cluster, name)

    def status(self, name: str) -> MemberStatus:
        """How one member is: its state and URL, how far it has come."""
        return self._portal.call(_status, self._cluster, name)

    def client(self, **options: Any) -> SyncClient:
        """A new client of all members, closed with the cluster; `options` as of `SyncClient`."""
        from kvraft.client.sync import SyncClient

        client = SyncClient(self._urls, **options)
        self._clients.append(client)
        return client

    @property
    def shared_client(self) -> SyncClient:
        """One client for all who need no settings of their own."""
        if self._shared is None:
            self._shared = self.client()
        return self._shared

    def async_client(self, **options: Any) -> Client:
        """A client for the caller's event loop, who closes it: `async with`."""
        from kvraft.client.client import Client

        return Client(self._urls, **options)

    def wait_leader(self, timeout_s: float = limits.TEST_LEADER_WAIT_S) -> str:
        """Wait until somebody leads a majority; returns the name. Raises NoLeader."""
        return self._portal.call(self._cluster.wait_leader, timeout_s)

    # --- members -----------------------------------------------------------------------------

    def kill(self, name: str | None = None) -> str:
        """End a member, else the leader, as `kill -9` does; returns its name."""
        return self._portal.call(self._cluster.kill, name)

    def kill_leader(self) -> str:
        """Kill the leader, waiting for one if need be; returns its name."""
        return self._portal.call(self._cluster.kill_leader)

    def stop(self, name: str) -> None:
        """Stop a member in order; as a leader it hands over first."""
        self._portal.call(self._cluster.stop, name)

    def restart(self, name: str) -> None:
        """Start a member that was ended, with what it had and at its URL; see `AsyncCluster`."""
        self._portal.call(self._cluster.restart, name)

    def pause(self, name: str | None = None) -> str:
        """Let a member, else the leader, stand still as SIGSTOP does; returns its name."""
        return self._portal.call(self._cluster.pause, name)

    def resume(self, name: str | None = None) -> tuple[str, ...]:
        """Let a paused member, else all of them, go on; returns who was paused."""
        return self._portal.call(self._cluster.resume, name)

    # --- network and time ------------------------------------------------------------------------

    def partition(self, *groups: str | Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """Cut the members into groups, else the leader off; see `AsyncCluster.partition`."""
        return self._portal.call(self._cluster.partition, *groups)

    def heal(self) -> None:
        """Let all members hear each other again."""
        self._portal.call(self._cluster.heal)

    def advance(self, seconds: float) -> None:
        """Let time pass for keys with a TTL, in milliseconds; see `AsyncCluster.advance`."""
        self._portal.call(self._cluster.advance, seconds)


class Server:
    """A cluster of one, for tests that only need a server."""

    def __init__(self, *, data_dir: str | None = None, port: int = 0) -> None:
        """Start it. `data_dir`: where the data are kept; None: in memory. `port` 0: a free one."""
        self.cluster = Cluster(1, data_dir=data_dir, ports=(port,))
        (self.url,) = self.cluster.urls
        where = urlsplit(self.url)
        assert where.hostname is not None
        assert where.port is not None
        self.host: str = where.hostname
        self.port: int = where.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and its clients."""
        self.cluster.close()

    def client(self, **options: Any) -> SyncClient:
        """A new client, closed with the server; `options` as of `kvraft.SyncClient`."""
        return self.cluster.client(**options)

    @property
    def shared_client(self) -> SyncClient:
        """One client for all who need no settings of their own."""
        return self.cluster.shared_client

    def async_client(self, **options: Any) -> Client:
        """A client for the caller's event loop, who closes it: `async with`."""
        return self.cluster.async_client(**options)

    def advance(self, seconds: float) -> None:
        """Let time pass for keys with a TTL; see `AsyncCluster.advance`."""
        self.cluster.advance(seconds)

    def pause(self) -> None:
        """Let it stand still, as a process does that got SIGSTOP."""
        self.cluster.pause("m1")

    def resume(self) -> None:
        """Let it go on."""
        self.cluster.resume("m1")

    def kill(self) -> None:
        """End it as `kill -9` does; `restart` brings it back with what it had."""
        self.cluster.kill("m1")

    def restart(self) -> None:
        """Start it again at the same URL, and wait until it serves."""
        self.cluster.restart("m1")
        self.cluster.wait_leader()


async def _started(
    size: int, data_dir: str | None, ports: Sequence[int] | None, tick_ms: int
) -> AsyncCluster:
    cluster = AsyncCluster(size, data_dir=data_dir, ports=ports, tick_ms=tick_ms)
    await cluster.start()
    return cluster


# What a cluster tells is read in its own thread, between two turns of its loop.


async def _leader(cluster: AsyncCluster) -> str | None:
    return cluster.leader


async def _url(cluster: AsyncCluster, name: str) -> str:
    return cluster.url(name)


async def _status(cluster: AsyncCluster, name: str) -> MemberStatus:
    return cluster.status(name)
