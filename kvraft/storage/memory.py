"""A disk in memory: for members whose data lives no longer than the program that embeds them.

Implements `Files` without any fault: what was written stays, in the order in which it was written,
as long as this object does. So a member that was stopped or killed, and is started again on the
same `MemoryFiles`, comes back with what it had. Must not know what the bytes mean.

Invariant: a handle refers to its file whatever becomes of the name, as POSIX has it.
"""

from __future__ import annotations

import errno
import os

from kvraft.storage.files import DIRECTORY_MODE, FILE_MODE, parent

_PLENTY_BYTES = 1 << 40  # no member finds that little; memory itself is not measured


class MemoryFiles:
    """See the module's description; not to be shared between threads."""

    def __init__(self) -> None:
        self._directories: set[str] = {"/", "."}
        self._names: dict[str, bytearray] = {}
        self._open: dict[int, bytearray] = {}
        self._locked: dict[int, str] = {}
        self._last_handle = 0

    def create(self, path: str) -> int:
        """See `Files.create`."""
        content = self._names.get(path)
        if content is None:
            self._require_directory(parent(path))
            content = self._names[path] = bytearray()
        content.clear()
        return self._handle(content)

    def write(self, handle: int, data: bytes) -> int:
        """See `Files.write`."""
        self._open[handle] += data
        return len(data)

    def sync(self, handle: int) -> None:
        """See `Files.sync`: nothing is any safer than it was."""

    def truncate(self, handle: int, size: int) -> None:
        """See `Files.truncate`."""
        content = self._open[handle]
        missing = size - len(content)
        if missing > 0:
            content += bytes(missing)
        else:
            del content[size:]

    def open_read(self, path: str) -> int:
        """See `Files.open_read`."""
        return self._handle(self._find(path))

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        """See `Files.read_at`."""
        return bytes(memoryview(self._open[handle])[offset : offset + size])

    def read(self, path: str) -> bytes:
        """See `Files.read`."""
        return bytes(self._find(path))

    def close(self, handle: int) -> None:
        """See `Files.close`."""
        self._locked.pop(handle, None)
        del self._open[handle]

    def lock(self, path: str) -> int:
        """See `Files.lock`."""
        if path in self._locked.values():
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), path)
        handle = self.create(path)
        self._locked[handle] = path
        return handle

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`."""
        self._find(old)
        self._require_directory(parent(new))
        self._names[new] = self._names.pop(old)

    def remove(self, path: str) -> None:
        """See `Files.remove`."""
        self._find(path)
        del self._names[path]

    def make_dir(self, path: str) -> None:
        """See `Files.make_dir`."""
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._require_directory(parent(path))
        self._directories.add(path)

    def sync_dir(self, path: str) -> None:
        """See `Files.sync_dir`."""

    def list_dir(self, path: str) -> list[str]:
        """See `Files.list_dir`."""
        self._require_directory(path)
        names = [*self._names, *self._directories]
        return [name.rpartition("/")[2] for name in names if name != path and parent(name) == path]

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        return path in self._names or path in self._directories

    def mode(self, path: str) -> int:
        """See `Files.mode`."""
        if path in self._directories:
            return DIRECTORY_MODE
        self._find(path)
        return FILE_MODE

    def free_bytes(self, path: str) -> int:
        """See `Files.free_bytes`."""
        return _PLENTY_BYTES

    def used_bytes(self) -> int:
        """How much is in all files that have a name."""
        return sum(map(len, self._names.values()))

    def _handle(self, content: bytearray) -> int:
        self._last_handle += 1
        self._open[self._last_handle] = content
        return self._last_handle

    def _find(self, path: str) -> bytearray:
        content = self._names.get(path)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return content

    def _require_directory(self, path: str) -> None:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
