"""A place in a queue of in-order keys: who has the lowest key is at the front.

Locks and elections are both this. A candidate creates an in-order key with a TTL in the directory
of the queue, keeps it alive, and waits until the key before its own is gone; only that one is
watched, so a change wakes one candidate and not all. Names of in-order keys grow with the
store's index and never come back, so the order is that of creation, and nobody gets the key of
another.

**Creating a key may have an unknown outcome.** Each place therefore has a mark of its own in the
value. After such an outcome the queue is read: a key with our mark is ours. If there is none, the
request may still be under way, and another key is created; one that turns up later is deleted when
it is seen, and nobody refreshes it, so it is gone after its TTL at the latest. Nobody believes in
a key that it has not seen, so such a key can delay others and never let two of them in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from kvraft.client.errors import (
    ClientError,
    DidNotHappen,
    KeyNotFound,
    OutcomeUnknown,
    ReadFailed,
)
from kvraft.client.keeping import Clock, Keeper, check_ttl
from kvraft.client.model import KeyNode, Result, Resync
from kvraft.client.operations import KeyOperations
from kvraft.limits import QUEUE_LEAVE_S, QUEUE_PAUSE_S

DIGITS: Final = 20  # of the name of an in-order key

log = logging.getLogger(__name__)


def index_of(key: str) -> int | None:
    """The index at which an in-order key was created; None for any other key."""
    name = key.rpartition("/")[2]
    return int(name) if len(name) == DIGITS and name.isascii() and name.isdigit() else None


def in_line(directory: KeyNode | None) -> list[KeyNode]:
    """The keys of a queue in their order; anything else in the directory does not count."""
    if directory is None:
        return []
    places = [node for node in directory.nodes if not node.dir and index_of(node.key) is not None]
    return sorted(places, key=lambda node: node.key)


def queue_directory(parent: str, name: str) -> str:
    """The directory of a queue. Raises ValueError."""
    if not name.strip("/"):
        raise ValueError(f"the name must not be empty: {name!r}")
    return f"/{parent.strip('/')}/{name.strip('/')}"


class Place:
    """One place in a queue, from `reach_front()` to `leave()`; then it may be used again.

    `mark` is the value of the key: nobody else may use it.
    """

    def __init__(
        self, operations: KeyOperations, directory: str, mark: str, ttl: int, clock: Clock
    ) -> None:
        self.keeper: Keeper | None = None
        self._operations = operations
        self._directory = directory
        self._mark = mark
        self._ttl = check_ttl(ttl)
        self._clock = clock
        self._creating: asyncio.Task[Result] | None = None
        # the time before the first request to create that had no answer, until that is cleared up
        self._unsure_s: float | None = None
        # whether a key of ours may exist, or come to exist, beside that of the keeper
        self._strays = False

    async def reach_front(self, *, wait: bool = True) -> bool:
        """Queue up, and wait until nobody is before us; False if `wait` is false and somebody is.

        Goes on through outages, and queues up again if the place expires meanwhile. Without
        `wait` an outage raises DidNotHappen, OutcomeUnknown or ReadFailed. A refusal (no
        permission, a file in the way) raises EtcdError. Whatever is raised, `leave()` cleans up.
        """
        while True:
            try:
                if self.keeper is None or self.keeper.lost.is_set():
                    await self._enter()
                ahead, index = await self._ahead()
                if not ahead and self._alive():
                    return True
                if ahead and not wait:
                    return False
                if ahead:
                    await self._until_gone(ahead[-1], index)
            except (DidNotHappen, OutcomeUnknown, ReadFailed) as error:
                if not wait:
                    raise
                log.info("queue %s: %s; trying again", self._directory, error)
                await asyncio.sleep(QUEUE_PAUSE_S)

    async def leave(self) -> None:
        """Give the place up: best effort within `QUEUE_LEAVE_S`, its TTL does it otherwise."""
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            await keeper.stop()
        try:
            async with asyncio.timeout(QUEUE_LEAVE_S):
                if keeper is not None:
                    await self._delete(keeper.key)
                await self._recall()
        except (ClientError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            log.warning("queue %s: the place is left to its TTL: %s", self._directory, why)
        finally:
            if self._creating is not None:
                self._creating.cancel()
                self._creating = None
            self._unsure_s = None
            self._strays = False

    # --- queueing up ----------------------------------------------------------------------------

    async def _enter(self) -> None:
        """Have a key, known to us, and kept alive."""
        if self.keeper is not None:  # it was lost, perhaps only to our knowledge
            await self.keeper.stop()
            self.keeper = None
            self._strays = True
        if self._unsure_s is not None:
            mine = [node for node in await self._listing() if node.value == self._mark]
            if mine:
                await self._adopt(mine[0].key, self._unsure_s)
                return
        sent_s = self._clock()
        # In a task of its own: if we are cancelled, its outcome is still wanted, to clean up.
        self._creating = asyncio.create_task(self._create(), name=f"queue up in {self._directory}")
        try:
            result = await asyncio.shield(self._creating)
        except OutcomeUnknown:
            self._creating = None
            self._strays = True
            if self._unsure_s is None:
                self._unsure_s = sent_s
            raise
        except ClientError:
            self._creating = None
            raise
        self._creating = None
        self._unsure_s = None
        self.keeper = Keeper(self._operations, result.key, self._ttl, sent_s, self._clock)
        self.keeper.start()

    async def _create(self) -> Result:
        return await self._operations.create_in_order(self._directory, self._mark, ttl=self._ttl)

    async def _adopt(self, key: str, sent_s: float) -> None:
        """A key with our mark was found, made by a request of then or later."""
        self._unsure_s = None
        self.keeper = Keeper(self._operations, key, self._ttl, sent_s, self._clock)
        # it may be old; only its deadline tells how much of its life is left
        await self.keeper.refresh()
        self.keeper.start()

    def _alive(self) -> bool:
        return self.keeper is not None and self.keeper.remaining_s() > 0

    # --- waiting --------------------------------------------------------------------------------

    async def _listing(self) -> list[KeyNode]:
        return (await self._read())[0]

    async def _read(self) -> tuple[list[KeyNode], int]:
        """The keys of the queue, as a linearizable read shows them, and the index of that."""
        try:
            result = await self._operations.get(self._directory, quorum=True)
        except KeyNotFound as error:
            return [], error.index
        return in_line(result.node), result.etcd_index

    async def _ahead(self) -> tuple[list[KeyNode], int]:
        """The keys before ours and the index of the store; whether we still have one shows in
        `keeper.lost`."""
        places, index = await self._read()
        keeper = self.keeper
        assert keeper is not None
        if self._strays:
            strays = [n for n in places if n.value == self._mark and n.key != keeper.key]
            for stray in strays:
                await self._delete(stray.key)
            places = [node for node in places if node not in strays]
        if all(node.key != keeper.key for node in places):
            keeper.lose("the key has expired or was deleted")
            return [], index
        return [node for node in places if node.key < keeper.key], index

    async def _until_gone(self, node: KeyNode, index: int) -> None:
        """Wait until a key is gone, may be gone, or our own place is lost."""
        assert self.keeper is not None
        lost = asyncio.ensure_future(self.keeper.lost.wait())
        gone = asyncio.ensure_future(self._watch(node.key, index))
        try:
            await asyncio.wait({lost, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
        finally:
            lost.cancel()
            gone.cancel()
            await asyncio.gather(lost, gone, return_exceptions=True)

    async def _watch(self, key: str, index: int) -> None:
        async with self._operations.watch(key, after_index=index) as changes:
            async for change in changes:
                # Others may write to their key; only its end, or not knowing, is of interest.
                if isinstance(change, Resync) or change.value is None:
                    return

    # --- leaving --------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """See to it that no key of ours stays which the keeper did not have."""
        creating = self._creating
        if creating is not None:
            try:
                await self._delete((await asyncio.shield(creating)).key)
            except OutcomeUnknown:
                self._strays = True
            except ClientError:
                pass  # it was not created
            self._creating = None
        if self._strays:
            for node in await self._listing():
                if node.value == self._mark:
                    await self._delete(node.key)

    async def _delete(self, key: str) -> None:
        """Delete one of our keys; repeating that is harmless, as its name is never used again."""
        while True:
            try:
                with contextlib.suppress(KeyNotFound):
                    await self._operations.delete(key)
                return
            except (DidNotHappen, OutcomeUnknown) as error:
                log.info("queue %s: deleting %s: %s", self._directory, key, error)
                await asyncio.sleep(QUEUE_PAUSE_S)
