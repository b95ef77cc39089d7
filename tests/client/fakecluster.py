"""Members that share one history and answer watches as etcd does, with faults on request.

The history, what a poll is answered with and when it waits are those of the keys API; everything
else is as little as a watch needs. Each member may lag, and each answer may break off anywhere.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qs, unquote

from tests.client.scripted import Close, Scripted, Seen, head, resets


@dataclass(frozen=True)
class Change:
    """One event of the history."""

    index: int
    action: str
    key: str
    value: str | None


class Faults(NamedTuple):
    """How often, out of one, a request ends in which way."""

    close: float = 0.0
    reset: float = 0.0
    error: float = 0.0
    empty: float = 0.0
    cut: float = 0.0
    overflow: float = 0.0


_LAST: Final = b"0\r\n\r\n"


class FakeCluster:
    """A history, and members that serve it."""

    def __init__(
        self,
        size: int = 1,
        *,
        seed: int = 0,
        history: int = 1000,
        faults: Faults | None = None,
        streams: bool = False,
    ) -> None:
        """`streams`: members say that their streams are complete, as kvraft's do."""
        self.streams = streams
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        self.history = history
        self.changes: list[Change] = []
        self.first_index = 10  # as a server's own records come before
        self.name = "abc"
        self.lag = [0] * size
        self.polls: list[int] = []  # the indices that were asked for
        self.moved = asyncio.Condition()
        self.members = [Scripted(partial(self._act, number)) for number in range(size)]

    async def __aenter__(self) -> Self:
        for member in self.members:
            await member.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self.members:
            await member.__aexit__()

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    @property
    def index(self) -> int:
        return self.first_index + len(self.changes)

    async def change(self, key: str, value: str | None) -> int:
        """Set a key, or delete it if there is no value."""
        async with self.moved:
            action = "delete" if value is None else "set"
            self.changes.append(Change(self.index + 1, action, key, value))
            self.moved.notify_all()
        return self.index

    async def set_lag(self, number: int, lag: int) -> None:
        async with self.moved:
            self.lag[number] = lag
            self.moved.notify_all()

    async def wipe(self) -> None:
        """Come back with an empty store."""
        async with self.moved:
            self.changes = []
            self.moved.notify_all()

    def tree(self, index: int) -> dict[str, str]:
        """All keys as they were then."""
        found: dict[str, str] = {}
        for change in self.changes:
            if change.index > index:
                break
            if change.value is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.value
        return found

    # --- answers ------------------------------------------------------------------------

    async def _act(self, number: int, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await self._break_down(seen, writer)
        path, _, query = seen.target.partition("?")
        key = unquote(path.removeprefix("/v2/keys"))
        params = {name: values[0] for name, values in parse_qs(query).items()}
        if params.get("wait") == "true":
            asked = self.streams and seen.headers.get("x-kvraft-stream") == "complete"
            stream = asked and params.get("stream") == "true"
            await self._poll(number, key, int(params["waitIndex"]), stream, writer)
        elif params.get("quorum") == "true":
            self._send(writer, 200, self.index, self._state(key))
        else:
            assert seen.method == "HEAD"
            writer.write(head(200, self._headers(self._visible(number)), 0))

    async def _break_down(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        chance = self.rng.random()
        faults = self.faults
        if (chance := chance - faults.close) < 0:
            raise Close
        if (chance := chance - faults.reset) < 0:
            await resets(seen, writer)
        if (chance := chance - faults.error) < 0:
            body = {"errorCode": 300, "message": "Raft Internal Error", "index": 0}
            self._send(writer, 500, 0, {**body, "cause": "etcdserver: request timed out"})
            await writer.drain()
            raise Close
        if "wait=true" in seen.target and chance - faults.empty < 0:
            writer.write(head(200, self._headers(self.index)) + b"0\r\n\r\n")
            await writer.drain()
            raise Close

    async def _poll(
        self, number: int, key: str, since: int, stream: bool, writer: asyncio.StreamWriter
    ) -> None:
        self.polls.append(since)
        oldest = max(self.first_index + 1, self.index - self.history + 1)
        if since < oldest:
            cause = f"the requested history has been cleared [{oldest}/{since}]"
            body = {"errorCode": 401, "message": "cleared", "cause": cause, "index": self.index}
            self._send(writer, 400, self.index, body)
            return
        promise = "X-Kvraft-Stream: complete\r\n" if stream else ""
        writer.write(head(200, self._headers(self._visible(number)) + promise))
        await writer.drain()
        while True:
            found = await self._next(number, key, since)
            text = json.dumps(_document(found)).encode() + b"\n"
            whole = b"%x\r\n%b\r\n" % (len(text), text) + (b"" if stream else _LAST)
            if self.rng.random() < self.faults.cut:
                writer.write(whole[: self.rng.randrange(len(whole))])
                await writer.drain()
                raise Close
            writer.write(whole)
            if not stream:
                return
            if self.rng.random() < self.faults.overflow:
                writer.write(_LAST)
                return
            since = found.index + 1

    async def _next(self, number: int, key: str, since: int) -> Change:
        async with self.moved:
            while (found := self._first(number, key, since)) is None:
                await self.moved.wait()
                if self.rng.random() < self.faults.close:
                    raise Close
        return found

    def _visible(self, number: int) -> int:
        return max(self.first_index, self.index - self.lag[number])

    def _first(self, number: int, key: str, since: int) -> Change | None:
        visible = self._visible(number)
        for change in self.changes[max(0, since - self.first_index - 1) :]:
            if change.index > visible:
                return None
            if change.index >= since and in_scope(change.key, key):
                return change
        return None

    def _state(self, key: str) -> dict[str, Any]:
        nodes = [
            {"key": name, "value": value}
            for name, value in self.tree(self.index).items()
            if in_scope(name, key)
        ]
        return {"action": "get", "node": {"key": key, "dir": True, "nodes": nodes}}

    def _headers(self, index: int) -> str:
        return f"X-Etcd-Index: {index}\r\nX-Etcd-Cluster-Id: {self.name}\r\n"

    def _send(
        self, writer: asyncio.StreamWriter, status: int, index: int, body: dict[str, Any]
    ) -> None:
        text = json.dumps(body).encode()
        writer.write(head(status, self._headers(index), len(text)) + text)


def in_scope(key: str, watched: str) -> bool:
    return key == watched or key.startswith(f"{watched}/")


def _document(change: Change) -> dict[str, Any]:
    node: dict[str, Any] = {"key": change.key, "modifiedIndex": change.index}
    if change.value is not None:
        node["value"] = change.value
    return {"action": change.action, "node": node}
