"""A server that answers from a list, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self


class Asked(NamedTuple):
    """One request as it arrived; the names of the headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


# What to send back; None: close the connection without a word.
Answering = Callable[[Asked], bytes | None]


def answer(status: int, body: str | bytes = "", **headers: str) -> bytes:
    """A whole answer; `X_Etcd_Index="5"` becomes a header of that name with dashes."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Stub:
    """Listens on a free port while the `with` block lasts; one thread per connection."""

    def __init__(self, answering: Answering, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._answering = answering
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{scheme}://{self.host}"
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._listener, *self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _spawn(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._spawn(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection, connection.makefile("rb") as lines:
                while asked := _read(lines.readline, lines.read):
                    self.asked.append(asked)
                    sent = self._answering(asked)
                    if sent is None:
                        return
                    connection.sendall(sent)
                    if b"Connection: close" in sent or b"HTTP/1.1" not in sent:
                        return
        except (OSError, ValueError):  # the client has gone, or speaks something else
            pass


def _read(line: Callable[[], bytes], data: Callable[[int], bytes]) -> Asked | None:
    first = line().decode()
    if not first:
        return None
    method, target, _ = first.split()
    headers = {}
    while (text := line().decode().strip()) != "":
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(method, target, headers, data(int(headers.get("content-length", "0"))))


def by_path(routes: dict[str, bytes | Sequence[bytes]]) -> Answering:
    """Answers by path, without the query; several for one path come in turn, the last repeats."""
    queues = {
        path: [found] if isinstance(found, bytes) else list(found) for path, found in routes.items()
    }

    def answering(asked: Asked) -> bytes:
        queue = queues.get(asked.target.partition("?")[0])
        if not queue:
            return answer(404, "404 page not found\n")
        return queue.pop(0) if len(queue) > 1 else queue[0]

    return answering
