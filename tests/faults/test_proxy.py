"""The proxy between real connections: it tells links apart, and does to each what its rule says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from benchmarks.members import call
from jepsen_like.faults.proxies import Proxies, ProxyError
from jepsen_like.faults.proxy import MAX_HELD_BYTES
from jepsen_like.faults.wire import Rule
from kvraft.raft.entry import Membership, SnapshotMeta
from kvraft.raft.message import Heartbeat, InstallSnapshot
from kvraft.transport.handshake import STREAM_PATH, HandshakeError, Hello, request_head
from kvraft.transport.peer import Peer
from kvraft.transport.snapshot import send_snapshot
from tests.transport.members import CLUSTER, FakeMember, Port, encoder, listening, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

IDS = (11, 12)
"""Of members 0 and 1."""


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies(seed=5) as proxies:
        yield proxies


@pytest_asyncio.fixture
async def ports(proxies: Proxies) -> AsyncIterator[list[Port]]:
    async with listening(FakeMember(IDS[0])) as zero, listening(FakeMember(IDS[1])) as one:
        proxies.add(0, zero.number)
        proxies.add(1, one.number)
        yield [zero, one]


def beat(sender: int, number: int) -> Heartbeat:
    return Heartbeat(IDS[1 - sender], IDS[sender], 1, number, number, number)


def hello(proxies: Proxies, sender: int) -> Hello:
    return Hello(CLUSTER, IDS[sender], IDS[1 - sender], (proxies.peer_url(sender),))


@asynccontextmanager
async def calling(proxies: Proxies, sender: int) -> AsyncIterator[Peer]:
    """The way of a member to the other one, through the proxy."""
    peer = Peer(
        [proxies.peer_url(1 - sender)],
        hello(proxies, sender),
        encoder(),
        on_unreachable=lambda member: None,
        on_state=lambda member, connected, reason: None,
        on_removed=lambda member: None,
    )
    try:
        yield peer
    finally:
        await peer.close()


async def test_frames_pass_and_each_direction_has_its_own_rule(
    proxies: Proxies, ports: list[Port]
) -> None:
    zero, one = (port.member for port in ports)
    async with calling(proxies, 0) as to_one, calling(proxies, 1) as to_zero:
        await until(lambda: to_one.connected and to_zero.connected)
        proxies.set_rules({(0, 1): Rule(loss=1.0)})
        to_one.send([beat(0, 1)])
        to_zero.send([beat(1, 1)])
        await until(lambda: bool(zero.frames))
        assert zero.frames == [beat(1, 1)]
        await until(lambda: proxies.counts().get("loss") == 1)
        proxies.heal()
        to_one.send([beat(0, 2), beat(0, 3)])
        await until(lambda: len(one.frames) == 2)
        assert one.frames == [beat(0, 2), beat(0, 3)]


async def test_delay_repetition_and_loss_on_the_way(proxies: Proxies, ports: list[Port]) -> None:
    one = ports[1].member
    loop = asyncio.get_running_loop()
    async with calling(proxies, 0) as to_one:
        await until(lambda: to_one.connected)
        proxies.set_rules({(0, 1): Rule(loss=0.2, replay=0.3, delay_ms=200, jitter_ms=50)})
        began_s = loop.time()
        to_one.send([beat(0, number) for number in range(1, 201)])
        await until(lambda: bool(one.frames))
        assert loop.time() - began_s >= 0.15
        proxies.heal()
        to_one.send([beat(0, 999)])
        await until(lambda: beat(0, 999) in one.frames)
        counts = proxies.counts()
        await until(lambda: len(one.frames) == 201 - counts["loss"] + counts["replay"])
        assert counts["loss"] > 10
        assert counts["replay"] > 10


async def test_a_clogged_link_holds_back_and_bursts(proxies: Proxies, ports: list[Port]) -> None:
    one = ports[1].member
    async with calling(proxies, 0) as to_one:
        await until(lambda: to_one.connected)
        proxies.set_rules({(0, 1): Rule(clogged=True)})
        to_one.send([beat(0, number) for number in range(50)])
        await until(lambda: proxies.counts().get("clogged") == 50)
        assert one.frames == []
        proxies.heal()
        await until(lambda: len(one.frames) == 50)
        assert one.frames == [beat(0, number) for number in range(50)]


@pytest.mark.parametrize("rule", [Rule(garbage=1.0), Rule(truncate=1.0), Rule(oversize=1.0)])
async def test_what_is_no_frame_ends_the_connection_and_the_next_one_works(
    proxies: Proxies, ports: list[Port], rule: Rule
) -> None:
    one = ports[1].member
    async with calling(proxies, 0) as to_one:
        await until(lambda: to_one.connected)
        proxies.set_rules({(0, 1): rule})
        to_one.send([beat(0, 1)])
        await until(lambda: not to_one.connected)
        proxies.heal()
        await until(lambda: to_one.connected)
        to_one.send([beat(0, 2)])
        await until(lambda: bool(one.frames))
        assert one.frames == [beat(0, 2)]


async def test_links_can_be_hung_up(proxies: Proxies, ports: list[Port]) -> None:
    async with calling(proxies, 0) as to_one, calling(proxies, 1) as to_zero:
        await until(lambda: to_one.connected and to_zero.connected)
        assert proxies.hang_up([(0, 1)]) == 1
        await until(lambda: not to_one.connected)
        assert to_zero.connected
        await until(lambda: to_one.connected)


async def test_a_silent_member_takes_connections_and_answers_nothing(
    proxies: Proxies, ports: list[Port]
) -> None:
    zero, one = (port.member for port in ports)
    async with calling(proxies, 0) as to_one:
        await until(lambda: to_one.connected)
        proxies.set_rules({(0, 1): Rule(silent=True), (1, 0): Rule(silent=True)})
        to_one.send([beat(0, 1)])
        async with calling(proxies, 1) as to_zero:
            await until(lambda: proxies.counts().get("silent", 0) >= 2)
            assert to_one.connected
            assert not to_zero.connected
            proxies.heal()
            await until(lambda: not to_one.connected)
            await until(lambda: to_one.connected and to_zero.connected)
            to_one.send([beat(0, 2)])
            await until(lambda: bool(one.frames))
    assert one.frames == [beat(0, 2)]
    assert zero.frames == []


async def test_documents_pass(proxies: Proxies, ports: list[Port]) -> None:
    answer = await asyncio.to_thread(call, proxies.peer_url(1), "GET", "/version")
    assert (answer.status, answer.body) == (200, {"path": 1})


async def transfer(proxies: Proxies) -> None:
    meta = SnapshotMeta(5, 1, Membership((IDS[0],), ()))
    message = InstallSnapshot(IDS[1], IDS[0], 1, meta)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(100_000)

    url = urlsplit(proxies.peer_url(1))
    await send_snapshot(url, hello(proxies, 0), message, chunks(), encoder())


async def test_snapshots_pass_or_are_cut(proxies: Proxies, ports: list[Port]) -> None:
    one = ports[1].member
    await transfer(proxies)
    assert one.snapshot[1:] == [bytes(100_000)] * 3 + [None]
    proxies.set_rules({(0, 1): Rule(snapshot_cut=1.0)})
    one.snapshot.clear()
    with pytest.raises((HandshakeError, OSError)):
        await transfer(proxies)
    await until(lambda: one.snapshot_error is not None)
    assert None not in one.snapshot


async def test_what_is_held_back_is_bounded(proxies: Proxies, ports: list[Port]) -> None:
    proxies.set_rules({(0, 1): Rule(clogged=True)})
    port = urlsplit(proxies.peer_url(1)).port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_head(STREAM_PATH, "one", hello(proxies, 0)))
    frame = b"\x92\x01\xc6" + (1 << 20).to_bytes(4, "big") + bytes(1 << 20)

    async def flood() -> None:
        while True:
            writer.write(frame)
            await writer.drain()

    flooding = asyncio.create_task(flood())
    await until(lambda: proxies.counts().get("clogged", 0) >= MAX_HELD_BYTES >> 20)
    done, _ = await asyncio.wait([flooding], timeout=1.0)
    assert not done
    assert proxies.counts()["clogged"] <= (MAX_HELD_BYTES >> 20) + 2
    flooding.cancel()
    writer.transport.abort()


async def test_two_proxies_do_not_meet(proxies: Proxies, ports: list[Port]) -> None:
    with Proxies() as other:
        other.add(0, ports[0].number)
        other.add(1, ports[1].number)
        other.set_rules({(0, 1): Rule(loss=1.0)})
        async with calling(proxies, 0) as to_one:
            await until(lambda: to_one.connected)
            to_one.send([beat(0, 1)])
            await until(lambda: bool(ports[1].member.frames))


async def test_a_closed_proxy_is_gone_and_says_so() -> None:
    proxies = Proxies()
    proxies.close()
    with pytest.raises(ProcessLookupError):
        os.kill(proxies.pid, 0)
    with pytest.raises(ProxyError):
        proxies.heal()
