"""A store in memory with the operations on keys, in virtual time, that fails as it is told.

Each operation on it, counted from 0, may be given a fault: what becomes of the request and what
the caller learns are two things.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple, Self

from kvraft.client.errors import (
    CompareFailed,
    DidNotHappen,
    KeyExists,
    KeyNotFound,
    OutcomeUnknown,
    ReadFailed,
)
from kvraft.client.model import KeyNode, Result, Resync, WatchEvent
from kvraft.client.requests import Value
from tests.client.virtual import now

LATENCY_S = 0.01
PATIENCE_S = 1.0  # after which a caller without an answer gets an error
LATE_S = 2.5  # how late a request may come to be carried out


class Fault(enum.Enum):
    """What happens to one operation."""

    REFUSED = "never sent; the caller is told"
    LOST = "never arrives; nobody knows"
    UNANSWERED = "carried out; the answer is lost"
    LATE = "carried out long after the caller has given up"
    SLOW = "carried out and answered, late"


class _Node(NamedTuple):
    value: str
    created: int
    modified: int
    expires_s: float | None


class FakeKeys:
    """The store. Files only; directories are there while something is in them."""

    def __init__(self, faults: dict[int, Fault] | None = None) -> None:
        self.faults = faults or {}
        self.calls: list[str] = []
        self.index = 7
        self.nodes: dict[str, _Node] = {}
        self.events: list[WatchEvent] = []
        self.down = False
        self._news = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    # --- faults ---------------------------------------------------------------------------------

    async def _do(self, name: str, action: Callable[[], Result], changes: bool = True) -> Result:
        number = len(self.calls)
        self.calls.append(name)
        fault = self.faults.get(number)
        await asyncio.sleep(LATENCY_S)
        if self.down or fault is Fault.REFUSED:
            await asyncio.sleep(PATIENCE_S)
            raise DidNotHappen("no server") if changes else ReadFailed("no server")
        if fault in (Fault.LOST, Fault.LATE):
            if fault is Fault.LATE and changes:
                self._later(action)
            await asyncio.sleep(PATIENCE_S)
            raise OutcomeUnknown("no answer") if changes else ReadFailed("no answer")
        if fault is Fault.SLOW:
            await asyncio.sleep(PATIENCE_S / 2)
        self.expire()
        result = action()
        if fault is Fault.UNANSWERED:
            await asyncio.sleep(PATIENCE_S)
            raise OutcomeUnknown("no answer") if changes else ReadFailed("no answer")
        if fault is Fault.SLOW:
            await asyncio.sleep(PATIENCE_S / 2)
        await asyncio.sleep(LATENCY_S)
        return result

    def _later(self, action: Callable[[], Result]) -> None:
        async def carry_out() -> None:
            await asyncio.sleep(LATE_S)
            self.expire()
            try:
                action()
            except (KeyNotFound, KeyExists, CompareFailed):
                pass

        task = asyncio.create_task(carry_out())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def settle(self) -> None:
        """Wait for what is still under way."""
        if self._late:
            await asyncio.wait(self._late)

    # --- the store ------------------------------------------------------------------------------

    def expire(self) -> None:
        """Let go what is due."""
        due = [k for k, n in self.nodes.items() if n.expires_s is not None and n.expires_s <= now()]
        for key in sorted(due, key=lambda key: self.nodes[key].expires_s or 0):
            self._removed("expire", key)

    def keys(self, directory: str = "/") -> list[str]:
        self.expire()
        return sorted(key for key in self.nodes if key.startswith(directory.rstrip("/") + "/"))

    def put(self, action: str, key: str, value: Value, ttl: int | None, created: int = 0) -> Result:
        text = value if isinstance(value, str) else value.decode()
        previous = self._shown(key)
        self.index += 1
        expires_s = None if ttl is None else now() + ttl
        self.nodes[key] = _Node(text, created or self.index, self.index, expires_s)
        self._tell(action, previous)
        return Result(action, self._found(key), previous, self.index)

    def _removed(self, action: str, key: str) -> Result:
        previous = self._found(key)
        del self.nodes[key]
        self.index += 1
        node = KeyNode(key, None, False, previous.created_index, self.index)
        self.events.append(WatchEvent(action, node, previous, self.index))
        self._wake()
        return Result(action, node, previous, self.index)

    def _tell(self, action: str, previous: KeyNode | None) -> None:
        key = max(self.nodes, key=lambda key: self.nodes[key].modified)
        self.events.append(WatchEvent(action, self._found(key), previous, self.index))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _shown(self, key: str) -> KeyNode | None:
        return self._found(key) if key in self.nodes else None

    def _found(self, key: str) -> KeyNode:
        if key not in self.nodes:
            raise KeyNotFound(100, "Key not found", key, self.index)
        node = self.nodes[key]
        ttl = None if node.expires_s is None else max(1, round(node.expires_s - now()))
        return KeyNode(key, node.value, False, node.created, node.modified, ttl)

    # --- operations -----------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        def read() -> Result:
            return Result("get", self.tree(key), None, self.index)

        return await self._do(f"get {key}", read, changes=False)

    def tree(self, key: str) -> KeyNode:
        """A file, or a directory with what is in it."""
        if key in self.nodes:
            return self._found(key)
        below = tuple(self._found(name) for name in self.keys(key))
        if not below:
            raise KeyNotFound(100, "Key not found", key, self.index)
        return KeyNode(key, None, True, nodes=below)

    async def set(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        return await self._do(f"set {key}", lambda: self.put("set", key, value, ttl))

    async def create(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        def create() -> Result:
            if key in self.nodes:
                raise KeyExists(105, "Key already exists", key, self.index)
            return self.put("create", key, value, ttl)

        return await self._do(f"create {key}", create)

    async def update(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        def update() -> Result:
            return self.put("update", key, value, ttl, self._found(key).created_index)

        return await self._do(f"update {key}", update)

    async def delete(
        self,
        key: str,
        *,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002
    ) -> Result:
        def delete() -> Result:
            self._found(key)
            return self._removed("delete", key)

        return await self._do(f"delete {key}", delete)

    async def compare_and_delete(
        self, key: str, *, prev_value: Value | None = None, prev_index: int | None = None
    ) -> Result:
        def delete() -> Result:
            self._compare(key, prev_index)
            return self._removed("compareAndDelete", key)

        return await self._do(f"delete {key}", delete)

    async def create_in_order(
        self, directory: str, value: Value, *, ttl: int | None = None
    ) -> Result:
        def create() -> Result:
            return self.put("create", f"{directory}/{self.index + 1:020}", value, ttl)

        return await self._do(f"queue {directory}", create)

    async def refresh(self, key: str, ttl: int, *, prev_index: int | None = None) -> Result:
        def refresh() -> Result:
            self._compare(key, prev_index)
            self.index += 1
            node = self.nodes[key]
            self.nodes[key] = node._replace(modified=self.index, expires_s=now() + ttl)
            return Result("update", self._found(key), None, self.index)

        return await self._do(f"refresh {key}", refresh)

    def _compare(self, key: str, prev_index: int | None) -> None:
        node = self._found(key)
        if prev_index not in (None, node.modified_index):
            raise CompareFailed(101, "Compare failed", f"[{prev_index}]", self.index)

    async def compare_and_swap(
        self,
        key: str,
        value: Value,
        *,
        prev_value: Value | None = None,
        prev_index: int | None = None,
        ttl: int | None = None,
    ) -> Result:
        raise NotImplementedError

    async def make_dir(self, key: str, *, ttl: int | None = None) -> Result:
        raise NotImplementedError

    async def set_dir(self, key: str, *, ttl: int | None = None) -> Result:
        raise NotImplementedError

    async def update_dir(self, key: str, *, ttl: int | None = None) -> Result:
        raise NotImplementedError

    async def delete_dir(self, key: str, *, recursive: bool = False) -> Result:
        raise NotImplementedError

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> FakeWatch:
        return FakeWatch(self, key, recursive, after_index, initial)

    def next_event(self, key: str, recursive: bool, after: int) -> WatchEvent | None:
        self.expire()
        for event in self.events:
            below = recursive and event.key.startswith(f"{key}/")
            if event.index > after and (event.key == key or below):
                return event
        return None

    async def wait_for_news(self) -> None:
        """Until something has changed, or something is due."""
        dues = [node.expires_s for node in self.nodes.values() if node.expires_s is not None]
        try:
            async with asyncio.timeout_at(min(dues) if dues else None):
                await self._news.wait()
        except TimeoutError:
            pass


class FakeWatch:
    """Events of the store, without failures: those are the business of the real watch."""

    def __init__(
        self, keys: FakeKeys, key: str, recursive: bool, after: int | None, initial: bool
    ) -> None:
        self._keys = keys
        self._key = key
        self._recursive = recursive
        self._after = keys.index if after is None else after
        self._initial = initial

    def __aiter__(self) -> AsyncIterator[WatchEvent | Resync]:
        return self

    async def __anext__(self) -> WatchEvent | Resync:
        await asyncio.sleep(LATENCY_S)
        if self._initial:
            self._initial = False
            return self.resync("initial")
        while True:
            event = self._keys.next_event(self._key, self._recursive, self._after)
            if event is not None:
                self._after = event.index
                return event
            await self._keys.wait_for_news()

    def resync(self, reason: str) -> Resync:
        self._keys.expire()
        self._after = self._keys.index
        try:
            return Resync(self._keys.tree(self._key), self._after, reason)
        except KeyNotFound:
            return Resync(None, self._after, reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        pass


def each_fault(calls: int) -> Iterable[tuple[int, Fault]]:
    """Every fault at every one of so many calls."""
    return [(number, fault) for number in range(calls) for fault in Fault]
