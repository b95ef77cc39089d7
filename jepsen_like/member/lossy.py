"""The disk of the simulator with a real directory as its platter.

What the process sees is in its memory. What is certain, and nothing else, is in the real files:
content once the file was synced, a name once its directory was. So SIGKILL loses exactly what a
power cut would with nothing let through, and `power_cut` first lets through a part, chosen by the
very rules of the simulator. What a power cut may leave is decided in `sim/disk.py` alone.

A lock is not a matter of the platter: it is taken on the real file at once.
"""

from __future__ import annotations

import os
import posixpath
import random
import signal
import threading
import time
from collections.abc import Iterable
from typing import NoReturn

from jepsen_like.sim.disk import BLOCK, Disk, DiskFiles, Inode
from kvraft.storage.files import DIRECTORY_MODE, FILE_MODE, PosixFiles, parent

_MIRRORED = ".mirrored"  # a real file being made; never seen by the process


class Faults:
    """How the disk misbehaves at the moment."""

    def __init__(self) -> None:
        self.sync_delay_s = 0.0
        self.failing_syncs = 0
        self.full = False
        self.short_writes = False


class LossyFiles(DiskFiles):
    """`kvraft.storage.files.Files` on the real directories `roots`, for all threads."""

    def __init__(self, roots: Iterable[str], seed: int) -> None:
        self._rng = random.Random(seed)
        super().__init__(Disk(self._rng))
        self.faults = Faults()
        self._mutex = threading.RLock()
        self._posix = PosixFiles()
        self._places: dict[Inode, str] = {}  # which real file holds what is certain of an inode
        self._locks: set[int] = set()
        for root in roots:
            self._load(os.path.abspath(root))

    # --- what is there already ----------------------------------------------------------

    def _load(self, root: str) -> None:
        above = parent(root)
        while above not in self._disk.directories:
            if os.path.isdir(above):
                self._disk.directories.add(above)
            above = parent(above)
        for directory, _, names in os.walk(root):
            self._disk.directories.add(directory)
            for name in names:
                path = f"{directory}/{name}"
                if name.endswith(_MIRRORED):
                    os.unlink(path)  # SIGKILL while it was made
                elif path not in self._disk.names:
                    self._take(path)

    def _take(self, path: str) -> Inode:
        """A real file as it is, all of it certain."""
        inode = Inode()
        inode.stable = bytearray(self._posix.read(path))
        inode.cached = bytearray(inode.stable)
        self._disk.names[path] = self._disk.stable_names[path] = inode
        self._places[inode] = path
        return inode

    # --- the calls that change something ------------------------------------------------

    def create(self, path: str) -> int:
        """See `Files.create`."""
        with self._mutex:
            return super().create(os.path.abspath(path))

    def write(self, handle: int, data: bytes) -> int:
        """See `Files.write`."""
        with self._mutex:
            self._disk.full = self.faults.full
            if self.faults.short_writes and len(data) > 1:
                data = data[: self._rng.randint(1, len(data) - 1)]
            return super().write(handle, data)

    def truncate(self, handle: int, size: int) -> None:
        """See `Files.truncate`."""
        with self._mutex:
            super().truncate(handle, size)

    def sync(self, handle: int) -> None:
        """See `Files.sync`."""
        self._delay()
        with self._mutex:
            if self.faults.failing_syncs:
                self.faults.failing_syncs -= 1
                self._disk.fail_next_sync = True
            inode = self._open[handle]
            blocks = sorted(inode.dirty)
            super().sync(handle)
            self._store(inode, blocks)

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`."""
        with self._mutex:
            super().rename(os.path.abspath(old), os.path.abspath(new))

    def remove(self, path: str) -> None:
        """See `Files.remove`."""
        with self._mutex:
            super().remove(os.path.abspath(path))

    def make_dir(self, path: str) -> None:
        """See `Files.make_dir`."""
        with self._mutex:
            super().make_dir(os.path.abspath(path))

    def sync_dir(self, path: str) -> None:
        """See `Files.sync_dir`."""
        self._delay()
        with self._mutex:
            super().sync_dir(os.path.abspath(path))
            self._store_names()

    def _delay(self) -> None:
        if self.faults.sync_delay_s:
            time.sleep(self.faults.sync_delay_s)

    # --- the others ---------------------------------------------------------------------

    def open_read(self, path: str) -> int:
        """See `Files.open_read`."""
        with self._mutex:
            return super().open_read(os.path.abspath(path))

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        """See `Files.read_at`."""
        with self._mutex:
            return super().read_at(handle, size, offset)

    def read(self, path: str) -> bytes:
        """See `Files.read`."""
        with self._mutex:
            return super().read(os.path.abspath(path))

    def close(self, handle: int) -> None:
        """See `Files.close`."""
        with self._mutex:
            if handle in self._locks:
                self._locks.discard(handle)
                self._posix.close(-handle)
            else:
                super().close(handle)

    def lock(self, path: str) -> int:
        """See `Files.lock`. The handle is negative, to tell it from those of the disk."""
        path = os.path.abspath(path)
        with self._mutex:
            os.makedirs(parent(path), DIRECTORY_MODE, exist_ok=True)
            handle = -self._posix.lock(path)
            if path not in self._disk.names:
                self._take(path)
            self._locks.add(handle)
            return handle

    def list_dir(self, path: str) -> list[str]:
        """See `Files.list_dir`."""
        with self._mutex:
            return super().list_dir(os.path.abspath(path))

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        with self._mutex:
            return super().exists(os.path.abspath(path))

    def mode(self, path: str) -> int:
        """See `Files.mode`."""
        path = os.path.abspath(path)
        return self._posix.mode(path) if os.path.exists(path) else super().mode(path)

    def free_bytes(self, path: str) -> int:
        """See `Files.free_bytes`."""
        while not os.path.exists(path):
            path = parent(path)
        return 0 if self.faults.full else self._posix.free_bytes(path)

    # --- the platter --------------------------------------------------------------------

    def power_cut(self, mode: str, seed: int) -> NoReturn:
        """Let through what this mode allows of what was not synced, and end like a machine
        without power."""
        self._mutex.acquire()  # for good: no other thread reaches the disk any more
        self.settle(mode, seed)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL came back")

    def settle(self, mode: str, seed: int) -> None:
        """Bring the real files to what a power cut leaves. Of no use to a process that goes on."""
        self._rng.seed(seed)
        unsynced = {inode for inode in self._disk.names.values() if inode.dirty}
        unsynced |= {inode for inode in self._places if inode.dirty}
        self._disk.power_cut(mode)
        self._store_names()
        for inode in unsynced:
            if inode in self._places:
                self._write_new(self._places[inode], inode)

    def _store(self, inode: Inode, blocks: list[int]) -> None:
        """Bring the real file of an inode to what is certain now, after a sync of `blocks`."""
        path = self._places.get(inode)
        if path is None:
            return  # it has no certain name
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for block in blocks:
                start = block * BLOCK
                os.pwrite(handle, inode.stable[start : start + BLOCK], start)
            os.ftruncate(handle, len(inode.stable))
        finally:
            os.close(handle)

    def _store_names(self) -> None:
        """Bring the real names to those that are certain now."""
        missing = set(self._disk.unsynced_directories)
        for directory in sorted(self._disk.directories):
            if parent(directory) in missing:
                missing.add(directory)
            elif directory not in missing and not os.path.isdir(directory):
                self._posix.make_dir(directory)
        names = self._disk.stable_names
        certain = {path: names[path] for path in names if parent(path) not in missing}
        places = {path: inode for inode, path in self._places.items()}
        for path, inode in certain.items():
            if places.get(path) is inode:
                continue
            old = self._places.get(inode)
            if old is not None and old not in certain:
                os.rename(old, path)
            else:
                self._write_new(path, inode)
        for path in places:
            if path not in certain:
                _forget(path)
        self._places = {inode: path for path, inode in certain.items()}

    def _write_new(self, path: str, inode: Inode) -> None:
        """What is certain of an inode under this name, in one step."""
        temporary = path + _MIRRORED
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with open(handle, "wb") as file:
            file.write(inode.stable)
        os.replace(temporary, path)


def _forget(path: str) -> None:
    """Remove a real name, unless a rename has taken it along."""
    if posixpath.exists(path):
        os.unlink(path)
