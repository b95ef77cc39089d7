"""The recipes as methods of whatever carries out operations on keys."""

from __future__ import annotations

from kvraft.client.election import ELECTIONS, Election
from kvraft.client.keeping import Clock, boot_time
from kvraft.client.lease import Lease
from kvraft.client.lock import LOCKS, Lock
from kvraft.client.operations import KeyOperations


class Recipes:
    """Adds locks, elections and leases to a class that has the `KeyOperations`."""

    def lock(
        self: KeyOperations,
        name: str,
        *,
        ttl: int = 30,
        directory: str = LOCKS,
        clock: Clock = boot_time,
    ) -> Lock:
        """A lock that one client of the cluster holds at a time; see `kvraft.client.lock`."""
        return Lock(self, name, ttl=ttl, directory=directory, clock=clock)

    def election(
        self: KeyOperations,
        name: str,
        value: str = "",
        *,
        ttl: int = 30,
        directory: str = ELECTIONS,
        clock: Clock = boot_time,
    ) -> Election:
        """An election to campaign in with `value`, or to observe; see `kvraft.client.election`."""
        return Election(self, name, value, ttl=ttl, directory=directory, clock=clock)

    def lease(self: KeyOperations, ttl: int, *, clock: Clock = boot_time) -> Lease:
        """Keys that live as long as they are refreshed together; see `kvraft.client.lease`."""
        return Lease(self, ttl, clock=clock)
