"""The operations on a cluster in another thread, to be awaited in the caller's event loop.

    killed = await cluster.aio.kill_leader()

The caller's loop runs on meanwhile, so tasks of the test may use the cluster at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvraft import limits

if TYPE_CHECKING:
    from kvraft.client.portal import Portal
    from kvraft.testing.control import AsyncCluster


class AwaitableCluster:
    """See `AsyncCluster` for what each operation does; all may be awaited from any event loop."""

    def __init__(self, portal: Portal, cluster: AsyncCluster) -> None:
        self._portal = portal
        self._cluster = cluster

    async def wait_leader(self, timeout_s: float = limits.TEST_LEADER_WAIT_S) -> str:
        """Wait until somebody leads a majority; returns the name."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.wait_leader, timeout_s))

    async def kill(self, name: str | None = None) -> str:
        """End a member, else the leader, as `kill -9` does; returns its name."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.kill, name))

    async def kill_leader(self) -> str:
        """Kill the leader, waiting for one if need be; returns its name."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.kill_leader))

    async def stop(self, name: str) -> None:
        """Stop a member in order."""
        await asyncio.wrap_future(self._portal.submit(self._cluster.stop, name))

    async def restart(self, name: str) -> None:
        """Start a member that was ended."""
        await asyncio.wrap_future(self._portal.submit(self._cluster.restart, name))

    async def pause(self, name: str | None = None) -> str:
        """Let a member, else the leader, stand still; returns its name."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.pause, name))

    async def resume(self, name: str | None = None) -> tuple[str, ...]:
        """Let a paused member, else all of them, go on; returns who was paused."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.resume, name))

    async def partition(self, *groups: str | Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """Cut the members into groups, else the leader off; returns the groups."""
        return await asyncio.wrap_future(self._portal.submit(self._cluster.partition, *groups))

    async def heal(self) -> None:
        """Let all members hear each other again."""
        await asyncio.wrap_future(self._portal.submit(self._cluster.heal))

    async def advance(self, seconds: float) -> None:
        """Let time pass for keys with a TTL."""
        await asyncio.wrap_future(self._portal.submit(self._cluster.advance, seconds))
