"""Looking at other members' clocks, and counting descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.members import free_ports
from kvraft import limits
from kvraft.clock import SystemClock
from kvraft.server import observing
from kvraft.server.metrics import Metrics
from kvraft.server.observing import Observer, count_descriptors
from tests.server.inprocess import until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]
PEER = 0xAB


class FakeHub:
    """Knows one URL, perhaps."""

    def __init__(self, url: str | None) -> None:
        self._url = url or ""
        self.context: Callable[[], ssl.SSLContext] | None = None

    def reached(self, _member: int) -> str:
        return self._url


def observer(
    url: str | None, metrics: Metrics, wall: Callable[[], datetime] | None = None
) -> Observer:
    hub: Any = FakeHub(url)
    return Observer(hub, metrics, lambda: [PEER], wall or (lambda: datetime.now(UTC)))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(SystemClock(), 100)


class Answering:
    """A peer port that answers what it is told to."""

    def __init__(self) -> None:
        self.body = b""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /raft/probing HTTP/1.1\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(self.body)
        )
        writer.write(self.body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def says(self, moment: datetime) -> None:
        text = moment.isoformat().replace("+00:00", "123Z")
        self.body = json.dumps({"OK": True, "Now": text}).encode() + b"\n"


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Answering]:
    answering = Answering()
    (port,) = free_ports(1)
    server = await asyncio.start_server(answering.serve, "127.0.0.1", port)
    answering.url = f"http://127.0.0.1:{port}"
    yield answering
    server.close()
    await asyncio.sleep(0.01)


async def test_a_clock_that_is_right_is_no_news(
    peer: Answering, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2026, 11, 20, 17, 56, 33, 418592, UTC)
    peer.says(now + timedelta(seconds=0.5))
    await observer(peer.url, metrics, lambda: now).probe_round()
    assert not caplog.records
    probe = metrics.probes[PEER]
    assert probe.round_trip_s > 0
    assert probe.ahead_s == pytest.approx(0.5 - probe.round_trip_s / 2)


@pytest.mark.parametrize("seconds", [2.5, -2.5])
async def test_a_clock_that_is_far_off_is_warned_of(
    peer: Answering, metrics: Metrics, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    now = datetime(2026, 11, 20, 17, 56, 33, 418592, UTC)
    peer.says(now + timedelta(seconds=seconds))
    await observer(peer.url, metrics, lambda: now).probe_round()
    (record,) = caplog.records
    assert record.name == "kvraft.rafthttp"
    text = record.getMessage()
    assert text.startswith("the clock difference against peer ab is too high [2."), text
    assert text.endswith("s > 1s]")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"Now": 5}', b'{"Now": "soon"}', b'{"Now": "2026-11-20T17:56"}']
)
async def test_whoever_answers_nonsense_has_no_clock(
    peer: Answering, metrics: Metrics, body: bytes
) -> None:
    peer.says(datetime.now(UTC))
    looking = observer(peer.url, metrics)
    await looking.probe_round()
    assert PEER in metrics.probes
    peer.body = body
    await looking.probe_round()
    assert PEER not in metrics.probes


async def test_whoever_cannot_be_asked_has_no_clock(metrics: Metrics) -> None:
    (port,) = free_ports(1)
    for url in (None, f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}"):
        await observer(url, metrics).probe_round()
    assert metrics.probes == {}


async def test_rounds_are_made_now_and_then(
    peer: Answering, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROBE_INTERVAL_S", 0.01)
    monkeypatch.setattr(limits, "DESCRIPTORS_REFRESH_S", 0.01)
    peer.says(datetime.now(UTC))
    looking = observer(peer.url, metrics)
    looking.start()
    await until(lambda: PEER in metrics.probes and metrics.descriptors > 0)
    metrics.probes.clear()
    await until(lambda: PEER in metrics.probes)
    await looking.stop()


async def test_open_descriptors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    before = count_descriptors()
    assert before > 3
    reader, writer = os.pipe()
    assert count_descriptors() == before + 2
    for handle in (reader, writer):
        os.close(handle)
    monkeypatch.setattr(observing, "OPEN_DESCRIPTORS", ("/no/such/place",))
    assert count_descriptors() == 0
