"""The dialling side: it comes back by itself, and drops rather than waits."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kvraft import limits
from kvraft.raft.message import Heartbeat
from kvraft.transport.handshake import STREAM_PATH
from kvraft.transport.peer import Peer, _StreamProtocol, dial
from tests.transport.members import (
    HELLO,
    PEER,
    SELF,
    FakeMember,
    encoder,
    listening,
    until,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

BEAT = Heartbeat(SELF, PEER, 7, 1, 1, 9)


class Dialler:
    """A peer and what it has reported."""

    def __init__(self, *urls: str) -> None:
        self.unreachable = 0
        self.states: list[tuple[bool, str]] = []
        self.removals: list[int] = []
        self.peer = Peer(
            urls,
            HELLO,
            encoder(),
            on_unreachable=self._on_unreachable,
            on_state=lambda _, connected, reason: self.states.append((connected, reason)),
            on_removed=self.removals.append,
        )

    def _on_unreachable(self, member: int) -> None:
        assert member == SELF
        self.unreachable += 1


@asynccontextmanager
async def dialling(*urls: str) -> AsyncIterator[Dialler]:
    dialler = Dialler(*urls)
    try:
        yield dialler
    finally:
        await dialler.peer.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_RECONNECT_MS", 1)


async def test_frames_arrive_in_order() -> None:
    member = FakeMember()
    async with listening(member) as port, dialling(port.url) as dialler:
        await until(lambda: dialler.peer.connected)
        for number in range(50):
            dialler.peer.send([BEAT._replace(read_round=number)] * 2)
        await until(lambda: len(member.frames) == 100)
        assert [frame.read_round for frame in member.frames[::2]] == list(range(50))
        assert dialler.states == [(True, port.url)]
        assert dialler.unreachable == 0


async def test_closing_sends_what_was_written() -> None:
    member = FakeMember()
    async with listening(member) as port:
        async with dialling(port.url) as dialler:
            await until(lambda: dialler.peer.connected)
            dialler.peer.send([BEAT] * 1000)
        await until(lambda: len(member.frames) == 1000)


async def test_without_a_connection_frames_are_dropped_and_reported() -> None:
    async with listening(FakeMember()) as port:
        number = port.number
    member = FakeMember()
    async with dialling(f"http://127.0.0.1:{number}") as dialler:
        dialler.peer.send([BEAT])
        assert dialler.unreachable == 1
        await until(lambda: bool(dialler.states))
        assert dialler.states[0][0] is False
        await asyncio.sleep(0.02)
        assert len(dialler.states) == 1, "one complaint, however often it is tried"
        async with listening(member, number):
            await until(lambda: dialler.peer.connected)
            dialler.peer.send([BEAT])
            await until(lambda: bool(member.frames))
        await until(lambda: not dialler.peer.connected)
        assert [connected for connected, _ in dialler.states][:2] == [False, True]
    assert len(member.frames) == 1, "what was dropped stays dropped"


async def test_a_connection_that_is_cut_is_opened_again() -> None:
    member = FakeMember()
    async with listening(member) as port, dialling(port.url) as dialler:
        for round_ in range(1, 4):
            await until(lambda: dialler.peer.connected)
            dialler.peer.send([BEAT])
            await member.arrived.wait()
            member.arrived.clear()
            assert len(member.frames) == round_
            for connection in list(port.connections):
                connection.abort()
            await until(lambda: not dialler.peer.connected)


async def test_who_is_refused_tries_on_and_says_why() -> None:
    member = FakeMember(member_id=9)
    async with listening(member) as port, dialling(port.url) as dialler:
        await until(lambda: bool(dialler.states))
        connected, reason = dialler.states[0]
        assert not connected
        assert "412: to field mismatch (got 1 want 9)" in reason
        member.member_id = SELF
        await until(lambda: dialler.peer.connected)


async def test_other_urls_of_the_member_are_tried_in_turn() -> None:
    async with listening(FakeMember()) as port:
        closed = port.url
    async with listening(FakeMember()) as port, dialling(closed, port.url) as dialler:
        await until(lambda: dialler.peer.connected)
        assert dialler.states[-1] == (True, port.url)


async def test_a_member_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PEER_CONNECT_TIMEOUT_MS", 20)
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, w: accepted.append(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with dialling(f"http://127.0.0.1:{port}") as dialler:
        await until(lambda: len(accepted) > 2)
        assert not dialler.peer.connected
    server.close()
    for writer in accepted:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in accepted), return_exceptions=True)


def complaints() -> list[str]:
    """What this test's loop complains of; what other tests have left behind is not its business."""
    found: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: found.append(c["message"]))
    return found


async def test_giving_up_a_connection_leaves_no_complaint_behind() -> None:
    complained = complaints()
    async with listening(FakeMember()) as port:
        protocol = await dial(port.url, STREAM_PATH, HELLO, _StreamProtocol)
        assert protocol.transport is not None
        protocol.transport.abort()
        await protocol.closed
    del protocol
    gc.collect()
    assert complained == []


async def test_giving_up_a_connection_that_was_refused_leaves_none_either() -> None:
    complained = complaints()
    async with listening(FakeMember(member_id=9)) as port:
        protocol = await dial(port.url, STREAM_PATH, HELLO, _StreamProtocol)
        await until(protocol.accepted.done)
        await protocol.closed
    del protocol
    gc.collect()
    assert complained == []


async def test_beyond_the_backlog_frames_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PEER_BACKLOG_BYTES", 1000)
    paused: list[asyncio.Transport] = []

    class Deaf(FakeMember):
        def receive_frames(self, frames: list[object]) -> None:
            super().receive_frames(frames)
            for connection in port.connections:
                transport = connection._transport
                assert transport is not None
                transport.pause_reading()
                paused.append(transport)

    async with listening(Deaf()) as port, dialling(port.url) as dialler:
        await until(lambda: dialler.peer.connected)
        dialler.peer.send([BEAT])
        await until(lambda: bool(paused))
        sent = 0
        while not dialler.unreachable:
            dialler.peer.send([BEAT] * 10_000)
            sent += 1
        assert sent > 1
        before = dialler.unreachable
        dialler.peer.send([BEAT])
        assert dialler.unreachable == before + 1
        for connection in list(port.connections):
            connection.abort()
        await until(lambda: not dialler.peer.connected)


async def test_a_removed_member_is_told_by_whom() -> None:
    member = FakeMember()
    member.removed.add(PEER)
    async with listening(member) as port, dialling(port.url) as dialler:
        await until(lambda: len(dialler.removals) > 1)
        assert set(dialler.removals) == {SELF}


async def test_a_caller_says_where_it_can_be_called() -> None:
    member = FakeMember()
    async with listening(member) as port, dialling(port.url) as dialler:
        await until(lambda: len(member.callers) == 1)
        dialler.peer.hello = HELLO._replace(peer_urls=("http://a:1", "https://b:2"))
        for connection in list(port.connections):
            connection.abort()
        await until(lambda: len(member.callers) == 2)
    assert [caller.peer_urls for caller in member.callers] == [(), ("http://a:1", "https://b:2")]
