"""Each refusal as an operator reads it: which file, what is wrong, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kvraft.errors import Locked, StorageError
from kvraft.raft.entry import HardState
from kvraft.storage import Storage
from kvraft.storage.record import Framer, scan
from kvraft.storage.wal import Head, Kind, encode_head
from tests.storage.fakedisk import FakeDisk
from tests.storage.model import DATA, IDENTITY, SNAP, WAL, Save, Snapshot, Step, reopen, run

ROUNDS: list[Step] = [Save((900, 900), advance=2), Snapshot()] * 4
REPLACE = (
    "etcdctl member remove ID",
    f"move {DATA} away",
    "etcdctl member add NAME PEER-URL",
    "--initial-cluster-state existing",
    "kvraft restore BACKUP-FILE --data-dir NEW-DIR",
)
VERIFY = f"kvraft verify {DATA}"


def segment(disk: FakeDisk, number: int) -> str:
    return [f"{WAL}/{name}" for name in disk.names(WAL) if name.endswith(".wal")][number]


def flip(disk: FakeDisk, path: str, place: int) -> str:
    data = disk.contents(path)
    disk.put(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    return path


def flip_last(disk: FakeDisk) -> str:
    return flip(disk, segment(disk, -1), 60)


def flip_earlier(disk: FakeDisk) -> str:
    return flip(disk, segment(disk, -2), 60)


def lose_a_segment(disk: FakeDisk) -> str:
    disk.remove(segment(disk, -2))
    return WAL


def empty_segment(disk: FakeDisk) -> str:
    path = segment(disk, -1)
    disk.put(path, b"")
    return path


def lose_the_log(disk: FakeDisk) -> str:
    for name in disk.names(WAL):
        disk.remove(f"{WAL}/{name}")
    return WAL


def lose_entries(disk: FakeDisk) -> str:
    """A log that was set back, as by an old copy of the disk."""
    for name in disk.names(WAL)[2:]:
        disk.remove(f"{WAL}/{name}")
    return SNAP


def lose_all_snapshots(disk: FakeDisk) -> str:
    for name in disk.names(SNAP):
        disk.remove(f"{SNAP}/{name}")
    for name in disk.names(WAL)[:-1]:
        disk.remove(f"{WAL}/{name}")
    return WAL


def another_program(disk: FakeDisk) -> str:
    path = segment(disk, -1)
    disk.put(path, b"hello, world" * 100)
    return path


def another_version(disk: FakeDisk) -> str:
    path = segment(disk, -1)
    disk.put(path, Framer().frame(Kind.HEAD, 1, b"\x92\x02\x03"))
    return path


def another_member(disk: FakeDisk) -> str:
    path = segment(disk, -1)
    chain = scan(disk.contents(segment(disk, -2)), 1 << 20).chain
    old = scan(disk.contents(path), 1 << 20).records[0]
    sequence, first = (int(part, 16) for part in path[len(WAL) + 1 : -4].split("-"))
    identity = IDENTITY._replace(member_id=7)
    head = Head(identity, sequence, chain, first - 1, 1, HardState(1, 0, 1), ())
    disk.put(path, Framer().frame(Kind.HEAD, old.position, encode_head(head)))
    for name in disk.names(SNAP):
        disk.remove(f"{SNAP}/{name}")
    return path


DAMAGE = [
    flip_last,
    flip_earlier,
    lose_a_segment,
    empty_segment,
    lose_the_log,
    lose_entries,
    lose_all_snapshots,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_names_the_file_and_the_ways_out(damage: Callable[[FakeDisk], str]) -> None:
    disk = FakeDisk()
    run(disk, [*ROUNDS, Save((900, 900)), Save((9,))])[0].close()
    if damage in (flip_earlier, lose_a_segment):
        for name in disk.names(SNAP):
            disk.remove(f"{SNAP}/{name}")
    path = damage(disk)
    with pytest.raises(StorageError) as refusal:
        reopen(disk)
    text = str(refusal.value)
    assert text.startswith(path), text
    assert all(part in text for part in (*REPLACE, VERIFY, "nothing was changed")), text
    assert "DATA-DIR" not in text.replace("NEW-DIR", "")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (another_program, ("not a log of this program", "another --data-dir", f"move {DATA} away")),
        (another_version, ("another version of kvraft", "start the version that wrote it")),
        (another_member, ("belongs to another member", "mixed", *REPLACE)),
    ],
)
def test_what_is_not_damage_is_not_called_so(
    damage: Callable[[FakeDisk], str], parts: tuple[str, ...]
) -> None:
    disk = FakeDisk()
    run(disk, ROUNDS)[0].close()
    path = damage(disk)
    with pytest.raises(StorageError) as refusal:
        reopen(disk)
    text = str(refusal.value)
    assert text.startswith(path), text
    assert all(part in text for part in parts), text


def test_a_directory_in_use_names_who_to_ask() -> None:
    disk = FakeDisk()
    storage, _ = run(disk, ROUNDS)
    with pytest.raises(Locked, match=r"stop it first \(fuser /data/member/lock names it\)"):
        reopen(disk)
    storage.close()


def test_a_snapshot_that_breaks_while_the_member_runs_names_the_directory() -> None:
    disk = FakeDisk()
    storage, model = run(disk, ROUNDS)
    assert model.snapshot is not None
    flip(disk, f"{SNAP}/{disk.names(SNAP)[-1]}", 100)
    with pytest.raises(StorageError, match=re.escape(VERIFY)):
        list(storage.read_snapshot(model.snapshot))
    text = str(storage.unreadable(model.snapshot, "no store"))
    assert text.startswith(f"{SNAP}/{disk.names(SNAP)[-1]}: no store; nothing was changed")
    storage.close()


def test_a_directory_without_a_member_is_said_to_be_empty() -> None:
    with pytest.raises(StorageError, match="there is no log; bootstrap this member first"):
        Storage.open(FakeDisk(), DATA)
