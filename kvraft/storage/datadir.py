"""The data directory of one member: layout, lock, modes, and `Storage`, the face of the package.

    <data>/member/              0700
        lock                    held as long as the member runs
        wal/*.wal               the log (or a directory of its own, with its own lock)
        wal/*.wal.broken        copy of a segment made before its torn tail was cut
        snap/*.snap             snapshots
        snap/*.snap.broken      unreadable snapshots, set aside at start
        */*.tmp                 never finished, removed at start

This module must not know the format of a file. All calls block; at most one thread at a time may
call `save`, and one more may write a snapshot meanwhile.

Invariants:
  - A member exists once its first segment does; that file holds all it begins with, so a crash
    during creation leaves either a member or none.
  - A start never continues a file that an earlier process wrote: the valid part of the last
    segment is copied, synced and put in its place. After a failed sync the old file may read
    well and yet not be on the disk.
  - A snapshot is durable, and then recorded in the log, before anything older is removed; two
    snapshots are kept, and the log from the older one on.
  - Nothing is changed before the whole state was read and found right.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from threading import Lock
from typing import Final, NamedTuple

from kvraft.errors import (
    BadPermissions,
    Corrupt,
    DataLost,
    DiskFull,
    ForeignData,
    Locked,
    StorageError,
)
from kvraft.limits import SNAPSHOTS_KEPT, WAL_SEGMENT_BYTES
from kvraft.raft.entry import Entry, HardState, SnapshotMeta
from kvraft.storage import advice, recover, snapshots, wal
from kvraft.storage.files import (
    DIRECTORY_MODE,
    FILE_MODE,
    SET_ASIDE,
    TEMPORARY,
    Files,
    disk_error,
    make_dirs,
    parent,
    publish,
)
from kvraft.storage.foreign import refuse_etcd
from kvraft.storage.record import Framer
from kvraft.storage.wal import Identity, Wal

_OTHERS: Final = 0o077
_LOCK_NAME: Final = "lock"


class Recovered(NamedTuple):
    """What a stopped member left."""

    identity: Identity
    hard_state: HardState
    snapshot: SnapshotMeta | None
    entries: list[Entry]  # behind the snapshot
    repaired: list[str]  # what was put right, for the log of the server


class Paths(NamedTuple):
    """Where the parts of a data directory are."""

    data: str
    member: str
    wal: str
    snap: str

    @classmethod
    def of(cls, data_dir: str, wal_dir: str | None) -> Paths:
        """The paths, from two flags."""
        data = posixpath.normpath(data_dir)
        member = f"{data}/member"
        own = posixpath.normpath(wal_dir) if wal_dir else f"{member}/wal"
        return cls(data, member, own, f"{member}/snap")


class SnapshotWriter:
    """A snapshot on its way to the disk. Ends with `commit` or `abort`; any StorageError has
    aborted it."""

    __slots__ = ("_file", "_storage")

    def __init__(self, storage: Storage, file: snapshots.SnapshotFile) -> None:
        self._storage = storage
        self._file = file

    def write(self, chunk: bytes) -> None:
        """Append a chunk; readers get the same chunks."""
        self._file.write(chunk)

    def commit(self) -> None:
        """End an own snapshot: durable and recorded in the log on return."""
        self._storage._commit_snapshot(self._file)

    def seal(self) -> None:
        """End a received snapshot: durable on return, but without effect until it is adopted.

        Whether it will be is up to consensus; one that is not is removed at the next start.
        """
        self._file.finish()

    def abort(self) -> None:
        """Give it up; harmless after `commit`."""
        self._file.abort()


class Storage:
    """Durable state of one running member."""

    def __init__(self, files: Files, paths: Paths, locks: list[int], log: Wal) -> None:
        """Use `create` or `open`."""
        self._files = files
        self._paths = paths
        self._locks = locks
        self._wal = log
        self._writer_numbers = count(1)
        self._mutex = Lock()  # around the log: a snapshot is recorded while batches are saved

    def set_back(self, lost: DataLost) -> StorageError:
        """What to tell the operator of a log that is older than what this member acknowledged."""
        return advice.located(
            Corrupt(self._paths.wal, 0, str(lost), advice.REPLACE), self._paths.data
        )

    @staticmethod
    def exists(files: Files, data_dir: str, wal_dir: str | None = None) -> bool:
        """Whether a member was created here. Raises Corrupt if only a part of one is left,
        ForeignData for the directory of an etcd."""
        paths = Paths.of(data_dir, wal_dir)
        names = _list(files, paths.wal)
        segments = wal.segment_names(names)
        refuse_etcd(
            files,
            paths.data,
            paths.snap,
            [f"{paths.wal}/{name.file_name()}" for name in segments],
        )
        if segments:
            return True
        rest = [name for name in names if name.endswith(wal.SUFFIX + SET_ASIDE)]
        rest += [
            name
            for name in _list(files, paths.snap)
            if name.endswith((snapshots.SUFFIX, snapshots.SUFFIX + SET_ASIDE))
        ]
        if rest:
            reason = f"the log is gone, but {rest[0]} shows that a member was here"
            raise Corrupt(paths.wal, 0, reason, advice.DAMAGED.replace(advice.DATA_DIR, paths.data))
        return False

    @classmethod
    def create(
        cls,
        files: Files,
        data_dir: str,
        identity: Identity,
        entries: Sequence[Entry],
        hard_state: HardState,
        wal_dir: str | None = None,
        *,
        segment_bytes: int = WAL_SEGMENT_BYTES,
    ) -> Storage:
        """A new member, durable on return; a crash before leaves none."""
        paths = Paths.of(data_dir, wal_dir)
        locks = _found(files, paths)
        try:
            log = Wal.begin(files, paths.wal, identity, hard_state, entries, segment_bytes)
        except StorageError:
            _release(files, locks)
            raise
        return cls(files, paths, locks, log)

    @classmethod
    def create_behind(
        cls,
        files: Files,
        data_dir: str,
        identity: Identity,
        meta: SnapshotMeta,
        chunks: Iterable[bytes],
        entries: Sequence[Entry],
        hard_state: HardState,
        wal_dir: str | None = None,
        *,
        segment_bytes: int = WAL_SEGMENT_BYTES,
    ) -> Storage:
        """A new member that begins with a snapshot, and maybe entries behind it.

        Durable on return. A crash before leaves at most a snapshot file without a log, which
        `exists` refuses; what `chunks` or the disk raises leaves nothing.
        """
        paths = Paths.of(data_dir, wal_dir)
        locks = _found(files, paths)
        path = f"{paths.snap}/{snapshots.snapshot_name(meta)}"
        writer: snapshots.SnapshotFile | None = None
        try:
            log_end = entries[-1].index if entries else meta.index
            writer = snapshots.SnapshotFile(
                files, paths.snap, identity.cluster_id, meta, log_end, 0
            )
            for chunk in chunks:
                writer.write(chunk)
            writer.finish()
            log = Wal.begin(
                files, paths.wal, identity, hard_state, entries, segment_bytes, behind=meta
            )
        except BaseException:
            if writer is not None:
                writer.abort()
            if files.exists(path):
                files.remove(path)
            _release(files, locks)
            raise
        return cls(files, paths, locks, log)

    @classmethod
    def open(
        cls,
        files: Files,
        data_dir: str,
        wal_dir: str | None = None,
        *,
        segment_bytes: int = WAL_SEGMENT_BYTES,
    ) -> tuple[Storage, Recovered]:
        """Take over what a stopped member left. May be cut off by a crash at any point and
        called again; a refusal has changed nothing."""
        paths = Paths.of(data_dir, wal_dir)
        if not cls.exists(files, data_dir, wal_dir):
            raise Corrupt(paths.wal, 0, "there is no log", "bootstrap this member first")
        try:
            make_dirs(files, paths.snap)
        except OSError as error:
            raise disk_error(paths.data, error) from error
        locks = _enter(files, paths)
        try:
            plan = recover.recover(files, paths.wal, paths.snap)
            log = _repair(files, paths, plan, segment_bytes)
        except (Corrupt, ForeignData) as error:
            _release(files, locks)
            raise advice.located(error, paths.data) from error
        except OSError as error:
            _release(files, locks)
            raise disk_error(paths.data, error) from error
        except StorageError:
            _release(files, locks)
            raise
        now = plan.now
        found = Recovered(now.identity, now.state, plan.snapshot, plan.entries, plan.notes)
        return cls(files, paths, locks, log), found

    def save(self, hard_state: HardState | None, entries: Sequence[Entry], sync: bool) -> None:
        """Append a batch to the log; durable on return. With `sync` False and no entries the
        state is only noted, and written with the next batch.

        DiskFull: nothing has changed, may be called again. DiskFailed: the process must end.
        """
        with self._mutex:
            self._wal.save(hard_state, entries, sync)

    def snapshot_writer(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Begin a snapshot, own or received."""
        log = self._wal
        file = snapshots.SnapshotFile(
            self._files,
            self._paths.snap,
            log.identity.cluster_id,
            meta,
            log.last_index,
            next(self._writer_numbers),
        )
        return SnapshotWriter(self, file)

    def adopt_received(self, meta: SnapshotMeta) -> None:
        """The log is replaced by this snapshot, which was sealed before."""
        with self._mutex:
            self._wal.record_snapshot(meta, adopted=True)

    def read_snapshot(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """The chunks of a snapshot, each verified; raises Corrupt."""
        cluster_id = self._wal.identity.cluster_id
        try:
            yield from snapshots.read_chunks(self._files, self._paths.snap, cluster_id, meta)
        except Corrupt as error:
            raise advice.located(error, self._paths.data) from error

    def unreadable(self, meta: SnapshotMeta, reason: str) -> Corrupt:
        """The error for a snapshot whose bytes are right, but whose content is not."""
        path = f"{self._paths.snap}/{snapshots.snapshot_name(meta)}"
        return Corrupt(path, 0, reason, advice.DAMAGED.replace(advice.DATA_DIR, self._paths.data))

    def purge(self, max_snapshots: int, max_wals: int) -> list[str]:
        """Remove the oldest files above these numbers (0: no limit), as far as nothing may need
        them any more; returns what was removed."""
        try:
            removed = self._purge_snapshots(max_snapshots) if max_snapshots else []
            return removed + (self._purge_segments(max_wals) if max_wals else [])
        except OSError as error:
            raise disk_error(self._paths.data, error) from error

    def free_bytes(self) -> int:
        """Space left where it is scarcest."""
        return min(
            self._files.free_bytes(self._paths.wal), self._files.free_bytes(self._paths.snap)
        )

    def close(self) -> None:
        """Release files and lock."""
        with self._mutex:
            try:
                self._wal.close()
            finally:
                _release(self._files, self._locks)

    def _commit_snapshot(self, file: snapshots.SnapshotFile) -> None:
        file.finish()
        try:
            with self._mutex:
                self._wal.record_snapshot(file.meta, adopted=False)
        except DiskFull:
            # Unrecorded it would only take space, and count for nothing at the next start.
            try:
                self._remove(self._paths.snap, [file.path])
            except OSError as error:
                raise disk_error(file.path, error) from error
            raise

    def _purge_snapshots(self, keep: int) -> list[str]:
        directory = self._paths.snap
        recorded = self._wal.snapshots
        if not recorded:
            return []
        newest = recorded[-1].index
        found = snapshots.snapshot_names(self._files.list_dir(directory))
        old = [pair for pair in found if pair[0] <= newest]
        removed = [
            f"{directory}/{term:016x}-{index:016x}{snapshots.SUFFIX}"
            for index, term in old[: -max(keep, SNAPSHOTS_KEPT)]
        ]
        self._remove(directory, removed)
        return removed

    def _purge_segments(self, keep: int) -> list[str]:
        recorded = self._wal.snapshots
        if len(recorded) < SNAPSHOTS_KEPT:
            return []
        directory = self._paths.wal
        names = wal.segment_names(self._files.list_dir(directory))
        needed = recover.needed_from(names, recorded[-SNAPSHOTS_KEPT].index)
        removable = max(0, min(needed, len(names) - keep))
        removed = [f"{directory}/{name.file_name()}" for name in names[:removable]]
        self._remove(directory, removed)
        return removed

    def _remove(self, directory: str, paths: list[str]) -> None:
        for path in paths:
            self._files.remove(path)
        if paths:
            self._files.sync_dir(directory)


def _found(files: Files, paths: Paths) -> list[int]:
    """Make the directories of a new member and take their locks."""
    if Storage.exists(files, paths.data, paths.wal):
        reason = "a member was already created here"
        raise Corrupt(paths.wal, 0, reason, "start it as it is, or give another --data-dir")
    try:
        for path in (paths.snap, paths.wal):
            make_dirs(files, path)
    except OSError as error:
        raise disk_error(paths.data, error) from error
    return _enter(files, paths)


def _list(files: Files, path: str) -> list[str]:
    """Names in a directory; none if it is not there."""
    if not files.exists(path):
        return []
    try:
        return files.list_dir(path)
    except OSError as error:
        raise disk_error(path, error) from error


def _enter(files: Files, paths: Paths) -> list[int]:
    """Take the locks, then check who else may come in and remove what was never finished."""
    locks: list[int] = []
    try:
        locks.append(_lock(files, f"{paths.member}/{_LOCK_NAME}"))
        if parent(paths.wal) != paths.member:
            locks.append(_lock(files, f"{paths.wal}/{_LOCK_NAME}"))
        _check_modes(files, paths)
        for directory in (paths.wal, paths.snap):
            for name in _list(files, directory):
                if name.endswith(TEMPORARY):
                    files.remove(f"{directory}/{name}")
    except OSError as error:
        _release(files, locks)
        raise disk_error(paths.data, error) from error
    except StorageError:
        _release(files, locks)
        raise
    return locks


def _lock(files: Files, path: str) -> int:
    try:
        return files.lock(path)
    except BlockingIOError as error:
        raise Locked(
            f"{path}: another process uses this data directory; stop it first (fuser {path} names"
            " it), or give another --data-dir"
        ) from error


def _release(files: Files, locks: list[int]) -> None:
    while locks:
        files.close(locks.pop())


def _check_modes(files: Files, paths: Paths) -> None:
    for directory in dict.fromkeys(paths):
        if not files.exists(directory):
            continue
        mode = files.mode(directory)
        if mode & _OTHERS:
            raise BadPermissions(directory, mode, DIRECTORY_MODE)
    for directory in (paths.wal, paths.snap):
        for name in _list(files, directory):
            path = f"{directory}/{name}"
            mode = files.mode(path)
            if mode & _OTHERS:
                raise BadPermissions(path, mode, FILE_MODE)


def _repair(files: Files, paths: Paths, plan: recover.Plan, segment_bytes: int) -> Wal:
    """Put right what a start found, in an order that a crash may cut anywhere; the swap of the
    last segment comes last."""
    last = plan.last
    valid = last.data[: last.scan.end]
    file_name = last.name.file_name()
    if plan.torn:
        files.close(publish(files, paths.wal, file_name + SET_ASIDE, last.data))
    for meta in plan.bad_snapshots:
        path = f"{paths.snap}/{snapshots.snapshot_name(meta)}"
        files.rename(path, path + SET_ASIDE)
    for index, term in plan.orphans:
        files.remove(f"{paths.snap}/{term:016x}-{index:016x}{snapshots.SUFFIX}")
    files.sync_dir(paths.snap)
    for directory in (paths.member, paths.data, parent(paths.wal)):
        files.sync_dir(directory)
    handle = publish(files, paths.wal, file_name, valid)
    framer = Framer(last.scan.seed, last.scan.chain, last.scan.end)
    return Wal(
        files,
        paths.wal,
        plan.now,
        name=last.name,
        handle=handle,
        framer=framer,
        segment_bytes=segment_bytes,
    )
