"""kvraft/server/logs.py: the form of a line, and which lines appear."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from kvraft.server import logs
from kvraft.server.logs import NOTICE, TRACE, LineFormatter, LogLine

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} ([CEWNIDT]) \| (\w+): (.*)")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Nothing set here may reach other tests."""
    root = logging.getLogger(logs.ROOT)
    before = (root.handlers[:], root.level, root.propagate)
    flags = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    yield
    logs.set_levels(before[1])
    root.handlers[:], root.propagate = before[0], before[2]
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags


def _lines(stream: io.StringIO) -> list[tuple[str, ...]]:
    found = [LINE.fullmatch(line) for line in stream.getvalue().splitlines()]
    assert all(found), stream.getvalue()
    return [match.groups() for match in found if match]


def test_form_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.localtime", __import__("time").gmtime)
    line = LogLine(logging.INFO, "etcdserver", "name = default")
    formatter = LineFormatter()
    for now, date in (
        (0.25, "00:00:00.250000"),
        (0.5, "00:00:00.500000"),
        (61.0, "00:01:01.000000"),
    ):
        text = formatter.format_line(line, now)
        assert text == f"1970-01-01 {date} I | etcdserver: name = default"


def test_every_level_has_its_letter() -> None:
    stream = io.StringIO()
    logs.configure(TRACE, stream=stream)
    log = logs.logger("raft")
    levels = (TRACE, logging.DEBUG, logging.INFO, NOTICE, logging.WARNING, logging.ERROR)
    for level in (*levels, logging.CRITICAL):
        log.log(level, "%d", level)
    assert "".join(letter for letter, _package, _text in _lines(stream)) == "TDINWEC"


def test_levels_of_packages() -> None:
    stream = io.StringIO()
    logs.configure(logging.INFO, [("quiet", logging.ERROR), ("loud", logging.DEBUG)], stream)
    for package in ("quiet", "loud", "other"):
        for level in (logging.DEBUG, logging.INFO, logging.ERROR):
            logs.logger(package).log(level, "x")
    assert [(letter, package) for letter, package, _text in _lines(stream)] == [
        ("E", "quiet"),
        ("D", "loud"),
        ("I", "loud"),
        ("E", "loud"),
        ("I", "other"),
        ("E", "other"),
    ]
    logs.set_levels(logging.INFO)
    assert logs.logger("quiet").isEnabledFor(logging.INFO)
    assert not logs.logger("loud").isEnabledFor(logging.DEBUG)
    logs.set_levels(logging.INFO, [("*", logging.ERROR)])
    assert not logs.logger("other").isEnabledFor(logging.WARNING)


def test_configuring_twice_does_not_double_the_lines() -> None:
    old, new = io.StringIO(), io.StringIO()
    logs.configure(stream=old)
    logs.configure(stream=new)
    logs.logger("raft").info("x")
    assert old.getvalue() == ""
    assert len(_lines(new)) == 1


def test_a_client_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.logger("etcdhttp").info("no such user: %s", "x\n2026 C | raft: lost\r\x1b[2J\té")
    (line,) = _lines(stream)
    assert line[2] == "no such user: x\\n2026 C | raft: lost\\r\\x1b[2J\té"


def test_the_trace_of_an_exception_follows_its_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        logs.logger("etcdserver").exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith(" E | etcdserver: failed")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: why"


def test_emit_logs_what_was_noticed_before() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.emit([LogLine(logging.WARNING, "flags", "100% %s"), LogLine(logging.DEBUG, "x", "y")])
    assert _lines(stream) == [("W", "flags", "100% %s")]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("CRITICAL", logging.CRITICAL),
        ("c", logging.CRITICAL),
        ("Error", logging.ERROR),
        ("0", logging.ERROR),
        ("W", logging.WARNING),
        ("2", NOTICE),
        ("info", logging.INFO),
        ("4", logging.DEBUG),
        ("TRACE", TRACE),
        ("5", TRACE),
        ("6", None),
        ("", None),
        ("loud", None),
        ("¹", None),
    ],
)
def test_parse_level(text: str, level: int | None) -> None:
    assert logs.parse_level(text) == level
