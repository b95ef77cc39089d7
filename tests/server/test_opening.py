"""kvraft/server/opening.py: from settings and a data directory to what a member begins with."""

from __future__ import annotations

import logging
import signal
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvraft.server import config, process
from kvraft.server.config import ServerConfig
from kvraft.server.lifecycle import _Ending
from kvraft.server.modes import StartRefused
from kvraft.server.opening import Opened, open_member
from kvraft.storage import PosixFiles

PEER = "http://127.0.0.1:1"


def _config(directory: Path, *more: str) -> ServerConfig:
    words = ["--data-dir", str(directory / "data"), "--initial-advertise-peer-urls", PEER]
    if "--discovery" not in more:
        words += ["--initial-cluster", f"default={PEER}"]
    outcome = config.parse([*words, *more], {})
    assert isinstance(outcome, ServerConfig), outcome
    return outcome


def _no_context() -> ssl.SSLContext:
    raise AssertionError("nobody is asked")


async def _open(given: ServerConfig) -> Opened:
    opened = await open_member(given, _no_context)
    opened.storage.close()
    return opened


async def _refusal(given: ServerConfig) -> list[str]:
    with pytest.raises(StartRefused) as caught:
        await _open(given)
    return [line.text for line in caught.value.lines]


def _texts(records: Sequence[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records]


@pytest.mark.asyncio
async def test_a_founder_and_its_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = await _open(_config(tmp_path))
    assert first.founders == (first.recovered.identity.member_id,)
    assert any(text.startswith("starting member") for text in _texts(caplog.records))
    caplog.clear()
    again = await _open(_config(tmp_path))
    assert again.founders == ()
    assert again.recovered.identity == first.recovered.identity
    assert again.start > first.start
    texts = _texts(caplog.records)
    assert any(text.startswith("restarting member") for text in texts)
    assert not any(text.startswith("initial cluster =") for text in texts)


@pytest.mark.asyncio
async def test_discovery_is_over_once_there_is_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _open(_config(tmp_path))
    await _open(_config(tmp_path, "--discovery", "http://127.0.0.1:1/token"))
    wal = f"{tmp_path}/data/member/wal"
    assert (
        "discovery token ignored since a cluster has already been initialized. "
        f'Valid log found at "{wal}"'
    ) in _texts(caplog.records)


@pytest.mark.asyncio
async def test_mistakes_are_told_before_anything_is_created(tmp_path: Path) -> None:
    given = _config(tmp_path, "--name", "x")
    (text,) = await _refusal(given)
    assert text == 'couldn\'t find local name "x" in the initial cluster configuration'
    joining = _config(tmp_path, "--initial-cluster-state", "existing", "--name", "x")
    assert await _refusal(joining) == [text]
    words = ("--discovery", "http://127.0.0.1:1/token", "--initial-cluster-state", "existing")
    (text,) = await _refusal(_config(tmp_path, *words))
    assert text == "discovery URL should not be set when joining existing initial cluster"
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.asyncio
async def test_the_data_of_another_cluster(tmp_path: Path) -> None:
    await _open(_config(tmp_path))
    (text,) = await _refusal(_config(tmp_path, "--initial-cluster-token", "other"))
    assert "which is not the one that --initial-cluster" in text


@pytest.mark.asyncio
async def test_data_in_use(tmp_path: Path) -> None:
    await _open(_config(tmp_path))
    files = PosixFiles()
    lock = files.lock(f"{tmp_path}/data/member/lock")
    first, second = await _refusal(_config(tmp_path))
    files.close(lock)
    assert first == "open wal error: file already locked"
    assert f"{tmp_path}/data/member/lock" in second


@pytest.mark.asyncio
async def test_a_refused_start_lets_the_data_go(tmp_path: Path) -> None:
    await _open(_config(tmp_path))
    await _refusal(_config(tmp_path, "--initial-cluster-token", "other"))
    await _open(_config(tmp_path))


@pytest.mark.asyncio
async def test_a_second_signal_does_not_wait_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[signal.Signals] = []
    monkeypatch.setattr(process, "die_by", killed.append)
    ending = _Ending()
    ending.by(signal.SIGTERM)
    ending.by(1)
    assert killed == []
    ending.by(signal.SIGINT)
    assert killed == [signal.SIGINT]
    assert await ending.future == signal.SIGTERM
