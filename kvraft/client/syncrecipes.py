"""Locks, elections and leases for programs without an event loop; see their asynchronous twins.

The keys are refreshed in the portal's thread, so they live on while the program computes or
waits. A block cannot be interrupted from there when its lock is lost: ask `held`, or call
`check()` before anything that needs the lock.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from kvraft.client.election import ELECTIONS, Election, Leader
from kvraft.client.holding import Held
from kvraft.client.lease import Lease
from kvraft.client.lock import LOCKS, Lock
from kvraft.client.model import Result
from kvraft.client.operations import KeyOperations
from kvraft.client.portal import Iteration, Portal
from kvraft.client.requests import Value


class SyncHeld:
    """What is held, or to be held; base of `SyncLock` and `SyncElection`."""

    def __init__(self, portal: Portal, held: Held) -> None:
        self._portal = portal
        self._it = held

    @property
    def held(self) -> bool:
        """Whether it is held for certain at this moment: an exact answer, by the clock."""
        return self._it.held

    @property
    def lost(self) -> bool:
        """Whether what was acquired is known to be lost."""
        return self._it.lost.is_set()

    @property
    def key(self) -> str:
        """The key that is held. Raises LockLost if none is."""
        return self._it.key

    @property
    def fencing_index(self) -> int:
        """Greater for each holder than for those before; see `Held.fencing_index`."""
        return self._it.fencing_index

    def remaining_s(self) -> float:
        """For how many seconds it is certainly held if no refresh succeeds any more."""
        return self._it.remaining_s()

    def check(self) -> None:
        """Raises LockLost unless it is held for certain at this moment."""
        self._it.check()

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Wait until it is lost; False if that was not within the time."""
        return self._portal.call(_within, self._it.lost, timeout_s)


class SyncLock(SyncHeld):
    """A lock; made by `SyncClient.lock`. A context manager; see `kvraft.client.lock.Lock`.

    Leaving the `with` raises LockLost if the lock was lost inside.
    """

    def __init__(self, portal: Portal, lock: Lock) -> None:
        super().__init__(portal, lock)
        self._lock = lock

    def acquire(self, *, timeout_s: float | None = None) -> Self:
        """Wait until the lock is held; see `Lock.acquire`."""
        self._portal.call(self._lock.acquire, timeout_s=timeout_s)
        return self

    def try_acquire(self) -> bool:
        """Take the lock if it is free; see `Lock.try_acquire`."""
        return self._portal.call(self._lock.try_acquire)

    def release(self) -> None:
        """Let the next one have it."""
        self._portal.call(self._lock.release)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.release()


class SyncElection(SyncHeld):
    """A candidate or an observer; made by `SyncClient.election`; see `Election`."""

    def __init__(self, portal: Portal, election: Election) -> None:
        super().__init__(portal, election)
        self._election = election

    def campaign(self, *, timeout_s: float | None = None) -> Self:
        """Wait until this candidate leads; see `Election.campaign`."""
        self._portal.call(self._election.campaign, timeout_s=timeout_s)
        return self

    def resign(self) -> None:
        """Lead no more: the next candidate leads."""
        self._portal.call(self._election.resign)

    def leader(self) -> Leader | None:
        """Who leads now; None if nobody does."""
        return self._portal.call(self._election.leader)

    def observe(self) -> Iteration[Leader | None]:
        """Who leads: at once, and whenever that changes; an iterator with `close()`."""
        return self._portal.iterate(self._election.observe(), owner=self)

    def __enter__(self) -> Self:
        return self.campaign()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.resign()


class SyncLease:
    """Keys that are refreshed together; made by `SyncClient.lease`; see `Lease`."""

    def __init__(self, portal: Portal, lease: Lease) -> None:
        self._portal = portal
        self._lease = lease

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are kept alive now."""
        return self._lease.keys

    @property
    def lost_keys(self) -> dict[str, str]:
        """Why which keys were lost."""
        return dict(self._lease.lost_keys)

    def check(self) -> None:
        """Raises LeaseLost if a key was lost."""
        self._lease.check()

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Wait until a key is lost; False if that was not within the time."""
        return self._portal.call(_within, self._lease.lost, timeout_s)

    def create(self, key: str, value: Value) -> Result:
        """Create a key under the lease. Raises KeyExists."""
        return self._portal.call(self._lease.create, key, value)

    def set(self, key: str, value: Value) -> Result:
        """Set a key, whether it exists or not; from now on it is leased."""
        return self._portal.call(self._lease.set, key, value)

    def detach(self, key: str) -> None:
        """Refresh a key no more: it lives until its TTL ends. Raises KeyError."""

        async def detach() -> None:
            self._lease.detach(key)

        self._portal.call(detach)

    def revoke(self) -> None:
        """Delete all keys that are still ours, and refresh no more."""
        self._portal.call(self._lease.revoke)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._portal.call(self._lease.__aexit__, None)


class SyncRecipes:
    """Adds locks, elections and leases to the synchronous operations on keys."""

    _portal: Portal
    _operations: KeyOperations

    def lock(self, name: str, *, ttl: int = 30, directory: str = LOCKS) -> SyncLock:
        """A lock that one client of the cluster holds at a time; see `kvraft.client.lock`."""
        return SyncLock(self._portal, Lock(self._operations, name, ttl=ttl, directory=directory))

    def election(
        self, name: str, value: str = "", *, ttl: int = 30, directory: str = ELECTIONS
    ) -> SyncElection:
        """An election to campaign in with `value`, or to observe."""
        election = Election(self._operations, name, value, ttl=ttl, directory=directory)
        return SyncElection(self._portal, election)

    def lease(self, ttl: int) -> SyncLease:
        """Keys that live as long as they are refreshed together."""
        return SyncLease(self._portal, Lease(self._operations, ttl))


async def _within(event: asyncio.Event, timeout_s: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
