"""Ports with and without TLS, on both event loops: who gets in, and what the others are told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kvraft import limits
from kvraft.api.listening import Listener, TlsListener, bind, listen
from kvraft.transport.tls import ContextSource, Tls
from tests.conftest import Run
from tests.transport.authority import Authority

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Echo(asyncio.Protocol):
    """Sends back what it gets; the sockets of all connections are kept."""

    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.made.append(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Port:
    """An open port."""

    def __init__(self, listener: Listener, made: list[Any]) -> None:
        self.listener = listener
        self.made = made
        self.number: int = listener.sockets[0].getsockname()[1]

    async def connect(self, context: ssl.SSLContext) -> Caller:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.number, ssl=context, server_hostname="localhost"
        )
        return Caller(reader, writer)

    async def silent(self, data: bytes = b"") -> Caller:
        """A connection without TLS that has sent this and waits."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(data)
        return Caller(reader, writer)


class Caller:
    """The other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, text: bytes = b"hello") -> bytes:
        self.writer.write(text)
        return await self.reader.readexactly(len(text))

    async def rest(self) -> bytes:
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def port(context: ssl.SSLContext | ContextSource | None) -> AsyncIterator[Port]:
    made: list[Any] = []
    loop = asyncio.get_running_loop()
    listener = await listen(loop, lambda: Echo(made), "127.0.0.1", 0, context)
    try:
        yield Port(listener, made)
    finally:
        listener.close()
        for transport in made:
            transport.abort()
        await asyncio.sleep(0.01)


def tls(authority: Authority, *, auth: bool = False) -> ContextSource:
    source = Tls.load(authority.issue("server", auth=auth), peer=False).listener("https://x:1")
    assert source is not None
    return source


def hello(authority: Authority) -> bytes:
    """The first message of a client."""
    outgoing = ssl.MemoryBIO()
    client = authority.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def inner(port: Port) -> TlsListener:
    assert isinstance(port.listener, TlsListener)
    return port.listener


async def until(reached: Callable[[], object]) -> None:
    while not reached():  # noqa: ASYNC110 - what is waited for is whatever the test asks
        await asyncio.sleep(0.001)


def test_with_and_without_tls(run: Run, authority: Authority) -> None:
    async def main() -> None:
        source = tls(authority)
        for context in (source, source(), None):
            async with port(context) as open_port:
                if context is None:
                    caller = await open_port.silent()
                else:
                    caller = await open_port.connect(authority.context())
                assert await caller.echoed() == b"hello"
                accepted = open_port.made[0].get_extra_info("socket")
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert (open_port.made[0].get_extra_info("ssl_object") is None) == (context is None)
                await caller.close()

    run(main())


def test_a_port_that_rests_takes_those_who_waited_afterwards(
    run: Run, authority: Authority
) -> None:
    async def scenario() -> None:
        context = authority.context()
        async with port(tls(authority)) as open_port:
            caller = await open_port.connect(context)
            assert await caller.echoed() == b"hello"
            for _ in range(2):
                open_port.listener.pause()
                waiting = asyncio.ensure_future(open_port.connect(context))
                assert not (await asyncio.wait((waiting,), timeout=0.05))[0]
                assert await caller.echoed() == b"hello"  # what has been accepted goes on
                await open_port.listener.resume()
                late = await waiting
                assert await late.echoed() == b"hello"
                await late.close()
            await caller.close()

    run(scenario())


def test_many_at_once(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with port(tls(authority)) as open_port:
            context = authority.context()
            callers = await asyncio.gather(*(open_port.connect(context) for _ in range(60)))
            answers = await asyncio.gather(*(caller.echoed() for caller in callers))
            assert answers == [b"hello"] * 60
            for caller in callers:
                await caller.close()

    run(main())


def test_plain_http_is_told_to_use_tls(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with port(tls(authority)) as open_port:
            for request in (b"GET / HTTP/1.1\r\n\r\n", b"DELETE", b"PUT /x", b"x" * 100_000):
                caller = await open_port.silent(request)
                assert await caller.rest() == (
                    b"HTTP/1.0 400 Bad Request\r\n\r\n"
                    b"Client sent an HTTP request to an HTTPS server.\n"
                )
                await caller.close()
            await until(lambda: not inner(open_port)._waiting)
            assert open_port.made == []

    run(main())


def test_a_hello_in_pieces(run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look = TlsListener._look

    def counted(listener: TlsListener, arrival: Any) -> None:
        looks.append(arrival)
        look(listener, arrival)

    monkeypatch.setattr(TlsListener, "_look", counted)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            data = hello(authority)
            caller = await open_port.silent(data[:3])
            for begin, end in ((3, 100), (100, len(data) - 1), (len(data) - 1, len(data))):
                await asyncio.sleep(0.03)
                caller.writer.write(data[begin:end])
            answer = await caller.reader.readexactly(5)
            assert answer[:1] == b"\x16", "the server's hello"
            assert len(looks) < 20, "what has been looked at must not wake the loop again"
            await caller.close()

    run(main())


def test_silence_is_cut_off(
    run: Run,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(limits, "TLS_HELLO_TIMEOUT_S", 0.05)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            silent = await open_port.silent()
            begun = await open_port.silent(b"\x16\x03\x01\x02\x00\x01")
            assert await silent.rest() == b""
            assert await begun.rest() == b""
            assert not inner(open_port)._waiting
            await silent.close()
            await begun.close()

    run(main())
    assert "no complete TLS hello in time" in caplog.text


def test_who_hangs_up_is_forgotten_without_a_word(
    run: Run, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with port(tls(authority)) as open_port:
            for _ in range(3):
                caller = await open_port.silent()
                await until(lambda: inner(open_port)._waiting)
                await caller.close()
                await until(lambda: not inner(open_port)._waiting)

    run(main())
    said = [record for record in caplog.records if record.name == "kvraft.tls"]
    assert said == [], "health checks do that all day"


def test_beyond_the_bound_the_longest_silence_ends(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_WAITING", 3)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            silent = [await open_port.silent() for _ in range(3)]
            await until(lambda: len(inner(open_port)._waiting) == 3)
            caller = await open_port.connect(authority.context())
            assert await caller.echoed() == b"hello"
            assert await silent[0].rest() == b""
            assert len(inner(open_port)._waiting) == 2
            for other in (*silent, caller):
                await other.close()

    run(main())


def test_a_refused_client_learns_why(
    run: Run, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path, "stranger")

    async def refused(open_port: Port, context: ssl.SSLContext) -> str:
        try:
            caller = await open_port.connect(context)
        except ssl.SSLError as error:
            return error.reason or ""
        try:
            await caller.echoed()
        except ssl.SSLError as error:
            return error.reason or ""
        except (OSError, asyncio.IncompleteReadError) as error:
            return repr(error)
        finally:
            await caller.close()
        return "served"

    async def main() -> None:
        async with port(tls(authority, auth=True)) as open_port:
            nothing, wrong = authority.context(), authority.context(stranger.issue("wrong"))
            assert "CERTIFICATE_REQUIRED" in await refused(open_port, nothing)
            assert "UNKNOWN_CA" in await refused(open_port, wrong)
            nothing.maximum_version = ssl.TLSVersion.TLSv1_2
            assert "HANDSHAKE_FAILURE" in await refused(open_port, nothing)
            assert "VERIFY_FAILED" in await refused(open_port, stranger.context())
            assert await refused(open_port, authority.context(authority.issue("ok"))) == "served"

    run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "kvraft.tls"]
    assert lines[0].startswith("rejected connection from 127.0.0.1:")
    assert lines[0].endswith("peer did not return a certificate")
    assert lines[1].startswith("rejected 3 more connections, the last from 127.0.0.1:")
    assert lines[1].endswith("it may not trust our certificate"), "not that it was slow"
    assert len(lines) == 2


def test_a_handshake_that_stops_gives_way(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_HANDSHAKES", 2)
    monkeypatch.setattr(limits, "TLS_PATIENCE_S", 0.05)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            stuck = [await open_port.silent(hello(authority)) for _ in range(2)]
            for other in stuck:
                assert (await other.reader.readexactly(1)) == b"\x16"
            assert len(inner(open_port)._handshakes) == 2
            caller = await open_port.connect(authority.context())
            assert await caller.echoed() == b"hello"
            await stuck[0].rest()
            for other in (*stuck, caller):
                await other.close()

    run(main())


def test_a_handshake_has_a_deadline(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_HANDSHAKE_TIMEOUT_S", 0.05)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            stuck = await open_port.silent(hello(authority))
            await stuck.rest()
            await until(lambda: not inner(open_port)._handshakes)
            await stuck.close()

    run(main())


def test_the_queue_is_bounded(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_QUEUE", 2)
    monkeypatch.setattr(limits, "TLS_HANDSHAKES", 1)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            listener = inner(open_port)
            data = hello(authority)
            stuck = [await open_port.silent(data)]
            await until(lambda: listener._handshakes)
            stuck += [await open_port.silent(data) for _ in range(3)]
            assert await stuck[1].rest() == b"", "the oldest of those that wait"
            assert len(listener._ready) == 2
            for other in stuck:
                await other.close()

    run(main())


def test_each_connection_gets_the_context_of_its_time(run: Run, tmp_path: Path) -> None:
    one, two = Authority(tmp_path, "one"), Authority(tmp_path, "two")
    contexts = [tls(one)(), tls(two)()]

    async def main() -> None:
        async with port(lambda: contexts[0]) as open_port:
            first = await open_port.connect(one.context())
            contexts.pop(0)
            second = await open_port.connect(two.context())
            assert await first.echoed() == await second.echoed() == b"hello"
            await first.close()
            await second.close()

    run(main())


def test_without_descriptors_it_waits(
    run: Run,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_RETRY_S", 0.05)
    accept = socket.socket.accept
    attempts: list[int] = []

    def failing(sock: socket.socket) -> tuple[socket.socket, Any]:
        attempts.append(1)
        if len(attempts) < 4:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(sock)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            monkeypatch.setattr(socket.socket, "accept", failing)
            caller = await open_port.connect(authority.context())
            assert await caller.echoed() == b"hello"
            await caller.close()
            assert len(attempts) < 8, "no spinning"

    run(main())
    assert "cannot accept connections for now: Too many open files" in caplog.text


def test_closing_ends_what_has_not_begun(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_HANDSHAKES", 1)

    async def main() -> None:
        async with port(tls(authority)) as open_port:
            served = await open_port.connect(authority.context())
            data = hello(authority)
            silent = await open_port.silent()
            shaking = await open_port.silent(data)
            queued = await open_port.silent(data)
            await until(lambda: inner(open_port)._ready)
            open_port.listener.close()
            open_port.listener.close()
            for other in (silent, shaking, queued):
                await other.rest()
                await other.close()
            assert await served.echoed() == b"hello", "what is served goes on"
            await served.close()
            with pytest.raises(ConnectionRefusedError):
                await open_port.silent()

    run(main())


def test_an_address_in_use_is_named(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with port(None) as open_port:
            loop = asyncio.get_running_loop()
            for context in (None, tls(authority)):
                with pytest.raises(OSError, match="in use") as caught:
                    await listen(loop, asyncio.Protocol, "127.0.0.1", open_port.number, context)
                assert caught.value.strerror == (
                    f"listen tcp 127.0.0.1:{open_port.number}: bind: address already in use"
                )
                assert caught.value.errno == errno.EADDRINUSE

    run(main())


def test_an_address_that_was_only_bound_so_far_is_taken(run: Run, authority: Authority) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await bind(loop, "127.0.0.1", 0)
        number = first[0].getsockname()[1]
        second = await bind(loop, "127.0.0.1", number)  # the kernel does not mind yet
        with pytest.raises(OSError, match="address already in use"):
            await bind(loop, "127.0.0.1", number, others=first)
        with pytest.raises(OSError, match="address already in use"):
            await bind(loop, "0.0.0.0", number, others=first)
        listener = await listen(loop, asyncio.Protocol, "127.0.0.1", number, None, sockets=first)
        for context in (None, tls(authority)):
            with pytest.raises(OSError, match=f"127.0.0.1:{number}: bind: address already in use"):
                await listen(loop, asyncio.Protocol, "127.0.0.1", number, context, sockets=second)
        listener.close()
        second[0].close()

    run(main())


def test_all_addresses_of_a_host(run: Run, authority: Authority) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = await listen(loop, lambda: Echo([]), "", 0, tls(authority))
        families = {sock.family for sock in listener.sockets}
        assert socket.AF_INET in families
        assert all(sock.type == socket.SOCK_STREAM for sock in listener.sockets)
        listener.close()

    run(main())
