"""kvraft/server/logs.py: the form of a line, and which lines appear."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from kvraft.limits import MAX_MERGED_LINES
from kvraft.server import logs
from kvraft.server.logs import (
    NOTICE,
    TRACE,
    JsonFormatter,
    LineFormatter,
    LogLine,
    RepeatFilter,
)

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} ([CEWNIDT]) \| (\w+): (.*)")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Nothing set here may reach other tests."""
    root = logging.getLogger(logs.ROOT)
    loggers = [root, *map(logging.getLogger, ("asyncio", "aiohttp"))]
    before = [(log, log.handlers[:], log.propagate) for log in loggers]
    level = root.level
    flags = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    yield
    logs.set_levels(level)
    for log, handlers, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
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


def test_one_json_object_per_line() -> None:
    line = LogLine(NOTICE, "osutil", 'a "quoted"\nend é')
    text = JsonFormatter().format_line(line, 61.25)
    assert json.loads(text) == {
        "ts": "1970-01-01T00:01:01.250000Z",
        "level": "notice",
        "package": "osutil",
        "msg": 'a "quoted"\nend é',
    }
    assert "\n" not in text


def test_a_trace_is_a_field_of_the_object() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, formatter=JsonFormatter())
    try:
        raise ValueError("why")
    except ValueError:
        logs.logger("etcdserver").exception("failed")
    (text,) = stream.getvalue().splitlines()
    found = json.loads(text)
    assert (found["level"], found["msg"]) == ("error", "failed")
    assert found["trace"].endswith("ValueError: why")


def test_the_journal_gets_priorities_instead_of_dates() -> None:
    stream = io.StringIO()
    logs.configure(TRACE, stream=stream, formatter=logs.formatter_for("text", to_journal=True))
    levels = (logging.CRITICAL, logging.ERROR, logging.WARNING, NOTICE, logging.INFO, TRACE)
    for level in levels:
        logs.logger("raft").log(level, "x\ny")
    assert stream.getvalue() == "".join(f"<{n}>raft: x\\ny\n" for n in (2, 3, 4, 5, 6, 7))
    stream.truncate(0)
    try:
        raise ValueError("why")
    except ValueError:
        logs.logger("etcdserver").exception("failed")
    assert all(line.startswith("<3>") for line in stream.getvalue().strip("\0").splitlines())


def test_the_format_is_chosen() -> None:
    assert type(logs.formatter_for("text", to_journal=False)) is LineFormatter
    assert type(logs.formatter_for("json", to_journal=True)) is JsonFormatter


def test_complaints_of_libraries_have_the_form_too() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("asyncio").error("a task failed")
    assert _lines(stream) == [("E", "asyncio", "a task failed")]


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _record(package: str, text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(f"kvraft.{package}", logging.ERROR, "", 0, text, args, None)


def test_repeated_lines_are_merged() -> None:
    clock = _Clock()
    repeats = RepeatFilter(clock)
    assert repeats.filter(_record("etcdhttp", "failed: %s", "a"))
    assert not repeats.filter(_record("etcdhttp", "failed: %s", "a"))
    assert not repeats.filter(_record("etcdhttp", "failed: a"))
    assert repeats.filter(_record("etcdhttp", "failed: %s", "b"))
    assert repeats.filter(_record("etcdserver", "failed: a"))
    assert repeats.filter(_record("etcdserver", "failed: a"))
    clock.now += 0.9
    assert repeats.flush() == []
    clock.now += 0.1
    text = "failed: a [merged 2 repeated lines in 1s]"
    assert repeats.flush() == [LogLine(logging.ERROR, "etcdhttp", text)]
    assert not repeats.filter(_record("etcdhttp", "failed: a"))
    assert repeats.filter(_record("etcdhttp", "failed: b"))
    clock.now += 1
    (line,) = repeats.flush()
    assert line.text == "failed: a [merged 1 repeated lines in 1s]"
    clock.now += 1
    assert repeats.flush() == []
    assert repeats.filter(_record("etcdhttp", "failed: a"))


def test_merging_keeps_few_lines_in_mind() -> None:
    repeats = RepeatFilter(_Clock())
    for number in range(MAX_MERGED_LINES):
        assert repeats.filter(_record("rafthttp", "line %d", number))
    for _again in range(2):
        assert repeats.filter(_record("rafthttp", "one more"))
    assert not repeats.filter(_record("rafthttp", "line 0"))


def test_summaries_reach_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MERGE_SECONDS", 0.0)
    stream = io.StringIO()
    logs.configure(stream=stream)
    for _time in range(5):
        logs.logger("etcdhttp").error("failed")
    logs.flush_repeats()
    assert [text for _letter, _package, text in _lines(stream)] == [
        "failed",
        "failed [merged 4 repeated lines in 0s]",
    ]
