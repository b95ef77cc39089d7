"""A data directory seen from outside: read without a lock, proved as a whole, never changed.

What a start needs is read by the very code of a start (recover.py). Beyond that `survey` reads the
files that a start would not look at: earlier segments of the log and older snapshots, which are
what a damaged newer one falls back to.

The member may be running meanwhile. Its files only grow, appear whole, or go away when they are
purged; what a reader then finds missing it finds whole on the next attempt, so callers try again
before they believe in damage. This module must not write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kvraft.errors import Corrupt, ForeignData
from kvraft.raft.entry import SnapshotMeta
from kvraft.storage import advice, recover, snapshots
from kvraft.storage.datadir import Paths, Recovered, Storage
from kvraft.storage.files import SET_ASIDE, Files, disk_error
from kvraft.storage.record import Tail
from kvraft.storage.wal import Identity, segment_names


class Survey(NamedTuple):
    """What a data directory holds."""

    recovered: Recovered  # what a start would begin with
    segments: int
    snapshots: int
    problems: list[str]  # damage that a start would get around
    remarks: list[str]  # what is no damage, but worth knowing


def read(files: Files, data_dir: str, wal_dir: str | None = None) -> Recovered:
    """What a start would find. Raises Corrupt, ForeignData or DiskFailed."""
    return _recovered(_plan(files, Paths.of(data_dir, wal_dir)))


def read_snapshot(
    files: Files, data_dir: str, identity: Identity, meta: SnapshotMeta
) -> Iterator[bytes]:
    """The chunks of a snapshot; raises Corrupt."""
    directory = Paths.of(data_dir, None).snap
    return snapshots.read_chunks(files, directory, identity.cluster_id, meta)


def survey(files: Files, data_dir: str, wal_dir: str | None = None) -> Survey:
    """Read every file. Raises as `read` does if a start would be refused."""
    paths = Paths.of(data_dir, wal_dir)
    plan = _plan(files, paths)
    problems: list[str] = []
    remarks: list[str] = []
    try:
        names = files.list_dir(paths.wal)
        snapshot_names = files.list_dir(paths.snap)
    except OSError as error:
        raise disk_error(paths.data, error) from error
    if plan.torn or plan.last.scan.tail is Tail.ZEROS:
        remarks.append(
            f"{plan.last.path} ends in the middle of a record (byte {plan.last.scan.end}): a write"
            " that is under way or was cut off; nobody was told that it happened"
        )
    set_aside = [name for name in [*names, *snapshot_names] if name.endswith(SET_ASIDE)]
    remarks += [f"{name} was set aside by an earlier start" for name in sorted(set_aside)]
    problems += _earlier_segments(files, paths.wal, plan)
    whole, damaged = _check_snapshots(files, paths.snap, plan)
    problems += damaged
    count = len(recover.consecutive(segment_names(names)))
    return Survey(_recovered(plan), count, whole, problems, remarks)


def _plan(files: Files, paths: Paths) -> recover.Plan:
    if not Storage.exists(files, paths.data, paths.wal):
        where = "give the directory that --data-dir names, and --wal-dir if the member has one"
        raise Corrupt(paths.wal, 0, "there is no log", where)
    try:
        return recover.recover(files, paths.wal, paths.snap)
    except Corrupt as error:
        raise advice.located(advice.for_verifying(error), paths.data) from error
    except ForeignData as error:
        raise advice.located(error, paths.data) from error
    except OSError as error:
        raise disk_error(paths.data, error) from error


def _recovered(plan: recover.Plan) -> Recovered:
    now = plan.now
    return Recovered(now.identity, now.state, plan.snapshot, plan.entries, plan.notes)


def _earlier_segments(files: Files, wal_dir: str, plan: recover.Plan) -> list[str]:
    """Damage in segments that a start does not read any more."""
    names = recover.consecutive(segment_names(files.list_dir(wal_dir)))
    index = plan.snapshot.index if plan.snapshot is not None else 0
    problems: list[str] = []
    previous: recover.Segment | None = None
    for name in names[: recover.needed_from(names, index) + 1]:
        try:
            segment = recover.read_segment(files, wal_dir, name)
        except (Corrupt, ForeignData) as error:
            what = error.reason if isinstance(error, Corrupt) else "not a log of this program"
            path = f"{wal_dir}/{name.file_name()}"
            problems.append(f"{path}: {what}; a start does not need this file now")
            previous = None
            continue
        if previous is not None and segment.head.prior_chain != previous.scan.chain:
            problems.append(f"{previous.path}: records are missing before the next segment")
        previous = segment
    return problems


def _check_snapshots(files: Files, snap_dir: str, plan: recover.Plan) -> tuple[int, list[str]]:
    """The number of whole snapshot files, and what is wrong with the others."""
    whole = 0
    problems: list[str] = []
    for index, term in snapshots.snapshot_names(files.list_dir(snap_dir)):
        path = f"{snap_dir}/{term:016x}-{index:016x}{snapshots.SUFFIX}"
        try:
            snapshots.prove(files, path, plan.now.identity.cluster_id)
        except Corrupt as error:
            problems.append(f"{path}: {error.reason} (at byte {error.offset})")
        else:
            whole += 1
    return whole, problems
