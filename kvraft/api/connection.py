"""One client connection: bytes in, requests in order, answers through the exchange.

The compiled parser does all of HTTP's grammar; this module decides what a complete request means
for the connection: keep-alive, pipelining, limits, deadlines, refusals, the end. It is the hot path
of the server: the attributes of the connection are the request, and a plain request on keys
reaches its operation without an object of its own.

Must not know what routes do. Invariants: requests are answered one at a time and in order, since
each may depend on the one before; while one is being answered the next wait in `_waiting`,
and beyond a bound nothing more is read; after `_refuse` nothing more is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic as now
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from kvraft.api.exchange import Exchange
from kvraft.api.figures import GET, OTHER, PUT
from kvraft.api.guards import FOREIGN_HOST, FOREIGN_ORIGIN, from_browser
from kvraft.api.keysroute import kind_of_get
from kvraft.api.mediatype import FORM
from kvraft.api.params import BadParameters, is_plain, known_get_params, parse_params
from kvraft.api.response import (
    BAD_REQUEST,
    CONTINUE,
    HEAD_TOO_LARGE,
    HTTP_VERSION,
    MALFORMED_HOST,
    MISSING_HOST,
    OVERLOADED,
    PLAIN_ERROR,
    TRANSFER_ENCODING,
)
from kvraft.api.target import decode_path, origin_form, usual_request_line
from kvraft.limits import (
    INPUT_SLICE_BYTES,
    LINGER_TIMEOUT_S,
    MAX_BUFFERED_BODY_BYTES,
    MAX_DISCARD_BYTES,
    MAX_FORM_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_FIELDS,
    MAX_PIPELINED,
    MAX_PIPELINED_BYTES,
    MAX_REFUSED_CONNECTIONS,
    MAX_SILENT_FRAMING_BYTES,
    MAX_UNSENT_BYTES,
    PARSE_SLICE_BYTES,
    REQUEST_COST_BYTES,
    REQUEST_OVERHEAD_BYTES,
    SMALL_INPUT_BYTES,
)

if TYPE_CHECKING:
    from kvraft.api.port import ClientPort

log = logging.getLogger("kvraft.etcdhttp")

_USUAL_STARTS: Final = frozenset((b"GET ", b"PUT ", b"POST", b"HEAD", b"DELE", b"OPTI", b"PATC"))
_HOST, _OTHER, _TYPE, _EXPECT, _ENCODING, _PLAIN = range(6)
# The headers that matter to the connection, in the spellings that clients use.
_KNOWN: Final = {
    spelling: kind
    for names, kind in (
        ((b"host",), _HOST),
        ((b"connection", b"authorization", b"origin", b"upgrade"), _OTHER),
        ((b"content-type",), _TYPE),
        ((b"expect",), _EXPECT),
        ((b"transfer-encoding",), _ENCODING),
        ((b"user-agent", b"accept", b"accept-encoding", b"content-length"), _PLAIN),
    )
    for name in names
    for spelling in (name, b"-".join(part.capitalize() for part in name.split(b"-")))
}
_SLASH: Final = ord("/")
_PLAIN_PATH_BYTES: Final = 256  # a longer path may be too deep and takes the long way


class _Request(NamedTuple):
    """A complete request that waits for those before it."""

    method: bytes
    target: bytes
    content_type: bytes | None
    fields: list[tuple[bytes, bytes]]
    body: bytes
    body_too_large: bool
    host: bytes | None
    keep_alive: bool
    odd: bool
    version: str


def _size(request: _Request | bytes) -> int:
    """What a waiting request costs, roughly: a head of its own size is rare."""
    if isinstance(request, bytes):
        return 0
    return len(request.body) + len(request.target) + REQUEST_OVERHEAD_BYTES


class HttpConnection(Exchange, asyncio.Protocol):
    """The protocol of one accepted connection."""

    __slots__ = (
        "_access",
        "_active",
        "_arriving",
        "_auth",
        "_body_bytes",
        "_body_rest",
        "_charged",
        "_cut_short",
        "_deaf",
        "_expects",
        "_fields",
        "_framing_bytes",
        "_head_done",
        "_held",
        "_host",
        "_in_body",
        "_in_type",
        "_keep",
        "_keys",
        "_known_hosts",
        "_last_s",
        "_lingering",
        "_method_of",
        "_odd",
        "_open",
        "_open_s",
        "_owes_continue",
        "_parse",
        "_parsed_bytes",
        "_parser",
        "_pumping",
        "_put_off",
        "_reading_paused",
        "_refusal",
        "_said_goodbye",
        "_target",
        "_turns",
        "_unparsed",
        "_unsent",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(self, port: ClientPort) -> None:
        super().__init__(port)
        self._keys = port.keys
        self._turns = port.turns
        self._auth = port.auth
        self._access = port.access
        self._known_hosts = port.guards.known_hosts
        parser = HttpRequestParser(self)
        self._parse = parser.feed_data
        self._parser = parser
        self._method_of = parser.get_method
        self._keep = parser.should_keep_alive
        # What is being received.
        self._open = False  # a request has begun and is not complete
        self._open_s = self._last_s = port.now_s
        self._head_done = False
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._host: bytes | None = None
        self._in_type: bytes | None = None
        self._in_body = b""
        self._body_rest: bytearray | None = None  # all of it, once it comes in pieces
        self._body_bytes = 0
        self._odd = False  # something in the head needs the long way
        self._expects = False
        self._owes_continue = False
        self._refusal: bytes | None = None
        self._framing_bytes = 0
        self._charged = 0
        self._arriving = 0
        self._held = b""
        self._unparsed: list[bytes] = []
        self._parsed_bytes = 0  # of the first of them
        self._put_off = False  # it is parsed in a later turn of the loop
        # What is being answered, or waits.
        self._active = False
        self._waiting: deque[_Request | bytes] = deque()
        self._waiting_bytes = 0  # of their bodies and heads, roughly
        self._pumping = False
        self._reading_paused = False
        self._deaf = False  # whatever else arrives is thrown away
        self._cut_short = False  # the client may still be sending what nobody reads
        self._lingering = False  # the last answer is on its way
        self._unsent = 0  # bytes of answers that the client does not take
        self._said_goodbye = False  # and the transport was told to close after it

    # --- the transport -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve, unless there are too many already."""
        self.transport = cast(asyncio.Transport, transport)
        self._write = self.transport.write
        port = self.port
        self._last_s = port.now_s
        port.connections.add(self)
        excess = len(port.connections) - port.max_connections
        if port.draining or (excess > 0 and not port.make_room()):
            if excess > MAX_REFUSED_CONNECTIONS:
                self.abort()
            else:
                self._refuse(OVERLOADED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that belongs to this client."""
        self._gone = self._deaf = True
        self._forget_waiting()
        self._release()
        self._count_unsent(0)
        self.port.gone(self)
        stream = self._stream
        if stream is not None:
            self._stream = None
            stream.abandon()

    def eof_received(self) -> bool:
        """The client sends nothing more: what it has asked is answered, but no watch is kept."""
        if self._stream is not None or self._lingering or not (self._active or self._waiting):
            return False
        self._deaf = True
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client does not take its answers fast enough."""
        self.paused = True
        self._last_s = self.port.now_s
        self._count_unsent(self.transport.get_write_buffer_size())
        if self.port.unsent_bytes > MAX_UNSENT_BYTES:
            self.abort()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.paused = False
        self._count_unsent(0)
        if self._stream is not None:
            self._stream.resume()
        elif self._waiting and not self._active:
            self._pump()

    def _count_unsent(self, size: int) -> None:
        self.port.unsent_bytes += size - self._unsent
        self._unsent = size

    def abort(self) -> None:
        """Close at once; nothing is owed to this client any more."""
        self._deaf = True
        self.transport.abort()

    @property
    def reads(self) -> bool:
        """Whether it wants to hear from its client now."""
        return not self._reading_paused

    def is_dispensable(self) -> bool:
        """Whether nothing is being answered here, so that a newcomer may have the place."""
        return not (self._active or self._waiting or self.paused or self._deaf)

    def drain(self) -> None:
        """The server stops: finish what has been asked, then close."""
        if self._stream is not None:
            self._close = True
            self._stream.wind_up()
        elif self._active or self._waiting:
            self._close = self._deaf = True
            self._plain = False
        elif not self._lingering:
            self._deaf = True
            self.transport.close()

    def check_deadline(self, now_s: float) -> None:
        """Called about once a second."""
        patience = self.port.patience
        if self._lingering and not self.transport.get_write_buffer_size():
            expired = now_s - self._last_s > LINGER_TIMEOUT_S
        elif self._lingering or self.paused:
            expired = now_s - self._last_s > patience.stall_s
            self._count_unsent(self.transport.get_write_buffer_size())
        elif self._active or self._waiting:
            return
        elif self._open or self._held:
            limit_s = patience.request_s if self._head_done and self._open else patience.head_s
            expired = now_s - self._open_s > limit_s
        else:
            expired = now_s - self._last_s > patience.idle_s
        if not expired:
            if patience.gives_way and self.is_dispensable():
                self.port.dispensable.append(self)
        elif self._lingering and not (self.transport.can_write_eof() or self._said_goodbye):
            # TLS has no half-open end: only now does the client learn that this was all.
            self._said_goodbye = True
            self._last_s = now_s
            self.transport.close()
        else:
            self.abort()

    # --- receiving ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and serve what is complete."""
        if self._deaf:
            return
        if self._unparsed:
            self._unparsed.append(data)
            self._feed_slices()
            return
        if not self._open and (
            self._held or data[:4] not in _USUAL_STARTS or not data.isascii() or b"\r\n" not in data
        ):
            data = self._usual(data)
            if not data:
                return
        if len(data) <= SMALL_INPUT_BYTES and not self._turns.full:
            self._feed(data)
        else:
            self._unparsed.append(data)
            self._feed_slices()

    def _feed(self, data: bytes) -> None:
        size = len(data)
        while data:
            try:
                self._parse(data)
                break
            except HttpParserUpgrade as upgrade:
                data = self._without_offer() + data[upgrade.args[0] :]
            except HttpParserCallbackError as error:
                log.error("a request could not be served", exc_info=error.__context__ or error)
                self.abort()
                return
            except HttpParserError:
                self._refuse(BAD_REQUEST if self._refusal is None else self._refusal)
                return
        if self._open:
            self._incomplete(size)

    def _feed_slices(self) -> None:
        """Parse a large piece little by little, and only as far as answers keep up."""
        turns = self._turns
        while self._unparsed and not self._deaf:
            if not self._has_room():
                self._pause_reading()
                return
            if turns.full:
                self._pause_reading()
                if not self._put_off:
                    self._put_off = True
                    turns.later(self._after_putting_off)
                return
            arrived = self._unparsed[0]
            begin = self._parsed_bytes
            data = arrived[begin : begin + INPUT_SLICE_BYTES]
            self._parsed_bytes += len(data)
            if self._parsed_bytes >= len(arrived):
                self._unparsed.pop(0)
                self._parsed_bytes = 0
            if len(data) > SMALL_INPUT_BYTES:
                turns.spend(len(data) + REQUEST_COST_BYTES * data.count(b" HTTP/1."))
            self._feed(data)

    def _has_room(self) -> bool:
        """Whether further requests may be parsed while others wait."""
        return len(self._waiting) < MAX_PIPELINED and self._waiting_bytes <= MAX_PIPELINED_BYTES

    def _after_putting_off(self) -> None:
        self._put_off = False
        self._go_on_reading()

    def _go_on_reading(self) -> None:
        """Parse what was put aside, and listen to the client again once that is done."""
        if self._gone or self._lingering:
            return
        self._feed_slices()
        if self._reading_paused and not self._unparsed and self._has_room():
            self._reading_paused = False
            self.transport.resume_reading()

    def _usual(self, data: bytes) -> bytes:
        """Wait for a complete request line, and rewrite it where the parser is too strict."""
        if not self._held:
            self._open_s = self.port.now_s
        data = (self._held + data).lstrip(b"\r\n")
        end = data.find(b"\n")
        if end < 0 and len(data) <= PARSE_SLICE_BYTES:
            self._held = data
            return b""
        self._held = b""
        if end < 0:
            return data  # too long to be held; the parser is right about nearly all of them
        return usual_request_line(data[:end]) + data[end:]

    def _incomplete(self, received: int) -> None:
        """The end of what has arrived lies within a request: look after its bounds."""
        port = self.port
        if not self._arriving:
            self._open_s = port.now_s
        self._arriving += received
        self._charged += received
        port.buffered_bytes += received
        if port.buffered_bytes > MAX_BUFFERED_BODY_BYTES:
            self._refuse(OVERLOADED)
            return
        if not self._head_done:
            if self._arriving > MAX_HEAD_BYTES or len(self._fields) > MAX_HEADER_FIELDS:
                self._refuse(HEAD_TOO_LARGE)
            return
        if self._expects:
            self._expects = False
            if self._active or self._waiting:
                self._owes_continue = True
            else:
                self._write(CONTINUE)
        self._framing_bytes += received
        if self._framing_bytes > MAX_SILENT_FRAMING_BYTES:
            self._refuse(BAD_REQUEST)

    def _release(self) -> None:
        """What was arriving is complete, or given up."""
        if self._charged:
            self.port.buffered_bytes -= self._charged
            self._charged = 0

    def _waits(self, change: int) -> None:
        """So many bytes more, or less, belong to requests that wait for those before them."""
        self._waiting_bytes += change
        self.port.buffered_bytes += change

    def _without_offer(self) -> bytes:
        """The head of a request that offers another protocol, without the offer.

        The parser takes what follows such a head for the other protocol. So it gets the
        head once more like this, and then what follows.
        """
        method = self._method_of()
        if method == b"CONNECT":
            return b""  # it has been served as it is
        head = [b"%b %b HTTP/1.1\r\n" % (method, self._target)]
        for name, value in self._fields:
            if name.lower() != b"upgrade":
                head.append(b"%b: %b\r\n" % (name, value))
        return b"".join(head) + b"\r\n"

    # --- the parser's calls ------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._open = True
        self._head_done = False
        self._target = b""
        self._fields = []
        self._host = None
        self._in_type = None
        self._odd = self._expects = False
        self._in_body = b""
        self._body_rest = None
        self._body_bytes = 0
        self._arriving = 0

    def on_url(self, part: bytes) -> None:
        """A piece of the request target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        kind = _KNOWN.get(name)
        if kind is None:
            kind = _KNOWN.get(name.lower(), _PLAIN)
        if self._head_done:
            return
        self._fields.append((name, value))
        if kind == _HOST:
            if self._host is not None:
                self._reject(BAD_REQUEST)
            self._host = value
        elif kind == _PLAIN:
            return
        elif kind == _TYPE:
            if self._in_type is None:
                self._in_type = value
        elif kind == _OTHER:
            self._odd = True
        else:
            self._special_header(kind, value)

    def _special_header(self, kind: int, value: bytes) -> None:
        if kind == _EXPECT:
            self._expects = True
            if value.lower() != b"100-continue":
                self._reject(
                    b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n"
                    b"%bContent-Length: 0\r\n\r\n" % self.port.date_line
                )
        elif value.lower() != b"chunked" or any(
            name.lower() == b"transfer-encoding" for name, _ in self._fields[:-1]
        ):
            self._reject(TRANSFER_ENCODING)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_done = True
        self._framing_bytes = 0
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._arriving > MAX_HEAD_BYTES - PARSE_SLICE_BYTES:
            size = sum(len(name) + len(value) + 4 for name, value in self._fields)
            if size + len(self._target) > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._framing_bytes = -len(data)
        size = self._body_bytes + len(data)
        self._body_bytes = size
        if not self._in_body:
            self._in_body = data
        elif size <= MAX_FORM_BYTES:
            if self._body_rest is None:
                self._body_rest = bytearray(self._in_body)
            self._body_rest += data
        else:
            self._body_rest = None
            if size > MAX_FORM_BYTES + MAX_DISCARD_BYTES and not self._deaf:
                # No use in taking the rest: this is answered, and then the connection ends.
                self._cut_short = True
                self._complete(False)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._open = False
        if self._deaf:
            return
        if self._charged:
            self._release()
        if self._odd and self._parser.should_upgrade():
            return
        keep_alive = self._keep()
        if (
            self._active
            or self._waiting
            or self.paused
            or self._odd
            or not keep_alive
            or self._host not in self._known_hosts
        ):
            self._complete(keep_alive)
            return
        # From here on a plain request, and nobody before it.
        path, _, query = self._target.partition(b"?")
        if (
            path[:9] != b"/v2/keys/"
            or b"%" in path
            or b"//" in path
            or b"/." in path
            or path[-1] == _SLASH
            or len(path) > _PLAIN_PATH_BYTES
            or not self._quick(self._method_of(), path, query)
        ):
            self._complete(True)

    def _quick(self, method: bytes, path: bytes, query: bytes) -> bool:
        """Start a plain operation without further ado; False if it takes a longer look."""
        guarded = self._auth.guarded
        if method == b"GET":
            if not query:
                if guarded and not self._access.passes_guest(path[8:], write=False):
                    return False
                self._active = self._plain = True
                self.path = path
                self._kind = GET
                self._received[GET] += 1
                self._began_s = now()
                self._keys.get_plain(path[8:], self)
                return True
            params = known_get_params(query)
            if params is None or (guarded and not self._access.passes_guest(path[8:], write=False)):
                return False
            self._active = self._plain = True
            self.path = path
            self._began_s = now()
            self.counts_as(kind_of_get(params))
            self._keys.get(path[8:], params, self)
            return True
        body = self._in_body
        if method != b"PUT" or self._in_type != FORM or len(body) != self._body_bytes:
            return False
        if not query and body[:6] == b"value=" and is_plain(body):
            if guarded and not self._access.passes_guest(path[8:], write=True):
                return False
            self._active = self._plain = True
            self.path = path
            self._kind = PUT
            self._received[PUT] += 1
            self._began_s = now()
            self._keys.set_plain(path[8:], body[6:], self)
            return True
        try:
            params = parse_params(query, body, method)
        except BadParameters:
            return False
        if guarded and not self._access.passes_guest(path[8:], write=True):
            return False
        self._active = self._plain = True
        self.path = path
        self._began_s = now()
        self.counts_as(PUT)
        self._keys.put(path[8:], params, self)
        return True

    # --- requests in order -------------------------------------------------------------

    def _complete(self, keep_alive: bool) -> None:
        """Take the request that has been received, and serve it when its turn comes."""
        self._release()
        size = self._body_bytes
        rest = self._body_rest
        request = _Request(
            self._method_of(),
            self._target,
            self._in_type,
            self._fields,
            self._in_body if rest is None else bytes(rest),
            size > MAX_FORM_BYTES,
            self._host,
            keep_alive,
            self._odd,
            "1.1" if keep_alive and not self._odd else self._parser.get_http_version(),
        )
        self._in_body = b""
        self._body_rest = None
        if not keep_alive:
            self._deaf = True
        self._enqueue(request)

    def _enqueue(self, request: _Request | bytes) -> None:
        if self._active or self._waiting or self.paused:
            self._waiting.append(request)
            self._waits(_size(request))
            if not self._has_room():
                self._pause_reading()
        else:
            self._serve(request)

    def _finish(self) -> None:
        """An answer is complete."""
        self._active = False
        self._last_s = self.port.now_s
        if self.body:
            self.body = b""
        if not self._plain:
            # The next request may be a plain one, which does not look at these before its answer.
            self._head_only = self._http10 = False
            self._cors = b""
        if self._waiting or self._deaf or self._close or self._owes_continue:
            self._after()

    def _after(self) -> None:
        """What is next after an answer, apart from the usual nothing."""
        if self._close or (self._deaf and not self._waiting):
            self._end()
        elif self._waiting:
            if not self._pumping:
                self._pump()
        elif self._owes_continue:
            self._owes_continue = False
            if self._open:
                self._write(CONTINUE)

    def _pump(self) -> None:
        """Serve what waits, as far as it is answered at once and the client keeps up."""
        self._pumping = True
        waiting = self._waiting
        try:
            while waiting and not self._active and not self.paused:
                request = waiting.popleft()
                self._waits(-_size(request))
                self._serve(request)
        except Exception:
            # Whoever has completed the answer before must not suffer from this client's next.
            log.exception("a request could not be served")
            self.abort()
            return
        finally:
            self._pumping = False
        if self._reading_paused and self._has_room():
            self._go_on_reading()

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._waits(-self._waiting_bytes)

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def _serve(self, request: _Request | bytes) -> None:
        """Look at one request whose turn has come."""
        if isinstance(request, bytes):
            self._write(request)
            self._end()
            return
        self._active = True
        self._http10 = request.version == "1.0"
        self._close = not request.keep_alive or self.port.draining
        self._head_only = request.method == b"HEAD"
        self._cors = b""
        self._plain = not (self._close or self._http10 or self._head_only)
        refusal = self._problem(request)
        if refusal is not None:
            self._write(refusal)
            self._end()
            return
        target = origin_form(request.target)
        raw_path, _, query = (b"" if target is None else target).partition(b"?")
        path = decode_path(raw_path)
        if path is None:
            self._write(BAD_REQUEST)
            self._end()
            return
        self.method = request.method
        self.path = path
        self.query = query
        self.content_type = request.content_type
        self.fields = request.fields
        self.body = request.body
        self.body_too_large = request.body_too_large
        self._kind = OTHER
        self._began_s = now()
        if self._guarded(request):
            self.port.router.serve(self)

    def _problem(self, request: _Request) -> bytes | None:
        """What makes a request one that Go does not serve."""
        if request.version[:2] != "1.":
            # The parser takes a line without a version for HTTP/0.9.
            return BAD_REQUEST if request.version == "0.9" else HTTP_VERSION
        host = request.host
        if host is None:
            return MISSING_HOST if request.version != "1.0" else None
        if not self.port.guards.is_well_formed(host):
            return MALFORMED_HOST
        if request.target == b"*" and request.method != b"OPTIONS":
            return BAD_REQUEST
        return None

    def _guarded(self, request: _Request) -> bool:
        """Check where a request comes from; False if it has been refused."""
        guards = self.port.guards
        host = request.host or b""
        if not guards.accepts_host(host) and (guards.strict or from_browser(request.fields)):
            self.respond(403, PLAIN_ERROR, FOREIGN_HOST % host)
            return False
        if not (request.odd or guards.needs_origin):
            return True
        origin = self._field(b"origin")
        if guards.needs_origin:
            self._cors = guards.cors_headers(origin)
            self._plain = self._plain and not self._cors
        if (
            origin is not None
            and request.method in (b"PUT", b"POST", b"DELETE")
            and not guards.accepts_origin(origin, host)
        ):
            self.respond(403, PLAIN_ERROR, FOREIGN_ORIGIN)
            return False
        return True

    def _field(self, name: bytes) -> bytes | None:
        for spelling, value in self.fields:
            if spelling.lower() == name:
                return value
        return None

    # --- the end -----------------------------------------------------------------------

    def _reject(self, answer: bytes) -> None:
        """Refuse the request that is being received as soon as its head is complete."""
        if self._refusal is None:
            self._refusal = answer

    def _refuse(self, answer: bytes) -> None:
        """Answer in the client's language once more, and look at nothing that follows."""
        if self._deaf:
            return
        self._deaf = self._cut_short = True
        self._open = False
        self._release()
        self._enqueue(answer)

    def _end(self) -> None:
        """Close once everything has been sent.

        A client that may still be sending gets time to read its answer first: closing with
        unread bytes would make its system throw the answer away.
        """
        if self._gone or self._lingering:
            return
        self._active = False
        self._deaf = self._lingering = True
        self._forget_waiting()
        self._last_s = self.port.now_s
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        if not self._cut_short:
            self._said_goodbye = True
            self.transport.close()
        elif self.transport.can_write_eof():
            self.transport.write_eof()
