"""Nodes and clusters for programs without an event loop: the same names, waiting for each call.

    with kvraft.SyncNode("/var/lib/app") as node:
        node.set("/config/colour", "blue")

A background thread runs the event loop. Several threads may call. What is forgotten is stopped at
the end of the process; after a fork only the parent has it.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from kvraft.client.client import Client
from kvraft.client.model import MemberRecord, WatchEvent
from kvraft.client.portal import Portal
from kvraft.client.sync import SyncClient, SyncKeyOperations
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.node import Node
from kvraft.store.machine import Machine


class SyncMember(SyncKeyOperations):
    """A node, called from outside its event loop; see `Node` for what each name means."""

    def __init__(self, portal: Portal, node: Node) -> None:
        super().__init__(portal, node)
        self.node = node
        """The node itself, which belongs to the event loop of the background thread."""

    def start(self) -> None:
        """See `Node.start`."""
        self._portal.call(self.node.start)

    def stop(self) -> None:
        """See `Node.stop`."""
        self._portal.call(self.node.stop)

    def kill(self) -> None:
        """See `Node.kill`."""
        self._portal.call(self.node.kill)

    def pause(self) -> None:
        """See `Node.pause`."""

        async def pause() -> None:
            self.node.pause()

        self._portal.call(pause)

    def resume(self) -> None:
        """See `Node.resume`."""
        self._portal.call(self.node.resume)

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """See `Node.wait_ready`."""
        self._portal.call(self.node.wait_ready, timeout_s)

    def client(self, **options: Any) -> SyncClient:
        """See `Node.client`."""
        return _client(self._portal, self.node, options)

    def submit(self, command: bytes) -> object:
        """See `Node.submit`."""
        return self._portal.call(self.node.submit, command)

    def wait(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        timeout_s: float | None = None,
    ) -> WatchEvent:
        """See `Node.wait`."""
        return self._portal.call(
            self.node.wait, key, recursive=recursive, after_index=after_index, timeout_s=timeout_s
        )

    def members(self) -> list[MemberRecord]:
        """See `Node.members`."""
        return self._portal.call(self.node.members)

    def leader(self) -> MemberRecord | None:
        """See `Node.leader`."""
        return self._portal.call(self.node.leader)

    def health(self) -> bool:
        """See `Node.health`."""
        return self._portal.call(self.node.health)

    def version(self) -> dict[str, Any]:
        """See `Node.version`."""
        return self._portal.call(self.node.version)

    def self_stats(self) -> dict[str, Any]:
        """See `Node.self_stats`."""
        return self._portal.call(self.node.self_stats)

    # What follows reads single values, which any thread may do.

    @property
    def name(self) -> str:
        """See `Node.name`."""
        return self.node.name

    @property
    def id(self) -> str:
        """See `Node.id`."""
        return self.node.id

    @property
    def running(self) -> bool:
        """See `Node.running`."""
        return self.node.running

    @property
    def failed(self) -> BaseException | None:
        """See `Node.failed`."""
        return self.node.failed

    @property
    def client_url(self) -> str | None:
        """See `Node.client_url`."""
        return self.node.client_url

    @property
    def peer_url(self) -> str | None:
        """See `Node.peer_url`."""
        return self.node.peer_url

    @property
    def is_leader(self) -> bool:
        """See `Node.is_leader`."""
        return self.node.is_leader

    @property
    def leader_id(self) -> str | None:
        """See `Node.leader_id`."""
        return self.node.leader_id

    @property
    def etcd_index(self) -> int:
        """See `Node.etcd_index`."""
        return self.node.etcd_index

    @property
    def raft_index(self) -> int:
        """See `Node.raft_index`."""
        return self.node.raft_index

    @property
    def raft_term(self) -> int:
        """See `Node.raft_term`."""
        return self.node.raft_term

    @property
    def state_machine(self) -> Machine | None:
        """See `Node.state_machine`."""
        return self.node.state_machine


class _Owner(ABC):
    """Who has a background thread of its own: `with` starts, `close` ends the thread."""

    _finish: Callable[[], object]

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything and end the thread. May be called more than once, from any thread."""
        self._finish()


class SyncNode(SyncMember, _Owner):
    """A node with a background thread of its own. `with` starts it; `close` ends the thread."""

    def __init__(self, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> None:
        """Arguments as for `Node`."""
        portal = Portal("kvraft-node")
        node = Node(data_dir, **options)
        super().__init__(portal, node)
        portal.at_end(node.stop)
        self._finish = weakref.finalize(self, portal.close)


class SyncLinks:
    """See `Links`; nodes or their names."""

    def __init__(self, portal: Portal, cluster: Cluster) -> None:
        self._portal = portal
        self._cluster = cluster

    def block(self, one: SyncMember | str, other: SyncMember | str, *, both: bool = True) -> None:
        """See `Links.block`."""

        async def block() -> None:
            self._cluster.links.block(_node(one), _node(other), both=both)

        self._portal.call(block)

    def unblock(self, one: SyncMember | str, other: SyncMember | str, *, both: bool = True) -> None:
        """See `Links.unblock`."""

        async def unblock() -> None:
            self._cluster.links.unblock(_node(one), _node(other), both=both)

        self._portal.call(unblock)

    def partition(self, *groups: Iterable[SyncMember | str]) -> None:
        """See `Links.partition`."""

        async def partition() -> None:
            self._cluster.links.partition(*([_node(node) for node in group] for group in groups))

        self._portal.call(partition)

    def isolate(self, node: SyncMember | str) -> None:
        """See `Links.isolate`."""

        async def isolate() -> None:
            self._cluster.links.isolate(_node(node))

        self._portal.call(isolate)

    def heal(self) -> None:
        """See `Links.heal`."""

        async def heal() -> None:
            self._cluster.links.heal()

        self._portal.call(heal)


class SyncCluster(_Owner):
    """Several members in one background thread; see `Cluster` for what each name means."""

    def __init__(
        self, size: int = 3, data_dir: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        """Arguments as for `Cluster`."""
        portal = Portal("kvraft-cluster")
        self.cluster = cluster = Cluster(size, data_dir, **options)
        """The cluster itself, which belongs to the event loop of the background thread."""
        self._members = {node: SyncMember(portal, node) for node in cluster.nodes}
        self.links = SyncLinks(portal, cluster)
        self._portal = portal
        portal.at_end(cluster.stop)
        self._finish = weakref.finalize(self, portal.close)

    def start(self) -> None:
        """See `Cluster.start`."""
        self._portal.call(self.cluster.start)

    def stop(self) -> None:
        """See `Cluster.stop`."""
        self._portal.call(self.cluster.stop)

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """See `Cluster.wait_ready`."""
        self._portal.call(self.cluster.wait_ready, timeout_s)

    @property
    def nodes(self) -> list[SyncMember]:
        """All members, running or not."""
        return [self._member(node) for node in self.cluster.nodes]

    def __getitem__(self, name: str) -> SyncMember:
        """The member of that name. Raises KeyError."""
        return self._member(self.cluster[name])

    @property
    def client_urls(self) -> list[str]:
        """See `Cluster.client_urls`."""
        return self.cluster.client_urls

    def leader(self) -> SyncMember:
        """See `Cluster.leader`."""

        async def leader() -> Node:
            return self.cluster.leader()

        return self._member(self._portal.call(leader))

    def wait_leader(
        self, timeout_s: float | None = None, *, other_than: SyncMember | None = None
    ) -> SyncMember:
        """See `Cluster.wait_leader`."""
        old = None if other_than is None else other_than.node
        leader = self._portal.call(self.cluster.wait_leader, timeout_s, other_than=old)
        return self._member(leader)

    def client(self, **options: Any) -> SyncClient:
        """See `Cluster.client`."""
        return _client(self._portal, self.cluster, options)

    def add(self) -> SyncMember:
        """See `Cluster.add`."""
        return self._member(self._portal.call(self.cluster.add))

    def remove(self, node: SyncMember | str) -> None:
        """See `Cluster.remove`."""
        self._portal.call(self.cluster.remove, _node(node))

    def kill(self, node: SyncMember | str) -> None:
        """See `Cluster.kill`."""
        self._portal.call(self.cluster.kill, _node(node))

    def restart(self, node: SyncMember | str) -> None:
        """See `Cluster.restart`."""
        self._portal.call(self.cluster.restart, _node(node))

    def _member(self, node: Node) -> SyncMember:
        return self._members.setdefault(node, SyncMember(self._portal, node))


def _node(node: SyncMember | str) -> Node | str:
    return node if isinstance(node, str) else node.node


def _client(portal: Portal, owner: Node | Cluster, options: dict[str, Any]) -> SyncClient:
    async def make() -> Client:
        return owner.client(**options)

    return SyncClient.within(portal, portal.call(make))
