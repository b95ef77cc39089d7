"""What locks and leaderships have in common: a held place, its loss, and the block it guards."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from kvraft.client.errors import LockLost, LockTimeout
from kvraft.client.queueing import Place, index_of

INTERRUPTED: Final = "the place was lost"  # message of the cancellation


class Held:
    """A place at the front of a queue, once it is reached; base of `Lock` and `Election`.

    As an asynchronous context manager it interrupts its block (by cancellation, as
    `asyncio.timeout` does) when the place is lost, and raises `LockLost` then.
    """

    _what = "place"

    def __init__(self, place: Place, directory: str) -> None:
        self.directory = directory
        self._place = place
        self._busy = False  # from the beginning of acquiring to the end of releasing
        self._held = False
        self._never_lost = asyncio.Event()
        self._guarded: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._interrupted = False

    @property
    def held(self) -> bool:
        """Whether it is held for certain at this moment: an exact answer, by the clock."""
        return self.remaining_s() > 0

    def remaining_s(self) -> float:
        """For how many seconds it is certainly held if no refresh succeeds any more."""
        keeper = self._place.keeper
        return keeper.remaining_s() if self._held and keeper is not None else 0.0

    @property
    def lost(self) -> asyncio.Event:
        """Set as soon as it is known that what was acquired is no longer held."""
        keeper = self._place.keeper
        return keeper.lost if self._held and keeper is not None else self._never_lost

    @property
    def key(self) -> str:
        """The key that is held. Raises LockLost if none is."""
        keeper = self._place.keeper
        if not self._held or keeper is None:
            raise LockLost(f"the {self._what} {self.directory} is not held")
        return keeper.key

    @property
    def fencing_index(self) -> int:
        """The index at which the key was created: greater for each holder than for those before.

        Send it along with everything that is done under the lock, and let the receiver refuse
        what carries a smaller one than it has seen. Raises LockLost if nothing is held.
        """
        index = index_of(self.key)
        assert index is not None
        return index

    def check(self) -> None:
        """Raises LockLost unless it is held for certain at this moment."""
        if not self.held:
            raise LockLost(self._loss())

    # --- for Lock and Election ------------------------------------------------------------------

    async def _acquire(self, timeout_s: float | None) -> None:
        """Reach the front. Raises LockTimeout, or what a refusal raises; nothing is left then."""
        if self._busy:
            raise RuntimeError(f"the {self._what} {self.directory} is in use: it is not reentrant")
        self._busy = True
        try:
            if timeout_s is not None and timeout_s <= 0:
                self._held = await self._place.reach_front(wait=False)
            else:
                async with asyncio.timeout(timeout_s):
                    self._held = await self._place.reach_front()
        except TimeoutError:
            pass
        finally:
            if not self._held:
                try:
                    await self._place.leave()
                finally:
                    self._busy = False
        if not self._held:
            raise LockTimeout(f"the {self._what} {self.directory}: not within {timeout_s} s")

    async def _release(self) -> None:
        self._held = False
        try:
            await self._place.leave()
        finally:
            self._busy = False

    def _loss(self) -> str:
        keeper = self._place.keeper
        reason = keeper.reason if keeper is not None else ""
        return f"the {self._what} {self.directory} is not held" + (f": {reason}" if reason else "")

    def _guard(self) -> None:
        """From now on the current task is interrupted when the place is lost."""
        task = asyncio.current_task()
        keeper = self._place.keeper
        assert task is not None
        assert keeper is not None
        self._guarded = task
        self._cancelling = task.cancelling()
        self._interrupted = False
        keeper.on_lost = self._interrupt

    def _interrupt(self) -> None:
        if self._guarded is not None and not self._interrupted:
            self._interrupted = True
            self._guarded.cancel(INTERRUPTED)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release, and raise LockLost if it was lost in between."""
        keeper = self._place.keeper
        if keeper is not None:
            keeper.on_lost = None
        task, self._guarded = self._guarded, None
        in_time = self.held
        loss = self._loss()
        cancelled_by_us = False
        if self._interrupted:
            assert task is not None
            # As asyncio.timeout does: if somebody else cancels the task as well, that counts.
            cancelled_by_us = task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        await self._release()
        if cancelled_by_us or (kind is None and not in_time):
            raise LockLost(loss) from error
