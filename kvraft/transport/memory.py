"""Members of one process among each other, without sockets: frames are handed over as they are.

What is sent in one turn of the loop arrives in the next, in order. As on a wire, frames to a member
that is not there, that has no room, or that is cut off are lost and reported as such; a removed
member is told so when it sends. Frames are immutable values, so nothing is copied or encoded.

Links can be blocked one way or both ways, which is what a partition is. Must not know consensus.
Invariant: between two members nothing is reordered or repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from kvraft import limits
from kvraft.raft.message import Append, InstallSnapshot
from kvraft.transport.handshake import HandshakeError

if TYPE_CHECKING:
    from kvraft.transport.codec import Frame

FRAME_BYTES = 64  # what a frame counts for beside the data of its entries


class MemoryPort(Protocol):
    """What a member is for the others."""

    member_id: int

    def receive_frames(self, frames: list[Frame]) -> None:
        """Frames from a member, in order."""

    def count_received(self, member_id: int, size: int) -> None:
        """So many bytes of frames have come from a member."""

    def is_removed(self, member_id: int) -> bool:
        """Whether this member was removed from the cluster for good, and may be told."""

    async def take_snapshot(self, parts: AsyncIterator[InstallSnapshot | bytes]) -> bool:
        """The message and then the chunks of a snapshot; whether it was taken."""


class MemoryNetwork:
    """The members that can reach each other, and the links between them that are blocked."""

    def __init__(self) -> None:
        self._ports: dict[int, MemoryPort] = {}
        self._blocked: set[tuple[int, int]] = set()

    def join(
        self,
        port: MemoryPort,
        *,
        on_unreachable: Callable[[int], None],
        on_removed: Callable[[int], None],
    ) -> MemoryLinks:
        """Make a member reachable, until its links are closed.

        `on_unreachable`: frames to this member are lost; `on_removed`: this member says that the
        sender has been removed.
        """
        assert port.member_id not in self._ports, "two members with one id"
        self._ports[port.member_id] = port
        loop = asyncio.get_running_loop()
        return MemoryLinks(self, loop, port, on_unreachable, on_removed)

    def leave(self, port: MemoryPort) -> None:
        """Nobody reaches this member any more; harmless if nobody did."""
        if self._ports.get(port.member_id) is port:
            del self._ports[port.member_id]

    def block(self, sender: int, to: int) -> None:
        """Lose what one member sends to another one, what is under way included."""
        self._blocked.add((sender, to))

    def unblock(self, sender: int, to: int) -> None:
        """Deliver it again; harmless if it is not blocked."""
        self._blocked.discard((sender, to))

    def heal(self) -> None:
        """Block nothing."""
        self._blocked.clear()

    def reach(self, sender: int, to: int) -> MemoryPort | None:
        """The other member, if there is a way to it."""
        return None if (sender, to) in self._blocked else self._ports.get(to)

    def reachable(self, sender: int) -> set[int]:
        """All to whom there is a way."""
        return {to for to in self._ports if to != sender and (sender, to) not in self._blocked}


class MemoryLinks:
    """The ways from one member to the others; implements `PeerLinks`."""

    def __init__(
        self,
        network: MemoryNetwork,
        loop: asyncio.AbstractEventLoop,
        port: MemoryPort,
        on_unreachable: Callable[[int], None],
        on_removed: Callable[[int], None],
    ) -> None:
        self._network = network
        self._loop = loop
        self._port = port
        self._own_id = port.member_id
        self._on_unreachable = on_unreachable
        self._on_removed = on_removed
        self._under_way: dict[int, int] = {}  # bytes that have not arrived, by member
        self._sent: dict[int, int] = {}
        self._closed = False

    def update(self, urls_by_member: Mapping[int, Sequence[str]]) -> None:
        """See `PeerLinks.update`: whoever has joined the network is reached by its id."""

    def send(self, frames: Iterable[Frame]) -> None:
        """See `PeerLinks.send`."""
        by_member: dict[int, list[Frame]] = {}
        for frame in frames:
            by_member.setdefault(frame[0], []).append(frame)
        for member_id, batch in by_member.items():
            self._send(member_id, batch)

    def _send(self, member_id: int, batch: list[Frame]) -> None:
        waiting = self._under_way.get(member_id, 0)
        if (
            self._closed
            or self._network.reach(self._own_id, member_id) is None
            or waiting > limits.MAX_PEER_BACKLOG_BYTES
        ):
            self._on_unreachable(member_id)
            return
        size = sum(map(_size, batch))
        self._under_way[member_id] = waiting + size
        self._sent[member_id] = self._sent.get(member_id, 0) + size
        self._loop.call_soon(self._deliver, member_id, batch, size)

    def _deliver(self, member_id: int, batch: list[Frame], size: int) -> None:
        self._under_way[member_id] -= size
        port = self._network.reach(self._own_id, member_id)
        if self._closed or port is None:
            return
        if port.is_removed(self._own_id):
            self._on_removed(member_id)
            return
        port.count_received(self._own_id, size)
        port.receive_frames(batch)

    async def send_snapshot(self, message: InstallSnapshot, chunks: AsyncIterator[bytes]) -> bool:
        """See `PeerLinks.send_snapshot`."""
        port = self._network.reach(self._own_id, message.to)
        if port is None:
            return False
        # A task of its own: the receiver may give it up without the sender being cancelled.
        parts = self._parts(port, message, chunks)
        taking = asyncio.ensure_future(port.take_snapshot(parts))
        try:
            await asyncio.wait((taking,))
        finally:
            if not taking.done():
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
            await parts.aclose()
        if taking.cancelled() or not taking.result():
            raise HandshakeError("the member could not take the snapshot")
        return True

    async def _parts(
        self, port: MemoryPort, message: InstallSnapshot, chunks: AsyncIterator[bytes]
    ) -> AsyncGenerator[InstallSnapshot | bytes, None]:
        yield message
        async for chunk in chunks:
            if self._closed or self._network.reach(self._own_id, message.to) is not port:
                raise ConnectionError("the snapshot broke off")
            yield chunk

    def connected(self) -> set[int]:
        """See `PeerLinks.connected`."""
        return self._network.reachable(self._own_id)

    def sent_bytes(self, member_id: int) -> int:
        """See `PeerLinks.sent_bytes`."""
        return self._sent.get(member_id, 0)

    async def close(self) -> None:
        """See `PeerLinks.close`."""
        self._closed = True
        self._network.leave(self._port)


def _size(frame: Frame) -> int:
    if type(frame) is Append:
        return FRAME_BYTES + sum(len(entry.data) for entry in frame.entries)
    return FRAME_BYTES
