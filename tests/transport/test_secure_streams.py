"""Frames and snapshots between members over TLS, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kvraft import limits
from kvraft.api.listening import listen
from kvraft.raft.message import Heartbeat
from kvraft.server.frames import frame_from_wire
from kvraft.transport.handshake import STREAM_PATH, HandshakeError
from kvraft.transport.listener import PeerConnection, peer_protocol_factory
from kvraft.transport.peer import Peer, _StreamProtocol, dial
from kvraft.transport.snapshot import send_snapshot
from kvraft.transport.tls import Tls
from tests.conftest import Run
from tests.transport.authority import EXPIRED, LONG_AGO, Authority
from tests.transport.members import HELLO, PEER, SELF, FakeMember, encoder, until

pytestmark = pytest.mark.timeout(30)

BEAT = Heartbeat(SELF, PEER, 7, 1, 1, 9)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_RECONNECT_MS", 1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def load(authority: Authority, name: str, *hosts: str, **when: Any) -> Tls:
    return Tls.load(authority.issue(name, *hosts, **when), peer=True)


@contextlib.asynccontextmanager
async def listening(member: FakeMember, tls: Tls) -> AsyncIterator[str]:
    """A peer port with TLS; its URL."""
    connections: set[PeerConnection] = set()
    factory = peer_protocol_factory(member, frame_from_wire, connections)
    loop = asyncio.get_running_loop()
    context = tls.listener("https://127.0.0.1:1")
    listener = await listen(loop, factory, "127.0.0.1", 0, context)
    try:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for connection in list(connections):
            connection.abort()
        await until(lambda: not connections)
        await asyncio.sleep(0.01)


class Dialler:
    """A peer and what it has reported."""

    def __init__(self, url: str, tls: Tls) -> None:
        self.states: list[tuple[bool, str]] = []
        self.peer = Peer(
            [url],
            HELLO,
            encoder(),
            on_unreachable=lambda _: None,
            on_state=lambda _, connected, reason: self.states.append((connected, reason)),
            on_removed=lambda _: None,
            context=tls.client_context,
        )


def test_frames_arrive_in_order(run: Run, authority: Authority) -> None:
    async def main() -> None:
        member = FakeMember()
        async with listening(member, load(authority, "a")) as url:
            dialler = Dialler(url, load(authority, "b"))
            await until(lambda: dialler.peer.connected)
            for number in range(50):
                dialler.peer.send([BEAT._replace(read_round=number)] * 20)
            await dialler.peer.close()
            await until(lambda: len(member.frames) == 1000)
            assert [frame.read_round for frame in member.frames[::20]] == list(range(50))

    run(main())


def test_a_snapshot_arrives_whole(run: Run, authority: Authority) -> None:
    async def main() -> None:
        member = FakeMember()
        chunks = [bytes([number]) * 300_000 for number in range(20)]

        async def read() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        async with listening(member, load(authority, "a")) as url:
            source = load(authority, "b").client_context
            await send_snapshot(urlsplit(url), HELLO, BEAT, read(), encoder(), source)
            assert member.snapshot[1:] == [*chunks, None]
            await asyncio.sleep(0.05)

    run(main())


@pytest.mark.parametrize(
    ("hosts", "when", "reason"),
    [
        (("127.0.0.2",), {}, "IP address mismatch"),
        (("localhost",), {}, "IP address mismatch"),
        ((), {"not_before": LONG_AGO, "not_after": EXPIRED}, "certificate has expired"),
    ],
    ids=["address", "name", "expired"],
)
def test_a_member_that_shows_a_wrong_certificate(
    run: Run, authority: Authority, hosts: tuple[str, ...], when: dict[str, Any], reason: str
) -> None:
    async def main() -> None:
        async with listening(FakeMember(), load(authority, "a", *hosts, **when)) as url:
            dialler = Dialler(url, load(authority, "b"))
            await until(lambda: bool(dialler.states))
            await asyncio.sleep(0.05)
            await dialler.peer.close()
            ((connected, text),) = dialler.states
            assert not connected
            assert text.startswith(f"{url}: the member's certificate does not verify: ")
            assert reason in text

    run(main())


def test_a_member_that_does_not_take_ours(run: Run, authority: Authority, tmp_path: Path) -> None:
    """It shows a good certificate, but trusts another authority."""
    stranger = Authority(tmp_path, "stranger")
    files = authority.issue("a")._replace(trusted_ca_file=str(stranger.file))

    async def main() -> None:
        async with listening(FakeMember(), Tls.load(files, peer=True)) as url:
            dialler = Dialler(url, load(authority, "b"))
            await until(lambda: bool(dialler.states))
            await asyncio.sleep(0.1)
            await dialler.peer.close()
            reasons = [text for connected, text in dialler.states if not connected]
            assert len(reasons) == len(set(reasons)) <= 3, reasons
            assert any("unknown ca" in reason for reason in reasons), reasons

    run(main())


def test_renewed_authorities_are_dialled_with(
    run: Run, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    ours = load(authority, "b")

    async def main() -> None:
        async with listening(FakeMember(), load(other, "a")) as url:
            dialler = Dialler(url, ours)
            await until(lambda: bool(dialler.states))
            other.issue("b")
            other.ca.cert_pem.write_to_path(str(authority.file))
            ours.reload_if_changed()
            await until(lambda: dialler.peer.connected)
            await dialler.peer.close()

    run(main())


def test_https_needs_a_context(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(HandshakeError, match="not set up to dial https"):
            await dial("https://127.0.0.1:1", STREAM_PATH, HELLO, _StreamProtocol)

    run(main())
