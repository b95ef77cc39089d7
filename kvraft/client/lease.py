"""A lease: keys that live as long as somebody goes on refreshing them together.

API v2 has no leases, so this is one TTL for several keys, each refreshed on its own, three times
within the TTL. Each refresh names the version of the key that it is for. A key that somebody else
has replaced, changed or deleted is therefore neither revived nor kept alive for its new owner:
it is lost, and the lease says which and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Self

from kvraft.client.errors import (
    ClientError,
    CompareFailed,
    DidNotHappen,
    KeyNotFound,
    LeaseLost,
    OutcomeUnknown,
    ReadFailed,
)
from kvraft.client.keeping import Clock, boot_time, check_ttl
from kvraft.client.model import KeyNode, Result
from kvraft.client.operations import KeyOperations
from kvraft.client.requests import Value
from kvraft.limits import KEEP_MIN_PAUSE_S, KEEP_TRIES_PER_TTL, LEASE_PARALLEL

log = logging.getLogger(__name__)


class _Leased:
    """One key of a lease: the version that is ours, and until when it certainly lives."""

    __slots__ = ("deadline_s", "keeping", "node", "unsure")

    def __init__(self, node: KeyNode, deadline_s: float) -> None:
        self.node = node
        self.deadline_s = deadline_s
        self.unsure = False  # a refresh may have given it a new version
        self.keeping: asyncio.Task[None] | None = None


class Lease:
    """Keys with one TTL, kept alive together; made by `client.lease(ttl)`.

        async with client.lease(10) as lease:
            await lease.set("/services/web/host-7", "10.0.0.7:80")
            await lease.lost.wait()      # until some key is lost
            print(lease.lost_keys)       # {key: reason}

    Keys are refreshed from when they are put; leaving deletes them. A lost key is told, and let go
    of: put it again with `set`, if that is right. If the process dies, its keys are gone after
    `ttl` seconds.
    """

    def __init__(self, operations: KeyOperations, ttl: int, *, clock: Clock = boot_time) -> None:
        self.ttl = check_ttl(ttl)
        self.lost = asyncio.Event()
        self.lost_keys: dict[str, str] = {}
        self._operations = operations
        self._clock = clock
        self._interval_s = ttl / KEEP_TRIES_PER_TTL
        self._keys: dict[str, _Leased] = {}
        self._gate = asyncio.Semaphore(LEASE_PARALLEL)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are kept alive now."""
        return tuple(self._keys)

    def check(self) -> None:
        """Raises LeaseLost if a key was lost since the lease began, or was put again."""
        if self.lost_keys:
            raise LeaseLost(dict(self.lost_keys))

    async def create(self, key: str, value: Value) -> Result:
        """Create a key under the lease. Raises KeyExists.

        After OutcomeUnknown the key is not under the lease; if it was made, it lives for the TTL.
        """
        sent_s = self._clock()
        return self._hold(await self._operations.create(key, value, ttl=self.ttl), sent_s)

    async def set(self, key: str, value: Value) -> Result:
        """Set a key, whether it exists or not, and whoever made it; from now on it is leased."""
        sent_s = self._clock()
        self._let_go(key)  # what it was is not what it will be, whatever the outcome
        return self._hold(await self._operations.set(key, value, ttl=self.ttl), sent_s)

    def detach(self, key: str) -> None:
        """Refresh a key no more: it lives until its TTL ends. Raises KeyError."""
        if self._let_go(key) is None:
            raise KeyError(key)

    async def revoke(self) -> None:
        """Delete all keys that are still ours, and refresh no more.

        What cannot be deleted lives until its TTL ends; the first error is raised at the end.
        """
        leased = [self._let_go(key) for key in self.keys]
        results = await asyncio.gather(
            *(self._remove(one) for one in leased if one is not None), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            await self.revoke()
        except ClientError as error:
            log.warning("lease: keys are left to their TTL: %s", error)

    # --- one key --------------------------------------------------------------------------------

    def _hold(self, result: Result, sent_s: float) -> Result:
        self._let_go(result.key)
        leased = self._keys[result.key] = _Leased(result.node, sent_s + self.ttl)
        leased.keeping = asyncio.create_task(self._keep(leased), name=f"lease {result.key}")
        self.lost_keys.pop(result.key, None)
        if not self.lost_keys:
            self.lost.clear()
        return result

    def _let_go(self, key: str) -> _Leased | None:
        """Refresh a key no more; None if it is not under the lease."""
        leased = self._keys.pop(key, None)
        if leased is not None and leased.keeping is not None:
            leased.keeping.cancel()
        return leased

    async def _keep(self, leased: _Leased) -> None:
        """Refresh a key three times within its TTL, until it is lost."""
        next_s = leased.deadline_s - self.ttl + self._interval_s
        while self._keys.get(leased.node.key) is leased:
            await asyncio.sleep(max(0.0, min(next_s, leased.deadline_s) - self._clock()))
            if self._clock() >= leased.deadline_s:
                self._lose(leased, "it could not be refreshed in time")
                return
            async with self._gate:
                refreshed = await self._refresh(leased)
            if refreshed:
                next_s = leased.deadline_s - self.ttl + self._interval_s
            else:
                next_s = self._clock() + max(KEEP_MIN_PAUSE_S, self._interval_s / 4)

    async def _remove(self, leased: _Leased) -> None:
        """Delete a key unless somebody else has put or changed it."""
        async with self._gate:
            if leased.unsure and not await self._found(leased):
                return
            with contextlib.suppress(KeyNotFound, CompareFailed):
                await self._operations.compare_and_delete(
                    leased.node.key, prev_index=leased.node.modified_index
                )

    async def _refresh(self, leased: _Leased) -> bool:
        """Try to refresh a key, or find that it is lost; whether it was refreshed."""
        key = leased.node.key
        limit_s = min(self._interval_s, leased.deadline_s - self._clock())
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                if leased.unsure and not await self._found(leased):
                    return False
                sent_s = self._clock()
                leased.unsure = True
                result = await self._operations.refresh(
                    key, self.ttl, prev_index=leased.node.modified_index
                )
        except KeyNotFound:
            self._lose(leased, "it has expired or was deleted")
        except CompareFailed:
            # perhaps by a refresh of ours that was late; the next round looks
            leased.unsure = True
        except DidNotHappen:
            leased.unsure = False
        except (OutcomeUnknown, ReadFailed, TimeoutError):
            pass
        except ClientError as error:
            log.warning("lease: %s is not refreshed: %s", key, error)
        else:
            leased.node = result.node
            leased.unsure = False
            leased.deadline_s = sent_s + self.ttl
            return True
        return False

    async def _found(self, leased: _Leased) -> bool:
        """Look which version of a key is there; False, and it is lost, if it is not ours."""
        try:
            node = (await self._operations.get(leased.node.key, quorum=True)).node
        except KeyNotFound:
            self._lose(leased, "it has expired or was deleted")
            return False
        if node.created_index != leased.node.created_index or node.value != leased.node.value:
            self._lose(leased, "somebody else has changed it")
            return False
        leased.node = node
        leased.unsure = False
        return True

    def _lose(self, leased: _Leased, reason: str) -> None:
        key = leased.node.key
        if self._keys.get(key) is leased:
            del self._keys[key]
            self.lost_keys[key] = reason
            self.lost.set()
            log.warning("lease: %s is lost: %s", key, reason)
