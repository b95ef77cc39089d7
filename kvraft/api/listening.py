"""Accepting connections, in the clear or with TLS, whoever knocks and however many they are.

Without TLS this is `loop.create_server`. With TLS a connection takes three steps before the
protocol sees it, so that neither silence nor haste of strangers costs the others anything:

1. It waits until its whole first message is here, which is looked at without taking it out of the
   kernel. That costs a descriptor and no memory; beyond a bound the oldest one goes, which is
   never one that has anything to say. Who speaks plain HTTP is told so.
2. It queues for its handshake. Few are begun in one turn of the loop, as each computes a
   signature: heartbeats and other clients have their turns between them.
3. The handshake itself, with a deadline, which shrinks when others wait for its place.

Must not know what is served. Invariants: a socket is waiting, in the queue, in a handshake or the
loop's own, and closed in the first three by `close`; each connection gets the context that
is current when its handshake begins.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import resource
import socket
import ssl
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from kvraft import limits
from kvraft.transport.tls import ContextSource, handshaking

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_log = logging.getLogger("kvraft.tls")
_HANDSHAKE: Final = 22  # content type of a TLS record
_HEADER_BYTES: Final = 5
_SPEAKS_HTTP: Final = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)
_ENDED: Final = (
    "the other side ended the handshake without saying why; it may not trust our certificate"
)
_FIRST_LOOK_S: Final = 0.02
_LOOK_AGAIN_MAX_S: Final = 0.5
_KEEP_ALIVE_S: Final = 30  # what etcd 2.3 sets


class Listener(Protocol):
    """A port that is open."""

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets."""

    def close(self) -> None:
        """Accept nothing more; what has been accepted goes on."""

    def pause(self) -> None:
        """Accept nothing until `resume`; connections wait in the kernel's queue."""

    async def resume(self) -> None:
        """Accept again, first of all those that have waited."""


def accept_slack() -> int:
    """Descriptors that connections may hold before anybody counts them.

    The kernel completes connections while the loop is busy, and all of them are taken at once; so
    the fewer descriptors there are, the fewer connections may queue.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.ACCEPT_SLACK
    return max(0, min(limits.ACCEPT_SLACK, (soft - limits.RESERVED_DESCRIPTORS) // 4))


def usual_backlog() -> int:
    """How many connections the kernel may complete while the loop is busy."""
    return min(limits.LISTEN_BACKLOG, max(1, accept_slack() // 2))


async def listen(
    loop: AbstractEventLoop,
    factory: ProtocolFactory,
    host: str,
    port: int,
    context: ssl.SSLContext | ContextSource | None,
    backlog: int | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> Listener:
    """Open a port; with a context, or a function that gives the current one, for TLS.

    `sockets`: what `bind` has returned for this address before. Raises OSError for an address that
    cannot be used. The other side's silent death shows after some minutes, also on a connection
    that waits for events only.
    """
    backlog = usual_backlog() if backlog is None else backlog
    bound = await bind(loop, host, port, backlog) if sockets is None else tuple(sockets)
    try:
        for sock in bound:
            sock.listen(backlog)  # here already: uvloop's own attempt does not say why it failed
        if context is None:
            listener = PlainListener(loop, factory, backlog)
            await listener.open(bound)
            return listener
    except OSError as error:  # somebody else has begun to listen since
        raise _named(error, host, port) from error
    source = (lambda: context) if isinstance(context, ssl.SSLContext) else context
    return TlsListener(loop, factory, bound, source)


async def bind(
    loop: AbstractEventLoop,
    host: str,
    port: int,
    backlog: int = 0,
    others: Sequence[socket.socket] = (),
) -> tuple[socket.socket, ...]:
    """Take an address. From now on connections wait until `listen` gets these sockets; with a
    backlog of 0 they are refused until then.

    `others`: what this process has bound before; the kernel tells of a clash only with those that
    listen already. Raises OSError, naming the address as Go does.
    """
    try:
        bound = await _bind(loop, host, port, backlog)
        if any(_clash(sock, other) for sock in bound for other in others):
            for sock in bound:
                sock.close()
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    except OSError as error:
        raise _named(error, host, port) from error
    return bound


def _clash(one: socket.socket, other: socket.socket) -> bool:
    """Whether only one of these can listen."""
    (host, port), (other_host, other_port) = one.getsockname()[:2], other.getsockname()[:2]
    if one.family != other.family or port != other_port:
        return False
    return host == other_host or {host, other_host} & {"0.0.0.0", "::"} != set()


class PlainListener:
    """The listening sockets of one address without TLS."""

    def __init__(self, loop: AbstractEventLoop, factory: ProtocolFactory, backlog: int) -> None:
        self._loop = loop
        self._factory = factory
        self._backlog = backlog
        self._servers: list[asyncio.Server] = []
        self._waiting: tuple[socket.socket, ...] = ()  # while paused

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections at these. Raises OSError."""
        for sock in sockets:
            server = await self._loop.create_server(self._factory, sock=sock, backlog=self._backlog)
            self._servers.append(server)

    @property
    def sockets(self) -> tuple[Any, ...]:
        """See `Listener.sockets`."""
        return self._waiting or tuple(sock for server in self._servers for sock in server.sockets)

    def close(self) -> None:
        """See `Listener.close`."""
        for server in self._servers:
            server.close()
        for sock in self._waiting:
            sock.close()
        self._servers, self._waiting = [], ()

    def pause(self) -> None:
        """See `Listener.pause`."""
        # No loop lets a server rest. A second descriptor of its socket keeps the queue open.
        waiting = [socket.fromfd(s.fileno(), s.family, s.type) for s in self.sockets]
        self.close()
        self._waiting = tuple(waiting)

    async def resume(self) -> None:
        """See `Listener.resume`."""
        waiting, self._waiting = self._waiting, ()
        await self.open(waiting)


def _named(error: OSError, host: str, port: int) -> OSError:
    """The same error, telling which address it is about, as Go does."""
    where = _text((host, port))
    if isinstance(error, socket.gaierror) or error.errno is None:
        return OSError(error.errno, f"listen tcp: lookup {host}: {error.strerror or error}")
    return OSError(error.errno, f"listen tcp {where}: bind: {os.strerror(error.errno).lower()}")


async def _bind(
    loop: AbstractEventLoop, host: str, port: int, backlog: int
) -> tuple[socket.socket, ...]:
    found = await _resolved(loop, host, port)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((item[0], item[4]) for item in found):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # a family that this machine does not have
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            if backlog:
                sock.listen(backlog)
            _keep_alive(sock)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return tuple(sockets)


async def _resolved(loop: AbstractEventLoop, host: str, port: int) -> list[Any]:
    """The addresses of a host; those written as numbers need no thread to look them up."""
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    try:
        numeric = flags | socket.AI_NUMERICHOST
        return socket.getaddrinfo(host or None, port, type=kind, flags=numeric)
    except socket.gaierror:
        return await loop.getaddrinfo(host, port, type=kind, flags=flags)


def _keep_alive(sock: socket.socket) -> None:
    """For all connections that this socket accepts: they inherit it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _KEEP_ALIVE_S)


class _Arrival:
    """A connection whose handshake has not begun."""

    __slots__ = ("address", "begun", "deadline_s", "look_again_s", "sock", "timer", "watched")

    def __init__(self, sock: socket.socket, address: Any, deadline_s: float) -> None:
        self.sock = sock
        self.address = address
        self.deadline_s = deadline_s
        self.look_again_s = _FIRST_LOOK_S
        self.watched = False  # the loop tells when it is readable
        self.begun = False  # the socket is the loop's from here on
        self.timer: asyncio.TimerHandle | None = None


class TlsListener:
    """The listening sockets of one URL, and what has been accepted but is not served yet."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        factory: ProtocolFactory,
        sockets: tuple[socket.socket, ...],
        context: ContextSource,
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._context = context
        self._failures = _FailureLog(loop)
        self._max_waiting = max(1, min(limits.TLS_WAITING, accept_slack() // 3))
        self._waiting: dict[_Arrival, None] = {}  # in order of arrival
        self._ready: deque[_Arrival] = deque()
        self._handshakes: dict[asyncio.Task[None], float] = {}  # since when, oldest first
        self._pumping = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self.sockets = sockets
        for sock in sockets:
            loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Accept nothing more, and drop what has not come through its handshake."""
        if self._closed:
            return
        self._closed = True
        for sock in self.sockets:
            self._loop.remove_reader(sock)
            sock.close()
        for arrival in [*self._waiting, *self._ready]:
            self._drop(arrival)
        self._ready.clear()
        for task in self._handshakes:
            task.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._failures.close()

    def pause(self) -> None:
        """See `Listener.pause`; handshakes that have begun go on."""
        for sock in self.sockets:
            self._loop.remove_reader(sock)

    async def resume(self) -> None:
        """See `Listener.resume`."""
        for sock in self.sockets:
            self._loop.add_reader(sock, self._accept, sock)

    # --- 1: waiting for the first message --------------------------------------------------

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(limits.TLS_ACCEPTS_PER_TURN):
            try:
                accepted, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor or no memory: trying again at once would only heat the room.
                self._failures.accept_failed(error)
                self._loop.remove_reader(sock)
                self._loop.call_later(limits.ACCEPT_RETRY_S, self._accept_again, sock)
                return
            accepted.setblocking(False)
            arrival = _Arrival(accepted, address, self._loop.time() + limits.TLS_HELLO_TIMEOUT_S)
            self._waiting[arrival] = None
            if len(self._waiting) > self._max_waiting:
                oldest = next(iter(self._waiting))
                self._failures.add(_text(oldest.address), "gave way to newer connections")
                self._drop(oldest)
            self._look(arrival)
        self._sweep_later()

    def _accept_again(self, sock: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(sock, self._accept, sock)

    def _look(self, arrival: _Arrival) -> None:
        """See whether the first message is complete, and leave it where it is."""
        arrival.timer = None
        try:
            data = arrival.sock.recv(limits.MAX_HELLO_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not arrival.watched:
                arrival.watched = True
                self._loop.add_reader(arrival.sock, self._look, arrival)
            self._sweep_later()
            return
        except OSError:
            self._drop(arrival)
            return
        self._unwatch(arrival)
        if not data:
            self._drop(arrival)
        elif data[:1].isalpha():
            self._tell_to_use_tls(arrival)
        elif not _is_whole(data):
            # What is here stays readable, so the loop would call without end: look by the clock.
            arrival.timer = self._loop.call_later(arrival.look_again_s, self._look, arrival)
            arrival.look_again_s = min(2 * arrival.look_again_s, _LOOK_AGAIN_MAX_S)
            self._sweep_later()
        else:
            del self._waiting[arrival]
            self._ready.append(arrival)
            if len(self._ready) > limits.TLS_QUEUE:
                oldest = self._ready.popleft()
                self._failures.add(_text(oldest.address), "too many handshakes are waiting")
                self._drop(oldest)
            self._pump_soon()

    def _tell_to_use_tls(self, arrival: _Arrival) -> None:
        self._failures.add(_text(arrival.address), "client sent an HTTP request to an HTTPS server")
        try:
            arrival.sock.send(_SPEAKS_HTTP)
            arrival.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(arrival)
            return
        # Closed with the request unread, the system would throw the answer away.
        arrival.deadline_s = math.inf
        arrival.timer = self._loop.call_later(limits.LINGER_TIMEOUT_S, self._drop, arrival)
        arrival.watched = True
        self._loop.add_reader(arrival.sock, self._discard, arrival)

    def _discard(self, arrival: _Arrival) -> None:
        try:
            data = arrival.sock.recv(limits.PARSE_SLICE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(arrival)

    def _unwatch(self, arrival: _Arrival) -> None:
        if arrival.watched:
            arrival.watched = False
            self._loop.remove_reader(arrival.sock)
        if arrival.timer is not None:
            arrival.timer.cancel()
            arrival.timer = None

    def _drop(self, arrival: _Arrival) -> None:
        self._unwatch(arrival)
        self._waiting.pop(arrival, None)
        arrival.sock.close()

    def _sweep_later(self) -> None:
        if self._sweeper is None and self._waiting and not self._closed:
            self._sweeper = self._loop.call_later(1.0, self._sweep)

    def _sweep(self) -> None:
        """Drop who has not said anything in time."""
        self._sweeper = None
        now_s = self._loop.time()
        for arrival in list(self._waiting):
            if arrival.deadline_s <= now_s:
                self._drop(arrival)
                self._failures.add(_text(arrival.address), "no complete TLS hello in time")
        self._sweep_later()

    # --- 2: the queue ----------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pumping and self._ready and not self._closed:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        for _ in range(limits.TLS_STARTS_PER_TURN):
            if not self._ready or self._closed:
                return
            crowded = len(self._handshakes) >= limits.TLS_HANDSHAKES
            if crowded and not self._end_a_slow_one():
                self._loop.call_later(limits.TLS_PATIENCE_S / 4, self._pump_soon)
                return
            # Places that only time sets free go to the newest: most of the older ones are not
            # waited for any more, or belong to the crowd.
            arrival = self._ready.pop() if crowded else self._ready.popleft()
            task = self._loop.create_task(self._shake_hands(arrival))
            self._handshakes[task] = self._loop.time()
            task.add_done_callback(partial(self._shaken, arrival))
        self._pump_soon()

    def _end_a_slow_one(self) -> bool:
        """Make place by giving up the oldest handshake, if it had its time."""
        oldest, since_s = next(iter(self._handshakes.items()))
        if self._loop.time() - since_s < limits.TLS_PATIENCE_S:
            return False
        del self._handshakes[oldest]
        oldest.cancel()
        return True

    def _shaken(self, arrival: _Arrival, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)
        if not arrival.begun:
            arrival.sock.close()
        self._pump_soon()

    # --- 3: the handshake ------------------------------------------------------------------

    async def _shake_hands(self, arrival: _Arrival) -> None:
        arrival.begun = True
        handshaking.set(arrival.sock)
        try:
            await self._loop.connect_accepted_socket(
                self._factory,
                arrival.sock,
                ssl=self._context(),
                ssl_handshake_timeout=limits.TLS_HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=limits.TLS_CLOSE_TIMEOUT_S,
            )
        except asyncio.CancelledError:
            if self._closed:
                raise
            self._failures.add(_text(arrival.address), "a slow handshake gave way to others")
        except OSError as error:  # ssl.SSLError and TimeoutError are of this kind
            self._failures.add(_text(arrival.address), _reason(error))


def _is_whole(data: bytes) -> bool:
    """Whether these bytes are a complete hello, or something that will never become one."""
    if data[0] != _HANDSHAKE:
        return True
    return len(data) >= _HEADER_BYTES + int.from_bytes(data[3:_HEADER_BYTES], "big") or (
        len(data) >= limits.MAX_HELLO_BYTES
    )


class _FailureLog:
    """Says which connections did not come about; a flood of them is one line a second."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._more = 0
        self._last = ("", "")

    def add(self, address: str, reason: str) -> None:
        """Say it now, or count it."""
        if self._timer is not None:
            self._more += 1
            self._last = (address, reason)
            return
        _log.warning("rejected connection from %s: %s", address, reason)
        self._timer = self._loop.call_later(limits.HANDSHAKE_LOG_S, self._flush)

    def accept_failed(self, error: OSError) -> None:
        """There is no descriptor or no memory for another connection; tried once a second."""
        _log.error("cannot accept connections for now: %s", error.strerror or error)

    def close(self) -> None:
        """Say what has not been said yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        if self._more:
            count, self._more = self._more, 0
            text = "rejected %d more connections, the last from %s: %s"
            _log.warning(text, count, *self._last)
            self._timer = self._loop.call_later(limits.HANDSHAKE_LOG_S, self._flush)


def _text(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate does not verify: {error.verify_message}"
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason).replace("_", " ").lower()
    # What has no text is an end without a word, as Python's clients make who object.
    return error.strerror or str(error) or _ENDED
