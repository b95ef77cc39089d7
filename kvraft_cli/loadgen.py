"""A load generator for v2 servers: closed loops over kept connections.

Each connection sends a request when the answer to the one before is complete, so that the number
of connections is the number of requests under way. Parsing is httptools'; what is measured is the
time from giving a request to the socket until its answer is complete.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast
from urllib.parse import quote, urlsplit

import httptools

KINDS: Final = ("put", "get", "quorum", "watch")
NAMES: Final = {"put": "PUT", "get": "GET", "quorum": "quorum GET", "watch": "watch"}
BAR_WIDTH: Final = 40
PERCENTILES: Final = (50, 90, 99, 99.9)


class Server(NamedTuple):
    """Where to connect to, and what to send with each request."""

    host: str
    port: int
    path: str  # before every request's own, for a server behind a prefix
    headers: bytes
    tls: ssl.SSLContext | None


def server_of(url: str, user: tuple[str | None, str | None], tls: ssl.SSLContext | None) -> Server:
    """Take an URL apart."""
    target = urlsplit(url)
    secure = target.scheme == "https"
    headers = f"Host: {target.netloc}\r\n"
    if user[0] is not None:
        token = base64.b64encode(f"{user[0]}:{user[1] or ''}".encode()).decode()
        headers += f"Authorization: Basic {token}\r\n"
    context = (tls or ssl.create_default_context()) if secure else None
    port = target.port or (443 if secure else 80)
    return Server(target.hostname or "", port, target.path.rstrip("/"), headers.encode(), context)


@dataclass(slots=True)
class Measured:
    """What one part of a run has seen; times in seconds."""

    kind: str
    seconds: float = 0.0
    times: array[float] = field(default_factory=lambda: array("d"))
    failed: int = 0
    problem: str = ""  # the first failure
    cpu_share: float = 0.0  # of one processor, used by the generator itself


class Requests:
    """Makes the requests of one kind: keys at random, one value."""

    def __init__(self, kind: str, prefix: str, keys: int, value: bytes, rng: random.Random) -> None:
        self._kind = kind
        self._prefix = quote(prefix)
        self._keys = keys
        self._value = value
        self._rng = rng

    def key(self, number: int) -> str:
        """The path of one key."""
        return f"/v2/keys{self._prefix}/{number:07d}"

    def make(self, server: Server) -> bytes:
        """The next request."""
        target = self.key(self._rng.randrange(self._keys))
        if self._kind == "put":
            return put(server, target, self._value)
        query = "?quorum=true" if self._kind == "quorum" else ""
        return b"GET %b%b HTTP/1.1\r\n%b\r\n" % (
            server.path.encode(),
            f"{target}{query}".encode(),
            server.headers,
        )


def put(server: Server, target: str, value: bytes) -> bytes:
    """A PUT of a value that needs no escaping."""
    return (
        b"PUT %b%b HTTP/1.1\r\n%bContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\nvalue=%b"
    ) % (server.path.encode(), target.encode(), server.headers, len(value) + 6, value)


class Connection(asyncio.Protocol):
    """One closed loop: `next_request` gives the next request, or None at the end."""

    def __init__(
        self, next_request: Callable[[], bytes | None], answered: Callable[[float, int], None]
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next_request = next_request
        self._answered = answered
        self._parser = httptools.HttpResponseParser(self)
        self._sent_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._send()

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(ConnectionError(f"the answer is no HTTP: {error}"))

    def on_message_complete(self) -> None:
        """An answer is complete (httptools)."""
        self._answered(time.perf_counter() - self._sent_s, self._parser.get_status_code())
        if not self._parser.should_keep_alive():
            self._end(ConnectionError("the server closes the connection after each answer"))
            return
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """The server has hung up."""
        self._end(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = self._next_request()
        if request is None or self._transport is None:
            self._end(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


async def run_load(
    servers: Sequence[Server],
    kind: str,
    *,
    prefix: str,
    keys: int,
    value: bytes,
    connections: int,
    seconds: float,
    rng: random.Random,
) -> Measured:
    """Load of one kind on all servers in turn, for so long. Raises OSError if none is there."""
    measured = Measured(kind)
    requests = Requests(kind, prefix, keys, value, rng)
    cpu_s, began_s = time.process_time(), time.perf_counter()
    end_s = began_s + seconds

    def answered(took_s: float, status: int) -> None:
        if status < 300:
            measured.times.append(took_s)
        else:
            measured.failed += 1
            measured.problem = measured.problem or f"status {status}"

    async def loop(server: Server) -> None:
        def following() -> bytes | None:
            return requests.make(server) if time.perf_counter() < end_s else None

        await talk(server, following, answered)

    places = [servers[number % len(servers)] for number in range(connections)]
    for result in await asyncio.gather(*map(loop, places), return_exceptions=True):
        if isinstance(result, BaseException):
            measured.failed += 1
            measured.problem = measured.problem or str(result)
    measured.seconds = time.perf_counter() - began_s
    measured.cpu_share = (time.process_time() - cpu_s) / measured.seconds
    return measured


async def talk(
    server: Server,
    next_request: Callable[[], bytes | None],
    answered: Callable[[float, int], None],
) -> None:
    """One connection from its first request to its last."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(next_request, answered), server.host, server.port, ssl=server.tls
    )
    await connection.done


# --- watches ----------------------------------------------------------------------------


class Watcher(asyncio.Protocol):
    """One stream of events; the value of each tells when it was sent."""

    def __init__(self, request: bytes, seen: Callable[[float], None]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._request = request
        self._seen = seen
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Part of the answer."""
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """The watch is registered (httptools)."""
        if not self.ready.done():
            self.ready.set_result(None)

    def on_body(self, data: bytes) -> None:
        """Events, each with a line feed at its end (httptools)."""
        now_s = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            _, _, value = line.partition(b'"value":"')
            stamp = value.partition(b"-")[0]
            if stamp.isdigit():
                self._seen(now_s - int(stamp) / 1e9)

    def connection_lost(self, error: Exception | None) -> None:
        """The server has hung up."""
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("the server closed the connection"))


async def run_watch(
    servers: Sequence[Server],
    *,
    prefix: str,
    value_bytes: int,
    connections: int,
    seconds: float,
) -> Measured:
    """So many streams on one key, which is set again and again: how late events arrive."""
    measured = Measured("watch")
    target = f"/v2/keys{quote(prefix)}/watched"
    watchers: list[Watcher] = []
    loop = asyncio.get_running_loop()
    for number in range(connections):
        server = servers[number % len(servers)]
        query = "?wait=true&stream=true"
        request = b"GET %b HTTP/1.1\r\n%b\r\n" % (
            f"{server.path}{target}{query}".encode(),
            server.headers,
        )
        watcher = Watcher(request, measured.times.append)
        await loop.create_connection(
            lambda watcher=watcher: watcher,
            server.host,
            server.port,
            ssl=server.tls,
        )
        watchers.append(watcher)
    await asyncio.gather(*(watcher.ready for watcher in watchers))
    cpu_s, began_s = time.process_time(), time.perf_counter()
    sent = 0

    def following() -> bytes | None:
        nonlocal sent
        if time.perf_counter() >= began_s + seconds:
            return None
        sent += 1
        stamp = b"%d-" % time.perf_counter_ns()
        return put(servers[0], target, stamp.ljust(value_bytes, b"v"))

    await talk(servers[0], following, lambda took_s, status: None)
    measured.seconds = time.perf_counter() - began_s
    await _arrived(measured, sent * connections)
    measured.failed = max(0, sent * connections - len(measured.times))
    if measured.failed:
        measured.problem = "events were lost: streams that are read too slowly are cut off"
    measured.cpu_share = (time.process_time() - cpu_s) / measured.seconds
    for watcher in watchers:
        if watcher.transport is not None:
            watcher.transport.close()
    return measured


async def _arrived(measured: Measured, expected: int) -> None:
    """Wait for the last events as long as any come."""
    while len(measured.times) < expected:
        before = len(measured.times)
        await asyncio.sleep(0.3)
        if len(measured.times) == before:
            return


# --- results ----------------------------------------------------------------------------


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that so many percent do not exceed; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def histogram(ordered: Sequence[float]) -> list[str]:
    """Lines with bars: how many took up to twice as long as those of the line before."""
    if not ordered:
        return []
    bound_s = 0.000_05
    while bound_s < ordered[0]:
        bound_s *= 2
    counts: list[tuple[float, int]] = []
    at = 0
    while at < len(ordered):
        start = at
        while at < len(ordered) and ordered[at] <= bound_s:
            at += 1
        counts.append((bound_s, at - start))
        bound_s *= 2
    most = max(count for _, count in counts)
    return [
        f"  <= {bound * 1000:9.2f} ms  {count:8d}  {'#' * round(BAR_WIDTH * count / most)}".rstrip()
        for bound, count in counts
    ]
