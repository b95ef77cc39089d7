"""The answering half of a client connection: from results to bytes on the wire.

One exchange lives as long as its connection and serves one request after the other, so that an
answer costs no objects of its own. It implements the reply that the operations on keys expect,
and a general `respond` for everything else. Knows nothing of parsing or of the order of requests.

Invariants: one `_finish` for each request; nothing is written once the connection is gone.
The framing is Go's (keys-api, section 6): small answers carry a length, larger ones are chunked.
"""

from __future__ import annotations

from asyncio import Transport
from bisect import bisect_left
from collections.abc import Callable
from time import monotonic as now
from typing import TYPE_CHECKING, Final, Protocol

from kvraft.api.errors import RAFT_INTERNAL, STORE_ERRORS, ErrorCode, error_body
from kvraft.api.figures import BOUNDS_S, COUNTED, GET, HEAD, OTHER, QUICK_S, WATCH
from kvraft.api.response import JSON, LAST_CHUNK, message, status_line
from kvraft.api.service import Service, Unavailable
from kvraft.api.watching import Listing, WatchResponse
from kvraft.limits import PARSE_SLICE_BYTES, SMALL_ANSWER_BYTES
from kvraft.store.errors import StoreError
from kvraft.store.event import Event

if TYPE_CHECKING:
    from kvraft.api.port import ClientPort
    from kvraft.store.view import View
    from kvraft.store.watch import Watcher


HEALTH: Final = b"/health"  # beside the keys, the only read that asks other members


# Said to who asks for it: a stream of this server, unlike one of etcd's, has all events from
# waitIndex on, and ends when it cannot go on (keys-api, section 15).
COMPLETE_STREAM: Final = b"X-Kvraft-Stream: complete\r\n"


def asks_for_complete_stream(fields: list[tuple[bytes, bytes]]) -> bool:
    """Whether a client wants to know that; not through a proxy, which may hold events back."""
    names = {name.lower() for name, _ in fields}
    return b"x-kvraft-stream" in names and b"x-forwarded-for" not in names


class Stream(Protocol):
    """An answer of unknown length that is being written."""

    def resume(self) -> None:
        """The client has taken what was written; more may follow."""

    def wind_up(self) -> None:
        """The server stops: end the answer soon, so that it is still a proper one."""

    def abandon(self) -> None:
        """The client is gone: let go of everything."""


class Exchange:
    """Answers the requests of one connection, one at a time."""

    __slots__ = (
        "_began_s",
        "_close",
        "_cors",
        "_durations",
        "_gone",
        "_head_only",
        "_http10",
        "_kind",
        "_plain",
        "_received",
        "_service",
        "_stream",
        "_write",
        "body",
        "body_too_large",
        "content_type",
        "fields",
        "method",
        "path",
        "paused",
        "port",
        "query",
        "transport",
    )

    transport: Transport
    _write: Callable[[bytes], None]

    def __init__(self, port: ClientPort) -> None:
        self.port = port
        self._service: Service = port.service
        self._received = port.figures.received
        self._durations = port.figures.durations
        # The request being answered; what a plain request does not need may be stale.
        self.method = b""
        self.path = b""
        self.query = b""
        self.content_type: bytes | None = None
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.body_too_large = False
        self._kind = OTHER  # what it counts as
        self._began_s = 0.0  # when it was complete
        # How it is to be answered: plain means HTTP/1.1, kept alive, not HEAD, no CORS.
        self._plain = True
        self._http10 = False
        self._head_only = False
        self._close = False
        self._cors = b""
        # The connection.
        self.paused = False
        self._gone = False
        self._stream: Stream | None = None

    def _finish(self) -> None:
        """The answer is complete; implemented by the connection, which knows what is next."""
        raise NotImplementedError

    # --- the reply of the operations on keys -------------------------------------------

    def document(self, index: int, body: bytes) -> None:
        """Answer a read."""
        if self._plain and len(body) <= SMALL_ANSWER_BYTES and not self._gone:
            service = self._service
            self._write(
                self.port.ok_answer
                % (index, service.applied_index, service.applied_term, len(body), body)
            )
            took_s = now() - self._began_s
            if took_s <= QUICK_S:
                histogram = self._durations[self._kind]
                histogram.counts[0] += 1
                histogram.total += took_s
            else:
                self._took(took_s)
            self._finish()
        else:
            self.respond(200, self.port.success_headers(index), body)

    def wrote(self, result: Event | StoreError | Unavailable) -> None:
        """Answer a write."""
        if type(result) is Event:
            self._changed(result, result.body())
        else:
            self._failed(result)

    def wrote_briefly(self, result: Event | StoreError | Unavailable) -> None:
        """Answer a write whose client asked not to be told the value."""
        if type(result) is Event:
            self._changed(result, result.no_value_body())
        else:
            self._failed(result)

    def _changed(self, event: Event, body: bytes) -> None:
        if self._plain and len(body) <= SMALL_ANSWER_BYTES and not self._gone:
            service = self._service
            port = self.port
            self._write(
                (port.created_answer if event.created else port.ok_answer)
                % (event.index, service.applied_index, service.applied_term, len(body), body)
            )
            # As `_took`, without its calls.
            took_s = now() - self._began_s
            histogram = self._durations[self._kind]
            histogram.counts[bisect_left(BOUNDS_S, took_s)] += 1
            histogram.total += took_s
            if took_s > port.slow.limit_s:
                self._note_slow(took_s, 0.0)
            self._finish()
        else:
            status = 201 if event.created else 200
            self.respond(status, self.port.success_headers(event.index), body)

    def _failed(self, result: object) -> None:
        if isinstance(result, StoreError):
            self.refuse(STORE_ERRORS[result.kind], result.cause, result.index)
        else:
            assert isinstance(result, Unavailable)
            self.refuse(RAFT_INTERNAL, result.cause.encode(), 0)

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        """Answer with a numbered error."""
        body = error_body(code, cause, index)
        if self._plain and len(body) <= SMALL_ANSWER_BYTES and not self._gone:
            port = self.port
            self._write(
                b"%b%b%d\r\n%bContent-Length: %d\r\n\r\n%b"
                % (
                    status_line(code.status, False),
                    port.error_start,
                    index,
                    port.date_line,
                    len(body),
                    body,
                )
            )
            self._account(code.status)
            self._finish()
        else:
            self.respond(code.status, b"%b%d\r\n" % (self.port.error_start, index), body)

    def listing(self, index: int, view: View) -> None:
        """Answer a read with a document that is too long to be made at once."""
        if self._gone or self._head_only:
            view.close()
            self._begin(200, self.port.success_headers(index))
            self._account(200)
            self._finish()
            return
        self._begin(200, self.port.success_headers(index))
        self._stream = stream = Listing(self, view, self.port.loop)
        stream.resume()

    def watching(self, index: int, watcher: Watcher) -> None:
        """Answer with the events of a watcher as they come."""
        stream = WatchResponse(self, self._service, watcher)
        watcher.owner = stream
        if self._gone:
            stream.abandon()
            return
        headers = self.port.success_headers(index)
        if watcher.stream and asks_for_complete_stream(self.fields):
            headers += COMPLETE_STREAM
        self._begin(200, headers)
        self._stream = stream
        stream.resume()

    def streaming(self, headers: bytes, stream: Stream) -> None:
        """Answer with what a stream writes."""
        if self._gone:
            stream.abandon()
            return
        self._begin(200, headers)
        if self._head_only:
            stream.abandon()
            self._account(200)
            self._finish()
            return
        self._stream = stream
        stream.resume()

    # --- any other answer --------------------------------------------------------------

    def respond(self, status: int, headers: bytes, body: bytes, guessed: bytes = b"") -> None:
        """Answer with a complete body.

        `headers` are lines in order of their names; `guessed` is a Content-Type that Go
        would have derived from the body, and therefore puts elsewhere.
        """
        if self._gone:
            return
        small = len(body) <= SMALL_ANSWER_BYTES
        bodiless = self._head_only or status == 204
        lines = [status_line(status, self._http10), self._cors, headers, self.port.date_line]
        length_known = small and status != 204 and not (self._head_only and not body)
        if length_known:
            lines.append(b"Content-Length: %d\r\n" % len(body))
        if guessed and body:
            lines.append(b"Content-Type: %b\r\n" % guessed)
        if not small:
            self.port.turns.spend(len(body))
        chunked = not (small or bodiless or self._http10)
        if self._http10 and not (length_known or bodiless):
            self._close = True
        lines.append(self._connection_line())
        lines.append(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
        if bodiless:
            self._write(b"".join(lines))
        elif len(body) < PARSE_SLICE_BYTES:
            if chunked:
                lines += (b"%x\r\n" % len(body), body, b"\r\n", LAST_CHUNK)
            else:
                lines.append(body)
            self._write(b"".join(lines))
        else:
            if chunked:
                lines.append(b"%x\r\n" % len(body))
            tail = [b"\r\n", LAST_CHUNK] if chunked else []
            self.transport.writelines([b"".join(lines), body, *tail])
        self._account(status)
        self._finish()

    def respond_message(self, status: int, text: str, headers: bytes = b"") -> None:
        """Answer with the error document of the routes beside the keys."""
        self.respond(status, JSON + headers, message(text))

    def _connection_line(self) -> bytes:
        if self._http10:
            return b"" if self._close else b"Connection: keep-alive\r\n"
        return b"Connection: close\r\n" if self._close else b""

    # --- streams -----------------------------------------------------------------------

    def _begin(self, status: int, headers: bytes) -> None:
        if self._gone:
            return
        if self._http10:
            self._close = True
        chunked = b"" if self._http10 or self._head_only else b"Transfer-Encoding: chunked\r\n"
        self._write(
            b"%b%b%b%b%b%b\r\n"
            % (
                status_line(status, self._http10),
                self._cors,
                headers,
                self.port.date_line,
                self._connection_line(),
                chunked,
            )
        )

    def chunk(self, data: bytes) -> None:
        """Write a piece of a stream."""
        if self._http10:
            self._write(data)
        elif len(data) < PARSE_SLICE_BYTES:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.transport.writelines([b"%x\r\n" % len(data), data, b"\r\n"])

    def end_stream(self, client_s: float = 0.0) -> None:
        """Complete a stream, whose client has kept it waiting for so long."""
        self._stream = None
        if not self._http10:
            self._write(LAST_CHUNK)
        self._account(200, client_s)
        self._finish()

    # --- figures -----------------------------------------------------------------------

    def counts_as(self, kind: int) -> None:
        """The request has been understood, and is of this kind (see `figures`)."""
        self._kind = kind
        self._received[kind] += 1

    def _account(self, status: int, client_s: float = 0.0) -> None:
        """Count an answer of any kind."""
        kind = self._kind
        if status < 400 or kind >= OTHER:
            self._took(now() - self._began_s, client_s)
        else:
            self.port.figures.fail(kind, status)
            if now() - self._began_s > self.port.slow.limit_s:
                self._note_slow(now() - self._began_s, client_s)

    def _took(self, took_s: float, client_s: float = 0.0) -> None:
        """Count an answer that went well by how long it took."""
        histogram = self._durations[self._kind]
        histogram.counts[bisect_left(BOUNDS_S, took_s)] += 1
        histogram.total += took_s
        if took_s > self.port.slow.limit_s:
            self._note_slow(took_s, client_s)

    def _note_slow(self, took_s: float, client_s: float) -> None:
        kind = self._kind
        if kind != WATCH:
            method = self.method.decode() if kind == OTHER else COUNTED[kind]
            reads = kind == OTHER and self.method == b"GET" and self.path != HEALTH
            local = reads or kind in (GET, HEAD)
            self.port.figures.slow += 1
            self.port.slow.note(method, self.path, self._began_s, took_s, client_s, local)
