"""A lock that one client of the cluster holds at a time, for as long as it keeps a key alive.

**What a lock with a TTL does not promise.** A process can be stopped for any time at any
instruction: by the scheduler, a garbage collection, a suspended machine. When it goes on, its key
may have expired and another one may hold the lock; and a request that it sends then, or that the
network delivers only then, still has its effect. No check before the request changes that. The
lock keeps two holders from believing in it at the same time, as long as clocks run at about the
same speed. It does not keep the late end of one holder's work out of the next one's. Where
that would do harm, let the resource decide: send `fencing_index` along with every request, and
let it refuse those with a smaller one than the greatest it has seen. For writes to the same
cluster, conditions (`compare_and_swap`) do it without a lock.

Nor does it promise that a holder that is cut off learns at once that others have the lock. It
learns that it cannot be *certain* any more, at the latest one TTL after it sent the last refresh
that succeeded, which is before the servers let anybody else in.

Locks are given in the order in which they were asked for. Names, order and keys are those of the
lock of python-etcd (`/_locks/NAME/<index>`), and either waits for the other. The directory stays.
An administrator frees a lock by deleting the key in front; its holder notices at its next
refresh, a third of the TTL later at most.
"""

from __future__ import annotations

import uuid
from typing import Self

from kvraft.client.errors import LockTimeout
from kvraft.client.holding import Held
from kvraft.client.keeping import Clock, boot_time
from kvraft.client.operations import KeyOperations
from kvraft.client.queueing import Place, queue_directory

LOCKS = "/_locks"


class Lock(Held):
    """A lock; made by `client.lock(name, ttl=30)`. See the module for what it does not promise.

        async with client.lock("migration", ttl=10) as lock:
            await storage.write(data, fence=lock.fencing_index)

    The block is interrupted when the lock is lost, and `LockLost` is raised; `held`, `check()` and
    `lost` tell at any time. If a process dies, its lock is free after `ttl` seconds. Not
    reentrant; may be used again after it was released. One object belongs to one task.
    """

    _what = "lock"

    def __init__(
        self,
        operations: KeyOperations,
        name: str,
        *,
        ttl: int = 30,
        directory: str = LOCKS,
        clock: Clock = boot_time,
    ) -> None:
        path = queue_directory(directory, name)
        super().__init__(Place(operations, path, uuid.uuid4().hex, ttl, clock), path)

    async def acquire(self, *, timeout_s: float | None = None) -> Self:
        """Wait until the lock is held, through outages too, at most `timeout_s` seconds.

        Raises LockTimeout after that time (and a few seconds more, if no server answers when the
        place in the queue is given up), EtcdError if the servers refuse (no permission, a file
        where the directory should be), RuntimeError if this object is in use. Whatever is raised,
        cancellation included: nothing is held, and no key is left if a server can be reached.
        """
        await self._acquire(timeout_s)
        return self

    async def try_acquire(self) -> bool:
        """Take the lock if it is free. Raises ClientError if no server answers."""
        try:
            await self._acquire(0)
        except LockTimeout:
            return False
        return True

    async def release(self) -> None:
        """Let the next one have it. If no server can be reached that takes up to the TTL."""
        await self._release()

    async def __aenter__(self) -> Self:
        await self.acquire()
        self._guard()
        return self
