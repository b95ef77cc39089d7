"""The peer port: connections that other members open, and the few documents they ask for.

A connection starts as HTTP/1.1. An upgrade to `/raft/stream` or `/raft/snapshot` with the right
cluster id and member id becomes a stream of frames; a GET of a document (`/members`, `/version`,
`/raft/probing`, which joining members and proxies use) is answered; anything else is 404.
(admin-api, section 6.)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast
from urllib.parse import unquote_to_bytes

import httptools

from kvraft import limits
from kvraft.transport.codec import FrameDecoder, MalformedFrame
from kvraft.transport.handshake import (
    ACCEPTANCE,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Hello,
    hello_from_headers,
    refusal_of,
)

if TYPE_CHECKING:
    from kvraft.transport.codec import Frame, FromWire


_PLAIN_ERROR: Final = (
    "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


class Document(NamedTuple):
    """An answer to a plain request; `methods` are those it is given to, none named: all."""

    content_type: str
    body: bytes
    methods: tuple[bytes, ...] = (b"GET",)
    names_cluster: bool = False  # whether the answer carries the cluster's id


def request_path(target: bytes) -> str | None:
    """The decoded path of a request; None if its target is malformed."""
    if target[:1] != b"/":
        _, scheme, rest = target.partition(b"://")
        target = b"/" + rest.partition(b"/")[2] if scheme else b""
    path = target.partition(b"?")[0]
    if not path or _BAD_ESCAPE(path):
        return None
    return unquote_to_bytes(path).decode("utf-8", "replace")


class PeerPort(Protocol):
    """What the listener needs from its member."""

    cluster_id: int
    member_id: int

    def receive_frames(self, frames: list[Frame]) -> None:
        """Frames from a member, in order."""
        ...

    def count_received(self, member_id: int, size: int) -> None:
        """So many bytes of frames have come from a member."""
        ...

    def receive_snapshot(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        """Take a snapshot from the rest of this connection."""
        ...

    def document(self, path: str) -> Document | None:
        """The document at this path."""
        ...

    def called_by(self, hello: Hello) -> None:
        """A member of the cluster has opened a stream."""
        ...

    def is_removed(self, member_id: int) -> bool:
        """Whether this member was removed from the cluster for good, and may be told."""
        ...

    def warn(self, text: str) -> None:
        """Something an operator should see."""
        ...


class PeerConnection(asyncio.Protocol):
    """One accepted connection on the peer port."""

    def __init__(
        self, port: PeerPort, from_wire: FromWire, connections: set[PeerConnection]
    ) -> None:
        self._port = port
        self._from_wire = from_wire
        self._connections = connections
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._decoder: FrameDecoder | None = None
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self.sender = 0  # once the stream is accepted
        self._task: asyncio.Task[None] | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._asked_s = 0.0

    # --- asyncio ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, they only behave like them.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        if len(self._connections) >= limits.MAX_PEER_CONNECTIONS and not self._made_room():
            self._port.warn("too many connections on the peer port, one was refused")
            transport.abort()
            return
        self._connections.add(self)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        if self._decoder is not None:
            self._receive(data)
        elif self._parser is not None:
            self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._parser = None
        self._expect_nothing()

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _made_room(self) -> bool:
        """Cut whoever has been asking for the longest time, but no stream of a member."""
        others = [other for other in self._connections if other._parser is not None]
        if not others:
            return False
        oldest = min(others, key=lambda other: other._asked_s)
        self._connections.discard(oldest)
        oldest.abort()
        return True

    def _expect_request(self) -> None:
        """Nobody who has not introduced himself keeps a place that members need."""
        loop = asyncio.get_running_loop()
        self._expect_nothing()
        self._asked_s = loop.time()
        self._silence = loop.call_later(limits.PEER_REQUEST_TIMEOUT_S, self.abort)

    def _expect_nothing(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    # --- HTTP ---------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers[name.lower()] = value

    def on_message_complete(self) -> None:
        """Called by the parser: a whole request is here."""
        parser = self._parser
        assert parser is not None
        if parser.should_upgrade():
            return  # feed_data raises HttpParserUpgrade next
        method = parser.get_method()
        keep_alive = parser.should_keep_alive()
        path = request_path(self._url)
        document = None if path is None else self._port.document(path)
        if path is None:
            self._refuse(400, "400 Bad Request")
            return
        if document is None:
            status, headers, body = 404, _PLAIN_ERROR, b"404 page not found\n"
        elif document.methods and method not in document.methods:
            allowed = b",".join(document.methods).decode()
            status, headers = 405, f"Allow: {allowed}\r\n{_PLAIN_ERROR}"
            body = b"Method Not Allowed\n"
        else:
            status, headers = 200, f"Content-Type: {document.content_type}\r\n"
            if document.names_cluster:
                headers += f"X-Etcd-Cluster-Id: {self._port.cluster_id:x}\r\n"
            body = document.body
        self._answer(status, headers, body, head_only=method == b"HEAD", keep_alive=keep_alive)
        self._url = b""
        self._headers = {}
        self._head_bytes = 0
        self._expect_request()

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        self._head_bytes += len(data)
        if self._head_bytes > limits.MAX_PEER_HEAD_BYTES:
            self._refuse(431, "request head too large")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = None
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "400 Bad Request")

    def _upgrade(self, rest: bytes) -> None:
        hello = hello_from_headers(self._headers)
        path = self._url.decode("latin-1")
        refusal = self._refusal(hello, path)
        if refusal is not None:
            self._port.warn(refusal[1])
            self._refuse(*refusal)
            return
        assert hello is not None
        assert self._transport is not None
        self._expect_nothing()
        self.sender = hello.sender
        self._transport.write(ACCEPTANCE)
        self._port.called_by(hello)
        if path == STREAM_PATH:
            self._decoder = FrameDecoder(self._from_wire)
            if rest:
                self._receive(rest)
        else:
            self._start_snapshot(rest)

    def _refusal(self, hello: Hello | None, path: str) -> tuple[int, str] | None:
        port = self._port
        if path not in (STREAM_PATH, SNAPSHOT_PATH):
            return 404, "404 page not found"
        if hello is None:
            return 400, "missing or malformed cluster id, sender or recipient"
        return refusal_of(hello, port.cluster_id, port.member_id, port.is_removed)

    def _answer(
        self, status: int, headers: str, body: bytes, *, head_only: bool, keep_alive: bool
    ) -> None:
        assert self._transport is not None
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{headers}"
            f"Date: {formatdate(usegmt=True)}\r\nContent-Length: {len(body)}\r\n"
            + ("\r\n" if keep_alive else "Connection: close\r\n\r\n")
        )
        self._transport.write(head.encode("ascii") + (b"" if head_only else body))
        if not keep_alive:
            self._parser = None
            self._transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        assert self._transport is not None
        self._parser = None
        body = reason.encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode("ascii") + body)
        self._transport.close()

    # --- frames -------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        assert self._decoder is not None
        self._port.count_received(self.sender, len(data))
        try:
            frames = list(self._decoder.feed(data))
            for frame in frames:
                if frame[0] != self._port.member_id or frame[1] != self.sender:
                    raise MalformedFrame("a frame for or from another member")
        except MalformedFrame as error:
            self._port.warn(f"closing the stream from member {self.sender:x}: {error}")
            self.abort()
            return
        if frames:
            self._port.receive_frames(frames)

    def _start_snapshot(self, rest: bytes) -> None:
        transport = self._transport
        assert transport is not None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest:
            reader.feed_data(rest)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        self._task = asyncio.create_task(self._take_snapshot(reader, writer))

    async def _take_snapshot(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await self._port.receive_snapshot(reader, writer)
        finally:
            self._connections.discard(self)
            writer.close()


def peer_protocol_factory(
    port: PeerPort, from_wire: FromWire, connections: set[PeerConnection]
) -> Callable[[], PeerConnection]:
    """What `loop.create_server` calls for each connection."""
    return lambda: PeerConnection(port, from_wire, connections)
