"""Frames between members of one process: in order, lost where a wire would lose them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvraft import limits
from kvraft.raft.entry import Entry, EntryKind, Membership, SnapshotMeta
from kvraft.raft.message import Append, Heartbeat, InstallSnapshot
from kvraft.transport.handshake import HandshakeError
from kvraft.transport.memory import FRAME_BYTES, MemoryLinks, MemoryNetwork

pytestmark = pytest.mark.asyncio


class FakeMember:
    """One end, which notes what reaches it."""

    def __init__(self, network: MemoryNetwork, member_id: int) -> None:
        self.member_id = member_id
        self.frames: list[Any] = []
        self.received_bytes = 0
        self.removed: set[int] = set()
        self.unreachable: list[int] = []
        self.told_by: list[int] = []
        self.parts: list[InstallSnapshot | bytes] = []
        self.takes = True
        self.stuck: asyncio.Event | None = None
        self.taking: asyncio.Task[Any] | None = None
        self.links: MemoryLinks = network.join(
            self, on_unreachable=self.unreachable.append, on_removed=self.told_by.append
        )

    def receive_frames(self, frames: list[Any]) -> None:
        self.frames += frames

    def count_received(self, member_id: int, size: int) -> None:
        self.received_bytes += size

    def is_removed(self, member_id: int) -> bool:
        return member_id in self.removed

    async def take_snapshot(self, parts: AsyncIterator[InstallSnapshot | bytes]) -> bool:
        self.taking = asyncio.current_task()
        async for part in parts:
            self.parts.append(part)
            if self.stuck is not None:
                await self.stuck.wait()
        return self.takes


def beat(to: int, sender: int, term: int = 1) -> Heartbeat:
    return Heartbeat(to, sender, term, 0, 0, 0)


async def members(count: int = 2) -> tuple[MemoryNetwork, list[FakeMember]]:
    network = MemoryNetwork()
    return network, [FakeMember(network, number) for number in range(1, count + 1)]


async def test_frames_arrive_in_order_in_a_later_turn() -> None:
    _, (one, two, three) = await members(3)
    frames = [beat(2, 1, 1), beat(3, 1, 2), beat(2, 1, 3)]
    one.links.send(frames)
    one.links.send([beat(2, 1, 4)])
    assert not two.frames
    await asyncio.sleep(0)
    assert [frame.term for frame in two.frames] == [1, 3, 4]
    assert three.frames == [frames[1]]
    assert two.received_bytes == one.links.sent_bytes(2) == 3 * FRAME_BYTES
    assert one.links.connected() == {2, 3}


async def test_what_cannot_arrive_is_reported() -> None:
    network, (one, two) = await members()
    network.block(1, 2)
    one.links.send([beat(2, 1)])
    two.links.send([beat(1, 2)])
    await asyncio.sleep(0)
    assert (one.unreachable, two.frames) == ([2], [])
    assert len(one.frames) == 1  # the other way is open
    assert (one.links.connected(), two.links.connected()) == (set(), {1})
    network.unblock(1, 2)
    one.links.send([beat(2, 1)])
    network.block(1, 2)  # what is under way is lost, too
    await asyncio.sleep(0)
    assert two.frames == []
    network.heal()
    one.links.send([beat(2, 1)])
    await two.links.close()
    await asyncio.sleep(0)
    one.links.send([beat(2, 1), beat(9, 1)])
    assert one.unreachable == [2, 2, 9]
    assert two.frames == []


async def test_a_removed_member_is_told_when_it_sends() -> None:
    _, (one, two) = await members()
    two.removed.add(1)
    one.links.send([beat(2, 1)])
    await asyncio.sleep(0)
    assert (one.told_by, two.frames) == ([2], [])


async def test_too_much_under_way_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PEER_BACKLOG_BYTES", 1000)
    _, (one, two) = await members()
    append = Append(2, 1, 1, 0, 0, 0, [Entry(1, 1, EntryKind.NORMAL, b"x" * 2000)], 0)
    one.links.send([append])
    one.links.send([append])
    assert one.unreachable == [2]
    await asyncio.sleep(0)
    one.links.send([append])
    await asyncio.sleep(0)
    assert two.frames == [append, append]


def snapshot() -> InstallSnapshot:
    return InstallSnapshot(2, 1, 1, SnapshotMeta(10, 1, Membership((1, 2), ())))


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for chunk in given:
        yield chunk


async def test_a_snapshot_is_handed_over_in_pieces() -> None:
    network, (one, two) = await members()
    message = snapshot()
    assert await one.links.send_snapshot(message, chunks(b"a", b"b"))
    assert two.parts == [message, b"a", b"b"]
    two.takes = False
    with pytest.raises(HandshakeError):
        await one.links.send_snapshot(message, chunks())
    network.block(1, 2)
    assert not await one.links.send_snapshot(message, chunks())


async def test_a_snapshot_breaks_off_with_the_link() -> None:
    network, (one, two) = await members()
    two.stuck = asyncio.Event()
    sending = asyncio.ensure_future(one.links.send_snapshot(snapshot(), chunks(b"a", b"b")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    network.block(1, 2)
    two.stuck.set()
    with pytest.raises(ConnectionError):
        await sending


async def test_a_receiver_that_gives_up_does_not_cancel_the_sender() -> None:
    _, (one, two) = await members()
    two.stuck = asyncio.Event()
    sending = asyncio.ensure_future(one.links.send_snapshot(snapshot(), chunks(b"a")))
    while two.taking is None:  # noqa: ASYNC110 - a turn or two
        await asyncio.sleep(0)
    two.taking.cancel()
    with pytest.raises(HandshakeError):
        await sending


async def test_a_sender_that_gives_up_leaves_no_task() -> None:
    _, (one, two) = await members()
    two.stuck = asyncio.Event()
    sending = asyncio.ensure_future(one.links.send_snapshot(snapshot(), chunks(b"a")))
    while two.taking is None:  # noqa: ASYNC110 - a turn or two
        await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert two.taking.done()
