"""A client port that stands still: connections stay open, nothing is read, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kvraft.api.listening import Listener, listen
from kvraft.api.port import ClientPort
from tests.api.fakes import FakeService
from tests.api.wire import answers, get, put
from tests.conftest import Run

KEY = b"/v2/keys/a"
WHILE_NOTHING_COMES_S = 0.05


class Serving:
    """A port with a listener, paused and resumed together."""

    def __init__(self, port: ClientPort, listener: Listener) -> None:
        self.port = port
        self.listener = listener
        self.number: int = listener.sockets[0].getsockname()[1]

    async def pause(self) -> None:
        self.listener.pause()
        for _ in range(3):
            await asyncio.sleep(0)
        self.port.pause()

    async def resume(self) -> None:
        self.port.resume()
        await self.listener.resume()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number)


@asynccontextmanager
async def serving() -> AsyncIterator[Serving]:
    loop = asyncio.get_running_loop()
    port = ClientPort(FakeService(), loop)
    listener = await listen(loop, port.connection, "127.0.0.1", 0, None)
    port.start()
    try:
        yield Serving(port, listener)
    finally:
        listener.close()
        await port.drain(1)
        assert not port.connections
        await asyncio.sleep(0.005)  # sockets are closed a turn of the loop later


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


async def statuses(reader: asyncio.StreamReader, count: int) -> list[int]:
    """The statuses of so many answers; 404s and writes fit into a read each."""
    data = b""
    while len(answers(data)) < count:
        data += await reader.read(65536)
    return [each.status for each in answers(data)]


async def silent(reader: asyncio.StreamReader) -> bool:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), WHILE_NOTHING_COMES_S)
    return True


def test_an_open_connection_waits(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as it:
            reader, writer = await it.connect()
            writer.write(put(KEY, b"value=1"))
            assert await statuses(reader, 1) == [201]
            await it.pause()
            writer.write(put(KEY, b"value=2") + get(KEY))
            assert await silent(reader)
            await it.resume()
            assert await statuses(reader, 2) == [200, 200]
            await closed(writer)

    run(scenario())


def test_new_connections_wait_in_the_kernel(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as it:
            await it.pause()
            several = [await it.connect() for _ in range(5)]
            for reader, writer in several:
                writer.write(get(b"/version"))
                assert await silent(reader)
            assert not it.port.connections
            await it.resume()
            for reader, writer in several:
                assert await statuses(reader, 1) == [200]
                await closed(writer)

    run(scenario())


def test_a_client_that_leaves_meanwhile_is_forgotten_afterwards(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as it:
            reader, writer = await it.connect()
            writer.write(get(b"/version"))
            assert await statuses(reader, 1) == [200]
            await it.pause()
            await closed(writer)
            await asyncio.sleep(0.01)
            assert len(it.port.connections) == 1
            await it.resume()
            while it.port.connections:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.001)

    run(scenario())


def test_a_connection_accepted_at_the_last_moment_waits_too(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as it:
            it.port.pause()  # the listener goes on for another moment
            reader, writer = await it.connect()
            writer.write(get(b"/version"))
            assert await silent(reader)
            it.listener.pause()
            await it.resume()
            assert await statuses(reader, 1) == [200]
            await closed(writer)

    run(scenario())


def test_pausing_twice_and_ending_while_paused(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as it:
            reader, writer = await it.connect()
            writer.write(get(b"/version"))
            assert await statuses(reader, 1) == [200]
            for _ in range(2):
                await it.pause()
                await it.pause()
                writer.write(get(b"/version"))
                await it.resume()
                assert await statuses(reader, 1) == [200]
            await it.pause()
        assert await reader.read() == b""
        await closed(writer)

    run(scenario())
