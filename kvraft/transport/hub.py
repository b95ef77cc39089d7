"""All remote members over sockets: whom to dial, and which frame goes to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kvraft.transport.handshake import Hello
from kvraft.transport.peer import Peer
from kvraft.transport.snapshot import send_snapshot

if TYPE_CHECKING:
    from kvraft.raft.message import InstallSnapshot
    from kvraft.transport.codec import Frame, FrameEncoder
    from kvraft.transport.tls import ContextSource


class PeerHub:
    """The peers of one member; follows the membership. Implements `PeerLinks`."""

    def __init__(
        self,
        cluster_id: int,
        member_id: int,
        encoder: FrameEncoder,
        *,
        on_unreachable: Callable[[int], None],
        on_state: Callable[[int, bool, str], None],
        on_removed: Callable[[int], None],
        context: ContextSource | None = None,
    ) -> None:
        """`context`: gives what https URLs are dialled with; asked for each connection anew."""
        self.context = context
        self._cluster_id = cluster_id
        self._member_id = member_id
        self._encoder = encoder
        self._on_unreachable = on_unreachable
        self._on_state = on_state
        self._on_removed = on_removed
        self._own_urls: tuple[str, ...] = ()
        self._peers: dict[int, Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def update(self, urls_by_member: Mapping[int, Sequence[str]]) -> None:
        """Dial these members (the own one excepted), and no others."""
        own_urls = tuple(urls_by_member.get(self._member_id, ()))
        if own_urls != self._own_urls:
            self._own_urls = own_urls
            for member_id, peer in self._peers.items():
                peer.hello = self.hello(member_id)
        wanted = {m: tuple(u) for m, u in urls_by_member.items() if m != self._member_id and u}
        for member_id, peer in list(self._peers.items()):
            if wanted.get(member_id) != peer.urls:
                self._close(self._peers.pop(member_id))
        for member_id, urls in wanted.items():
            if member_id not in self._peers:
                self._peers[member_id] = Peer(
                    urls,
                    self.hello(member_id),
                    self._encoder,
                    on_unreachable=self._on_unreachable,
                    on_state=self._on_state,
                    context=self.context,
                    on_removed=self._on_removed,
                )

    def hello(self, member_id: int) -> Hello:
        """How to introduce oneself to this member."""
        return Hello(self._cluster_id, self._member_id, member_id, self._own_urls)

    def reached(self, member_id: int) -> str:
        """The URL at which this member answered last, else its first one; empty if unknown."""
        peer = self._peers.get(member_id)
        return "" if peer is None else peer.reached or peer.urls[0]

    def sent_bytes(self, member_id: int) -> int:
        """How much has been sent to this member at its present addresses."""
        peer = self._peers.get(member_id)
        return peer.sent_bytes if peer is not None else 0

    def connected(self) -> set[int]:
        """The members that frames can be sent to now."""
        return {member_id for member_id, peer in self._peers.items() if peer.connected}

    def send(self, frames: Iterable[Frame]) -> None:
        """Send each frame to the member in its first field."""
        by_member: dict[int, list[Frame]] = {}
        for frame in frames:
            by_member.setdefault(frame[0], []).append(frame)
        for member_id, batch in by_member.items():
            peer = self._peers.get(member_id)
            if peer is not None:
                peer.send(batch)

    async def send_snapshot(self, message: InstallSnapshot, chunks: AsyncIterator[bytes]) -> bool:
        """See `PeerLinks.send_snapshot`; over a connection of its own."""
        url = self.reached(message.to)
        if not url:
            return False
        hello = self.hello(message.to)
        await send_snapshot(urlsplit(url), hello, message, chunks, self._encoder, self.context)
        return True

    async def close(self) -> None:
        """Hang up everywhere."""
        peers = [peer.close() for peer in self._peers.values()]
        self._peers.clear()
        await asyncio.gather(*peers, *self._closing)

    def _close(self, peer: Peer) -> None:
        task = asyncio.create_task(peer.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
