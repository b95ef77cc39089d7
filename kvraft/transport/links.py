"""What a member needs of whatever carries its frames to the others.

Frames may be lost, and are never reordered or repeated; what is lost is reported, as far as it is
noticed. The consensus core expects loss and repeats itself. Implemented over sockets by `hub`,
within one process by `memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from kvraft.raft.message import InstallSnapshot
    from kvraft.transport.codec import Frame


class PeerLinks(Protocol):
    """The ways from one member to the others."""

    def update(self, urls_by_member: Mapping[int, Sequence[str]]) -> None:
        """Reach these members from now on, and no others; the own one is named, too."""

    def send(self, frames: Iterable[Frame]) -> None:
        """Send each frame to the member in its first field."""

    async def send_snapshot(self, message: InstallSnapshot, chunks: AsyncIterator[bytes]) -> bool:
        """Transfer a snapshot; False if it is not known where to.

        Raises OSError, TimeoutError or HandshakeError if it failed.
        """

    def connected(self) -> set[int]:
        """The members that frames can be sent to now."""

    def sent_bytes(self, member_id: int) -> int:
        """How much has been sent to this member."""

    async def close(self) -> None:
        """Hang up everywhere."""
