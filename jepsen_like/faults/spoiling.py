"""Ways to spoil the data directory of a stopped member."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from kvraft.limits import WAL_RECORD_BYTES
from kvraft.storage.record import HEADER_BYTES, scan

Spoil = Callable[[Path, random.Random], Path | None]
"""Changes something below a data directory; returns what, None if there is nothing of that kind."""

_LENGTH_BYTES = range(4, 8)  # of a record's header; see storage/record.py


def segments(data_dir: Path) -> list[Path]:
    """The files of the log, oldest first."""
    return sorted((data_dir / "member" / "wal").glob("*.wal"))


def snapshots(data_dir: Path) -> list[Path]:
    """The snapshot files, oldest first."""
    return sorted((data_dir / "member" / "snap").glob("*.snap"))


def contents(data_dir: Path) -> dict[Path, bytes]:
    """All that a refused start must leave as it was."""
    return {path: path.read_bytes() for path in (*segments(data_dir), *snapshots(data_dir))}


def last_segment(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit anywhere in the segment that is being written."""
    path = segments(data_dir)[-1]
    return _flip(path, range(path.stat().st_size), rng)


def last_record(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit of the very last record."""
    path = segments(data_dir)[-1]
    records = scan(path.read_bytes(), WAL_RECORD_BYTES).records
    return _flip(path, range(records[-1].offset, path.stat().st_size), rng)


def record_length(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit of a record's length."""
    path = segments(data_dir)[-1]
    start = rng.choice(scan(path.read_bytes(), WAL_RECORD_BYTES).records).offset
    return _flip(path, [start + byte for byte in _LENGTH_BYTES], rng)


def old_segment(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit of an older segment."""
    older = segments(data_dir)[:-1]
    if not older:
        return None
    path = rng.choice(older)
    return _flip(path, range(path.stat().st_size), rng)


def cut_segment(data_dir: Path, rng: random.Random) -> Path | None:
    """The end of an older segment is missing."""
    older = segments(data_dir)[:-1]
    return _cut(rng.choice(older), rng) if older else None


def lost_segment(data_dir: Path, rng: random.Random) -> Path | None:
    """A segment is missing, but not the last one."""
    older = segments(data_dir)[:-1]
    if not older:
        return None
    path = rng.choice(older)
    path.unlink()
    return path


def newest_snapshot(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit of the newest snapshot."""
    found = snapshots(data_dir)
    return _flip(found[-1], range(found[-1].stat().st_size), rng) if found else None


def cut_snapshot(data_dir: Path, rng: random.Random) -> Path | None:
    """The end of the newest snapshot is missing."""
    found = snapshots(data_dir)
    return _cut(found[-1], rng) if found else None


def all_snapshots(data_dir: Path, rng: random.Random) -> Path | None:
    """A bit of each snapshot."""
    found = snapshots(data_dir)
    for path in found:
        _flip(path, range(path.stat().st_size), rng)
    return found[-1] if found else None


def _flip(path: Path, places: Sequence[int], rng: random.Random) -> Path:
    data = bytearray(path.read_bytes())
    data[rng.choice(places)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return path


def _cut(path: Path, rng: random.Random) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(HEADER_BYTES, len(data))])
    return path
