"""A small file system for each member, so that one of them can run out of space."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

SMALL_MEGABYTES: Final = 32  # holds the log of a minute of load, and is full after a moment's work
COMMAND_S: Final = 10.0


class SmallDisks:
    """File systems in memory, mounted below one directory. Needs root."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mounted: list[Path] = []

    def add(self, number: int) -> Path:
        """The file system of a member, mounted here."""
        place = self._directory / f"m{number + 1}.disk"
        place.mkdir()
        size = f"size={SMALL_MEGABYTES}m,mode=0700"
        _run("mount", "-t", "tmpfs", "-o", size, "kvraft-small", str(place))
        self._mounted.append(place)
        return place

    def close(self) -> None:
        """Unmount all of them, whatever is in use."""
        while self._mounted:
            _run("umount", "-l", str(self._mounted.pop()))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_S)
