"""kvraft/server/process.py: loop, log, signals and the end of a process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kvraft.server import process
from kvraft.server.logs import JournalFormatter, JsonFormatter, LineFormatter
from kvraft.storage import files


class Ended(BaseException):
    """In place of the end of the test's process."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """How the process would have ended."""
    found: list[tuple[str, int]] = []

    def leave(code: int) -> None:
        found.append(("exit", code))
        raise Ended

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(os, "kill", lambda _pid, number: found.append(("signal", number)))
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    yield found
    signal.signal(signal.SIGTERM, before)


def test_a_process_ends_by_the_signal(ends: list[tuple[str, int]]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.die_by(signal.SIGTERM)
    assert ends == [("signal", signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_pid_1_ends_with_0_as_signals_do_nothing_to_it(
    ends: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(Ended):
        process.die_by(signal.SIGTERM)
    assert ends == [("exit", 0)]


def test_the_form_of_the_log_depends_on_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = files.descriptor_identity(2)
    assert ":" in here
    assert files.descriptor_identity(9999) == ""
    assert type(process.log_formatter("text", {})) is LineFormatter
    assert type(process.log_formatter("text", {"JOURNAL_STREAM": "1:2"})) is LineFormatter
    assert type(process.log_formatter("text", {"JOURNAL_STREAM": here})) is JournalFormatter
    assert type(process.log_formatter("json", {"JOURNAL_STREAM": here})) is JsonFormatter
    monkeypatch.setattr(process, "descriptor_identity", lambda _handle: "")
    assert type(process.log_formatter("text", {"JOURNAL_STREAM": ""})) is LineFormatter


def test_the_standard_loop_does_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert process.runner() is asyncio.run


def test_closed_standard_streams_are_filled() -> None:
    script = (
        "import os\n"
        "from kvraft.storage.files import fill_standard_streams\n"
        "os.close(0); os.close(2)\n"
        "fill_standard_streams()\n"
        "print(os.path.samestat(os.fstat(0), os.stat(os.devnull)), os.fstat(2) is not None)\n"
        "print(os.dup(1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    assert done.stdout == "True True\n3\n"
