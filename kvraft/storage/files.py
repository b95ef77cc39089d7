"""Every disk access of a member, as one small protocol, and its implementation by POSIX calls.

The durable state is only as good as the order of its disk calls, so all of them go through
`Files`: a test puts a disk underneath that loses what was not synced, tears writes, forgets
renames or runs full, and the code above cannot tell. This module must not know what the bytes
mean. Nothing else in the package opens, renames or removes a file of the data directory.

What an implementation promises (and no more):
  - bytes written are safe once `sync` of that file has returned, names once `sync_dir` of the
    directory has; until then any part of them may be lost, in any order;
  - `rename` within one directory replaces its target in one step;
  - errors are OSError with errno as POSIX has them; `lock` raises BlockingIOError if held.

Background: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014; Rebello et al.,
"Can Applications Recover from fsync Failures?", USENIX ATC 2020.
"""

from __future__ import annotations

import errno
import fcntl
import os
import posixpath
import stat
import sys
from typing import Final, Protocol

from kvraft.errors import DiskFailed, DiskFull, StorageError

TEMPORARY: Final = ".tmp"  # a file being made; whatever bears this name at start is removed
SET_ASIDE: Final = ".broken"  # a damaged file kept for people to look at; never read again

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


class Files(Protocol):
    """The disk calls. Handles are small integers; paths are absolute and use "/"."""

    def create(self, path: str) -> int:
        """Open a new empty file (mode 0600) for appending; an old one of that name is emptied."""

    def write(self, handle: int, data: bytes) -> int:
        """Append; returns how many bytes were taken, which may be fewer than given."""

    def sync(self, handle: int) -> None:
        """Return when all bytes of the file, and its length, are on stable storage."""

    def truncate(self, handle: int, size: int) -> None: ...

    def open_read(self, path: str) -> int: ...

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    def read(self, path: str) -> bytes:
        """The whole file."""

    def close(self, handle: int) -> None:
        """Close a file, or release a lock."""

    def lock(self, path: str) -> int:
        """Take the exclusive lock of this file, creating it if needed, without waiting."""

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def make_dir(self, path: str) -> None:
        """Create one directory, mode 0700."""

    def sync_dir(self, path: str) -> None:
        """Return when the names in this directory are on stable storage."""

    def list_dir(self, path: str) -> list[str]: ...

    def exists(self, path: str) -> bool: ...

    def mode(self, path: str) -> int:
        """Permission bits only."""

    def free_bytes(self, path: str) -> int:
        """Bytes an unprivileged process may still write to the file system of `path`."""


if sys.platform == "darwin":

    def _sync(handle: int) -> None:
        # Its fsync leaves the data in the cache of the drive.
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)

else:
    _sync = os.fdatasync


class PosixFiles:
    """The real disk."""

    def create(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, FILE_MODE)

    # The two calls made for every batch are the system's own, without a frame between.
    write = staticmethod(os.write)
    sync = staticmethod(_sync)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def open_read(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(handle, size, offset)
            if not part:
                break
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def close(self, handle: int) -> None:
        os.close(handle)

    def lock(self, path: str) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def make_dir(self, path: str) -> None:
        os.mkdir(path, DIRECTORY_MODE)

    def sync_dir(self, path: str) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def list_dir(self, path: str) -> list[str]:
        return os.listdir(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_dir(self, path: str) -> bool:
        """Whether there is a directory; of no concern to a member, so not in `Files`."""
        return os.path.isdir(path)

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.stat(path).st_mode)

    def mark(self, path: str) -> tuple[int, int, int] | None:
        """Changes whenever the file is replaced or written to; None if it cannot be looked at."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def free_bytes(self, path: str) -> int:
        figures = os.statvfs(path)
        return figures.f_bavail * figures.f_frsize

    def may_write(self, path: str) -> bool:
        """Whether this process may create files in a directory."""
        return os.access(path, os.W_OK | os.X_OK, effective_ids=True)

    def owner(self, path: str) -> int:
        """The user id that a file belongs to."""
        return os.stat(path).st_uid

    def modified_s(self, path: str) -> float:
        """When a file was changed last, in Unix seconds."""
        return os.stat(path).st_mtime

    def real_path(self, path: str) -> str:
        """The absolute path without symbolic links."""
        return os.path.realpath(path)


def descriptor_identity(handle: int) -> str:
    """Device and inode of an open file, as systemd writes them: `8:1234`; empty if closed."""
    try:
        status = os.fstat(handle)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def fill_standard_streams() -> None:
    """Put something harmless in place of standard streams that are closed.

    Otherwise the next sockets and files get their numbers, and whoever prints writes into them.
    """
    for handle in range(3):
        if not descriptor_identity(handle):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != handle:
                os.dup2(opened, handle)
                os.close(opened)


def parent(path: str) -> str:
    """The directory a name stands in; a bare name stands in the working directory."""
    return posixpath.dirname(path) or "."


def make_dirs(files: Files, path: str) -> None:
    """Create a directory and what is missing above it, each name durable before the next."""
    missing: list[str] = []
    while not files.exists(path):
        missing.append(path)
        path = parent(path)
    for directory in reversed(missing):
        files.make_dir(directory)
        files.sync_dir(parent(directory))


def disk_error(path: str, error: OSError) -> StorageError:
    """What a failed disk call means for the member: full is survived, all else is not."""
    if error.errno in _NO_SPACE:
        return DiskFull(f"{path}: {error.strerror}")
    return DiskFailed(f"{path}: {error.strerror or error}")


def write_all(files: Files, handle: int, data: bytes) -> None:
    """Append all of `data`; a call may take less, and the next one then says why."""
    written = files.write(handle, data)
    while written < len(data):
        more = files.write(handle, data[written:])
        if more <= 0:
            raise OSError(errno.EIO, "write took no bytes")
        written += more


def publish(files: Files, directory: str, name: str, data: bytes) -> int:
    """Make a file appear whole or not at all, durably; returns it open for appending.

    A crash at any point leaves the old file of that name or the new one, besides a temporary
    file that the next start removes. Raises DiskFull with the old state intact, or DiskFailed.
    """
    path = f"{directory}/{name}"
    temporary = path + TEMPORARY
    handle = -1
    try:
        handle = files.create(temporary)
        write_all(files, handle, data)
        files.sync(handle)
        files.rename(temporary, path)
        files.sync_dir(directory)
    except OSError as error:
        discard(files, handle, temporary)
        raise disk_error(path, error) from error
    return handle


def discard(files: Files, handle: int, temporary: str) -> None:
    """Give up a temporary file; what cannot be removed now is removed at the next start."""
    try:
        if handle >= 0:
            files.close(handle)
        files.remove(temporary)
    except OSError:
        return
