"""How a connection between two members begins: an HTTP/1.1 upgrade on the peer port.

The dialling side names the cluster, itself and the member it wants; the other side answers 101
and both go on with frames, or an error status with the reason as text. So a member of another
cluster, or one that was moved to another address, is told so before any frame is read. The caller
also tells where it can be called itself: the other side may not have learnt of it yet, and
could otherwise not answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

UPGRADE = "kvraft-raft/1"
STREAM_PATH = "/raft/stream"
SNAPSHOT_PATH = "/raft/snapshot"
REMOVED: Final = 410
"""The status by which a member learns that it has been removed."""
_MAX_URLS: Final = 64


class Hello(NamedTuple):
    """Who calls whom, and where the caller can be called; the URLs are unchecked."""

    cluster_id: int
    sender: int
    to: int
    peer_urls: tuple[str, ...] = ()


class HandshakeError(Exception):
    """The other side is not the member that was called, or does not want to talk.

    `status` is that of its answer, 0 if there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def request_head(path: str, host: str, hello: Hello) -> bytes:
    """The bytes that open a connection."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        f"Upgrade: {UPGRADE}",
        f"X-Etcd-Cluster-ID: {hello.cluster_id:x}",
        f"X-Server-From: {hello.sender:x}",
        f"X-Raft-To: {hello.to:x}",
    ]
    urls = ",".join(hello.peer_urls)
    if urls.isascii() and urls.isprintable() and urls:
        lines.append(f"X-PeerURLs: {urls}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def hello_from_headers(headers: dict[bytes, bytes]) -> Hello | None:
    """What the caller said about itself; None if something is missing or no number."""
    try:
        numbers = [
            int(headers[name], 16)
            for name in (b"x-etcd-cluster-id", b"x-server-from", b"x-raft-to")
        ]
    except (KeyError, ValueError):
        return None
    urls = headers.get(b"x-peerurls", b"").decode("latin-1").split(",", _MAX_URLS)[:_MAX_URLS]
    return Hello(numbers[0], numbers[1], numbers[2], tuple(url for url in urls if url))


ACCEPTANCE = (
    f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n\r\n"
).encode("ascii")


def refusal_of(
    hello: Hello, cluster_id: int, member_id: int, is_removed: Callable[[int], bool]
) -> tuple[int, str] | None:
    """Status and reason why this member does not talk to the caller; None if it does."""
    if hello.cluster_id != cluster_id:
        return 412, f"request cluster ID mismatch (got {hello.cluster_id:x} want {cluster_id:x})"
    if hello.to != member_id:
        return 412, f"to field mismatch (got {hello.to:x} want {member_id:x})"
    if is_removed(hello.sender):
        return REMOVED, "removed member"
    return None


class AnswerReader:
    """Reads the answer to `request_head`; what follows it belongs to the frames."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._complete = False

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body[:1000]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True

    def feed(self, data: bytes) -> bytes | None:
        """Bytes behind an acceptance, None while incomplete. Raises HandshakeError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise HandshakeError(f"no HTTP answer: {error}") from error
        if self._complete:
            reason = self._body.decode("utf-8", "replace").strip()
            status = self._parser.get_status_code()
            raise HandshakeError(f"refused with status {status}: {reason}", status)
        return None
