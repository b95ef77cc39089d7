"""Keeps a key alive by refreshing its TTL, and knows until when it certainly lives.

The server counts a TTL from when it takes the request, which is after it was sent. So a key that
was refreshed lives for at least its TTL counted from *before the request was sent*, by a clock of
this machine that never jumps. That moment is the deadline here; whoever relies on the key stops
at it, whether or not anybody could be asked. (A lost answer moves nothing: the key may live
longer than we know, never shorter.)

What is taken for granted: clocks on both sides run at the same speed, and servers do not set theirs
forward. kvraft's time is the leader's and monotone; with etcd, members' clocks have to agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kvraft.client.errors import ClientError, KeyNotFound
from kvraft.client.operations import KeyOperations
from kvraft.limits import KEEP_MIN_PAUSE_S, KEEP_TRIES_PER_TTL

Clock = Callable[[], float]


def boot_time() -> float:
    """Seconds of a clock that never jumps and goes on while the machine sleeps, where there is one.

    The ordinary monotonic clock of Linux stands still while a laptop or a virtual machine is
    suspended, and the servers' clocks do not.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def check_ttl(ttl: int) -> int:
    """A TTL that can be kept up. Raises ValueError."""
    if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl < 1:
        raise ValueError(f"ttl must be a whole number of seconds, at least 1, not {ttl!r}")
    return ttl


class Keeper:
    """Refreshes one key in the background, from `start()` to `stop()` or until it is lost.

    Made for a key that nobody else ever creates, as in-order keys are: that it exists means
    that it is still ours. `sent_s` is the time, by `clock`, before the request that created it.
    """

    def __init__(
        self, operations: KeyOperations, key: str, ttl: int, sent_s: float, clock: Clock
    ) -> None:
        self.key = key
        self.deadline_s = sent_s + ttl
        self.lost = asyncio.Event()
        self.reason = ""
        self.on_lost: Callable[[], None] | None = None
        self._operations = operations
        self._ttl = ttl
        self._clock = clock
        self._interval_s = ttl / KEEP_TRIES_PER_TTL
        self._next_s = sent_s + self._interval_s
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def remaining_s(self) -> float:
        """How long the key certainly lives from now on; 0 if that is over."""
        return 0.0 if self.lost.is_set() else max(0.0, self.deadline_s - self._clock())

    def start(self) -> None:
        """Begin to refresh."""
        self._task = asyncio.create_task(self._run(), name=f"keep {self.key}")

    async def stop(self) -> None:
        """Refresh no more. The key is left as it is."""
        self.on_lost = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def refresh(self) -> None:
        """Refresh now. What comes of it shows in `deadline_s` and `lost`."""
        sent_s = self._clock()
        # One try gets a part of the time only: the next one may meet a member that answers.
        limit_s = self._interval_s
        if self.deadline_s > sent_s:
            limit_s = min(limit_s, self.deadline_s - sent_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._operations.refresh(self.key, self._ttl)
        except KeyNotFound:
            self.lose("the key has expired or was deleted")
        except (ClientError, TimeoutError) as error:
            self._trouble = str(error) or "no answer in time"
            self._next_s = self._clock() + max(KEEP_MIN_PAUSE_S, self._interval_s / 4)
        else:
            self._trouble = ""
            self.deadline_s = sent_s + self._ttl
            self._next_s = sent_s + self._interval_s

    def lose(self, reason: str) -> None:
        """The key is not to be relied on any more; the first reason counts."""
        if self.lost.is_set():
            return
        self.reason = reason
        self.lost.set()
        if self.on_lost is not None:
            self.on_lost()

    async def _run(self) -> None:
        try:
            while not self.lost.is_set():
                moment_s = min(self._next_s, self.deadline_s)
                await asyncio.sleep(max(0.0, moment_s - self._clock()))
                if self._clock() >= self.deadline_s:
                    detail = f": {self._trouble}" if self._trouble else ""
                    self.lose(f"it could not be refreshed in time{detail}")
                elif self._clock() >= self._next_s:
                    await self.refresh()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.lose(f"refreshing it failed: {error!r}")
            raise
