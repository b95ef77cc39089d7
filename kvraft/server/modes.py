"""What a data directory says its process is, before any flag is asked.

`member/` in it means a member, `proxy/` a proxy: a machine that was restarted with other flags must
not become something else and leave its data behind. The texts are etcd 2.3's, with Go's words for
errors of the system. (server.md, section 2.)
"""

from __future__ import annotations

import logging
import posixpath
from enum import Enum
from typing import TYPE_CHECKING, Final

from kvraft.server.logs import NOTICE, LogLine
from kvraft.storage.datadir import Paths
from kvraft.storage.files import make_dirs

if TYPE_CHECKING:
    from kvraft.storage import Files

_PROBE: Final = ".touch"
# What else may stand in a data directory without a word: made with every file system, and by us.
_HARMLESS: Final = frozenset(("lost+found", _PROBE))


class Mode(Enum):
    """What a process is."""

    EMPTY = ""  # nothing yet: the flags decide
    MEMBER = "member"
    PROXY = "proxy"


class StartRefused(Exception):
    """The process cannot start; `lines` say why, to be logged by whoever gives up.

    `code` is what the process ends with.
    """

    def __init__(self, *lines: LogLine, code: int = 1) -> None:
        super().__init__(lines)
        self.lines = lines
        self.code = code


def refused(text: str, package: str = "etcdmain") -> StartRefused:
    """A refusal in one line."""
    return StartRefused(LogLine(logging.CRITICAL, package, text))


def decide(files: Files, data_dir: str) -> tuple[Mode, list[LogLine]]:
    """The mode, and what there is to log about it. Raises StartRefused."""
    try:
        names = sorted(files.list_dir(data_dir)) if files.exists(data_dir) else []
    except OSError:
        raise refused(f"error listing data dir: {data_dir}") from None
    found = [mode for mode in (Mode.MEMBER, Mode.PROXY) if mode.value in names]
    lines = [
        LogLine(
            logging.WARNING,
            "etcdmain",
            f"found invalid file/dir {name} under data dir {data_dir} "
            "(Ignore this if you are upgrading etcd)",
        )
        for name in names
        if name not in (Mode.MEMBER.value, Mode.PROXY.value) and name not in _HARMLESS
    ]
    if len(found) > 1:
        both = refused("invalid datadir. Both member and proxy directories exist.")
        raise StartRefused(*lines, *both.lines)
    if not found:
        return Mode.EMPTY, lines
    word = found[0].value
    text = f"the server is already initialized as {word} before, starting as etcd {word}..."
    lines.append(LogLine(NOTICE, "etcdmain", text))
    return found[0], lines


def make_data_dir(files: Files, data_dir: str) -> None:
    """Create the directory if it is missing, and try to write there. Raises StartRefused."""
    _make(files, data_dir, "cannot access data directory")


def make_wal_dir(files: Files, wal_dir: str) -> None:
    """The same for a log that is to have a directory of its own. Raises StartRefused."""
    _make(files, wal_dir, "cannot write to WAL directory")


def _make(files: Files, directory: str, complaint: str) -> None:
    try:
        make_dirs(files, posixpath.normpath(directory))
    except OSError as error:
        path = error.filename or directory
        raise refused(f"{complaint}: mkdir {path}: {_words(error)}") from None
    _probe(files, directory, complaint)


def check_writable(files: Files, data_dir: str, wal_dir: str | None) -> None:
    """Whether the directories of an existing member can be written. Raises StartRefused."""
    member = posixpath.join(data_dir, Mode.MEMBER.value)
    _probe(files, member, "cannot write to member directory")
    _probe(files, wal_dir or posixpath.join(member, "wal"), "cannot write to WAL directory")


def lock_held(files: Files, data_dir: str, wal_dir: str | None) -> str:
    """The lock by which another process holds these directories; empty if none does."""
    paths = Paths.of(data_dir, wal_dir)
    for path in (f"{paths.member}/lock", f"{paths.wal}/lock"):
        try:
            if files.exists(path):
                files.close(files.lock(path))
        except BlockingIOError:
            return path
        except OSError:
            continue  # opening the directory will say what is wrong with it
    return ""


def in_use(detail: str) -> StartRefused:
    """The refusal of directories that another process holds."""
    return StartRefused(
        # The first line is etcd's; the second says where.
        LogLine(logging.CRITICAL, "etcdserver", "open wal error: file already locked"),
        LogLine(logging.CRITICAL, "etcdserver", detail),
    )


def _probe(files: Files, directory: str, complaint: str) -> None:
    path = posixpath.join(directory, _PROBE)
    try:
        files.close(files.create(path))
        files.remove(path)
    except OSError as error:
        raise refused(f"{complaint}: open {path}: {_words(error)}") from None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
