"""Looking at a data directory from outside: all of it is proved, nothing is touched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvraft.errors import Corrupt, DiskFull, StorageError
from kvraft.raft.entry import Entry, HardState, SnapshotMeta
from kvraft.storage import PosixFiles, Storage, survey
from tests.storage.fakedisk import FakeDisk, PowerCut
from tests.storage.model import (
    DATA,
    IDENTITY,
    MEMBERS,
    SNAP,
    WAL,
    Save,
    Snapshot,
    Step,
    run,
)

ROUNDS: list[Step] = [Save((900, 900), advance=2), Snapshot()] * 4
META = SnapshotMeta(42, 3, MEMBERS)
STATE = HardState(3, 0, 42)
CHUNKS = [b"one", b"two" * 300]


def state_of(disk: FakeDisk) -> object:
    return {
        path: {name: inode.data for name, inode in directory.names.items()}
        for path, directory in disk.directories.items()
    }


def paths(disk: FakeDisk, directory: str, suffix: str) -> list[str]:
    return [f"{directory}/{name}" for name in disk.names(directory) if name.endswith(suffix)]


def flip(disk: FakeDisk, path: str, place: int) -> None:
    data = disk.contents(path)
    place %= len(data)
    disk.put(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_running_member_is_read_without_its_lock_and_unchanged() -> None:
    disk = FakeDisk()
    storage, model = run(disk, ROUNDS)
    before = state_of(disk)
    found = survey.survey(disk, DATA)
    assert model.admits(found.recovered)
    assert (found.problems, found.remarks) == ([], [])
    assert found.segments == len(paths(disk, WAL, ".wal"))
    assert found.snapshots == 4
    assert model.admits(survey.read(disk, DATA))
    meta = found.recovered.snapshot
    assert meta is not None
    assert list(survey.read_snapshot(disk, DATA, IDENTITY, meta)) == list(
        storage.read_snapshot(meta)
    )
    assert state_of(disk) == before
    storage.close()


def test_damage_that_a_start_does_not_see_is_found() -> None:
    disk = FakeDisk()
    run(disk, ROUNDS)[0].close()
    for path in (paths(disk, WAL, ".wal")[0], paths(disk, SNAP, ".snap")[0]):
        for place in (5, 60, -3):
            damaged = disk.copy()
            flip(damaged, path, place)
            before = state_of(damaged)
            found = survey.survey(damaged, DATA)
            assert [path in problem for problem in found.problems] == [True]
            assert state_of(damaged) == before


def test_damage_that_a_start_gets_around_is_a_problem_too() -> None:
    disk = FakeDisk()
    run(disk, ROUNDS)[0].close()
    newest = paths(disk, SNAP, ".snap")[-1]
    flip(disk, newest, 100)
    found = survey.survey(disk, DATA)
    assert newest in found.problems[0]
    assert found.recovered.snapshot is not None


def test_every_changed_byte_anywhere_is_found() -> None:
    disk = FakeDisk()
    run(disk, [Save((9, 700), advance=2), Snapshot(), Save((700, 5), advance=1)])[0].close()
    for path in [*paths(disk, WAL, ".wal"), *paths(disk, SNAP, ".snap")]:
        for place in range(0, len(disk.contents(path)), 5):
            damaged = disk.copy()
            flip(damaged, path, place)
            try:
                assert survey.survey(damaged, DATA).problems, (path, place)
            except StorageError:
                continue


def test_a_torn_end_is_remarked_but_no_problem() -> None:
    disk = FakeDisk()
    run(disk, [Save((9, 700), advance=2)])[0].close()
    (path,) = paths(disk, WAL, ".wal")
    disk.put(path, disk.contents(path)[:-20])
    found = survey.survey(disk, DATA)
    assert found.problems == []
    assert "cut off" in found.remarks[0]
    assert paths(disk, WAL, ".broken") == []


def test_an_empty_directory_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="there is no log.*--data-dir"):
        survey.survey(PosixFiles(), str(tmp_path))


# --- a member that begins with a snapshot --------------------------------------------------


def begin(disk: FakeDisk, entries: list[Entry], state: HardState = STATE) -> Storage:
    return Storage.create_behind(disk, DATA, IDENTITY, META, CHUNKS, entries, state)


def entries_behind(count: int, size: int = 10) -> list[Entry]:
    return [Entry(3, META.index + 1 + i, 0, b"x" * size) for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_member_may_begin_behind_a_snapshot(count: int) -> None:
    disk = FakeDisk()
    entries = entries_behind(count)
    begin(disk, entries).close()
    storage, found = Storage.open(disk.copy(), DATA)
    assert found == (IDENTITY, STATE, META, entries, [])
    assert list(storage.read_snapshot(META)) == CHUNKS
    first = META.index + count + 1
    storage.save(HardState(4, 1, first), [Entry(4, first, 0, b"on")], True)
    storage.close()
    assert survey.survey(disk, DATA).problems == []


def test_many_entries_behind_a_snapshot_take_several_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kvraft.storage.wal.MAX_FRAME_BYTES", 500)
    disk = FakeDisk()
    entries = entries_behind(20, 100)
    begin(disk, entries, STATE._replace(commit=META.index + 15)).close()
    _, found = Storage.open(disk, DATA)
    assert (found.entries, found.hard_state.commit) == (entries, META.index + 15)


def test_a_power_cut_leaves_the_whole_member_or_none() -> None:
    rng = random.Random(1)
    calls = FakeDisk()
    calls.make_dir("/data")
    begin(calls, entries_behind(2)).close()
    outcomes = set()
    for stop_at in range(2, calls.calls):
        disk = FakeDisk()
        disk.make_dir("/data")
        disk.stop_at = stop_at
        with pytest.raises(PowerCut):
            begin(disk, entries_behind(2))
        for left in disk.crash_states(rng, 24):
            try:
                there = Storage.exists(left, DATA)
            except Corrupt:
                outcomes.add("refused")
                continue
            outcomes.add("whole" if there else "none")
            if there:
                assert Storage.open(left, DATA)[1].entries == entries_behind(2)
    assert outcomes == {"refused", "whole", "none"}


def test_a_failed_beginning_leaves_nothing() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise Corrupt("/x.backup", 3, "cut off", "")

    disk = FakeDisk()
    with pytest.raises(Corrupt, match="cut off"):
        Storage.create_behind(disk, DATA, IDENTITY, META, broken(), [], STATE)
    assert (disk.names(SNAP), disk.names(WAL), disk.locks) == ([], [], {})
    disk.capacity = disk.used_bytes() + 300
    with pytest.raises(DiskFull):
        Storage.create_behind(disk, DATA, IDENTITY, META, CHUNKS, [], STATE)
    assert (disk.names(SNAP), disk.names(WAL)) == ([], [])
    disk.capacity = None
    begin(disk, []).close()


def test_nothing_is_begun_over_a_member() -> None:
    disk = FakeDisk()
    begin(disk, []).close()
    with pytest.raises(Corrupt, match="already created"):
        begin(disk, [])
