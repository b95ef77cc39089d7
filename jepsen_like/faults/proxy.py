"""`python -m jepsen_like.faults.proxy`: a program between members, which knows their frames.

Every member advertises a port of this program, which calls the member's own port in turn. The
greeting tells who calls (its advertised URL is one of ours), so each directed link has rules
of its own. Requests for documents pass unchanged, apart from their delay.

It is a process of its own: what it does to thousands of frames neither waits for the harness nor
holds it up. Commands come as JSON lines on its input, each is answered by one on its output
(see `proxies`); at the end of the input it ends. What it keeps is bounded: a link that holds back
`MAX_HELD_BYTES` is not read any further, and the sender notices as it would with a slow network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import uvloop

from jepsen_like.faults.wire import NOTHING, Carrier, Rule
from jepsen_like.procs.tasks import end_tasks
from kvraft.transport.handshake import SNAPSHOT_PATH, STREAM_PATH

HOST: Final = "127.0.0.1"
MAX_HELD_BYTES: Final = 8 << 20
_READ_BYTES: Final = 64 << 10
_HEAD_TIMEOUT_S: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"

Link = tuple[int, int]


class Greeting(NamedTuple):
    """The first request on a connection."""

    path: str
    sender: int | None
    """None if the caller is no member that calls through here."""
    snapshot: bool


class Proxy:
    """All ports, links and rules."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._rules: dict[Link, Rule] = {}
        self._members: dict[int, int] = {}  # advertised port -> member
        self._passages: set[Passage] = set()
        self._servers: list[asyncio.Server] = []
        self._connections = 0

    async def listen(self, member: int, target_port: int) -> int:
        """Open a port that leads to a member's; its number."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connections += 1
            rng = random.Random(f"{self._seed}/{member}/{self._connections}")
            passage = Passage(self, member, target_port, rng, reader, writer)
            self._passages.add(passage)
            try:
                await passage.run()
            finally:
                self._passages.discard(passage)

        server = await asyncio.start_server(accept, HOST, 0, limit=_READ_BYTES)
        port = int(server.sockets[0].getsockname()[1])
        self._members[port] = member
        self._servers.append(server)
        return port

    def rule(self, sender: int | None, to: int) -> Rule:
        """What holds for this link now."""
        return NOTHING if sender is None else self._rules.get((sender, to), NOTHING)

    def set_rules(self, rules: dict[Link, Rule]) -> None:
        """Replace all rules."""
        self._rules = rules
        for passage in list(self._passages):
            passage.rule_changed()

    def hang_up(self, links: set[Link]) -> int:
        """Break the connections of these links; how many there were."""
        struck = [each for each in self._passages if each.link in links]
        for passage in struck:
            passage.abort()
        return len(struck)

    def member_at(self, urls: str) -> int | None:
        """Who advertises one of these URLs."""
        for url in urls.split(","):
            with contextlib.suppress(ValueError):
                port = urlsplit(url).port
                if port in self._members:
                    return self._members[port]
        return None

    def close(self) -> None:
        """Cut everything."""
        for server in self._servers:
            server.close()
        for passage in list(self._passages):
            passage.abort()


class Passage:
    """One connection of a caller, and the one made for it to the member."""

    def __init__(
        self,
        proxy: Proxy,
        to: int,
        target_port: int,
        rng: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._to = to
        self._target_port = target_port
        self._rng = rng
        self._near = reader, writer
        self._far: asyncio.StreamWriter | None = None
        self._sender: int | None = None
        self._carrier: Carrier | None = None
        self._unheard = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def link(self) -> tuple[int | None, int]:
        """Who calls whom."""
        return self._sender, self._to

    def rule_changed(self) -> None:
        """See `Carrier.changed`."""
        rule = self._proxy.rule(*self.link)
        if self._carrier is not None:
            self._carrier.changed(rule, asyncio.get_running_loop().time())
            self._unheard |= self._carrier.swallowed
        if self._unheard and not rule.silent:
            self.abort()
        self._wake.set()

    def abort(self) -> None:
        """Break the connection on both sides."""
        self._near[1].transport.abort()
        if self._far is not None:
            self._far.transport.abort()
        self._wake.set()

    async def run(self) -> None:
        """Until either side is gone."""
        reader, writer = self._near
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(_HEAD_END)
            greeting = greeting_of(head, self._proxy.member_at)
            self._sender = greeting.sender
            if self._proxy.rule(*self.link).silent:
                self._proxy.counts["silent"] += 1
                self._unheard = True
                await self._swallow()
            await self._connect(head, greeting)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _swallow(self) -> None:
        """Accepted and never answered; ends when the connection does."""
        reader, _ = self._near
        while await reader.read(_READ_BYTES):
            continue
        raise ConnectionError("the caller is gone")

    async def _connect(self, head: bytes, greeting: Greeting) -> None:
        far_reader, self._far = await asyncio.open_connection(
            HOST, self._target_port, limit=_READ_BYTES
        )
        try:
            self._far.write(head)
            back = asyncio.create_task(self._answers(far_reader))
            if greeting.path in (STREAM_PATH, SNAPSHOT_PATH):
                self._carrier = Carrier(self._rng, self._proxy.counts, snapshot=greeting.snapshot)
                there = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
            else:
                there = [asyncio.create_task(self._requests())]
            try:
                await asyncio.wait([back, *there[-1:]], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks([back, *there])
        finally:
            self._far.transport.abort()

    async def _answers(self, far_reader: asyncio.StreamReader) -> None:
        """What the member answers: to the greeting, and when it has a snapshot."""
        writer = self._near[1]
        while data := await far_reader.read(_READ_BYTES):
            if self._sender is not None:
                delay_ms = self._proxy.rule(self._to, self._sender).delay_ms
                if self._proxy.rule(self._to, self._sender).silent:
                    self._unheard = True
                    continue
                await asyncio.sleep(delay_ms / 1000)
            writer.write(data)
            await writer.drain()

    async def _requests(self) -> None:
        """Requests for documents."""
        assert self._far is not None
        while data := await self._near[0].read(_READ_BYTES):
            self._far.write(data)
            await self._far.drain()

    async def _read(self) -> None:
        """From the caller to what is under way."""
        carrier, loop = self._carrier, asyncio.get_running_loop()
        assert carrier is not None
        try:
            while not carrier.ended:
                data = await self._near[0].read(_READ_BYTES)
                if data:
                    carrier.take(data, self._proxy.rule(*self.link), loop.time())
                else:
                    carrier.end(loop.time())
                self._wake.set()
                while carrier.held_bytes > MAX_HELD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except (OSError, ValueError):
            self.abort()  # reset by the caller, or no msgpack

    async def _write(self) -> None:
        """From what is under way to the member."""
        carrier, far, loop = self._carrier, self._far, asyncio.get_running_loop()
        assert carrier is not None
        assert far is not None
        while not far.transport.is_closing():
            self._wake.clear()
            due = carrier.due(loop.time())
            if due.data:
                far.write(due.data)
                await far.drain()
            if due.breaks:
                # Not aborted: what was written has to arrive before the end does.
                far.close()
                await far.wait_closed()
                return
            self._room.set()
            next_s = carrier.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._wake.wait()


def greeting_of(head: bytes, member_at: Callable[[str], int | None]) -> Greeting:
    """What the first request says."""
    first, *lines = head.decode("latin-1").split("\r\n")
    path = (first.split(" ") + ["", ""])[1]
    sender = None
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "x-peerurls":
            sender = member_at(value.strip())
    return Greeting(path, sender, snapshot=path == SNAPSHOT_PATH)


async def obey(proxy: Proxy, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command; what to answer."""
    match command["do"]:
        case "listen":
            return {"port": await proxy.listen(command["member"], command["port"])}
        case "rules":
            proxy.set_rules({
                (sender, to): Rule(**fields) for sender, to, fields in command["rules"]
            })  # fmt: skip
            return {}
        case "hang up":
            return {"broken": proxy.hang_up({(one, two) for one, two in command["links"]})}
        case "counts":
            return {"counts": dict(proxy.counts)}
        case unknown:
            raise ValueError(f"unknown command {unknown!r}")


async def serve(seed: int) -> None:
    """Obey until the input ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    proxy = Proxy(seed)
    while line := await commands.readline():
        print(json.dumps(await obey(proxy, json.loads(line))), flush=True)
    proxy.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
