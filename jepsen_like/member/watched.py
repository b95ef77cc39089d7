"""Any disk with failpoints around its calls, told apart by what the file is for."""

from __future__ import annotations

from typing import Final

from jepsen_like.member.points import Points, device_error
from kvraft.storage.files import SET_ASIDE, TEMPORARY, Files

_MOMENTS: Final = tuple(
    f"{moment} {kind} {call}"
    for kind in ("log", "snapshot", "new file")
    for call in ("write", "sync")
    for moment in ("before", "after")
)
_NAME_MOMENTS: Final = tuple(
    f"{moment} {call}"
    for call in ("create", "rename", "remove", "directory sync")
    for moment in ("before", "after")
)


class WatchedFiles:
    """`kvraft.storage.files.Files` handing every call on to `files`."""

    def __init__(self, files: Files, points: Points) -> None:
        self._files = files
        self._hit = points.hit
        self._kinds: dict[int, str] = {}
        self._paths: dict[int, str] = {}
        points.declare((*_MOMENTS, *_NAME_MOMENTS), device_error)

    def create(self, path: str) -> int:
        """See `Files.create`."""
        self._hit("before create")
        handle = self._files.create(path)
        self._paths[handle] = path
        self._kinds[handle] = kind_of(path)
        self._hit("after create")
        return handle

    def write(self, handle: int, data: bytes) -> int:
        """See `Files.write`."""
        kind = self._kinds[handle]
        self._hit(f"before {kind} write")
        taken = self._files.write(handle, data)
        self._hit(f"after {kind} write")
        return taken

    def sync(self, handle: int) -> None:
        """See `Files.sync`."""
        kind = self._kinds[handle]
        self._hit(f"before {kind} sync")
        self._files.sync(handle)
        self._hit(f"after {kind} sync")

    def truncate(self, handle: int, size: int) -> None:
        """See `Files.truncate`."""
        self._files.truncate(handle, size)

    def open_read(self, path: str) -> int:
        """See `Files.open_read`."""
        return self._files.open_read(path)

    def read_at(self, handle: int, size: int, offset: int) -> bytes:
        """See `Files.read_at`."""
        return self._files.read_at(handle, size, offset)

    def read(self, path: str) -> bytes:
        """See `Files.read`."""
        return self._files.read(path)

    def close(self, handle: int) -> None:
        """See `Files.close`."""
        self._files.close(handle)
        self._kinds.pop(handle, None)
        self._paths.pop(handle, None)

    def lock(self, path: str) -> int:
        """See `Files.lock`."""
        return self._files.lock(path)

    def rename(self, old: str, new: str) -> None:
        """See `Files.rename`; a handle of the file goes by its new name from then on."""
        self._hit("before rename")
        self._files.rename(old, new)
        for handle, path in list(self._paths.items()):
            if path == old:
                self._paths[handle] = new
                self._kinds[handle] = kind_of(new)
        self._hit("after rename")

    def remove(self, path: str) -> None:
        """See `Files.remove`."""
        self._hit("before remove")
        self._files.remove(path)
        self._hit("after remove")

    def make_dir(self, path: str) -> None:
        """See `Files.make_dir`."""
        self._files.make_dir(path)

    def sync_dir(self, path: str) -> None:
        """See `Files.sync_dir`."""
        self._hit("before directory sync")
        self._files.sync_dir(path)
        self._hit("after directory sync")

    def list_dir(self, path: str) -> list[str]:
        """See `Files.list_dir`."""
        return self._files.list_dir(path)

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        return self._files.exists(path)

    def mode(self, path: str) -> int:
        """See `Files.mode`."""
        return self._files.mode(path)

    def free_bytes(self, path: str) -> int:
        """See `Files.free_bytes`."""
        return self._files.free_bytes(path)


def kind_of(path: str) -> str:
    """What a file is for: the log being appended to, a snapshot being made, anything new."""
    if path.endswith(".wal"):
        return "log"
    if ".snap" in path and path.endswith(TEMPORARY) and SET_ASIDE not in path:
        return "snapshot"
    return "new file"
