"""`kvraftctl backup`: a data directory copied under new ids, also while its member runs.

What is copied is judged by the storage of the server itself (`kvraft.server.backup`); here are only
the order of the checks, and the words, of etcdctl.md, section 9. A failure leaves no directory that
was not there before. The copy is started with `kvraft --force-new-cluster` once.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft_cli.errors import Failure
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS
from kvraft_cli.logline import reason, stamped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags

_MODE: Final = 0o700  # a member refuses directories that others may enter


class Failed(Exception):
    """Nothing was copied; the text is for the user."""


class Places(NamedTuple):
    """The four flags; all may be empty, which means the working directory or the usual place."""

    data_dir: str
    wal_dir: str
    backup_dir: str
    backup_wal_dir: str


def run(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    names = ("data-dir", "wal-dir", "backup-dir", "backup-wal-dir")
    try:
        back_up(Places(*(flags.string(name) for name in names)))
    except Failed as failure:
        raise Failure(stamped(str(failure)), BAD_ARGUMENTS) from failure
    return SUCCESS


def back_up(places: Places) -> None:
    """Make the copy; durable on return. Raises Failed."""
    target = _join(places.backup_dir, "member/snap")
    target_log = places.backup_wal_dir or _join(places.backup_dir, "member/wal")
    made = _make(target)
    try:
        _check_source(places)
        if _names(target_log):
            raise Failed("file already exists")
        _copy(places)
    except Failed:
        for path in reversed(made):
            try:
                os.rmdir(path)
            except OSError:
                break  # somebody else has put something there
        raise


def _make(path: str) -> list[str]:
    """Make a directory and what is missing above it; the new ones, outermost first."""
    missing: list[str] = []
    while not os.path.lexists(path):
        missing.append(path)
        path = posixpath.dirname(path) or "."
    target = missing[0] if missing else path
    failed = f"failed creating backup snapshot dir {target}: mkdir "
    if not os.path.isdir(path):
        raise Failed(f"{failed}{path}: not a directory")
    missing.reverse()
    for number, directory in enumerate(missing):
        try:
            os.mkdir(directory, _MODE)
        except OSError as error:
            for done in reversed(missing[:number]):
                os.rmdir(done)
            raise Failed(f"{failed}{directory}: {reason(error)}") from error
    return missing


def _check_source(places: Places) -> None:
    """Name what is missing before anything deeper looks for it."""
    found = []
    log = places.wal_dir or _join(places.data_dir, "member/wal")
    for path in (_join(places.data_dir, "member/snap"), log):
        try:
            found += os.listdir(path)
        except OSError as error:
            raise Failed(f"open {path}: {reason(error)}") from error
    if not found:
        raise Failed("wal: file not found")


def _copy(places: Places) -> None:
    from kvraft.errors import KvraftError
    from kvraft.server.backup import backup_directory
    from kvraft.storage import PosixFiles

    try:
        backup_directory(
            PosixFiles(),
            places.data_dir or ".",
            places.wal_dir or None,
            places.backup_dir or ".",
            places.backup_wal_dir or None,
        )
    except KvraftError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or 'backup'}: {reason(error)}") from error


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _join(directory: str, rest: str) -> str:
    return posixpath.normpath(posixpath.join(directory, rest))
