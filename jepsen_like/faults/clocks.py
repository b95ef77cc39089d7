"""Wrong wall clocks, one per member: libfaketime, loaded into its process.

Only the wall clock is touched. Monotonic clocks, file times and the length of sleeps stay real:
a member measures its own patience by them, and no machine sets those. A process looks at its file
once a second or two, so a change shows within that time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from jepsen_like.base import Closing

_LIBRARY: Final = "faketime/libfaketimeMT.so.1"  # the one for programs with threads
_PLACES: Final = ("/usr/lib", "/usr/lib64", "/lib", "/usr/local/lib")
_SHARED: Final = re.compile(r"(?:sem\.)?faketime_(?:sem|shm)_(\d+)")
_SHARED_MEMORY: Final = Path("/dev/shm")
_CACHE_S: Final = 1
SEEN_S: Final = 2.0
"""How long a running process may go on with the clock that it had."""
_TIMEOUT_S: Final = 20.0
_NAP_S: Final = 0.2
_HAND_OVER_S: Final = 0.002  # 0.00002 as a rule
_LOOK: Final = f"""
import asyncio, queue, statistics, threading, time, uvloop
begin = time.monotonic()
threading.Event().wait({_NAP_S})
uvloop.run(asyncio.sleep({_NAP_S}))
end = time.monotonic()

there, back = queue.SimpleQueue(), queue.SimpleQueue()
def answer():
    while there.get():
        back.put(1)
threading.Thread(target=answer, daemon=True).start()
def hand_over():
    began = time.perf_counter()
    there.put(1)
    back.get()
    return time.perf_counter() - began
print(time.time(), begin, end, statistics.median(hand_over() for _ in range(100)))
"""


class Clocks(Closing):
    """The wall clocks of members that are started with `environment`. A context manager."""

    def __init__(self, directory: Path) -> None:
        """Keeps a small file for each member in the directory, which exists."""
        found = library()
        assert found is not None, "ask the probe first"
        self._library = found
        self._directory = directory
        self._set: dict[int, tuple[float, float]] = {}

    def environment(self, number: int) -> dict[str, str]:
        """Variables for the process of a member; its clock is right until it is set."""
        path = self._path(number)
        if not path.exists():
            self._write(number)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_CACHE_DURATION": f"{_CACHE_S}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else threads sleep through the signal to wake up: 5 ms for each hand-over of the
            # interpreter's lock, which makes a member a hundred times slower.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, number: int, seconds: float) -> None:
        """Set the clock of a member ahead, or back, by so much against its present setting."""
        offset, rate = self._set.get(number, (0.0, 1.0))
        self._set[number] = offset + seconds, rate
        self._write(number)

    def drift(self, number: int, rate: float) -> None:
        """Let the clock of a member run at so many seconds per second.

        It jumps as well, to where it would be if it had done so since the process began.
        """
        offset, _ = self._set.get(number, (0.0, 1.0))
        self._set[number] = offset, rate
        self._write(number)

    def offset_s(self, number: int) -> float:
        """How far the clock of a member was set ahead, what it has drifted not counted."""
        return self._set.get(number, (0.0, 1.0))[0]

    def heal(self) -> None:
        """Set all clocks right."""
        numbers = list(self._set)
        self._set.clear()
        for number in numbers:
            self._write(number)

    def close(self) -> None:
        """Remove what killed processes have left in shared memory."""
        remove_leftovers()

    def _write(self, number: int) -> None:
        offset, rate = self._set.get(number, (0.0, 1.0))
        path = self._path(number)
        fresh = path.with_suffix(".new")
        # The rate as well: without one in the file, a former one would stay.
        fresh.write_text(f"{offset:+.3f} x{rate:.6f}\n", "ascii")
        fresh.replace(path)  # nobody reads half of it

    def _path(self, number: int) -> Path:
        return self._directory / f"clock-{number}"


def library() -> Path | None:
    """Where libfaketime is; None if it is not installed."""
    for place in _PLACES:
        for found in Path(place).glob(f"*/{_LIBRARY}"):
            return found
        if (found := Path(place) / _LIBRARY).exists():
            return found
    return None


def effect(environment: dict[str, str]) -> str:
    """What is wrong with a process under a clock an hour ahead; empty if only the wall clock is."""
    wall, began = time.time(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _LOOK],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    took = time.monotonic() - began
    if done.returncode != 0:
        return f"a program does not run under libfaketime: {done.stderr.strip()[-200:]}"
    shown, first, last, hand_over_s = map(float, done.stdout.split())
    if not wall + 3600 - 1 <= shown <= wall + 3600 + took + 1:
        return f"libfaketime shows a clock {shown - wall:.0f} s ahead instead of 3600 s"
    if not began <= first <= last <= began + took:
        return "libfaketime moves the monotonic clock"
    if last - first < 2 * _NAP_S * 0.9:
        return "libfaketime shortens sleeps"
    if hand_over_s > _HAND_OVER_S:
        return f"under libfaketime threads take {hand_over_s * 1000:.0f} ms to wake each other"
    return ""


def remove_leftovers() -> list[str]:
    """Remove what libfaketime keeps in shared memory for processes that are gone; the names."""
    removed = []
    for path in _SHARED_MEMORY.iterdir() if _SHARED_MEMORY.is_dir() else ():
        match = _SHARED.fullmatch(path.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        try:
            if path.stat().st_uid == os.getuid():
                path.unlink()
                removed.append(path.name)
        except FileNotFoundError:
            continue  # another run does the same
    return removed
