"""A disk in memory that keeps exactly what was synced, and lists what a power cut may leave.

It implements `Files`. Each file has contents as the running process sees them, contents that are
on the disk for sure, and the versions in between since the last sync. Each directory has names
as seen, names on the disk, and the changes since the last `sync_dir`. A power cut leaves

  - of each file: a length out of those it had, and each block of 512 bytes as it was in any of
    its versions (zeros where a version had nothing there);
  - of each directory: any subset of the changes, in order.

`crash_states` lists all of these, or a seeded sample where they are too many.
"""

from __future__ import annotations

import errno
import itertools
import math
import posixpath
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 512


class PowerCut(BaseException):
    """The machine stops at this disk call. Not an Exception: nothing may handle it."""


@dataclass
class Inode:
    """One file."""

    data: bytes = b""
    mode: int = 0o600
    durable: bytes = b""
    versions: list[bytes] = field(default_factory=list)  # since the last sync, newest last

    def changed(self, data: bytes) -> None:
        self.data = data
        self.versions.append(data)

    def outcomes(self, rng: random.Random, limit: int) -> list[bytes]:
        """Contents that a power cut may leave, without repetition."""
        if not self.versions:
            return [self.durable]
        candidates = [self.durable, *self.versions]
        lengths = {len(data) for data in candidates}
        low, high = min(lengths), max(lengths)
        lengths |= {*range(low - low % BLOCK + BLOCK, high, BLOCK), min(low + 1, high)}
        blocks = [
            sorted({data[at : at + BLOCK].ljust(BLOCK, b"\0") for data in candidates})
            for at in range(0, high, BLOCK)
        ]
        combinations = len(lengths)
        for variants in blocks:
            combinations *= len(variants)
        if combinations <= limit:
            found = {
                b"".join(choice)[:length]
                for choice in itertools.product(*blocks)
                for length in lengths
            }
        else:
            ordered = sorted(lengths)
            found = {
                b"".join(rng.choice(variants) for variants in blocks)[: rng.choice(ordered)]
                for _ in range(limit)
            }
        return sorted(found | {self.durable, self.data})


Change = Callable[[dict[str, Inode]], None]


@dataclass
class Directory:
    """The files in one directory, and which of the names are on the disk."""

    mode: int = 0o700
    names: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        change(self.names)
        self.pending.append(change)

    def outcomes(self, rng: random.Random, limit: int) -> list[dict[str, Inode]]:
        subsets = list(itertools.product((False, True), repeat=len(self.pending)))
        if len(subsets) > limit:
            subsets = [subsets[0], subsets[-1], *rng.sample(subsets, limit)]
        found: list[dict[str, Inode]] = []
        for subset in subsets:
            names = dict(self.durable)
            for taken, change in zip(subset, self.pending, strict=True):
                if taken:
                    change(names)
            if names not in found:
                found.append(names)
        return found


class FakeDisk:
    """Implements `Files`. Directories themselves are durable at once, to keep the states few."""

    def __init__(self) -> None:
        self.directories: dict[str, Directory] = {"/": Directory()}
        self.handles: dict[int, Inode] = {}
        self.locks: dict[int, str] = {}
        self.calls = 0
        self.syncs = 0
        self.stop_at: int | None = None  # power cut instead of the call with this number
        self.capacity: int | None = None  # bytes in all files
        self.fail_sync: int | None = None  # errno of the next sync
        self.fail_write: int | None = None
        self.most_per_write: int | None = None  # short writes
        self._next_handle = 3

    # --- what tests do ---

    def contents(self, path: str) -> bytes:
        return self._inode(path).data

    def put(self, path: str, data: bytes) -> None:
        """Change a file behind the back of the program, durably."""
        inode = Inode(data, 0o600, data)
        directory, name = self._split(path)
        directory.names[name] = inode
        directory.durable[name] = inode

    def names(self, path: str) -> list[str]:
        return sorted(self.directories[path].names)

    def copy(self) -> FakeDisk:
        """This disk after a clean stop: all as the process saw it."""
        return self._booted({path: d.names for path, d in self.directories.items()}, {})

    def crash_states(self, rng: random.Random, limit: int = 64) -> Iterator[FakeDisk]:
        """Disks that a power cut at this moment may leave; at most about `limit` of them."""
        paths = list(self.directories)
        layouts = [self.directories[path].outcomes(rng, limit) for path in paths]
        inodes = {
            id(inode): inode for layout in layouts for names in layout for inode in names.values()
        }
        contents = [inode.outcomes(rng, limit) for inode in inodes.values()]
        total = math.prod(map(len, layouts)) * math.prod(map(len, contents))
        for number in range(min(total, limit)):
            code = number if total <= limit else rng.randrange(total)
            tree: dict[str, dict[str, Inode]] = {}
            for path, layout in zip(paths, layouts, strict=True):
                code, pick = divmod(code, len(layout))
                tree[path] = layout[pick]
            data: dict[int, bytes] = {}
            for key, variants in zip(inodes, contents, strict=True):
                code, pick = divmod(code, len(variants))
                data[key] = variants[pick]
            yield self._booted(tree, data)

    def _booted(self, tree: dict[str, dict[str, Inode]], data: dict[int, bytes]) -> FakeDisk:
        disk = FakeDisk()
        for path, names in tree.items():
            fresh = Directory(self.directories[path].mode)
            for name, old in names.items():
                kept = data.get(id(old), old.data)
                fresh.names[name] = Inode(kept, old.mode, kept)
            fresh.durable = dict(fresh.names)
            disk.directories[path] = fresh
        return disk

    # --- Files ---

    def create(self, path: str) -> int:
        self._call()
        directory, name = self._split(path)
        old = directory.names.get(name)
        if old is not None:
            old.changed(b"")
            return self._open(old)
        inode = Inode()
        directory.change(lambda names: names.__setitem__(name, inode))
        return self._open(inode)

    def write(self, handle: int, data: bytes) -> int:
        self._call()
        if self.fail_write is not None:
            code, self.fail_write = self.fail_write, None
            raise OSError(code, "write failed")
        taken = data if self.most_per_write is None else data[: self.most_per_write]
        if self.capacity is not None:
            taken = taken[: max(0, self.capacity - self.used_bytes())]
            if not taken:
                raise OSError(errno.ENOSPC, "No space left on device")
        inode = self.handles[handle]
        inode.changed(inode.data + taken)
        return len(taken)

    def sync(self, handle: int) -> None:
        self._call()
        self.syncs += 1
        inode = self.handles[handle]
        if self.fail_sync is not None:
            code, self.fail_sync = self.fail_sync, None
            raise OSError(code, "sync failed")
        inode.durable = inode.data
        inode.versions.clear()

    def truncate(self, handle: int, size: int) -> None:
        self._call()
        inode = self.handles[handle]
        inode.changed(inode.data[:size].ljust(size, b"\0"))

    def open_read(self, path: str) -> int:
        return self._open(self._inode(path))

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        return self.handles[handle].data[offset : offset + size]

    def read(self, path: str) -> bytes:
        return self._inode(path).data

    def close(self, handle: int) -> None:
        self.locks.pop(handle, None)
        del self.handles[handle]

    def lock(self, path: str) -> int:
        directory, name = self._split(path)
        if path in self.locks.values():
            raise BlockingIOError(errno.EAGAIN, "locked")
        if name not in directory.names:
            self.put(path, b"")
        handle = self._open(directory.names[name])
        self.locks[handle] = path
        return handle

    def rename(self, old: str, new: str) -> None:
        self._call()
        directory, name = self._split(old)
        _, target = self._split(new)
        inode = self._inode(old)

        def change(names: dict[str, Inode]) -> None:
            names.pop(name, None)
            names[target] = inode

        directory.change(change)

    def remove(self, path: str) -> None:
        self._call()
        directory, name = self._split(path)
        self._inode(path)
        directory.change(lambda names: _forget(names, name))

    def make_dir(self, path: str) -> None:
        self._call()
        if path in self.directories:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._split(path)
        self.directories[path] = Directory()

    def sync_dir(self, path: str) -> None:
        self._call()
        directory = self.directories[path]
        directory.durable = dict(directory.names)
        directory.pending.clear()

    def list_dir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        below = [p[len(prefix) :] for p in self.directories if p.startswith(prefix)]
        return [*self.directories[path].names, *(n for n in below if n and "/" not in n)]

    def exists(self, path: str) -> bool:
        if path in self.directories:
            return True
        parent, name = posixpath.split(path)
        return parent in self.directories and name in self.directories[parent].names

    def mode(self, path: str) -> int:
        found = self.directories.get(path)
        return found.mode if found is not None else self._inode(path).mode

    def free_bytes(self, path: str) -> int:
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self.used_bytes())

    def used_bytes(self) -> int:
        return sum(len(i.data) for d in self.directories.values() for i in d.names.values())

    def _call(self) -> None:
        if self.stop_at is not None and self.calls == self.stop_at:
            raise PowerCut
        self.calls += 1

    def _open(self, inode: Inode) -> int:
        self._next_handle += 1
        self.handles[self._next_handle] = inode
        return self._next_handle

    def _split(self, path: str) -> tuple[Directory, str]:
        parent, name = posixpath.split(path)
        if parent not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", parent)
        return self.directories[parent], name

    def _inode(self, path: str) -> Inode:
        directory, name = self._split(path)
        if name not in directory.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return directory.names[name]


def _forget(names: dict[str, Inode], name: str) -> None:
    names.pop(name, None)
