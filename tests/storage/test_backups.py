"""Backup files: the same bytes everywhere, and no cut, changed or foreign one is believed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kvraft.errors import Corrupt, ForeignData
from kvraft.raft.entry import Membership, SnapshotMeta
from kvraft.storage import PosixFiles
from kvraft.storage.backups import BackupEncoder, BackupInfo, open_state
from kvraft.storage.snapshots import SnapshotFile, snapshot_name
from tests.storage.fakedisk import FakeDisk

META = SnapshotMeta(0x2A, 3, Membership((1, 2, 3), (4,)))
INFO = BackupInfo(0xC1, 1, META, 40, 1_800_000_000, "kvraft 1")
CHUNKS = [b"first", b"", bytes(700), b"\xff" * 300]
PATH = "/a.backup"


def encoded(info: BackupInfo = INFO, chunks: list[bytes] = CHUNKS) -> bytes:
    encoder = BackupEncoder(info)
    return b"".join([encoder.head(), *map(encoder.chunk, chunks), encoder.end()])


def read(data: bytes) -> tuple[BackupInfo, list[bytes]]:
    disk = FakeDisk()
    disk.put(PATH, data)
    state = open_state(disk, PATH)
    try:
        return state.info, list(state.chunks())
    finally:
        state.close()
        assert not disk.handles


def test_a_backup_comes_back() -> None:
    assert read(encoded()) == (INFO, CHUNKS)
    assert read(encoded(chunks=[])) == (INFO, [])


def test_the_bytes_of_a_backup_are_fixed() -> None:
    """Neither the machine's byte order nor its paths show in a file that moves to another one."""
    assert hashlib.sha256(encoded()).hexdigest() == (
        "ce48e8e6c7d2a422b14343dbc5c993656bc6d7fe068c185441ae86cbb57136ff"
    )


def test_every_truncation_is_noticed() -> None:
    whole = encoded()
    for size in range(len(whole)):
        with pytest.raises((Corrupt, ForeignData)):
            read(whole[:size])


def test_every_changed_byte_is_noticed() -> None:
    whole = encoded()
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :]
        with pytest.raises((Corrupt, ForeignData)):
            read(changed)


def test_bytes_behind_the_end_and_a_missing_chunk_are_noticed() -> None:
    with pytest.raises(Corrupt, match="behind the end"):
        read(encoded() + b"x")
    encoder = BackupEncoder(INFO)
    parts = [encoder.head(), *map(encoder.chunk, CHUNKS), encoder.end()]
    with pytest.raises(Corrupt):
        read(b"".join(parts[:2] + parts[3:]))


def test_a_cut_off_download_is_named_so() -> None:
    with pytest.raises(Corrupt, match="cut off.*download the backup again"):
        read(encoded()[:-1])


@pytest.mark.parametrize("content", [b"", b"{}", b"\x04\0\0\0\0\0\0\0\x08\x04", b"\x1f\x8b\x08"])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises((Corrupt, ForeignData), match="empty|neither a backup nor"):
        read(content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=r"none\.backup: No such file"):
        open_state(PosixFiles(), str(tmp_path / "none.backup"))


def test_a_snapshot_file_of_a_member_serves_too() -> None:
    disk = FakeDisk()
    disk.make_dir("/snap")
    file = SnapshotFile(disk, "/snap", 0xC1, META, 50, 1)
    for chunk in CHUNKS:
        file.write(chunk)
    file.finish()
    path = "/snap/" + snapshot_name(META)
    state = open_state(disk, path)
    assert state.info == BackupInfo(0xC1, 0, META, None, None, "")
    assert list(state.chunks()) == CHUNKS
    state.close()
    data = disk.contents(path)
    moved = FakeDisk()
    moved.put("/elsewhere", data)
    again = open_state(moved, "/elsewhere")
    assert list(again.chunks()) == CHUNKS
    again.close()


def test_a_header_of_a_later_format_is_refused() -> None:
    with pytest.raises(Corrupt, match="where a number belongs"):
        read(encoded(INFO._replace(etcd_index=None)))
