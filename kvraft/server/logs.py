"""Log lines as etcd 2.3 writes them: `2026-11-20 17:56:32.332854 I | etcdserver: text`.

Scripts wait for such lines, so date, level letter and package are part of the interface; the
package is the name an etcd operator knows, not that of a Python module. Everything goes
through stdlib `logging`, below one logger of our own, so that a program which embeds a member
keeps its own logging. One record is one line: control characters of what a client sent
cannot forge a second one; only the trace of an exception follows on further lines.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from typing import Final, NamedTuple, TextIO

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
_NAMED_LEVELS: Final = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": NOTICE,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": TRACE,
}
# The order is also that of the numbers 0, 1, ... that stand for the levels; CRITICAL has none.
_NUMBERED_LEVELS: Final = list(_NAMED_LEVELS.values())[1:]
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


def parse_level(text: str) -> int | None:
    """A level by name, first letter or number, in any case; None if there is no such level."""
    text = text.upper()
    for name, level in _NAMED_LEVELS.items():
        if text in (name, name[0]):
            return level
    if len(text) == 1 and text in "012345":
        return _NUMBERED_LEVELS[int(text)]
    return None


def configure(
    level: int = logging.INFO,
    package_levels: Iterable[tuple[str, int]] = (),
    stream: TextIO | None = None,
) -> None:
    """Send our lines to `stream` (standard error if none), replacing an earlier choice.

    Package levels are applied in their order; the package `*` stands for all of them.
    """
    # What the format never shows need not be looked up for each record.
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    for number, letter in _LETTERS.items():
        logging.addLevelName(number, letter)
    root = logging.getLogger(ROOT)
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    new = logging.StreamHandler(stream or sys.stderr)
    new.setFormatter(LineFormatter())
    root.addHandler(new)
    root.propagate = False
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
        line = self._line(record.created, record.levelno, record.name, record.getMessage())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def format_line(self, line: LogLine, now: float) -> str:
        """A line that does not pass through `logging`, as if logged at `now`."""
        return self._line(now, line.level, line.package, line.text)

    def _line(self, created: float, level: int, name: str, text: str) -> str:
        microseconds = int(created * 1_000_000)
        second, fraction = divmod(microseconds, 1_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        letter = _LETTERS.get(level) or logging.getLevelName(level)[:1]
        package = name.rpartition(".")[2]
        text = text.translate(_ESCAPED) if not text.isprintable() else text
        return f"{self._date}.{fraction:06d} {letter} | {package}: {text}"
