"""Recovery: damage is refused, tears are cut, a bad snapshot is replaced only if the log allows."""

from __future__ import annotations

import msgpack
import pytest

from kvraft.errors import Corrupt, ForeignData, StorageError
from kvraft.raft.entry import Entry, HardState, SnapshotMeta
from kvraft.storage import Recovered, Storage
from kvraft.storage.record import Framer, scan
from kvraft.storage.recover import needed_from
from kvraft.storage.snapshots import snapshot_name
from kvraft.storage.wal import Head, Kind, SegmentName, encode_head
from tests.storage.fakedisk import FakeDisk
from tests.storage.model import (
    IDENTITY,
    MEMBERS,
    SNAP,
    WAL,
    Model,
    Purge,
    Save,
    Snapshot,
    Step,
    create,
    reopen,
    run,
)

TWO_SNAPSHOTS: list[Step] = [
    Save((9, 900), advance=1),
    Snapshot(),
    Save((900, 9, 9), advance=2),
    Snapshot(),
    Save((9, 9), advance=1),
]

MANY_SEGMENTS: list[Step] = [Save((900, 900), advance=2), Snapshot()] * 4


def stopped(steps: list[Step]) -> tuple[FakeDisk, Model]:
    disk = FakeDisk()
    storage, model = run(disk, steps)
    storage.close()
    return disk.copy(), model


def segments(disk: FakeDisk) -> list[str]:
    return [f"{WAL}/{name}" for name in disk.names(WAL) if name.endswith(".wal")]


def served(disk: FakeDisk) -> Recovered | None:
    """What a start finds; None if it refuses, which must not have changed anything."""
    names = {path: sorted(directory.names) for path, directory in disk.directories.items()}
    contents = {path: disk.contents(path) for path in segments(disk)}
    try:
        storage, found = reopen(disk)
    except StorageError:
        locked = {path: sorted(directory.names) for path, directory in disk.directories.items()}
        assert locked == names
        assert {path: disk.contents(path) for path in segments(disk)} == contents
        return None
    if found.snapshot is not None:
        list(storage.read_snapshot(found.snapshot))
    storage.close()
    return found


def test_every_changed_byte_of_a_log_is_refused() -> None:
    clean, _ = stopped([Save((20, 20), advance=1), Save((30,), advance=1), Save((5,))])
    (path,) = segments(clean)
    whole = clean.contents(path)
    for place in range(len(whole)):
        for flip in (0x01, 0x10, 0xFF):
            disk = clean.copy()
            disk.put(path, whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            assert served(disk) is None, (place, flip)


def test_every_changed_byte_of_several_segments_is_refused_or_does_not_matter() -> None:
    clean, model = stopped(TWO_SNAPSHOTS)
    assert len(segments(clean)) > 1
    refused = 0
    for path in segments(clean):
        whole = clean.contents(path)
        for place in range(0, len(whole), 7):
            disk = clean.copy()
            disk.put(path, whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
            found = served(disk)
            refused += found is None
            assert found is None or model.admits(found)
    assert refused > 50


def test_every_truncation_of_the_last_segment_gives_a_beginning_of_the_log() -> None:
    steps: list[Step] = [Save((20, 20)), Save((30,), back=1), Save((5,), advance=2), Save((600,))]
    clean, _ = stopped(steps)
    (path,) = segments(clean)
    whole = clean.contents(path)
    models = [Model()]
    for step in steps:
        models.append(step.after(models[-1]))
    starts = [record.offset for record in scan(whole, 1 << 20).records[2:]] + [len(whole)]
    for size in range(len(whole)):
        disk = clean.copy()
        disk.put(path, whole[:size])
        found = served(disk)
        if size < starts[0]:
            assert found is None or found.hard_state == HardState(0, 0, 0)
            continue
        assert found is not None
        model = models[sum(start <= size for start in starts) - 1]
        assert model.admits(found), size
        assert bool(found.repaired) == (size not in starts)
        assert disk.exists(path + ".broken") == (size not in starts)


def test_every_truncation_of_an_earlier_segment_is_refused() -> None:
    clean, _ = stopped([Save((700, 700)), Save((700, 700)), Save((5,))])
    path = segments(clean)[0]
    whole = clean.contents(path)
    for size in range(0, len(whole), 11):
        disk = clean.copy()
        disk.put(path, whole[:size])
        assert served(disk) is None


@pytest.mark.parametrize("count", [1, 28, 511, 512, 513, 70_000])
def test_a_tail_of_zeros_starts(count: int) -> None:
    disk, model = stopped([Save((20, 20), advance=1)])
    (path,) = segments(disk)
    whole = disk.contents(path)
    disk.put(path, whole + bytes(count))
    found = served(disk)
    assert found is not None
    assert model.admits(found)
    assert disk.contents(path) == whole


def test_a_repeated_tail_starts_and_a_copy_is_kept() -> None:
    disk, model = stopped([Save((20, 20), advance=1)])
    (path,) = segments(disk)
    whole = disk.contents(path)
    disk.put(path, whole + whole[-60:])
    found = served(disk)
    assert found is not None
    assert model.admits(found)
    assert disk.contents(path) == whole
    assert disk.contents(path + ".broken") == whole + whole[-60:]
    assert found.repaired == [f"repaired {path}: not a whole record, cut at byte {len(whole)}"]


def _with_torn_record(position: int, commit: int) -> FakeDisk:
    disk = FakeDisk()
    storage = create(disk)
    storage.save(HardState(1, 0, commit), [Entry(1, i, 0, b"x") for i in (2, 3, 4)], True)
    storage.close()
    disk = disk.copy()
    (path,) = segments(disk)
    whole = disk.contents(path)
    found = scan(whole, 1 << 20)
    framer = Framer(found.seed, found.chain, found.end)
    disk.put(path, whole + framer.frame(Kind.ENTRIES, position, b"z" * 50)[:-9])
    return disk


def test_a_torn_record_is_cut_only_above_the_commit() -> None:
    found = served(_with_torn_record(4, 3))
    assert found is not None
    assert [entry.index for entry in found.entries] == [1, 2, 3, 4]
    with pytest.raises(Corrupt, match="below the commit 3"):
        reopen(_with_torn_record(3, 3))


def test_a_refusal_names_path_offset_and_advice() -> None:
    disk, _ = stopped([Save((20, 20)), Save((9,))])
    (path,) = segments(disk)
    whole = disk.contents(path)
    disk.put(path, whole[:100] + b"\xee" + whole[101:])
    with pytest.raises(Corrupt) as caught:
        reopen(disk)
    assert caught.value.path == path
    assert 0 < caught.value.offset <= 100
    assert "add it again" in caught.value.advice
    assert path in str(caught.value)


def test_a_missing_segment_is_refused() -> None:
    clean, model = stopped([Save((700, 900)), Save((700, 900)), Save((700, 900)), Save((5,))])
    paths = segments(clean)
    assert len(paths) == 4
    for path in paths[:-1]:
        disk = clean.copy()
        disk.remove(path)
        with pytest.raises(Corrupt):
            reopen(disk)
    found = served(clean)
    assert found is not None
    assert model.admits(found)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_log_set_back_behind_its_snapshots_is_refused(kept: int) -> None:
    disk, _ = stopped(MANY_SEGMENTS)
    for path in segments(disk)[kept:]:
        disk.remove(path)
    with pytest.raises(Corrupt, match="it was set back|that a member was here"):
        reopen(disk)


def test_a_log_set_back_behind_its_only_snapshot_is_refused() -> None:
    disk, _ = stopped([Save((900, 900)), Save((9,), advance=3), Snapshot()])
    disk.remove(segments(disk)[-1])
    with pytest.raises(Corrupt, match="snapshot of entry 4, but the log ends at 3"):
        reopen(disk)


@pytest.mark.parametrize("place", [0, 5, 30, 60, 200, -30, -1])
def test_a_bad_newest_snapshot_falls_back_to_the_one_before(place: int) -> None:
    disk, model = stopped([*TWO_SNAPSHOTS, Purge()])
    older, newest = sorted(disk.names(SNAP))
    whole = bytearray(disk.contents(f"{SNAP}/{newest}"))
    whole[place] ^= 0x20
    disk.put(f"{SNAP}/{newest}", bytes(whole))
    found = served(disk)
    assert found is not None
    assert found.snapshot is not None
    assert snapshot_name(found.snapshot) == older
    assert found.snapshot.index + len(found.entries) == model.last
    assert found.hard_state == model.state
    assert disk.names(SNAP) == [older, newest + ".broken"]
    assert any("set aside" in line for line in found.repaired)
    again = served(disk)
    assert again is not None
    assert again[:4] == found[:4]


def test_a_missing_newest_snapshot_falls_back_too() -> None:
    disk, model = stopped(TWO_SNAPSHOTS)
    newest = sorted(disk.names(SNAP))[-1]
    disk.remove(f"{SNAP}/{newest}")
    found = served(disk)
    assert found is not None
    assert found.snapshot is not None
    assert found.snapshot.index + len(found.entries) == model.last
    assert f"snapshot {newest} is missing" in found.repaired


def test_without_any_good_snapshot_the_whole_log_serves() -> None:
    disk, model = stopped(TWO_SNAPSHOTS)
    for name in disk.names(SNAP):
        disk.put(f"{SNAP}/{name}", b"garbage")
    found = served(disk)
    assert found is not None
    assert found.snapshot is None
    assert len(found.entries) == model.last
    assert found.hard_state == model.state


def test_a_bad_snapshot_is_refused_if_the_log_does_not_reach_back() -> None:
    disk, _ = stopped([*MANY_SEGMENTS, Purge(2, 1)])
    first, second = sorted(disk.names(SNAP))
    for name in (first, second):
        disk.put(f"{SNAP}/{name}", b"garbage")
    with pytest.raises(Corrupt, match="the log begins at entry"):
        reopen(disk)
    assert disk.names(SNAP) == [first, second]


def test_a_bad_received_snapshot_is_refused_as_the_log_before_it_is_another_one() -> None:
    disk = FakeDisk()
    storage, model = run(disk, TWO_SNAPSHOTS)
    meta = SnapshotMeta(500, 2, MEMBERS)
    writer = storage.snapshot_writer(meta)
    writer.write(b"state")
    writer.seal()
    storage.adopt_received(meta)
    storage.save(HardState(2, 0, 500), [Entry(2, 501, 0, b"x")], True)
    storage.close()
    disk = disk.copy()
    disk.put(f"{SNAP}/{snapshot_name(meta)}", b"")
    assert served(disk) is None
    assert model.last < 500


def test_a_snapshot_the_log_never_recorded_does_not_count() -> None:
    disk, model = stopped([Save((9,), advance=1)])
    other, _ = stopped([Save((9,), advance=1), Snapshot()])
    (name,) = other.names(SNAP)
    disk.put(f"{SNAP}/{name}", other.contents(f"{SNAP}/{name}"))
    found = served(disk)
    assert found is not None
    assert model.admits(found)
    assert disk.names(SNAP) == []


def test_a_log_of_another_program_is_named_so() -> None:
    disk, _ = stopped([])
    (path,) = segments(disk)
    disk.put(path, b"\x04\0\0\0\0\0\0\0\x09\x04\x10\0" + b"other" * 40)
    with pytest.raises(ForeignData, match="not a log of this program"):
        reopen(disk)


def test_a_segment_of_another_member_is_refused() -> None:
    disk, _ = stopped([Save((700, 900)), Save((5,))])
    first, second = segments(disk)
    last_chain = scan(disk.contents(first), 1 << 20).chain
    head = Head(IDENTITY._replace(member_id=7), 1, last_chain, 3, 1, HardState(1, 0, 1), ())
    disk.put(second, Framer().frame(Kind.HEAD, 4, encode_head(head)))
    with pytest.raises(ForeignData, match="another member"):
        reopen(disk)


def test_an_empty_segment_is_refused() -> None:
    disk, _ = stopped([])
    (path,) = segments(disk)
    disk.put(path, b"")
    with pytest.raises(Corrupt, match="empty segment"):
        reopen(disk)


@pytest.mark.parametrize(
    ("entries", "state", "reason"),
    [
        ([Entry(1, 3, 0, b"")], HardState(1, 0, 1), "entry 3 follows 1"),
        ([Entry(1, 1, 0, b"")], HardState(1, 0, 1), "replaces a committed one"),
        ([Entry(1, 2, 0, b""), Entry(1, 4, 0, b"")], HardState(1, 0, 1), "where 3 was due"),
        ([Entry(2, 2, 0, b""), Entry(1, 3, 0, b"")], HardState(2, 0, 1), "where 3 was due"),
        ([Entry(1, 2, 0, b"")], HardState(1, 0, 0), "after HardState"),
        ([Entry(1, 2, 0, b"")], HardState(1, 0, 9), "up to 9 were committed"),
        ([], HardState(1, 0, 1), "another index"),
    ],
)
def test_records_that_contradict_each_other_are_refused(
    entries: list[Entry], state: HardState, reason: str
) -> None:
    disk, _ = stopped([])
    (path,) = segments(disk)
    whole = disk.contents(path)
    found = scan(whole, 1 << 20)
    framer = Framer(found.seed, found.chain, found.end)
    index = entries[0].index if entries else 2
    disk.put(path, whole + framer.frame(Kind.ENTRIES, index, msgpack.packb((*state, entries))))
    with pytest.raises(Corrupt, match=reason):
        reopen(disk)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x01", b"\x93\x01\x02\xa1x", b"\x91\x01"])
def test_a_record_of_unknown_form_is_refused(payload: bytes) -> None:
    disk, _ = stopped([])
    (path,) = segments(disk)
    whole = disk.contents(path)
    found = scan(whole, 1 << 20)
    framer = Framer(found.seed, found.chain, found.end)
    disk.put(path, whole + framer.frame(Kind.STATE, 2, payload))
    with pytest.raises(Corrupt, match="unknown form"):
        reopen(disk)


def test_reading_begins_at_the_last_segment_that_can_hold_the_next_entry() -> None:
    names = [SegmentName(0, 0), SegmentName(1, 100), SegmentName(2, 93)]
    assert [needed_from(names, index) for index in (0, 91, 92, 95, 200)] == [0, 0, 2, 2, 2]
    assert needed_from(names[1:], 50) == -1


def test_there_is_no_member_without_a_log() -> None:
    disk = FakeDisk()
    disk.make_dir("/data")
    with pytest.raises(Corrupt, match="no log"):
        Storage.open(disk, "/data")


def test_adoption_drops_a_tail_that_would_fit_the_snapshot() -> None:
    disk = FakeDisk()
    storage, model = run(disk, [Save((9, 9, 9))])
    meta = SnapshotMeta(2, 1, MEMBERS)
    writer = storage.snapshot_writer(meta)
    writer.seal()
    storage.adopt_received(meta)
    storage.close()
    found = served(disk.copy())
    assert found is not None
    assert (found.snapshot, found.entries) == (meta, [])
    assert model.last == 4


def test_an_exchanged_earlier_segment_is_refused() -> None:
    disk, _ = stopped([Save((700, 900)), Save((5,))])
    other, _ = stopped([Save((800, 800)), Save((5,))])
    first, _ = segments(disk)
    disk.put(first, other.contents(first))
    with pytest.raises(Corrupt, match="missing before the next segment"):
        reopen(disk)
