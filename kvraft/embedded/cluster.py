"""Several members in one program: for tests, for trying things out, for `kvraft dev`.

    async with kvraft.Cluster(3) as cluster:
        await cluster.leader().set("/a", "1")

The members talk to each other in memory, where links can be blocked; clients reach them by real
URLs, unless `sockets=False`. All share the program's event loop, so what one member does delays the
others: this is no way to survive the loss of a machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from kvraft.api.service import ChangeKind, MemberChange
from kvraft.embedded.node import Node
from kvraft.embedded.settings import (
    ELECTION_TICKS,
    SNAPSHOT_COUNT,
    memory_client_url,
    memory_host,
    memory_peer_url,
)
from kvraft.storage import Identity
from kvraft.transport.memory import MemoryNetwork

if TYPE_CHECKING:
    from kvraft.client.client import Client
    from kvraft.clock import Clock
    from kvraft.store.machine import Machine

_POLL_S = 0.001
_ANY_PORT = "http://127.0.0.1:0"


class Links:
    """The links between the members of a cluster; what is blocked is lost. Nodes or their names."""

    def __init__(self, network: MemoryNetwork | None, nodes: Sequence[Node]) -> None:
        self._network = network
        self._nodes = nodes

    def block(self, one: Node | str, other: Node | str, *, both: bool = True) -> None:
        """Lose what `one` sends to `other`, and the other way round unless `both` is false."""
        network, sender, to = self._network_of_memory(), self._id(one), self._id(other)
        network.block(sender, to)
        if both:
            network.block(to, sender)

    def unblock(self, one: Node | str, other: Node | str, *, both: bool = True) -> None:
        """Deliver it again; harmless if it is not blocked."""
        network, sender, to = self._network_of_memory(), self._id(one), self._id(other)
        network.unblock(sender, to)
        if both:
            network.unblock(to, sender)

    def partition(self, *groups: Iterable[Node | str]) -> None:
        """Let members reach those of their own group only; who is in no group is alone."""
        parts = [{self._id(node) for node in group} for group in groups]
        every = [self._id(node) for node in self._nodes]
        network = self._network_of_memory()
        network.heal()
        for sender in every:
            for to in every:
                if sender != to and not any(sender in part and to in part for part in parts):
                    network.block(sender, to)

    def isolate(self, node: Node | str) -> None:
        """Cut one member off from all others, both ways."""
        own = self._id(node)
        for other in self._nodes:
            if self._id(other) != own:
                self.block(node, other)

    def heal(self) -> None:
        """Block nothing any more."""
        self._network_of_memory().heal()

    def _network_of_memory(self) -> MemoryNetwork:
        if self._network is None:
            raise ValueError("links over sockets cannot be blocked from inside the program")
        return self._network

    def _id(self, node: Node | str) -> int:
        if isinstance(node, str):
            named = [candidate for candidate in self._nodes if candidate.name == node]
            if not named:
                raise ValueError(f"no member is called {node!r}")
            node = named[0]
        if not node.id:
            raise ValueError(f"node {node.name!r} has not been started yet")
        return int(node.id, 16)


class Cluster:
    """See the module's description."""

    def __init__(
        self,
        size: int = 3,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        sockets: bool = True,
        peer_sockets: bool = False,
        client_urls: Sequence[str] | None = None,
        peer_urls: Sequence[str] | None = None,
        tick_ms: int | None = None,
        election_ticks: int = ELECTION_TICKS,
        snapshot_count: int = SNAPSHOT_COUNT,
        state_machine: Callable[[], Machine] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`size` members called m1, m2, ...; each has a directory of its name in `data_dir`.

        `sockets`: whether clients are served over TCP: at `client_urls`, one for each member, or at
        free ports of 127.0.0.1. `peer_sockets`: whether the members talk over TCP among each
        other, too: at `peer_urls`, or at free ports. A cluster with a directory keeps to what it
        was founded with, members in memory or these peer URLs. For the rest see `Node`;
        `state_machine` makes one for each start of a member.

        Raises ValueError for arguments that make no sense.
        """
        if size < 1:
            raise ValueError(f"size: a cluster has at least one member, not {size}")
        if client_urls is not None and not sockets:
            raise ValueError("client_urls: there are none without sockets")
        if peer_urls is not None and not peer_sockets:
            raise ValueError("peer_urls: there are none without peer_sockets")
        if peer_sockets and data_dir is not None and peer_urls is None:
            raise ValueError("peer_urls: a cluster with a data_dir needs the same ones each time")
        names = [f"m{number}" for number in range(1, size + 1)]
        clients = _urls("client_urls", client_urls, sockets, size)
        peers = _urls("peer_urls", peer_urls, peer_sockets, size)
        self._network = None if peer_sockets else MemoryNetwork()
        self._make = partial(
            Node,
            tick_ms=tick_ms,
            election_ticks=election_ticks,
            snapshot_count=snapshot_count,
            state_machine=state_machine,
            network=self._network,
            clock=clock,
        )
        self._data_dir = data_dir
        self._sockets, self._peer_sockets = sockets, peer_sockets
        # With sockets, the real addresses are known when they have been taken.
        founders = {name: memory_peer_url(name) for name in names}
        self.nodes: list[Node] = [
            self._make(
                self._directory(name),
                name=name,
                client_url=client_url,
                peer_url=peer_url,
                initial_cluster=founders,
            )
            for name, client_url, peer_url in zip(names, clients, peers, strict=True)
        ]
        """All members, running or not."""
        self.links = Links(self._network, self.nodes)

    # --- life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all members and wait until they serve. Raises as `Node.start`."""
        if any(node.running for node in self.nodes):
            raise RuntimeError("the cluster is running already")
        try:
            await _all(node.take_addresses() for node in self.nodes)
            urls = {node.name: (node.peer_url,) for node in self.nodes if node.peer_url}
            await _all(node.begin(urls or None) for node in self.nodes)
            for node in self.nodes:
                node.campaign()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all members at once; harmless if they are stopped."""
        await _all(node.retire() for node in self.nodes)

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until all running members serve, and know where clients reach each of them.

        Raises TimeoutError, or NodeFailed if a member ends meanwhile.
        """
        async with asyncio.timeout(timeout_s):
            while not self._is_ready():  # noqa: ASYNC110 - see Node.wait_ready
                await asyncio.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        running = [node for node in self.nodes if node.running or node.failed is not None]
        urls = {node.client_url for node in running if node.client_url is not None}
        for node in running:
            life = node.life
            if not life.is_ready():
                return False
            if not urls <= {url for info in life.member.members() for url in info.client_urls}:
                return False
        return True

    # --- members --------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Node:
        """The member of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def client_urls(self) -> list[str]:
        """Where clients reach the members, in the order of `nodes`; empty without sockets."""
        return [node.client_url for node in self.nodes if node.client_url is not None]

    def leader(self) -> Node:
        """The member that leads; after a partition, the one that was elected last.

        Raises LookupError if there is none at the moment: see `wait_leader`.
        """
        leading = [node for node in self.nodes if node.is_leader]
        if not leading:
            raise LookupError("no member leads at the moment; wait_leader() waits for one")
        return max(leading, key=lambda node: node.life.replica.core.term)

    async def wait_leader(
        self, timeout_s: float | None = None, *, other_than: Node | None = None
    ) -> Node:
        """Wait for a leader that a majority follows, and that is not `other_than`.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                leader = self._followed()
                if leader is not None and leader is not other_than:
                    return leader
                await asyncio.sleep(_POLL_S)

    def _followed(self) -> Node | None:
        """The leader of most members, if there is one."""
        followers: dict[str, int] = {}
        for node in self.nodes:
            if node.running and (leader := node.leader_id) is not None:
                followers[leader] = followers.get(leader, 0) + 1
        for node in self.nodes:
            if node.is_leader and 2 * followers.get(node.id, 0) > len(self.nodes):
                return node
        return None

    def client(self, **options: Any) -> Client:
        """A client of all members: over TCP, or in memory if there are no sockets.

        `options`: those of `Client`, but for endpoints, TLS and connector. It belongs to the
        program's event loop, and has to be closed.
        """
        # Who calls the members directly need not load an HTTP client.
        from kvraft.client.client import Client
        from kvraft.embedded.connector import MemoryClient, MemoryConnector

        if self.client_urls:
            return Client(self.client_urls, **options)
        hosts = {memory_host(node.name): node.accept for node in self.nodes}
        urls = [memory_client_url(node.name) for node in self.nodes]
        return MemoryClient(urls, MemoryConnector(hosts), **options)

    async def add(self) -> Node:
        """Add a member, start it, and wait until it serves. Raises MembershipError.

        Until it has caught up it counts for nothing; then it votes.
        """
        leader = await self.wait_leader()
        name = f"m{1 + max(int(node.name[1:]) for node in self.nodes)}"
        node = self._make(
            self._directory(name),
            name=name,
            client_url=_ANY_PORT if self._sockets else None,
            peer_url=_ANY_PORT if self._peer_sockets else None,
            initial_cluster={name: memory_peer_url(name)},
            initial_cluster_state="existing",
        )
        try:
            await node.take_addresses()
            peer_url = node.peer_url or memory_peer_url(name)
            info = await leader.change_members(MemberChange(ChangeKind.ADD, 0, (peer_url,)))
            assert info is not None, "an added member is shown"
            members = leader.life.member.members()
            if node.peer_url is None:
                node.join(Identity(info.id, leader.life.member.cluster_id), members)
            self.nodes.append(node)
            urls = {member.name: member.peer_urls for member in members if member.name}
            await node.begin({**urls, name: (peer_url,)} if self._peer_sockets else None)
            await node.wait_ready()
        except BaseException:
            await node.kill()
            raise
        return node

    async def remove(self, node: Node | str) -> None:
        """Remove a member for good, and stop it. Raises MembershipError."""
        removed = self._node(node)
        asked = await self.wait_leader()
        await asked.change_members(MemberChange(ChangeKind.REMOVE, int(removed.id, 16)))
        self.nodes.remove(removed)
        await removed.retire()

    def _directory(self, name: str) -> str | None:
        return None if self._data_dir is None else os.path.join(self._data_dir, name)

    async def kill(self, node: Node | str) -> None:
        """End a member as if its process had been killed; its addresses are kept for it."""
        await self._node(node).kill(keep_addresses=True)

    async def restart(self, node: Node | str) -> None:
        """Start a member that was stopped or killed, with the data and the addresses it had."""
        await self._node(node).start()

    def _node(self, node: Node | str) -> Node:
        return self[node] if isinstance(node, str) else node


def _urls(
    argument: str, given: Sequence[str] | None, wanted: bool, size: int
) -> Sequence[str | None]:
    """One for each member: those given, or any free ports."""
    if not wanted:
        return [None] * size
    if given is None:
        return [_ANY_PORT] * size
    if len(given) != size:
        raise ValueError(f"{argument}: {len(given)} of them for {size} members")
    return given


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, to the end; then raise what went wrong first."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
