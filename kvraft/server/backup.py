"""Making backups: of a running member from within, of a data directory from outside.

A backup file holds one applied state (see `storage/backups.py`). A backup directory is a whole
data directory under other ids, as `etcdctl backup` makes them: it can start only with
--force-new-cluster, and can never be taken for the member it was copied from.

Nothing here takes a lock or changes what it reads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from kvraft.errors import Corrupt, ForeignData
from kvraft.limits import SNAPSHOT_CHUNK_NODES
from kvraft.raft.entry import SnapshotMeta
from kvraft.server import bootstrap
from kvraft.server.replay import committed_index, last_index, replay
from kvraft.storage import Files, Identity, Storage, survey
from kvraft.storage.backups import SUFFIX, BackupEncoder, BackupInfo
from kvraft.storage.files import TEMPORARY, discard, disk_error, write_all
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.store import Store

if TYPE_CHECKING:
    from kvraft.server.replica import Replica
    from kvraft.storage import Recovered

PROGRAM: Final = "kvraft"
_ATTEMPTS: Final = 4
_PAUSE_S: Final = 0.1

T = TypeVar("T")


class OnlineBackup:
    """A frozen copy of a running member's store; implements `api.service.Backup`."""

    def __init__(self, identity: Identity, replica: Replica, unix_s: int) -> None:
        meta = SnapshotMeta(replica.applied_index, replica.applied_term, replica.core.membership)
        self.etcd_index = replica.store.index
        self.raft_index = meta.index
        self.raft_term = meta.term
        self.file_name = f"{identity.cluster_id:x}-{meta.index}{SUFFIX}"
        self._info = BackupInfo(*identity[::-1], meta, self.etcd_index, unix_s, PROGRAM)
        self._view = replica.store.snapshot()

    def parts(self) -> Iterator[Callable[[], bytes]]:
        """See `Backup.parts`."""
        encoder = BackupEncoder(self._info)
        yield encoder.head
        for chunk in self._view.chunks(SNAPSHOT_CHUNK_NODES):
            yield partial(encoder.chunk, chunk)
        yield encoder.end

    def close(self) -> None:
        """See `Backup.close`."""
        self._view.close()


class Directory(NamedTuple):
    """The state that a data directory comes to."""

    recovered: Recovered
    replica: Replica  # everything that is certainly committed is applied
    left_out: int  # entries behind it


def open_directory(files: Files, data_dir: str, wal_dir: str | None) -> Directory:
    """Read a data directory, whose member may be running, and apply its log.

    Raises Corrupt, ForeignData or DiskFailed.
    """
    return patiently(partial(_open_directory, files, data_dir, wal_dir))


def write_file(
    files: Files,
    path: str,
    parts: Iterable[bytes],
    check: Callable[[str], object] = lambda temporary: None,
) -> None:
    """Write a file under a temporary name; it gets its own once it is durable and `check`, which
    is given the temporary path, has not raised. Raises DiskFull or DiskFailed."""
    directory = parent(path)
    temporary = path + TEMPORARY
    handle = -1
    try:
        handle = files.create(temporary)
        for part in parts:
            write_all(files, handle, part)
        files.sync(handle)
        check(temporary)
        files.rename(temporary, path)
        files.sync_dir(directory)
        files.close(handle)
    except OSError as error:
        discard(files, handle, temporary)
        raise disk_error(path, error) from error
    except BaseException:
        discard(files, handle, temporary)
        raise


def backup_file(files: Files, data_dir: str, wal_dir: str | None, path: str) -> Directory:
    """Make a backup out of a data directory. Raises as `open_directory` and `write_file`."""
    found = open_directory(files, data_dir, wal_dir)
    copy = OnlineBackup(found.recovered.identity, found.replica, int(time.time()))
    write_file(files, path, (part() for part in copy.parts()))
    return found


def backup_directory(
    files: Files,
    data_dir: str,
    wal_dir: str | None,
    backup_dir: str,
    backup_wal_dir: str | None,
    rng: random.Random | None = None,
) -> Identity:
    """Copy a data directory, whose member may be running, under new random ids.

    The copy starts only with --force-new-cluster. Returns its ids. Raises as `open_directory`, and
    Corrupt if there is a member at the target already.
    """
    rng = rng or random.SystemRandom()
    identity = Identity(rng.getrandbits(64) | 1, rng.getrandbits(64) | 1)
    if Storage.exists(files, backup_dir, backup_wal_dir):
        raise Corrupt(backup_dir, 0, "file already exists", "give another --backup-dir")

    def copy() -> None:
        found = survey.read(files, data_dir, wal_dir)
        meta = found.snapshot
        if meta is None:
            storage = Storage.create(
                files, backup_dir, identity, found.entries, found.hard_state, backup_wal_dir
            )
        else:
            chunks = survey.read_snapshot(files, data_dir, found.identity, meta)
            storage = Storage.create_behind(
                files,
                backup_dir,
                identity,
                meta,
                chunks,
                found.entries,
                found.hard_state,
                backup_wal_dir,
            )
        storage.close()

    patiently(copy)
    return identity


def patiently(attempt: Callable[[], T]) -> T:
    """Read what a running member may be replacing: damage counts only if it is found twice."""
    last = ""
    for number in range(_ATTEMPTS):
        try:
            return attempt()
        except (Corrupt, ForeignData, CorruptSnapshot) as error:
            if str(error) == last or number == _ATTEMPTS - 1:
                raise
            last = str(error)
        time.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


def parent(path: str) -> str:
    """The directory in which a file is."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def _open_directory(files: Files, data_dir: str, wal_dir: str | None) -> Directory:
    recovered = survey.read(files, data_dir, wal_dir)
    store = Store()
    if recovered.snapshot is not None:
        chunks = survey.read_snapshot(files, data_dir, recovered.identity, recovered.snapshot)
        store = bootstrap.restore_store(chunks)
    commit = committed_index(recovered, store)
    replica = replay(recovered, store, commit)
    return Directory(recovered, replica, last_index(recovered) - commit)
