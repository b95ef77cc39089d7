"""Mistakes between the log and the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jepsen_like.member.lossy import LossyFiles
from jepsen_like.mutants.mutant import Case, Mutant, Patch, Simulated, Staged, power_cuts
from jepsen_like.mutants.shapes import ROUGH
from jepsen_like.sim.disk import DiskFiles
from kvraft.errors import Corrupt
from kvraft.raft.entry import Entry, HardState
from kvraft.storage import record, recover, snapshots, wal
from kvraft.storage.advice import DAMAGED


def _cut_at_first_bad_crc() -> list[Patch]:
    return [(record, "_judge", lambda *_: (record.Tail.TORN, "cut", None))]


def _no_sync() -> list[Patch]:
    return [
        (files, "sync", lambda files, handle: files._disk.call())
        for files in (DiskFiles, LossyFiles)  # simulated, and under a real member
    ]


def _no_directory_sync() -> list[Patch]:
    return [(DiskFiles, "sync_dir", lambda files, path: files._disk.call())]


def _failed_sync_repeated() -> list[Patch]:
    original = DiskFiles.sync

    def sync(files: DiskFiles, handle: int) -> None:
        try:
            original(files, handle)
        except OSError:
            original(files, handle)  # "try again": succeeds without the data

    return [(DiskFiles, "sync", sync)]


def _state_before_snapshot() -> list[Patch]:
    """The commit index of a received snapshot is written before the snapshot's record."""
    original = wal.Wal.record_snapshot

    def record_snapshot(log: wal.Wal, meta: Any, adopted: bool) -> None:
        if adopted:
            state = log.state._replace(commit=meta.index)
            log._append(wal.Kind.STATE, log.last_index + 1, log._pack(tuple(state)))
        original(log, meta, adopted)

    return [(wal.Wal, "record_snapshot", record_snapshot)]


def _record_without_file() -> list[Patch]:
    """A snapshot is recorded in the log while its file may still be lost."""

    def finish(file: snapshots.SnapshotFile) -> None:
        file._put(snapshots.Kind.TRAILER, (file._chunks, file._total_bytes))
        handle, file._handle = file._handle, -1
        file._files.rename(file._temporary, file.path)
        file._files.close(handle)

    return [(snapshots.SnapshotFile, "finish", finish)]


def _chain_from_the_first_segment() -> list[Patch]:
    """Checksums are proved from the beginning of the log on, which a purge has removed."""
    original = recover._replay

    def replay(files: Any, wal_dir: str, names: list[wal.SegmentName], *rest: Any) -> Any:
        first = recover.read_segment(files, wal_dir, names[0])
        if first.head.prior_chain:
            raise Corrupt(first.path, 0, "the chain does not begin with this segment", DAMAGED)
        return original(files, wal_dir, names, *rest)

    return [(recover, "_replay", replay)]


def _many_writes_in_one_sync() -> list[Patch]:
    """Each entry of a batch is a write of its own; one sync follows the last."""
    original = wal.Wal.save

    def save(log: wal.Wal, state: HardState | None, entries: Sequence[Entry], sync: bool) -> None:
        files = log._files
        for entry in entries[:-1]:
            log._files = _Unsynced(files)
            try:
                original(log, None, [entry], sync)
            finally:
                log._files = files
        original(log, state, entries[-1:], sync)

    return [(wal.Wal, "save", save)]


class _Unsynced:
    """Files without a sync."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def sync(self, handle: int) -> None:
        """Later."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


def _one_temporary_file() -> list[Patch]:
    original: Any = snapshots.SnapshotFile.__init__

    def init(file: snapshots.SnapshotFile, *arguments: Any) -> None:
        *others, _ = arguments
        original(file, *others, 0)

    return [(snapshots.SnapshotFile, "__init__", init)]


BUGS_OF_OTHERS: Final = "tests/regressions/test_bugs_of_others.py"
DATADIR: Final = "tests/storage/test_datadir.py"

MUTANTS: Final = (
    Mutant(
        "cut at first bad crc", "Damage in the middle is taken for a torn end.", "section 5",
        _cut_at_first_bad_crc,
        (Simulated(ROUGH._replace(faults=("bit flip", "kill")), "recovered less"),),
    ),
    Mutant(
        "no sync", "Files are never synced.", "section 5", _no_sync,
        (
            Simulated(ROUGH, "refuses its undamaged disk|recovered less"),
            Staged("power cut of everybody", 3, "nothing was changed|^(order|replay|reads): "),
        ),
    ),
    Mutant(
        "no directory sync", "New names are never synced.", "", _no_directory_sync,
        (Simulated(ROUGH, "refuses its undamaged disk|recovered less"),),
    ),
    Mutant(
        "failed sync repeated", "A failed sync is tried again and believed.", "",
        _failed_sync_repeated,
        (
            Simulated(
                ROUGH._replace(
                    faults=("failed sync", "power", "power everywhere"), fault_every_ms=200
                ),
                "refuses its undamaged disk|recovered less",
            ),
        ),
    ),
    Mutant(
        "state before snapshot", "A received snapshot's commit index is durable before it.",
        "section 7: hard state saved, snapshot not", _state_before_snapshot,
        (power_cuts("received ahead of the log", "entries up to .* were committed"),),
    ),
    Mutant(
        "record without file", "A snapshot is recorded while its file may still be lost.",
        "section 7: WAL snapshot record without file", _record_without_file,
        (power_cuts("received ahead of the log", "the log begins at|snapshot"),),
    ),
    Mutant(
        "one temporary file", "Two receptions of one snapshot write to the same file.",
        "section 7: two quick snapshots", _one_temporary_file,
        (Case(f"{DATADIR}::test_two_writers_of_one_snapshot_do_not_share_a_file", ""),),
    ),
    Mutant(
        "chain from the first segment", "Checksums are proved from the beginning of the log on, "
        "which a purge has removed.",
        "section 7: checksum across purged segments", _chain_from_the_first_segment,
        (power_cuts("purge", "the chain does not begin"),),
    ),
    Mutant(
        "many writes in one sync", "A batch is many writes that one sync follows.",
        "section 7: torn multi-write append", _many_writes_in_one_sync,
        (
            Case(f"{BUGS_OF_OTHERS}::test_torn_multi_write_append", "yet a whole one follows"),
        ),
    ),
)  # fmt: skip
