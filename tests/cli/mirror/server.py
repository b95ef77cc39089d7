"""A v2 server in memory, as the mirror sees one: the production store behind the client's names.

Time passes when a test says so. Steps can be made to fail, before or after they have happened.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

from kvraft.client.errors import EtcdError, EventIndexCleared, etcd_error
from kvraft.client.model import KeyNode, Result, Resync, WatchEvent
from kvraft.store.errors import ErrorKind, StoreError
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from kvraft.store.view import View

CODES: Final = {
    ErrorKind.KEY_NOT_FOUND: 100,
    ErrorKind.COMPARE_FAILED: 101,
    ErrorKind.NOT_A_FILE: 102,
    ErrorKind.NOT_A_DIRECTORY: 104,
    ErrorKind.KEY_EXISTS: 105,
    ErrorKind.ROOT_READ_ONLY: 107,
    ErrorKind.DIRECTORY_NOT_EMPTY: 108,
    ErrorKind.PATH_TOO_DEEP: 209,
    ErrorKind.HISTORY_CLEARED: 401,
}
START_S: Final = 1_800_000_000


def node_of(document: dict[str, Any]) -> KeyNode:
    return KeyNode(
        document.get("key", ""),
        document.get("value"),
        document.get("dir", False),
        document.get("createdIndex", 0),
        document.get("modifiedIndex", 0),
        document.get("ttl"),
        document.get("expiration"),
        tuple(map(node_of, document.get("nodes", ()))),
    )


def refused(error: StoreError) -> EtcdError:
    return etcd_error(CODES[error.kind], error.kind.name, error.cause.decode(), error.index)


class Server:
    """See above; `now` are seconds, also for the mirror that is tested."""

    def __init__(self) -> None:
        self.store = Store()
        self.now = 0.0
        self.changes = 0
        self.before: Callable[[Request], None] = lambda request: None
        self.after: Callable[[Request], None] = lambda request: None
        self.stirred = asyncio.Condition()
        self.watches: list[Watch] = []
        self.store.apply(Request(Op.SYNC, b"/", time_ns=START_S * 10**9))

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.store.apply(Request(Op.SYNC, b"/", time_ns=self.now_ns))
        await self.stir()

    @property
    def now_ns(self) -> int:
        return int((START_S + self.now) * 1e9)

    async def stir(self) -> None:
        async with self.stirred:
            self.stirred.notify_all()

    async def change(self, op: Op, key: str, **operands: Any) -> Result:
        await asyncio.sleep(0)
        request = Request(op, key.encode(), ttl_seconds=operands.pop("ttl", None), **operands)
        self.before(request)
        self.store.apply(Request(Op.SYNC, b"/", time_ns=self.now_ns))
        try:
            event = self.store.apply(request)
        except StoreError as error:
            raise refused(error) from None
        assert event is not None
        self.changes += 1
        document = json.loads(event.body())
        await self.stir()
        self.after(request)
        return Result(document["action"], node_of(document["node"]), None, event.index)

    async def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        await asyncio.sleep(0)
        try:
            body = self.store.get_body(key.encode(), recursive, sorted, self.now_ns)
        except StoreError as error:
            raise refused(error) from None
        assert not isinstance(body, View), "too large for these tests"
        return Result("get", node_of(json.loads(body)["node"]), None, self.store.index)

    async def set(self, key: str, value: str | bytes, *, ttl: int | None = None) -> Result:
        return await self.change(Op.SET, key, value=str(value).encode(), ttl=ttl)

    async def create(self, key: str, value: str | bytes, *, ttl: int | None = None) -> Result:
        return await self.change(Op.CREATE, key, value=str(value).encode(), ttl=ttl)

    async def update(self, key: str, value: str | bytes, *, ttl: int | None = None) -> Result:
        return await self.change(Op.UPDATE, key, value=str(value).encode(), ttl=ttl)

    async def delete(
        self,
        key: str,
        *,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002
    ) -> Result:
        return await self.change(Op.DELETE, key, recursive=recursive, directory=dir or recursive)

    async def compare_and_swap(
        self,
        key: str,
        value: str | bytes,
        *,
        prev_value: str | bytes | None = None,
        prev_index: int | None = None,
        ttl: int | None = None,
    ) -> Result:
        before = str(prev_value or "").encode()
        return await self.change(
            Op.COMPARE_AND_SWAP,
            key,
            value=str(value).encode(),
            prev_value=before,
            prev_index=prev_index or 0,
            ttl=ttl,
        )

    async def compare_and_delete(
        self, key: str, *, prev_value: str | bytes | None = None, prev_index: int | None = None
    ) -> Result:
        raise NotImplementedError

    async def create_in_order(
        self, directory: str, value: str | bytes, *, ttl: int | None = None
    ) -> Result:
        return await self.change(Op.CREATE_IN_ORDER, directory, value=str(value).encode(), ttl=ttl)

    async def make_dir(self, key: str, *, ttl: int | None = None) -> Result:
        return await self.change(Op.CREATE, key, directory=True, ttl=ttl)

    async def set_dir(self, key: str, *, ttl: int | None = None) -> Result:
        return await self.change(Op.SET, key, directory=True, ttl=ttl)

    async def update_dir(self, key: str, *, ttl: int | None = None) -> Result:
        return await self.change(Op.UPDATE, key, directory=True, ttl=ttl)

    async def delete_dir(self, key: str, *, recursive: bool = False) -> Result:
        return await self.delete(key, recursive=recursive, dir=True)

    async def refresh(self, key: str, ttl: int, *, prev_index: int | None = None) -> Result:
        return await self.change(Op.UPDATE, key, refresh=True, ttl=ttl)

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> Watch:
        assert recursive
        assert initial
        self.watches.append(Watch(self, key))
        return self.watches[-1]


class Watch:
    """A recursive watch that begins with the tree; `lose` stands for a cleared history."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key
        self.waiting: deque[WatchEvent | Resync] = deque()
        self.index: int | None = None
        self.problem = ""

    def __aiter__(self) -> AsyncIterator[WatchEvent | Resync]:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        pass

    async def __anext__(self) -> WatchEvent | Resync:
        await asyncio.sleep(0)
        if self.index is None:
            return await self.state("initial")
        while True:
            looked_at = self.server.store.index
            try:
                found = self.next_event()
            except EventIndexCleared as error:
                return await self.state(error.cause)
            if found is not None:
                return found
            async with self.server.stirred:
                while self.server.store.index == looked_at:
                    await self.server.stirred.wait()

    async def state(self, reason: str) -> Resync:
        try:
            result = await self.server.get(self.key, recursive=True)
        except EtcdError as error:
            self.index = error.index
            return Resync(None, error.index, reason)
        self.index = result.etcd_index
        return Resync(result.node, result.etcd_index, reason)

    def next_event(self) -> WatchEvent | None:
        assert self.index is not None
        try:
            watcher = self.server.store.watch(self.key.encode(), True, False, self.index + 1)
        except StoreError as error:
            raise refused(error) from None
        if not watcher.events:
            self.server.store.unwatch(watcher)
            return None
        event = watcher.events.popleft()
        self.index = event.index
        document = json.loads(event.body())
        return WatchEvent(document["action"], node_of(document["node"]), None, event.index)
