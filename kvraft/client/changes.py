"""The operations that change keys, for whoever can carry out one request."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from kvraft.client import requests
from kvraft.client.errors import EventIndexCleared
from kvraft.client.model import Result, Resync, WatchEvent
from kvraft.client.operations import Watching
from kvraft.client.recipes import Recipes
from kvraft.client.requests import Request, Value


class KeyChanges(Recipes, ABC):
    """All of `KeyOperations` that follows from one request and from watching."""

    @abstractmethod
    async def _perform(self, request: Request) -> Result:
        """Carry out a request on a key."""

    @abstractmethod
    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> Watching:
        """See `KeyOperations.watch`."""

    async def set(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Set a key, whether it exists or not; parents are made. `ttl` in seconds.

        Like every change it raises DidNotHappen if no server took it, and OutcomeUnknown if nobody
        can say.
        """
        return await self._perform(requests.put(key, value=value, ttl=ttl))

    async def create(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Create a key. Raises KeyExists."""
        return await self._perform(requests.put(key, value=value, ttl=ttl, exist=False))

    async def update(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Change a key that exists; without `ttl` it will stay. Raises KeyNotFound."""
        return await self._perform(requests.put(key, value=value, ttl=ttl, exist=True))

    async def delete(
        self,
        key: str,
        *,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002
    ) -> Result:
        """Delete a key; with `dir` an empty directory, with `recursive` a full one.

        Raises KeyNotFound, NotAFile, DirectoryNotEmpty.
        """
        return await self._perform(requests.delete(key, recursive=recursive, directory=dir))

    async def compare_and_swap(
        self,
        key: str,
        value: Value,
        *,
        prev_value: Value | None = None,
        prev_index: int | None = None,
        ttl: int | None = None,
    ) -> Result:
        """Change a key if its value, its modified index or both are as given.

        The previous value cannot be empty. Raises CompareFailed, KeyNotFound, and ValueError if
        there is nothing to compare with.
        """
        request = requests.compare_and_swap(
            key, value, prev_value=prev_value, prev_index=prev_index, ttl=ttl
        )
        return await self._perform(request)

    async def compare_and_delete(
        self, key: str, *, prev_value: Value | None = None, prev_index: int | None = None
    ) -> Result:
        """Delete a key if it is as given; see `compare_and_swap`."""
        request = requests.compare_and_delete(key, prev_value=prev_value, prev_index=prev_index)
        return await self._perform(request)

    async def create_in_order(
        self, directory: str, value: Value, *, ttl: int | None = None
    ) -> Result:
        """Create a key below `directory` with the number of this change as its name.

        The names sort in the order in which the keys were made; `Result.key` is the new one.
        """
        return await self._perform(requests.post(directory, value=value, ttl=ttl))

    async def make_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory. Raises KeyExists, whatever is there."""
        return await self._perform(requests.put(key, ttl=ttl, exist=False, directory=True))

    async def set_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory, or replace a file by one. Raises NotAFile if it is one already."""
        return await self._perform(requests.put(key, ttl=ttl, directory=True))

    async def update_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Change the TTL of a directory that exists; without `ttl` it will stay."""
        return await self._perform(requests.put(key, ttl=ttl, exist=True, directory=True))

    async def delete_dir(self, key: str, *, recursive: bool = False) -> Result:
        """Delete a directory: an empty one, or with `recursive` all that is in it."""
        return await self._perform(requests.delete(key, recursive=recursive, directory=True))

    async def refresh(self, key: str, ttl: int, *, prev_index: int | None = None) -> Result:
        """Give a key another TTL and keep its value; watchers are not told.

        Raises KeyNotFound, and CompareFailed if its modified index is not `prev_index`.
        """
        return await self._perform(requests.refresh(key, ttl, prev_index))

    async def wait(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        timeout_s: float | None = None,
    ) -> WatchEvent:
        """The first change of a key, or of anything below it, above `after_index`.

        Raises EventIndexCleared if that is too long ago, and TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            async with self.watch(key, recursive=recursive, after_index=after_index) as events:
                async for event in events:
                    if isinstance(event, Resync):
                        raise EventIndexCleared(401, event.reason, "", event.index)
                    return event
        raise RuntimeError("the client was closed")
