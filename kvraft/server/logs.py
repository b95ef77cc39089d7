"""Log lines as etcd 2.3 writes them: `2026-11-20 17:56:32.332854 I | etcdserver: text`.

Scripts wait for such lines, so date, level letter and package are part of the interface; the
package is the name an etcd operator knows, not that of a Python module. Everything goes
through stdlib `logging`, below one logger of our own, so that a program which embeds a member
keeps its own logging. One record is one line: control characters of what a client sent
cannot forge a second one; only the trace of an exception follows on further lines.

Two more forms: one JSON object per line for programs (`--log-format json`), and `<6>etcdserver:
text` where standard error is systemd's journal, which adds the date itself and takes the
priority from the front (sd-daemon(3)).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TextIO

from kvraft.limits import MAX_MERGED_LINES

ROOT: Final = "kvraft"
NOTICE: Final = 25
TRACE: Final = 5

_LETTERS: Final = {
    logging.CRITICAL: "C",
    logging.ERROR: "E",
    logging.WARNING: "W",
    NOTICE: "N",
    logging.INFO: "I",
    logging.DEBUG: "D",
    TRACE: "T",
}
# The priorities of syslog(3).
_PRIORITIES: Final = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    NOTICE: 5,
    logging.INFO: 6,
    logging.DEBUG: 7,
    TRACE: 7,
}
_NAMED_LEVELS: Final = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": NOTICE,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": TRACE,
}
_LEVEL_WORDS: Final = {level: name.lower() for name, level in _NAMED_LEVELS.items()}
# The order is also that of the numbers 0, 1, ... that stand for the levels; CRITICAL has none.
_NUMBERED_LEVELS: Final = list(_NAMED_LEVELS.values())[1:]
# A client that fails fails again at once: these packages may repeat a line thousands of times.
MERGED_PACKAGES: Final = frozenset(("etcdhttp", "rafthttp"))
MERGE_SECONDS: Final = 1.0
# Libraries whose complaints belong into the log, too.
_LIBRARIES: Final = ("asyncio", "aiohttp")
_ESCAPED: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F) if code != ord("\t")}
_ESCAPED[ord("\n")] = "\\n"
_ESCAPED[ord("\r")] = "\\r"


class LogLine(NamedTuple):
    """A line to be logged later, by whoever has set up logging."""

    level: int
    package: str
    text: str


def logger(package: str) -> logging.Logger:
    """The logger of one package in etcd's sense: `etcdserver`, `raft`, `rafthttp`, ..."""
    return logging.getLogger(f"{ROOT}.{package}")


def emit(lines: Iterable[LogLine]) -> None:
    """Log lines that were noticed before logging was set up."""
    for line in lines:
        logger(line.package).log(line.level, "%s", line.text)


def flush_repeats() -> None:
    """Log how often lines were repeated in the last second; call it about once a second."""
    for handler in logging.getLogger(ROOT).handlers:
        for found in handler.filters:
            if isinstance(found, RepeatFilter):
                for line in found.flush():
                    log = logger(line.package)
                    log.log(line.level, "%s", line.text, extra={RepeatFilter.PASSES: True})


def parse_level(text: str) -> int | None:
    """A level by name, first letter or number, in any case; None if there is no such level."""
    text = text.upper()
    for name, level in _NAMED_LEVELS.items():
        if text in (name, name[0]):
            return level
    if len(text) == 1 and text in "012345":
        return _NUMBERED_LEVELS[int(text)]
    return None


def level_name(level: int) -> str:
    """The name of one of etcd's levels."""
    return next(name for name, number in _NAMED_LEVELS.items() if number == level)


def configure(
    level: int = logging.INFO,
    package_levels: Iterable[tuple[str, int]] = (),
    stream: TextIO | None = None,
    formatter: LineFormatter | None = None,
) -> None:
    """Send our lines to `stream` (standard error if none), replacing an earlier choice.

    Package levels are applied in their order; the package `*` stands for all of them.
    """
    # What the format never shows need not be looked up for each record.
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    new = logging.StreamHandler(stream or sys.stderr)
    new.setFormatter(formatter or LineFormatter())
    new.addFilter(RepeatFilter())
    for name in (ROOT, *_LIBRARIES):
        log = logging.getLogger(name)
        for handler in log.handlers[:]:
            log.removeHandler(handler)
        log.addHandler(new)
        log.propagate = False
    set_levels(level, package_levels)


def set_levels(level: int, package_levels: Iterable[tuple[str, int]] = ()) -> None:
    """Set one level for all packages, then those that differ."""
    prefix = ROOT + "."
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(prefix):
            logging.getLogger(name).setLevel(logging.NOTSET)
    root = logging.getLogger(ROOT)
    root.setLevel(level)
    for package, package_level in package_levels:
        if package == "*":
            root.setLevel(package_level)
        else:
            logger(package).setLevel(package_level)


class LineFormatter(logging.Formatter):
    """Makes the line; the date is computed once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._date = ""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text, without the line feed at its end."""
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        package = record.name.rpartition(".")[2]
        return self._line(record.created, record.levelno, package, record.getMessage(), trace)

    def format_line(self, line: LogLine, now: float) -> str:
        """A line that does not pass through `logging`, as if logged at `now`."""
        return self._line(now, line.level, line.package, line.text, "")

    def _line(self, created: float, level: int, package: str, text: str, trace: str) -> str:
        letter = _LETTERS.get(level) or logging.getLevelName(level)[:1]
        line = f"{self._moment(created)} {letter} | {package}: {_escaped(text)}"
        return f"{line}\n{trace}" if trace else line

    def _moment(self, created: float) -> str:
        second, fraction = divmod(int(created * 1_000_000), 1_000_000)
        if second != self._second:
            self._second = second
            self._date = self._format_second(second)
        return f"{self._date}.{fraction:06d}"

    def _format_second(self, second: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


class JournalFormatter(LineFormatter):
    """For the journal: priority, package, text; every line on its own."""

    def _line(self, created: float, level: int, package: str, text: str, trace: str) -> str:
        priority = f"<{_PRIORITIES.get(level, 6)}>"
        lines = [f"{package}: {_escaped(text)}", *trace.splitlines()]
        return "\n".join(priority + line for line in lines)


class JsonFormatter(LineFormatter):
    """One JSON object: `ts` in UTC with microseconds, `level`, `package`, `msg`, and `trace`."""

    def _line(self, created: float, level: int, package: str, text: str, trace: str) -> str:
        fields = {
            "ts": f"{self._moment(created)}Z",
            "level": _LEVEL_WORDS.get(level, "info"),
            "package": package,
            "msg": text,
        }
        if trace:
            fields["trace"] = trace
        return json.dumps(fields, ensure_ascii=False)

    def _format_second(self, second: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def formatter_for(log_format: str, to_journal: bool) -> LineFormatter:
    """The formatter of `--log-format`, given whether the lines go to the journal."""
    if log_format == "json":
        return JsonFormatter()
    return JournalFormatter() if to_journal else LineFormatter()


class RepeatFilter(logging.Filter):
    """Lets a line of a merged package pass once a second, and says how often it was repeated.

    `flush` has to be called about once a second. Lines are told apart by their whole text.
    """

    PASSES: Final = "is_summary"
    """Records with this attribute are always written."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is to be written now."""
        package = record.name.rpartition(".")[2]
        if package not in MERGED_PACKAGES or record.exc_info or hasattr(record, self.PASSES):
            return True
        key = (package, record.levelno, record.getMessage())
        first, count = self._seen.get(key, (0.0, -1))
        if count < 0 and len(self._seen) >= MAX_MERGED_LINES:
            return True
        self._seen[key] = (first if count >= 0 else self._now(), count + 1)
        return count < 0

    def flush(self) -> list[LogLine]:
        """The summaries that are due: of lines first seen a second ago and repeated since."""
        now, due = self._now(), []
        for key, (first, count) in list(self._seen.items()):
            if now - first < MERGE_SECONDS:
                continue
            package, level, text = key
            if count:
                self._seen[key] = (now, 0)
                merged = f"[merged {count} repeated lines in {MERGE_SECONDS:g}s]"
                due.append(LogLine(level, package, f"{text} {merged}"))
            else:
                del self._seen[key]
        return due


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.translate(_ESCAPED)
