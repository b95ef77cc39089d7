"""HTTP for all commands: single exchanges, one kept connection per server, exact time limits.

Which endpoint is asked is the business of `session`. The parser is httptools, and not http.client,
since importing that takes longer than a whole `get`. (etcdctl reference, sections 1.5 and 2.)

Time is kept by two limits: an answer has to begin within --timeout (none for watches), and
everything has to end by the deadline of the command.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import httptools

from kvraft.limits import CTL_MAX_ANSWER_BYTES, CTL_RECEIVE_BYTES, CTL_TCP_PROBE_S
from kvraft_cli.endpoints import Url
from kvraft_cli.errors import DeadlineExceeded, HeaderTimeout, TransportError

if TYPE_CHECKING:
    import ssl

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class Reply(NamedTuple):
    """An answer; the names of the headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Clock:
    """The two limits of one exchange, as moments of the monotonic clock; None is no limit."""

    def __init__(self, deadline: float | None, header_timeout_s: float | None) -> None:
        self._deadline = deadline
        self._header = None if header_timeout_s is None else time.monotonic() + header_timeout_s

    def left_s(self) -> float | None:
        """Seconds until the first limit; raises when one has passed."""
        self.check()
        limits = [moment for moment in (self._deadline, self._header) if moment is not None]
        return max(min(limits) - time.monotonic(), 0.001) if limits else None

    def check(self) -> None:
        """Raise DeadlineExceeded or HeaderTimeout if it is time."""
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            raise DeadlineExceeded
        if self._header is not None and now >= self._header:
            raise HeaderTimeout("client: endpoint exceeded header timeout")

    def begun(self) -> None:
        """The answer has begun: only the deadline counts from here."""
        self._header = None


class _Answer:
    """What the parser tells of one answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.size = 0
        self.begun = False
        self.complete = False
        self.keep = False

    def on_message_begin(self) -> None:
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.begun = self.parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        self.body.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        if self.begun:
            self.complete = True
            self.keep = self.parser.should_keep_alive()

    def ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection tells where the body ends."""
        chunked = "chunked" in self.headers.get("transfer-encoding", "")
        return self.begun and not chunked and "content-length" not in self.headers

    def reply(self) -> Reply:
        return Reply(self.parser.get_status_code(), self.headers, b"".join(self.body))


class Transport:
    """Exchanges with servers; keeps a connection to each for the next request."""

    def __init__(
        self, tls: Callable[[], ssl.SSLContext], connect_timeout_s: float | None = None
    ) -> None:
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._kept: dict[tuple[str, str], socket.socket] = {}

    def twin(self) -> Transport:
        """Another one with the same settings, and connections of its own."""
        return Transport(self._tls, self._connect_timeout_s)

    def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            self._kept.popitem()[1].close()

    def exchange(
        self,
        method: str,
        url: Url,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        deadline: float | None = None,
        header_timeout_s: float | None = None,
    ) -> Reply:
        """Send one request and take its answer, whatever it is.

        Raises TransportError, HeaderTimeout among them, and DeadlineExceeded.
        """
        clock = Clock(deadline, header_timeout_s)
        clock.check()
        if url.scheme not in ("http", "https"):
            raise TransportError(f'unsupported protocol scheme "{url.scheme}"')
        if not url.host:
            raise TransportError("http: no Host in request URL")
        place = (url.scheme, url.host)
        request = _request_bytes(method, url, headers, body)
        connection = self._kept.pop(place, None)
        if connection is not None and _is_stale(connection):
            connection.close()
            connection = None
        if connection is None:
            connection = self._dial(url, clock)
        try:
            answer = _talk(connection, request, clock)
        except BaseException:
            connection.close()
            raise
        if answer.keep:
            self._kept[place] = connection
        else:
            connection.close()
        return answer.reply()

    def _dial(self, url: Url, clock: Clock) -> socket.socket:
        host, port = url.address
        failed = None
        for family, address in _resolve(host, port, clock):
            try:
                connection = self._connect(family, address, clock)
            except TransportError as error:
                failed = failed or error
                continue
            if url.scheme == "https":
                connection = self._encrypt(connection, host, clock)
            return connection
        raise failed or TransportError(f"dial tcp: lookup {host}: no such host", dialing=True)

    def _connect(self, family: int, address: tuple[str, int], clock: Clock) -> socket.socket:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            limits = [s for s in (clock.left_s(), self._connect_timeout_s) if s is not None]
            connection.settimeout(min(limits) if limits else None)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _notice_loss(connection)
        except OSError as error:
            connection.close()
            text = f"dial tcp {_shown(address)}: connect: {reason(error)}"
            if _is_ours(error):
                clock.check()
                text = f"dial tcp {_shown(address)}: i/o timeout"
            raise TransportError(text, dialing=True) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _encrypt(self, connection: socket.socket, host: str, clock: Clock) -> socket.socket:
        from kvraft_cli.tls import describe

        context = self._tls()
        try:
            connection.settimeout(clock.left_s())
            return context.wrap_socket(connection, server_hostname=host.rstrip("."))
        except TimeoutError:
            connection.close()
            clock.check()
            raise TransportError("net/http: TLS handshake timeout") from None
        except OSError as error:
            connection.close()
            raise TransportError(describe(error, host)) from None


def _request_bytes(
    method: str, url: Url, headers: Sequence[tuple[str, str]], body: bytes | None
) -> bytes:
    lines = [
        f"{method} {url.target} HTTP/1.1",
        f"Host: {url.host}",
        "User-Agent: kvraftctl",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if url.user is not None and not any(name == "Authorization" for name, _ in headers):
        lines.append(f"Authorization: {basic(url.user)}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b"")


def basic(credentials: str) -> str:
    """The value of the header for `name:password`."""
    import binascii

    data = credentials.encode("utf-8", "surrogateescape")
    return "Basic " + binascii.b2a_base64(data, newline=False).decode()


def _is_ours(error: OSError) -> bool:
    """Whether this is the end of a time that was set here, and not the system's word."""
    return isinstance(error, TimeoutError) and error.errno is None


def _notice_loss(connection: socket.socket) -> None:
    """Have the system ask now and then whether the server is there: a watch may wait for days."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if number := getattr(socket, name, None):  # not every system has both
            connection.setsockopt(socket.IPPROTO_TCP, number, CTL_TCP_PROBE_S)


def _is_stale(connection: socket.socket) -> bool:
    """Whether the server has closed a kept connection, or said something unasked."""
    if hasattr(connection, "pending"):  # encrypted: session tickets arrive unasked, that is fine
        return False
    connection.settimeout(0)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _talk(connection: socket.socket, request: bytes, clock: Clock) -> _Answer:
    answer = _Answer()
    refused: OSError | None = None
    try:
        connection.settimeout(clock.left_s())
        connection.sendall(request)
    except TimeoutError:
        clock.check()
        raise TransportError("i/o timeout") from None
    except OSError as error:
        refused = error  # the server may have answered before it had read everything
    received = False
    while not answer.complete:
        connection.settimeout(clock.left_s())
        try:
            data = connection.recv(CTL_RECEIVE_BYTES)
        except OSError as error:
            if _is_ours(error):
                clock.check()
                continue
            verb, error = ("write", refused) if refused else ("read", error)
            raise TransportError(
                f"{verb} tcp {_ends(connection)}: {verb}: {reason(error)}"
            ) from None
        if not data:
            if answer.ends_with_connection():
                break
            raise TransportError("unexpected EOF" if received else "EOF")
        received = True
        _feed(answer, data)
        if answer.begun:
            clock.begun()
    return answer


def _feed(answer: _Answer, data: bytes) -> None:
    try:
        answer.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        if answer.complete:
            return  # whatever follows a whole answer is nobody's
        from kvraft.server.quoting import quote

        line = data.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "surrogateescape")
        broken = "net/http: HTTP/1.x transport connection broken"
        raise TransportError(f"{broken}: malformed HTTP response {quote(line)}") from None
    if answer.size > CTL_MAX_ANSWER_BYTES:
        raise TransportError("the answer is too large")


def reason(error: OSError) -> str:
    """The system's words for a failure, as Go writes them."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _shown(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ends(connection: socket.socket) -> str:
    try:
        return f"{_shown(connection.getsockname())}->{_shown(connection.getpeername())}"
    except OSError:
        return "?"


def _resolve(host: str, port: int, clock: Clock) -> list[tuple[int, tuple[str, int]]]:
    """Families and addresses of a host; a name is looked up within the limits of the clock."""
    # the name that needs no asking around is taken at once
    flags = 0 if host == "localhost" else socket.AI_NUMERICHOST
    try:
        # as bytes, ASCII names need no codec for international ones
        name = host.encode() if host.isascii() else host
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        from kvraft_cli.names import look_up

        try:
            found = look_up(host, port, clock.left_s())
        except TimeoutError:
            clock.check()
            raise TransportError(f"dial tcp: lookup {host}: i/o timeout", dialing=True) from None
        except LookupError as error:
            raise TransportError(f"dial tcp: {error.args[0]}", dialing=True) from None
    return [(family, (str(where[0]), port)) for family, _, _, _, where in found]
