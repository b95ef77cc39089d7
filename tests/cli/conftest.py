"""Servers in this process, and kvraftctl run on streams that a test can read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from kvraft.client.portal import Portal
from kvraft.client.sync import SyncClient
from kvraft.embedded.node import Node
from kvraft_cli import main


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Stream(io.TextIOWrapper):
    """A standard stream in memory; `terminal` says what it pretends to be."""

    def __init__(self, content: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), "utf-8", "surrogateescape", "")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8", "surrogateescape")


def kvraftctl(*words: str, typed: bytes = b"", terminal: bool = False) -> Ran:
    """Run one command in this process."""
    streams = Stream(typed), Stream(terminal=terminal), Stream(terminal=terminal)
    code = main.run(words, *streams)
    return Ran(code, streams[1].text(), streams[2].text())


class Member(NamedTuple):
    """A server in memory, its URL, and a client of it."""

    url: str
    client: SyncClient

    def ctl(self, *words: str, typed: bytes = b"", terminal: bool = False) -> Ran:
        """Run one command on this server."""
        return kvraftctl("--endpoints", self.url, *words, typed=typed, terminal=terminal)

    def keys(self, key: str = "/") -> dict[str, str | None]:
        """All keys with their values; None for directories."""
        node = self.client.get(key, recursive=True, quorum=True).node
        return {each.key: each.value for each in node.walk() if each.key != "/"}


StartMember = Callable[[], Member]


@pytest.fixture
def start_member() -> Iterator[StartMember]:
    """Starts a server of one member, in memory, with a name of its own."""
    with closing(Portal()) as portal:
        nodes: list[Node] = []
        clients: list[SyncClient] = []

        def start() -> Member:
            async def begin() -> Node:
                node = Node(name=f"n{len(nodes)}", client_url="http://127.0.0.1:0")
                await node.start()
                await node.wait_ready()
                return node

            node = portal.call(begin)
            nodes.append(node)
            assert node.client_url is not None
            client = SyncClient(node.client_url)
            clients.append(client)
            return Member(node.client_url, client)

        yield start
        for client in clients:
            client.close()
        for node in nodes:
            portal.call(node.stop)
