"""A client port without sockets: a loop and a transport that do what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from kvraft.api.connection import HttpConnection
from kvraft.api.guards import Guards
from kvraft.api.port import ClientPort
from tests.api.fakes import FakeService

HOST = b"Host: localhost\r\n"
FORM_TYPE = b"Content-Type: application/x-www-form-urlencoded\r\n"


class FakeLoop:
    """Time that the test moves, and callbacks that the test runs."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0  # also the members' clock
        self.soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.later: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        self.soon.append((callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        self.later.append((self.now + delay, callback, args))

    def run_in_executor(
        self, _executor: object, work: Callable[..., object], *args: object
    ) -> FakeFuture:
        """A thread that has finished when the loop comes round."""
        future = FakeFuture()
        self.call_soon(lambda: future.finish(work(*args)))
        return future

    def run(self, rounds: int = 1_000_000) -> int:
        """Run what is due now; returns how many callbacks there were."""
        count = 0
        while self.soon and count < rounds:
            callback, args = self.soon.pop(0)
            callback(*args)
            count += 1
        return count

    def advance(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at a time."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + 0.1)
            due = [entry for entry in self.later if entry[0] <= self.now + 1e-9]
            self.later = [entry for entry in self.later if entry[0] > self.now + 1e-9]
            for _, callback, args in due:
                callback(*args)
            self.run()


class FakeFuture:
    """The result of a thread."""

    def __init__(self) -> None:
        self._result: object = None
        self._callbacks: list[Callable[[FakeFuture], object]] = []

    def add_done_callback(self, callback: Callable[[FakeFuture], object]) -> None:
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        return False

    def result(self) -> object:
        return self._result

    def finish(self, result: object) -> None:
        self._result = result
        for callback in self._callbacks:
            callback(self)


class FakeTransport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.writes = 0
        self.closed = False
        self.aborted = False
        self.eof_sent = False
        self.reading = True
        self.unsent = 0

    def write(self, data: bytes) -> None:
        assert not self.closed, data
        assert not self.eof_sent, data
        self.writes += 1
        self.sent += data

    def writelines(self, lines: Iterable[bytes]) -> None:
        self.write(b"".join(lines))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_sent = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 50000) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Client:
    """One connection, and what it has received."""

    def __init__(self, connection: HttpConnection) -> None:
        self.connection = connection
        self.transport = FakeTransport()
        connection.connection_made(cast(asyncio.Transport, self.transport))

    def send(self, data: bytes) -> None:
        """Give the connection some bytes, and as many turns of the loop as it needs for them."""
        self.connection.data_received(data)
        while self.connection._put_off:
            cast(FakeLoop, self.connection.port.loop).run(1)

    def take(self) -> bytes:
        """Everything received since the last call."""
        sent = bytes(self.transport.sent)
        self.transport.sent.clear()
        return sent

    def ask(self, data: bytes) -> bytes:
        """Send a request and take what comes at once."""
        self.send(data)
        return self.take()

    def hang_up(self) -> None:
        self.connection.connection_lost(None)

    @property
    def over(self) -> bool:
        """Whether the server has ended the connection."""
        return self.transport.closed or self.transport.eof_sent


class Wire:
    """A port over a fake member."""

    def __init__(self, guards: Guards | None = None) -> None:
        self.loop = FakeLoop()
        self.service = FakeService(clock=lambda: int(self.loop.now * 1e9))
        self.port = ClientPort(self.service, cast(Any, self.loop), guards)

    def client(self) -> Client:
        connection = self.port.connection()
        assert isinstance(connection, HttpConnection)
        return Client(connection)


def request(
    method: bytes, target: bytes, body: bytes | None = None, *headers: bytes, host: bytes = HOST
) -> bytes:
    """The bytes of a request; a body is a form unless the headers say something else."""
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target), host]
    lines += [header + b"\r\n" for header in headers]
    if body is not None:
        if not any(header.lower().startswith(b"content-type") for header in headers):
            lines.append(FORM_TYPE)
        lines.append(b"Content-Length: %d\r\n" % len(body))
    return b"".join(lines) + b"\r\n" + (body or b"")


def get(target: bytes, *headers: bytes) -> bytes:
    return request(b"GET", target, None, *headers)


def put(target: bytes, form: bytes) -> bytes:
    return request(b"PUT", target, form)


class Answer:
    """One answer, taken apart."""

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def answers(data: bytes, heads: Iterable[int] = ()) -> list[Answer]:
    """Take a series of complete answers apart; `heads` are the places of those to HEAD."""
    found: list[Answer] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.split(b"\r\n")
        headers = {name: value for name, _, value in (line.partition(b": ") for line in lines)}
        body = b""
        if len(found) in heads:
            pass
        elif b"Content-Length" in headers:
            length = int(headers[b"Content-Length"])
            body, data = data[:length], data[length:]
            assert len(body) == length
        elif headers.get(b"Transfer-Encoding") == b"chunked":
            body, data = unchunk(data)
        found.append(Answer(int(first.split()[1]), headers, body))
    return found


def unchunk(data: bytes) -> tuple[bytes, bytes]:
    """Decode a chunked body that is complete; returns it and what follows."""
    pieces: list[bytes] = []
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        piece, data = data[:length], data[length:]
        assert data[:2] == b"\r\n"
        data = data[2:]
        if not length:
            return b"".join(pieces), data
        pieces.append(piece)


def answer(data: bytes) -> Answer:
    """Take the only answer apart."""
    (only,) = answers(data)
    return only
