"""What can be done with keys, whoever carries it out: a client, or a member in this process.

Locks, elections and leases need nothing else, so they work on both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, Self

from kvraft.client.model import Result, Resync, WatchEvent
from kvraft.client.requests import Value


class Watching(Protocol):
    """The events of one watch, in the order of their indices.

    An asynchronous iterator, and a context manager that ends the watch.
    """

    def __aiter__(self) -> AsyncIterator[WatchEvent | Resync]: ...

    async def __anext__(self) -> WatchEvent | Resync: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def aclose(self) -> None:
        """End the watch; a pending `__anext__` raises StopAsyncIteration."""


class KeyOperations(Protocol):
    """The operations of the keys API. For arguments and errors see `kvraft.Client`."""

    async def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        """Read a key or a directory."""

    async def set(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Set a key, whether it exists or not."""

    async def create(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Create a key that does not exist."""

    async def update(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Change a key that exists."""

    async def delete(
        self,
        key: str,
        *,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002
    ) -> Result:
        """Delete a key or a directory."""

    async def compare_and_swap(
        self,
        key: str,
        value: Value,
        *,
        prev_value: Value | None = None,
        prev_index: int | None = None,
        ttl: int | None = None,
    ) -> Result:
        """Change a key if it is as expected."""

    async def compare_and_delete(
        self, key: str, *, prev_value: Value | None = None, prev_index: int | None = None
    ) -> Result:
        """Delete a key if it is as expected."""

    async def create_in_order(
        self, directory: str, value: Value, *, ttl: int | None = None
    ) -> Result:
        """Create a key below a directory whose name is greater than those before it."""

    async def make_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory that does not exist."""

    async def set_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory, or replace a file by one."""

    async def update_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Change the TTL of a directory."""

    async def delete_dir(self, key: str, *, recursive: bool = False) -> Result:
        """Delete a directory."""

    async def refresh(self, key: str, ttl: int, *, prev_index: int | None = None) -> Result:
        """Give a key another TTL without telling watchers."""

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> Watching:
        """Follow the changes of a key, or of all below it."""
