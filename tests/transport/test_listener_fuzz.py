"""Damaged streams at the peer port: each connection goes on or is cut, and nothing else happens."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from kvraft.raft.entry import Entry, EntryKind
from kvraft.raft.message import Append, Heartbeat, Vote
from kvraft.server.frames import frame_from_wire
from kvraft.transport.handshake import STREAM_PATH, request_head
from kvraft.transport.listener import PeerConnection
from tests.transport.members import HELLO, PEER, SELF, FakeMember, encoder

SEEDS = 150
FRAMES = [
    Heartbeat(SELF, PEER, 7, 1, 1, 9),
    Append(SELF, PEER, 7, 8, 7, 8, [Entry(9, 7, EntryKind.NORMAL, b"x" * 300)], 3),
    Vote(SELF, PEER, 8, 9, 7, False, 8, 7),
]


class FakeTransport:
    """Takes what is written, and notes the end."""

    def __init__(self) -> None:
        self.ended = False

    def write(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 101")

    def abort(self) -> None:
        self.ended = True


def damaged(stream: bytes, rng: random.Random) -> bytes:
    """One of the ways in which bytes go wrong."""
    position = rng.randrange(len(stream))
    match rng.randrange(5):
        case 0:
            return stream[:position]
        case 1:
            return stream[:position] + rng.randbytes(rng.randint(1, 40)) + stream[position:]
        case 2:
            return stream[:position] + stream[position + rng.randint(1, 40) :]
        case 3:
            return stream[:position] + bytes([rng.randrange(256)]) + stream[position + 1 :]
        case _:
            return stream[:position] + rng.randbytes(len(stream) - position)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_damaged_stream(seed: int) -> None:
    rng = random.Random(seed)
    member, transport = FakeMember(), FakeTransport()
    connections: set[PeerConnection] = set()
    connection = PeerConnection(member, frame_from_wire, connections)
    connection.connection_made(cast("Any", transport))
    connection.data_received(request_head(STREAM_PATH, "here", HELLO))
    rest = damaged(encoder().encode(FRAMES * 2), rng)
    while rest and not transport.ended:
        size = rng.randint(1, 200)
        connection.data_received(rest[:size])
        rest = rest[size:]
    connection.connection_lost(None)
    assert not connections
    assert bool(member.warnings) == transport.ended
    for frame in member.frames:
        assert (frame.to, frame.sender) == (SELF, PEER)
