"""The data directory: who may use it, what is removed when, what a full or failing disk does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kvraft.errors import BadPermissions, Corrupt, DiskFailed, DiskFull, Locked, OverloadError
from kvraft.raft.entry import Entry, HardState, SnapshotMeta
from kvraft.storage import Identity, PosixFiles, Storage
from tests.storage.fakedisk import FakeDisk
from tests.storage.model import (
    DATA,
    IDENTITY,
    MEMBERS,
    SNAP,
    WAL,
    Purge,
    Save,
    Snapshot,
    Step,
    create,
    reopen,
    run,
    write_snapshot,
)

FIRST = [Entry(1, 1, 1, b"first")]
STATE = HardState(1, 0, 1)
ROUND: list[Step] = [Save((900, 900), advance=2), Snapshot()]


def entry(index: int, size: int = 5) -> list[Entry]:
    return [Entry(1, index, 0, b"x" * size)]


def test_a_member_on_a_real_disk(tmp_path: Path) -> None:
    files = PosixFiles()
    data = str(tmp_path / "new" / "a.etcd")
    assert not Storage.exists(files, data)
    storage = Storage.create(files, data, IDENTITY, FIRST, STATE)
    assert Storage.exists(files, data)
    storage.save(HardState(2, 5, 1), [Entry(2, 2, 0, b"\0\xff")], True)
    meta = SnapshotMeta(1, 1, MEMBERS)
    write_snapshot(storage, meta, (10, 0, 100_000))
    storage.save(HardState(2, 5, 2), [], False)
    assert storage.free_bytes() > 0
    with pytest.raises(Locked, match="another process"):
        Storage.open(files, data)
    storage.close()
    storage.close()
    storage, found = Storage.open(files, data)
    assert found == (IDENTITY, HardState(2, 5, 2), meta, [Entry(2, 2, 0, b"\0\xff")], [])
    assert [len(part) for part in storage.read_snapshot(meta)] == [10, 0, 100_000]
    storage.close()
    for directory, names, file_names in os.walk(data):
        assert os.stat(directory).st_mode & 0o777 == 0o700
        for name in file_names:
            assert os.stat(os.path.join(directory, name)).st_mode & 0o777 == 0o600
        assert not any(name.endswith(".tmp") for name in names + file_names)


def test_the_log_may_have_a_directory_of_its_own(tmp_path: Path) -> None:
    files = PosixFiles()
    data, wal = str(tmp_path / "a"), str(tmp_path / "fast" / "wal")
    storage = Storage.create(files, data, IDENTITY, FIRST, STATE, wal)
    assert Storage.exists(files, data, wal)
    assert not Storage.exists(files, data)
    with pytest.raises(Locked, match="fast/wal/lock"):
        Storage.open(files, str(tmp_path / "b"), wal)
    storage.close()
    storage, found = Storage.open(files, data, wal)
    assert found.entries == FIRST
    storage.close()


@pytest.mark.parametrize("data_dir", ["here", "a/b", "./here/"])
def test_a_directory_may_be_named_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Storage.create(PosixFiles(), data_dir, IDENTITY, FIRST, STATE, "log").close()
    storage, recovered = Storage.open(PosixFiles(), data_dir, "log")
    storage.close()
    assert recovered.entries == FIRST


def test_wider_modes_are_refused_with_the_command_to_run(tmp_path: Path) -> None:
    files = PosixFiles()
    data = tmp_path / "a"
    Storage.create(files, str(data), IDENTITY, FIRST, STATE).close()
    (segment,) = (data / "member" / "wal").iterdir()
    for path, wide, right in (
        (data, 0o755, "700"),
        (data / "member", 0o710, "700"),
        (data / "member" / "snap", 0o701, "700"),
        (segment, 0o640, "600"),
    ):
        before = path.stat().st_mode & 0o777
        path.chmod(wide)
        with pytest.raises(BadPermissions, match=f"run: chmod {right} {path}"):
            Storage.open(files, str(data))
        path.chmod(before)
    Storage.open(files, str(data))[0].close()


def test_a_directory_open_to_others_is_refused_for_a_new_member_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(BadPermissions):
        Storage.create(PosixFiles(), str(tmp_path), IDENTITY, FIRST, STATE)
    tmp_path.chmod(0o700)
    Storage.create(PosixFiles(), str(tmp_path), IDENTITY, FIRST, STATE).close()


def test_a_second_member_is_not_created_over_the_first() -> None:
    disk = FakeDisk()
    create(disk).close()
    with pytest.raises(Corrupt, match="already created"):
        create(disk)


@pytest.mark.parametrize("leftover", ["snap", "broken"])
def test_snapshots_without_a_log_are_refused_with_advice(leftover: str) -> None:
    disk = FakeDisk()
    storage, _ = run(disk, ROUND)
    storage.close()
    for name in disk.names(WAL):
        disk.remove(f"{WAL}/{name}")
    if leftover == "broken":
        for name in disk.names(SNAP):
            disk.remove(f"{SNAP}/{name}")
        disk.put(f"{WAL}/0000000000000000-0000000000000000.wal.broken", b"x")
    for attempt in (
        lambda: Storage.exists(disk, DATA),
        lambda: create(disk),
        lambda: reopen(disk),
    ):
        with pytest.raises(Corrupt, match="add it again"):
            attempt()


def test_unfinished_files_are_removed_and_foreign_ones_left() -> None:
    disk = FakeDisk()
    create(disk).close()
    for path in (f"{WAL}/0000000000000001-0000000000000002.wal.tmp", f"{SNAP}/x.snap.tmp"):
        disk.put(path, b"half")
    disk.put(f"{WAL}/notes.txt", b"mine")
    storage, _ = reopen(disk)
    assert disk.names(WAL) == ["0000000000000000-0000000000000000.wal", "notes.txt"]
    assert disk.names(SNAP) == []
    storage.close()


def test_a_failed_sync_is_final_and_the_restart_is_clean() -> None:
    disk = FakeDisk()
    storage = create(disk)
    storage.save(None, entry(2), True)
    disk.fail_sync = errno.EIO
    with pytest.raises(DiskFailed, match="sync failed"):
        storage.save(None, entry(3), True)
    syncs = disk.syncs
    for _ in range(2):
        with pytest.raises(DiskFailed):
            storage.save(None, entry(3), True)
        with pytest.raises(DiskFailed):
            storage.save(HardState(5, 1, 1), [], True)
    assert disk.syncs == syncs
    storage.close()
    storage, found = reopen(disk)
    assert [e.index for e in found.entries] in ([1, 2], [1, 2, 3])
    # What was read counts only because it was written anew and synced.
    assert disk.syncs > syncs
    storage.close()


def test_a_failed_write_is_final() -> None:
    disk = FakeDisk()
    storage = create(disk)
    disk.fail_write = errno.EIO
    with pytest.raises(DiskFailed):
        storage.save(None, entry(2), True)
    with pytest.raises(DiskFailed):
        storage.save(None, entry(2), True)


def test_short_writes_are_completed() -> None:
    disk = FakeDisk()
    disk.most_per_write = 7
    storage, model = run(disk, [Save((100, 900), advance=1), Snapshot(), Save((9,))])
    storage.close()
    disk.most_per_write = None
    assert model.admits(reopen(disk)[1])


@pytest.mark.parametrize("spare", [0, 1, 27, 28, 60, 500])
def test_a_full_disk_refuses_loses_nothing_and_recovers(spare: int) -> None:
    disk = FakeDisk()
    storage = create(disk)
    storage.save(None, entry(2), True)
    (path,) = (f"{WAL}/{name}" for name in disk.names(WAL))
    whole = disk.contents(path)
    disk.capacity = disk.used_bytes() + spare
    for _ in range(3):
        with pytest.raises(OverloadError) as caught:
            storage.save(HardState(1, 0, 2), entry(3, 600), True)
        assert isinstance(caught.value, DiskFull)
        assert disk.contents(path) == whole
    assert reopen(disk.copy())[1].entries == [*FIRST, *entry(2)]
    disk.capacity = None
    storage.save(HardState(1, 0, 2), entry(3, 600), True)
    storage.close()
    assert reopen(disk)[1].entries == [*FIRST, *entry(2), *entry(3, 600)]


def test_a_full_disk_at_a_segment_cut_is_no_error_of_the_batch() -> None:
    disk = FakeDisk()
    storage = create(disk)
    record = 29 + 20
    disk.capacity = disk.used_bytes() + 1600 + record
    storage.save(None, entry(2, 1600), True)
    assert len(disk.names(WAL)) == 1
    disk.capacity = None
    storage.save(None, entry(3, 100), True)
    assert len(disk.names(WAL)) == 2
    storage.save(None, entry(4), True)
    storage.close()
    assert [e.index for e in reopen(disk)[1].entries] == [1, 2, 3, 4]


def test_a_failed_sync_at_a_segment_cut_is_final() -> None:
    class LaterFailure(FakeDisk):
        def create(self, path: str) -> int:
            if path.endswith(".wal.tmp") and len(self.names(WAL)) == 1:
                self.fail_sync = errno.EIO
            return super().create(path)

    disk = LaterFailure()
    storage = create(disk)
    with pytest.raises(DiskFailed):
        storage.save(None, entry(2, 1600), True)
    with pytest.raises(DiskFailed):
        storage.save(None, entry(3), True)


def test_a_full_disk_refuses_a_snapshot_and_leaves_no_trace() -> None:
    disk = FakeDisk()
    storage, model = run(disk, [Save((9, 9), advance=2)])
    meta = Snapshot().meta(model)
    assert meta is not None
    for spare in (0, 50, 150, 400, 520, 560, 600, 640):
        disk.capacity = disk.used_bytes() + spare
        try:
            write_snapshot(storage, meta, (400,))
        except DiskFull:
            assert disk.names(SNAP) == []
        else:
            assert spare > 400
            break
    else:
        pytest.fail("never succeeded")
    disk.capacity = None
    storage.save(None, [Entry(1, model.last + 1, 0, b"x")], True)
    storage.close()
    assert reopen(disk)[1].snapshot == meta


def test_an_aborted_snapshot_leaves_no_trace() -> None:
    disk = FakeDisk()
    storage, _ = run(disk, [Save((9,), advance=1)])
    writer = storage.snapshot_writer(SnapshotMeta(2, 1, MEMBERS))
    writer.write(b"part")
    writer.abort()
    writer.abort()
    assert disk.names(SNAP) == []
    with pytest.raises(ValueError, match="no longer"):
        writer.write(b"more")
    storage.close()
    assert reopen(disk)[1].snapshot is None


def test_nothing_is_purged_before_there_are_two_snapshots() -> None:
    disk = FakeDisk()
    storage, model = run(disk, [*ROUND, Save((900, 900)), Purge()])
    assert len(disk.names(WAL)) == 3
    assert len(disk.names(SNAP)) == 1
    storage.close()
    assert model.admits(reopen(disk)[1])


def test_purge_keeps_two_snapshots_and_the_log_of_the_older() -> None:
    disk = FakeDisk()
    storage, model = run(disk, ROUND * 5)
    assert (len(disk.names(SNAP)), len(disk.names(WAL))) == (5, 6)
    assert storage.purge(0, 0) == []
    removed = storage.purge(3, 5)
    assert [path.rpartition("/")[0] for path in removed] == [SNAP, SNAP, WAL]
    storage.purge(1, 1)
    assert len(disk.names(SNAP)) == 2
    newest = sorted(disk.names(SNAP))[-1]
    storage.close()
    assert model.admits(reopen(disk.copy())[1])
    disk.put(f"{SNAP}/{newest}", b"damaged")
    found = reopen(disk)[1]
    assert found.snapshot is not None
    assert found.snapshot.index + len(found.entries) == model.last
    assert found.entries[0].index == found.snapshot.index + 1


def test_an_unsynced_state_goes_along_with_the_next_batch() -> None:
    disk = FakeDisk()
    storage = create(disk)
    storage.save(None, entry(2), True)
    calls = disk.calls
    storage.save(HardState(1, 0, 2), [], False)
    assert disk.calls == calls
    storage.save(None, entry(3), True)
    assert disk.calls == calls + 2
    durable = disk.copy()
    assert reopen(durable)[1].hard_state == HardState(1, 0, 2)


def test_entries_that_do_not_follow_are_refused_before_they_are_written() -> None:
    disk = FakeDisk()
    storage = create(disk)
    calls = disk.calls
    for wrong in (entry(3), entry(1), [*entry(2), *entry(4)]):
        with pytest.raises(ValueError, match="do not follow"):
            storage.save(None, wrong, True)
    assert disk.calls == calls


def test_a_term_may_not_be_known_only_to_a_received_snapshot() -> None:
    disk = FakeDisk()
    storage = create(disk)
    storage.save(HardState(3, 7, 1), [], True)
    meta = SnapshotMeta(9, 5, MEMBERS)
    write_snapshot(storage, meta, (1,), received=True)
    storage.adopt_received(meta)
    storage.close()
    assert reopen(disk)[1].hard_state == HardState(5, 0, 9)


def test_a_snapshot_damaged_while_running_is_refused_when_read() -> None:
    disk = FakeDisk()
    storage, model = run(disk, [*ROUND])
    assert model.snapshot is not None
    (name,) = disk.names(SNAP)
    whole = disk.contents(f"{SNAP}/{name}")
    damaged = bytearray(whole)
    damaged[-200] ^= 1
    disk.put(f"{SNAP}/{name}", bytes(damaged))
    with pytest.raises(Corrupt, match="wrong checksum"):
        list(storage.read_snapshot(model.snapshot))
    disk.put(f"{SNAP}/{name}", whole + b"x")
    with pytest.raises(Corrupt, match="behind the end"):
        list(storage.read_snapshot(model.snapshot))
    other = model.snapshot._replace(membership=MEMBERS._replace(learners=(9,)))
    disk.put(f"{SNAP}/{name}", whole)
    with pytest.raises(Corrupt, match="differs"):
        list(storage.read_snapshot(other))
    storage.close()


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    disk = FakeDisk()
    storage, _ = run(disk, ROUND)
    storage.close()
    (name,) = disk.names(SNAP)
    foreign = FakeDisk()
    other = Storage.create(foreign, DATA, Identity(0xA1, 0xC2), FIRST, STATE)
    other.save(None, [Entry(1, 2, 0, b""), Entry(1, 3, 0, b"")], True)
    write_snapshot(other, SnapshotMeta(3, 1, MEMBERS), (5,))
    disk.put(f"{SNAP}/{name}", foreign.contents(f"{SNAP}/{name}"))
    assert reopen(disk)[1].snapshot is None


def test_every_truncation_and_changed_byte_of_a_snapshot_is_noticed() -> None:
    disk = FakeDisk()
    storage = create(disk)
    meta = SnapshotMeta(1, 1, MEMBERS)
    write_snapshot(storage, meta, (40, 3))
    (name,) = disk.names(SNAP)
    path = f"{SNAP}/{name}"
    whole = disk.contents(path)
    for size in range(len(whole)):
        flipped = whole[:size] + bytes([whole[size] ^ 0x11]) + whole[size + 1 :]
        for damaged in (whole[:size], flipped):
            disk.put(path, damaged)
            with pytest.raises(Corrupt):
                list(storage.read_snapshot(meta))
    storage.close()


def test_a_batch_above_the_record_bound_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.storage.wal.WAL_RECORD_BYTES", 1000)
    disk = FakeDisk()
    storage = create(disk)
    batch = [Entry(2, index, 0, b"x" * 300) for index in range(2, 12)]
    storage.save(HardState(2, 4, 8), batch, True)
    with pytest.raises(ValueError, match="larger than a record"):
        storage.save(None, entry(12, 2000), True)
    storage.close()
    _, found = reopen(disk)
    assert (found.hard_state, found.entries) == (HardState(2, 4, 8), [*FIRST, *batch])


def test_a_received_snapshot_that_was_not_adopted_changes_nothing() -> None:
    disk = FakeDisk()
    storage = create(disk)
    last = storage._wal.last_index
    meta = SnapshotMeta(last + 40, 3, MEMBERS)
    write_snapshot(storage, meta, (1,), received=True)
    later = HardState(4, 4, last)
    storage.save(later, [Entry(4, last + 1, 0, b"x")], True)
    storage.close()
    reopened, found = reopen(disk.copy())
    assert found.hard_state == later
    assert found.snapshot is None
    assert [entry.index for entry in found.entries][-1] == last + 1
    reopened.close()


def test_two_writers_of_one_snapshot_do_not_share_a_file() -> None:
    disk = FakeDisk()
    storage = create(disk)
    meta = SnapshotMeta(storage._wal.last_index + 40, 3, MEMBERS)
    first, second = storage.snapshot_writer(meta), storage.snapshot_writer(meta)
    first.write(b"whole")
    second.write(b"who")
    first.seal()
    assert list(storage.read_snapshot(meta)) == [b"whole"]
    second.abort()
    assert list(storage.read_snapshot(meta)) == [b"whole"]
    storage.close()


def test_relative_paths_serve_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Storage.create(PosixFiles(), "a.etcd", IDENTITY, FIRST, STATE, "wal").close()
    storage, found = Storage.open(PosixFiles(), "a.etcd", "wal")
    assert found.entries == FIRST
    storage.close()
    assert (tmp_path / "a.etcd" / "member" / "snap").is_dir()
