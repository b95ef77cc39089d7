"""The client port over real sockets, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from kvraft import limits
from kvraft.api.port import ClientPort, connection_cap
from kvraft.store.request import Op, Request
from tests.api.fakes import FakeService
from tests.api.wire import Wire, answer, answers, get, put

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
KEY = b"/v2/keys/a"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[FakeService, ClientPort, int]]:
    loop = asyncio.get_running_loop()
    service = FakeService()
    port = ClientPort(service, loop)
    server = await loop.create_server(port.connection, "127.0.0.1", 0)
    port.start()
    try:
        yield service, port, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await port.drain(1)


def run(test: Callable[[], object], new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop, debug=True) as runner:
        runner.run(test())  # type: ignore[arg-type]


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_requests_and_drain(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        async with serving() as (_, port, number):
            reader, writer = await asyncio.open_connection("127.0.0.1", number)
            writer.write(put(KEY, b"value=1") + get(KEY) * 100 + get(KEY, b"Connection: close"))
            data = await reader.read(-1)
            assert [each.status for each in answers(data)] == [201] + [200] * 101
            await closed(writer)
            reader, writer = await asyncio.open_connection("127.0.0.1", number)
            writer.write(get(KEY + b"?wait=true"))
            head = await reader.readuntil(b"\r\n\r\n")
            await port.drain(5)
            assert not port.connections
            assert answer(head + await reader.read(-1)).body == b""
            await closed(writer)

    run(scenario, new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_refusals_reach_clients_that_are_still_sending(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with serving() as (_, _, number):
            reader, writer = await asyncio.open_connection("127.0.0.1", number)
            writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * (limits.MAX_HEAD_BYTES + 300_000))
            assert (await reader.read(-1)).startswith(b"HTTP/1.1 431 ")
            await closed(writer)

    run(scenario, new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_hanging_up_is_noticed_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with serving() as (service, port, number):
            for stream in (b"", b"&stream=true"):
                reader, writer = await asyncio.open_connection("127.0.0.1", number)
                writer.write(get(KEY + b"?wait=true" + stream))
                await reader.readuntil(b"\r\n\r\n")
                assert service.store.hub.count == 1
                await closed(writer)
                await until(lambda: not port.connections)
                assert service.store.hub.count == 0

    run(scenario, new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_long_listings_wait_for_the_client(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with serving() as (service, port, number):
            count = 20_000
            for key in range(count):
                service.store.apply(Request(Op.SET, b"/d/%d" % key, b"v" * 1000))
            reader, writer = await asyncio.open_connection("127.0.0.1", number, limit=1 << 16)
            writer.write(get(b"/v2/keys/d", b"Connection: close"))
            await until(lambda: bool(port.connections))
            (connection,) = port.connections
            await until(lambda: connection.paused)
            assert connection.transport.get_write_buffer_size() < 4 << 20
            assert answer(await reader.read(-1)).body.count(b'"key":"/d/') == count
            await closed(writer)

    run(scenario, new_loop)


def test_the_sweep_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.api.port.SWEEP_SLICE", 10)
    wire = Wire()
    clients = [wire.client() for _ in range(35)]
    wire.loop.now += limits.IDLE_TIMEOUT_S + 1
    wire.port.start()
    assert sum(client.over for client in clients) == 10
    assert wire.loop.run() == 3
    assert all(client.over for client in clients)


def test_the_date_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    wire.port.start()
    monkeypatch.setattr("kvraft.api.port.formatdate", lambda usegmt: "later")
    client = wire.client()
    assert answer(client.ask(get(b"/version"))).headers[b"Date"] != b"later"
    wire.loop.advance(1.1)
    for target in (b"/version", KEY, b"/v2/keys/"):
        assert answer(client.ask(get(target))).headers[b"Date"] == b"later"


def test_the_cap_leaves_descriptors_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, cap in ((1024, 656), (100, 1), (1 << 20, limits.MAX_CLIENT_CONNECTIONS), (-1, 16384)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert connection_cap() == cap
