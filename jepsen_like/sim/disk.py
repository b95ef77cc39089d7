"""One member's disk: what a power cut leaves is decided here and nowhere else.

The fault model. A write changes the cached content; it reaches the platter with the next
successful sync of that file. Until then each block of 512 bytes may or may not be there after a
power cut, in any combination, and so may the new length. A new, renamed or removed name is
certain only after the directory was synced; before that any subset of the changes may
have happened. A failed sync forgets what it should have written: the cache keeps showing it, a
later sync does not write it, the next power cut takes it (as ext4 and XFS do). Space may
end in the middle of a write. Stored bits may flip while the member is down.

A process that is only killed loses nothing. `PowerCut` is no `Exception`, so that production
code cannot handle it: armed with a countdown, it strikes between any two disk calls, and in the
middle of a write.
"""

from __future__ import annotations

import errno
import random
from typing import Final

BLOCK: Final = 512
MODES: Final = ("nothing", "everything", "some", "torn")
"""How much of what was not synced survives a power cut; torn: what came first does."""


class PowerCut(BaseException):
    """The machine stops at this disk call."""


class Inode:
    """One file: what programs see, what the platter has, and which blocks may differ."""

    __slots__ = ("cached", "dirty", "stable")

    def __init__(self) -> None:
        self.cached = bytearray()
        self.stable = bytearray()
        self.dirty: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        """Change the cached content."""
        if offset > len(self.cached):
            self.cached += bytes(offset - len(self.cached))
        self.cached[offset : offset + len(data)] = data
        if data:
            self.dirty.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))

    def truncate(self, size: int) -> None:
        """Cut or extend the cached content; the length itself counts as unsynced."""
        if size < len(self.cached):
            del self.cached[size:]
        else:
            self.cached += bytes(size - len(self.cached))
        self.dirty.add(size // BLOCK)

    def sync(self) -> None:
        """All unsynced blocks reach the platter."""
        size = len(self.cached)
        stable = self.stable
        if len(stable) < size:
            stable += bytes(size - len(stable))
        for block in self.dirty:
            start = block * BLOCK
            stable[start : start + BLOCK] = self.cached[start : start + BLOCK]
        del stable[size:]
        self.dirty.clear()

    def settle(self, survive: set[int]) -> None:
        """After a power cut: of the unsynced blocks only `survive` have arrived."""
        stable, cached = self.stable, self.cached
        for block in sorted(survive & self.dirty):
            start = block * BLOCK
            piece = cached[start : start + BLOCK]
            if len(stable) < start:
                stable += bytes(start - len(stable))
            stable[start : start + len(piece)] = piece
            if len(piece) < BLOCK:
                del stable[start + len(piece) :]
        self.cached = bytearray(stable)
        self.stable = bytearray(stable)
        self.dirty = set()


class Change:
    """One change of a directory that is not certain yet."""

    __slots__ = ("add", "directory", "inode", "remove")

    def __init__(self, directory: str, add: str, inode: Inode | None, remove: str) -> None:
        self.directory = directory
        self.add = add
        self.inode = inode
        self.remove = remove


class Disk:
    """Files and directories of one machine, surviving its crashes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.names: dict[str, Inode] = {}
        self.stable_names: dict[str, Inode] = {}
        self.directories: set[str] = {"/"}
        self.unsynced_directories: list[str] = []
        self.pending: list[Change] = []
        self.full = False
        self.fail_next_sync = False
        self.cut_after_calls = 0  # 0: not armed
        self.calls = 0
        self.syncs = 0

    # --- the calls ----------------------------------------------------------------------

    def call(self) -> None:
        """Every call passes here; an armed power cut may strike before it."""
        self.calls += 1
        if self.cut_after_calls:
            self.cut_after_calls -= 1
            if self.cut_after_calls == 0:
                raise PowerCut

    def create(self, path: str) -> Inode:
        """A new empty file under this name."""
        inode = Inode()
        self.names[path] = inode
        self.pending.append(Change(_parent(path), path, inode, ""))
        return inode

    def write(self, inode: Inode, offset: int, data: bytes) -> int:
        """Write as much as there is room for; returns how much. May be cut in the middle."""
        if self.cut_after_calls == 1:
            inode.write(offset, data[: self._rng.randint(0, len(data))])
        self.call()
        if self.full and data:
            data = data[: self._rng.randint(0, min(BLOCK, len(data) - 1))]
        inode.write(offset, data)
        return len(data)

    def sync(self, inode: Inode) -> bool:
        """Make a file's content certain; False if the device failed."""
        self.call()
        self.syncs += 1
        if self.fail_next_sync:
            self.fail_next_sync = False
            inode.dirty.clear()
            return False
        inode.sync()
        return True

    def sync_directory(self, directory: str) -> None:
        """Make the names in a directory certain."""
        self.call()
        self.unsynced_directories = [
            path for path in self.unsynced_directories if _parent(path) != directory
        ]
        keep = []
        for change in self.pending:
            if change.directory == directory:
                self._settle_name(change)
            else:
                keep.append(change)
        self.pending = keep

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source` in one step."""
        inode = self.names.pop(source)
        self.names[target] = inode
        self.pending.append(Change(_parent(target), target, inode, source))

    def unlink(self, path: str) -> None:
        """Remove a name."""
        del self.names[path]
        self.pending.append(Change(_parent(path), "", None, path))

    # --- faults -------------------------------------------------------------------------

    def power_cut(self, mode: str = "", rng: random.Random | None = None) -> str:
        """Lose what is not certain, in one of the `MODES` (without a name: any); returns which."""
        rng = rng or self._rng
        mode = mode or rng.choice(MODES)
        prefix = rng.randint(0, len(self.pending))
        for number, change in enumerate(self.pending):
            kept = {
                "nothing": False,
                "everything": True,
                "some": rng.random() < 0.5,
                "torn": number < prefix,
            }[mode]
            if kept:
                self._settle_name(change)
        self.pending.clear()
        for path in self.unsynced_directories:
            if mode != "everything" and rng.random() < 0.5:
                self._lose_directory(path)
        self.unsynced_directories = []
        for path in sorted(self.stable_names):
            inode = self.stable_names[path]
            dirty = sorted(inode.dirty)
            if mode == "everything":
                survive = set(dirty)
            elif mode == "some":
                survive = {block for block in dirty if rng.random() < 0.5}
            elif mode == "torn":
                survive = set(dirty[: rng.randint(0, len(dirty))])
            else:
                survive = set()
            inode.settle(survive)
        self.names = dict(self.stable_names)
        self.cut_after_calls = 0
        return mode

    def _lose_directory(self, lost: str) -> None:
        below = lost + "/"
        for path in [name for name in self.stable_names if name.startswith(below)]:
            del self.stable_names[path]
        self.directories = {
            path for path in self.directories if path != lost and not path.startswith(below)
        }

    def _settle_name(self, change: Change) -> None:
        if change.remove:
            self.stable_names.pop(change.remove, None)
        if change.inode is not None:
            self.stable_names[change.add] = change.inode

    def make_data_dir(self, path: str) -> None:
        """What an operator does before the first start; not part of what may be lost."""
        self.directories.add(path)

    def old_place(self, rng: random.Random) -> tuple[str, int] | None:
        """A stored byte away from the end of the newest log segment, where a tear could be."""
        paths = sorted(
            path
            for path in self.names
            if path.endswith((".wal", ".snap")) and len(self.names[path].cached) > 2 * BLOCK
        )
        if not paths:
            return None
        path = rng.choice(paths)
        return path, rng.randrange(len(self.names[path].cached) // 2)

    def copied(self) -> Disk:
        """Another disk with what programs see on this one, all of it durable."""
        twin = Disk(self._rng)
        twin.directories = set(self.directories)
        for path, inode in self.names.items():
            copy = twin.names[path] = twin.stable_names[path] = Inode()
            copy.cached = bytearray(inode.cached)
            copy.stable = bytearray(inode.cached)
        return twin

    def damage(self, chance: int) -> bool:
        """One stored bit changes its mind; False if there is none to spare."""
        rng = random.Random(chance)
        place = self.old_place(rng)
        if place is None:
            return False
        path, offset = place
        inode = self.names[path]
        inode.cached[offset] ^= 1 << rng.randrange(8)
        inode.stable = bytearray(inode.cached)
        return True


class DiskFiles:
    """The disk as one process sees it: `kvraft.storage.files.Files`, with handles and locks."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: dict[int, Inode] = {}
        self._locked: dict[int, str] = {}
        self._next_handle = 3

    def _handle(self, inode: Inode) -> int:
        self._next_handle += 1
        self._open[self._next_handle] = inode
        return self._next_handle

    def create(self, path: str) -> int:
        """See `Files.create`."""
        self._disk.call()
        inode = self._disk.names.get(path)
        if inode is None:
            if self._disk.full:
                raise OSError(errno.ENOSPC, "no space left on device")
            inode = self._disk.create(path)
        else:
            inode.truncate(0)
        return self._handle(inode)

    def write(self, handle: int, data: bytes) -> int:
        """See `Files.write`."""
        inode = self._open[handle]
        taken = self._disk.write(inode, len(inode.cached), data)
        if data and not taken:
            raise OSError(errno.ENOSPC, "no space left on device")
        return taken

    def sync(self, handle: int) -> None:
        """See `Files.sync`."""
        if not self._disk.sync(self._open[handle]):
            raise OSError(errno.EIO, "input/output error")

    def truncate(self, handle: int, size: int) -> None:
        """See `Files.truncate`."""
        self._disk.call()
        self._open[handle].truncate(size)

    def open_read(self, path: str) -> int:
        """See `Files.open_read`."""
        return self._handle(self._find(path))

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        """See `Files.read_at`."""
        return bytes(self._open[handle].cached[offset : offset + size])

    def read(self, path: str) -> bytes:
        """See `Files.read`."""
        return bytes(self._find(path).cached)

    def _find(self, path: str) -> Inode:
        self._disk.call()
        inode = self._disk.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return inode

    def close(self, handle: int) -> None:
        """See `Files.close`."""
        if self._locked.pop(handle, None) is None:
            del self._open[handle]

    def lock(self, path: str) -> int:
        """See `Files.lock`."""
        if path in self._locked.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "locked", path)
        if path not in self._disk.names:
            self._disk.create(path)
        self._next_handle += 1
        self._locked[self._next_handle] = path
        return self._next_handle

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`."""
        self._find(old)
        self._disk.rename(old, new)

    def remove(self, path: str) -> None:
        """See `Files.remove`."""
        self._find(path)
        self._disk.unlink(path)

    def make_dir(self, path: str) -> None:
        """See `Files.make_dir`."""
        self._disk.call()
        if path in self._disk.directories:
            raise FileExistsError(errno.EEXIST, "exists", path)
        if _parent(path) not in self._disk.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        self._disk.directories.add(path)
        self._disk.unsynced_directories.append(path)

    def sync_dir(self, path: str) -> None:
        """See `Files.sync_dir`."""
        self._disk.sync_directory(path)

    def list_dir(self, path: str) -> list[str]:
        """See `Files.list_dir`."""
        self._disk.call()
        if path not in self._disk.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        names = [*self._disk.names, *self._disk.directories]
        return [name.rpartition("/")[2] for name in names if name != "/" and _parent(name) == path]

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        return path in self._disk.names or path in self._disk.directories

    def mode(self, path: str) -> int:
        """See `Files.mode`."""
        return 0o700 if path in self._disk.directories else 0o600

    def free_bytes(self, path: str) -> int:
        """See `Files.free_bytes`."""
        return 0 if self._disk.full else 1 << 40


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
