"""Connections within a loop behave as sockets do."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from kvraft.embedded.pipe import PipeEnd, join
from kvraft.limits import PIPE_HIGH_WATER_BYTES

pytestmark = pytest.mark.asyncio


class Recorder(asyncio.Protocol):
    """Notes what happens to it."""

    def __init__(self, half_open: bool = False) -> None:
        self.told: list[object] = []
        self.half_open = half_open
        self.transport: PipeEnd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("PipeEnd", transport)

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("end")
        return self.half_open

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(type(exc) if exc else "lost")


async def pair(half_open: bool = False) -> tuple[Recorder, Recorder]:
    one, other = Recorder(half_open), Recorder(half_open)
    join(asyncio.get_running_loop(), one, other)
    return one, other


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_bytes_arrive_in_order_and_never_at_once() -> None:
    one, other = await pair()
    one.transport.write(b"a")
    one.transport.writelines([b"b", bytearray(b"c")])
    assert other.told == []
    await turns()
    assert b"".join(cast("list[bytes]", other.told)) == b"abc"
    other.transport.write(b"back")
    await turns()
    assert one.told == [b"back"]


async def test_who_does_not_read_makes_the_other_side_pause() -> None:
    one, other = await pair()
    other.transport.pause_reading()
    one.transport.write(b"x" * PIPE_HIGH_WATER_BYTES)
    assert one.told == []
    one.transport.write(b"y")
    assert one.told == ["pause"]
    assert one.transport.get_write_buffer_size() == PIPE_HIGH_WATER_BYTES + 1
    await turns()
    assert other.told == []
    other.transport.resume_reading()
    await turns()
    assert one.told == ["pause", "resume"]
    assert len(cast("bytes", other.told[0])) == PIPE_HIGH_WATER_BYTES + 1


async def test_a_closed_end_flushes_first() -> None:
    one, other = await pair()
    other.transport.pause_reading()
    one.transport.write(b"last")
    one.transport.close()
    one.transport.write(b"too late")
    await turns()
    assert one.told == []
    assert one.transport.is_closing()
    other.transport.resume_reading()
    await turns()
    assert one.told == ["lost"]
    assert other.told == [b"last", "end", "lost"]


async def test_an_aborted_end_resets_both() -> None:
    one, other = await pair()
    one.transport.write(b"never read")
    one.transport.abort()
    await turns()
    assert one.told == ["lost"]
    assert other.told == [ConnectionResetError]
    other.transport.write(b"nobody")
    other.transport.close()
    await turns()
    assert other.told == [ConnectionResetError]


async def test_half_of_a_connection_may_be_closed() -> None:
    one, other = await pair(half_open=True)
    one.transport.write(b"question")
    one.transport.write_eof()
    await turns()
    assert other.told == [b"question", "end"]
    other.transport.write(b"answer")
    other.transport.close()
    await turns()
    assert one.told == [b"answer", "end"]
    one.transport.close()
    await turns()
    assert one.told[-1] == other.told[-1] == "lost"


async def test_writing_to_a_closed_side_finds_the_connection_reset() -> None:
    one, other = await pair(half_open=True)
    other.transport.close()
    await turns()
    one.transport.write(b"x")
    await turns()
    assert one.told == ["end", ConnectionResetError]


async def test_another_protocol_may_take_over() -> None:
    one, other = await pair()
    successor = Recorder()
    other.transport.set_protocol(successor)
    one.transport.write(b"x")
    await turns()
    assert successor.told == [b"x"]
    assert other.transport.get_protocol() is successor
    assert other.transport.get_extra_info("socket") is None
