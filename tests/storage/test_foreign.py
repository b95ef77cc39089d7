"""Data of etcd itself is refused with the way out named, and left exactly as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvraft.errors import ForeignData
from kvraft.storage import PosixFiles, Storage
from tests.storage.model import IDENTITY, Model

FIRST_SEGMENT = "0000000000000000-0000000000000000.wal"
# length 4, record of type 4 with checksum 0; then the metadata record. 3.x pads to 8 bytes.
ETCD2 = bytes.fromhex("0400000000000000 08041000 1e00000000000000 08011085d4c08305")
ETCD3 = bytes.fromhex("0400000000000084 0804100000000000 1e00000000000082 08011085d4c08305")


@pytest.mark.parametrize(("content", "version"), [(ETCD2, "etcd 2"), (ETCD3, "etcd 3")])
def test_a_directory_of_etcd_is_refused_with_the_migration(
    tmp_path: Path, content: bytes, version: str
) -> None:
    wal = tmp_path / "member" / "wal"
    wal.mkdir(parents=True)
    (tmp_path / "member" / "snap").mkdir()
    (wal / FIRST_SEGMENT).write_bytes(content + bytes(64_000))
    (wal / "0.tmp").write_bytes(bytes(100))
    before = sorted(tmp_path.rglob("*"))
    model = Model()
    for attempt in (
        lambda: Storage.exists(PosixFiles(), str(tmp_path)),
        lambda: Storage.open(PosixFiles(), str(tmp_path)),
        lambda: Storage.create(
            PosixFiles(), str(tmp_path), IDENTITY, list(model.entries), model.state
        ),
    ):
        with pytest.raises(ForeignData, match=rf"written by {version}.*empty --data-dir, and copy"):
            attempt()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_database_of_etcd3_is_enough(tmp_path: Path) -> None:
    snap = tmp_path / "member" / "snap"
    snap.mkdir(parents=True)
    (snap / "db").write_bytes(b"bolt")
    with pytest.raises(ForeignData, match="etcd 3"):
        Storage.exists(PosixFiles(), str(tmp_path))
