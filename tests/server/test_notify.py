"""kvraft/server/notify.py: what systemd hears."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvraft.server.notify import Notifier


class Manager:
    """The other end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def hears(self) -> str:
        return self._socket.recv(4096).decode()

    def hears_nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_nobody_is_told_without_a_socket() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    assert not notifier.connected
    assert notifier.watchdog_s is None
    notifier.ready()
    notifier.start_watchdog()
    notifier.close()


def test_a_socket_that_is_not_there_is_an_error_in_the_log_only(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    (record,) = caplog.records
    assert "failed to notify systemd for readiness" in record.getMessage()


def test_states(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert notifier.connected
    notifier.still_starting(30)
    assert manager.hears() == "EXTEND_TIMEOUT_USEC=30000000"
    notifier.ready()
    assert manager.hears() == "READY=1"
    notifier.status("member 1\nleads")
    notifier.status("member 1\nleads")
    assert manager.hears() == "STATUS=member 1 leads"
    notifier.reloading()
    assert manager.hears().startswith("RELOADING=1\nMONOTONIC_USEC=")
    notifier.stopping()
    assert manager.hears() == "STOPPING=1"
    notifier.close()
    notifier.ready()
    assert manager.hears_nothing()


def test_an_abstract_socket() -> None:
    name = f"kvraft-test-{os.getpid()}"
    manager = Manager("\0" + name)
    notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
    notifier.ready()
    assert manager.hears() == "READY=1"
    notifier.close()
    manager.close()


def test_a_manager_that_went_away_does_no_harm(
    manager: Manager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    manager.close()
    notifier.ready()
    assert "could not notify systemd (READY=1)" in caplog.text
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_interval_of_the_watchdog(
    manager: Manager, tmp_path: Path, environ: dict[str, str], seconds: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})
    assert notifier.watchdog_s == seconds
    notifier.close()


@pytest.mark.asyncio
async def test_the_loop_reports_until_it_is_closed(manager: Manager, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
    notifier = Notifier(environ)
    notifier.start_watchdog()
    for _time in range(3):
        assert await asyncio.to_thread(manager.hears) == "WATCHDOG=1"
    notifier.close()
    await asyncio.sleep(0.03)
    while not manager.hears_nothing():
        pass
