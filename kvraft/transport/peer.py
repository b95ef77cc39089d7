"""One remote member: a connection that is kept up, and frames written to it.

Each member dials every other one and writes its frames there; what comes back arrives on the
connection that the other side has dialled. Frames to a peer that is not connected, or too far
behind, are dropped and reported: the consensus core expects loss and repeats itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from kvraft import limits
from kvraft.transport.handshake import (
    REMOVED,
    STREAM_PATH,
    AnswerReader,
    HandshakeError,
    Hello,
    request_head,
)

if TYPE_CHECKING:
    from kvraft.transport.codec import Frame, FrameEncoder
    from kvraft.transport.tls import ContextSource


_Dialled = TypeVar("_Dialled", bound=asyncio.Protocol)


class _StreamProtocol(asyncio.Protocol):
    """The dialling side of a frame stream; only the handshake is ever read from it."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._reader: AnswerReader | None = AnswerReader()
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, they only behave like them.
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        _set_silence_limit(transport)
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            return
        try:
            if self._reader.feed(data) is not None:
                self._reader = None
                if not self.accepted.done():
                    self.accepted.set_result(None)
        except HandshakeError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        why = f"connection closed: {failure(exc)}" if exc else "connection closed"
        self._fail(HandshakeError(why))
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, error: HandshakeError) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(error)
            self.accepted.exception()  # seen: nobody waits for it if dialling was given up


class Peer:
    """Sends frames to one member; see the module's description."""

    def __init__(
        self,
        urls: Sequence[str],
        hello: Hello,
        encoder: FrameEncoder,
        *,
        on_unreachable: Callable[[int], None],
        on_state: Callable[[int, bool, str], None],
        on_removed: Callable[[int], None],
        context: ContextSource | None = None,
    ) -> None:
        """`on_removed`: the other side, which is named, says that this member has been removed."""
        self.member_id = hello.to
        self.urls = tuple(urls)
        self.hello = hello  # may be replaced: the next connection begins with it
        self.sent_bytes = 0
        self.reached = ""
        """Where it answered last: of several addresses, some may never work from here."""
        self._encoder = encoder
        self._on_unreachable = on_unreachable
        self._on_state = on_state
        self._on_removed = on_removed
        self._transport: asyncio.Transport | None = None
        self._context = context
        self._complaints: set[str] = set()
        self._task = asyncio.create_task(self._keep_connected(), name=f"peer-{hello.to:x}")

    @property
    def connected(self) -> bool:
        """Whether frames can be sent now."""
        return self._transport is not None

    def send(self, frames: Sequence[Frame]) -> None:
        """Send frames in order, or drop them all."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self._on_unreachable(self.member_id)
            return
        if transport.get_write_buffer_size() > limits.MAX_PEER_BACKLOG_BYTES:
            self._on_unreachable(self.member_id)
            return
        data = self._encoder.encode(frames)
        self.sent_bytes += len(data)
        transport.write(data)

    async def close(self) -> None:
        """Stop trying, and close the connection once what was sent has left."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_connected(self) -> None:
        attempt = 0
        while True:
            url = self.urls[attempt % len(self.urls)]
            attempt += 1
            try:
                await self._stay_connected(url)
            except (OSError, TimeoutError, HandshakeError) as error:
                self._complain(f"{url}: {failure(error)}")
                if isinstance(error, HandshakeError) and error.status == REMOVED:
                    self._on_removed(self.member_id)
            await asyncio.sleep(limits.PEER_RECONNECT_MS / 1000)

    async def _stay_connected(self, url: str) -> None:
        protocol = await dial(url, STREAM_PATH, self.hello, _StreamProtocol, self._context)
        assert protocol.transport is not None
        try:
            async with asyncio.timeout(limits.PEER_CONNECT_TIMEOUT_MS / 1000):
                await protocol.accepted
            self._transport = protocol.transport
            self.reached = url
            self._complaints.clear()
            self._on_state(self.member_id, True, url)
            await protocol.closed
            self._complain(f"{url}: connection closed")
        finally:
            self._transport = None
            protocol.transport.close()

    def _complain(self, reason: str) -> None:
        """Report each reason once: a member that is down is dialled ten times a second.

        Reasons may take turns: a refused certificate shows as an alert, or as a reset that
        overtakes it.
        """
        if reason not in self._complaints and len(self._complaints) < limits.MAX_PEER_COMPLAINTS:
            self._complaints.add(reason)
            self._on_state(self.member_id, False, reason)


def context_for(url: str, source: ContextSource | None) -> ssl.SSLContext | None:
    """What a connection to this URL needs; None for http. Raises HandshakeError."""
    if not url.startswith("https:"):
        return None
    if source is None:
        raise HandshakeError("this member is not set up to dial https")
    return source()


def connect_timeout_s(context: ssl.SSLContext | None) -> float:
    """How long connecting may take; with TLS, the handshake gets as long as the connection."""
    return limits.PEER_CONNECT_TIMEOUT_MS / 1000 * (1 if context is None else 2)


def failure(error: BaseException) -> str:
    """Why a connection failed, in words that stay the same from one attempt to the next."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the member's certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    return str(error) or "timed out"


async def dial(
    url: str,
    path: str,
    hello: Hello,
    factory: Callable[[bytes], _Dialled],
    source: ContextSource | None = None,
) -> _Dialled:
    """Open a connection to a member's peer URL and send the opening request.

    Raises OSError, TimeoutError or HandshakeError. With https the member has to show a
    certificate for the host in the URL.
    """
    target = urlsplit(url)
    head = request_head(path, target.netloc, hello)
    assert target.hostname is not None, "peer URLs were checked"
    assert target.port is not None, "peer URLs were checked"
    host, port = target.hostname, target.port
    context = context_for(url, source)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(connect_timeout_s(context)):
        _, protocol = await loop.create_connection(lambda: factory(head), host, port, ssl=context)
    return protocol


def _set_silence_limit(transport: asyncio.Transport) -> None:
    """Let the kernel give up on a peer that acknowledges nothing (Linux)."""
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.PEER_SILENCE_MS)
