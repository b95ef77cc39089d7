"""kvraft/server/supervision.py: what is told to systemd when, and the limit of descriptors."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from kvraft.limits import MAX_CLIENT_CONNECTIONS, RESERVED_DESCRIPTORS
from kvraft.server import logs, supervision
from kvraft.server.modes import StartRefused
from kvraft.server.notify import Notifier
from kvraft.server.supervision import Supervision


class Manager(Notifier):
    """A service manager that writes down what it hears."""

    def __init__(self, connected: bool = True) -> None:
        super().__init__({})
        self.heard: list[str] = []
        self.heard_more = asyncio.Event()
        self._there = connected

    @property
    def connected(self) -> bool:
        return self._there

    def _send(self, text: str) -> None:
        self.heard.append(text)
        self.heard_more.set()


class Server:
    """A server that becomes ready when the test says so."""

    is_ready = False

    def ready(self) -> bool:
        return self.is_ready

    def status(self) -> str:
        return "serving" if self.is_ready else "waiting"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_WAITING_TICK_S", 0.001)
    monkeypatch.setattr(supervision, "_TICK_S", 0.001)


async def _until(manager: Manager, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in manager.heard:
            manager.heard_more.clear()
            await manager.heard_more.wait()


@pytest.mark.asyncio
async def test_ready_when_the_member_can_serve() -> None:
    manager, server = Manager(), Server()
    watched = Supervision(server, manager)
    watched.start()
    await _until(manager, "STATUS=waiting")
    assert manager.heard == ["EXTEND_TIMEOUT_USEC=120000000", "STATUS=waiting"]
    server.is_ready = True
    await _until(manager, "STATUS=serving")
    assert manager.heard[2:] == ["READY=1", "STATUS=serving"]
    await asyncio.sleep(0.01)
    assert manager.heard.count("READY=1") == 1
    await watched.stop()


@pytest.mark.asyncio
async def test_nothing_is_asked_when_nobody_listens() -> None:
    manager = Manager(connected=False)
    watched = Supervision(Server(), manager)
    watched.start()
    await asyncio.sleep(0.01)
    await watched.stop()
    assert manager.heard == []


@pytest.mark.asyncio
async def test_repetitions_are_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = asyncio.Event()
    monkeypatch.setattr(logs, "flush_repeats", flushed.set)
    watched = Supervision(Server(), Manager(connected=False))
    watched.start()
    await asyncio.wait_for(flushed.wait(), 10)
    await watched.stop()


@pytest.mark.parametrize(("used", "warns"), [(79, False), (80, True), (100, True)])
@pytest.mark.asyncio
async def test_many_descriptors_in_use(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, used: int, warns: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (100, 100))
    monkeypatch.setattr(supervision, "count_descriptors", lambda: used)
    monkeypatch.setattr(supervision, "_DESCRIPTOR_CHECK_S", 0.0)
    watched = Supervision(Server(), Manager(connected=False))
    watched.start()
    await asyncio.sleep(0.05)
    await watched.stop()
    text = f"80% of the file descriptor limit is used [used = {used}, limit = 100]"
    found = [r.getMessage() for r in caplog.records if "file descriptor" in r.getMessage()]
    assert found == ([text] if warns else [])  # once, although it was checked many times


@pytest.fixture
def _same_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_same_limit")
def test_the_limit_is_raised_as_far_as_it_goes() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    supervision.raise_descriptor_limit()
    wanted = MAX_CLIENT_CONNECTIONS + RESERVED_DESCRIPTORS
    expected = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)


@pytest.mark.parametrize("limit", [0, 150, 151, resource.RLIM_INFINITY])
def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (limit, limit))
    if limit == resource.RLIM_INFINITY or limit > RESERVED_DESCRIPTORS:
        supervision.check_descriptor_limit()
        return
    with pytest.raises(StartRefused) as caught:
        supervision.check_descriptor_limit()
    (line,) = caught.value.lines
    assert line.text == (
        f"file descriptor limit[{limit}] of etcd process is too low, and should be set higher "
        "than 150 to ensure internal usage"
    )
