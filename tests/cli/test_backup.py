"""`kvraftctl backup`: which failure is told first, that it leaves nothing; what a copy is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvraft.server.backup import open_directory
from kvraft.storage import PosixFiles
from kvraft_cli.commands.backup import Failed, Places, back_up
from kvraft_cli.logline import stamped
from tests.server import directories


def failure(places: Places) -> str:
    with pytest.raises(Failed) as failed:
        back_up(places)
    return str(failed.value)


def test_a_copy_holds_the_same_under_other_ids(tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=30, snapshots_at=(12,))
    before = directories.contents(tmp_path / "d")
    back_up(Places(str(tmp_path / "d"), "", str(tmp_path / "b"), ""))
    assert directories.contents(tmp_path / "d") == before
    parts = {path.name for path in (tmp_path / "b/member").iterdir() if path.is_dir()}
    assert parts == {"snap", "wal"}
    left = open_directory(PosixFiles(), str(tmp_path / "d"), None)
    right = open_directory(PosixFiles(), str(tmp_path / "b"), None)
    assert right.replica.store.digest() == left.replica.store.digest()
    assert set(right.recovered.identity).isdisjoint(left.recovered.identity)


def test_logs_elsewhere(tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=5)
    (tmp_path / "d/member/wal").rename(tmp_path / "w")
    places = Places(*(str(tmp_path / name) for name in ("d", "w", "b", "bw")))
    back_up(places)
    assert not (tmp_path / "b/member/wal").exists()
    assert list((tmp_path / "bw").glob("*.wal"))
    copy = open_directory(PosixFiles(), places.backup_dir, places.backup_wal_dir)
    assert copy.replica.store.index > 5
    assert failure(places) == "file already exists"


def test_empty_flags_mean_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert failure(Places("", "", "b", "")) == "open member/snap: no such file or directory"
    directories.make(tmp_path, keys=5)
    back_up(Places("", "", "b", ""))
    assert (tmp_path / "b/member/snap").is_dir()
    assert failure(Places("b", "", "", "")) == "file already exists"


def test_the_target_is_made_before_the_source_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    target = tmp_path / "f/b"
    text = f"failed creating backup snapshot dir {target}/member/snap: mkdir {tmp_path}/f: "
    assert failure(Places("none", "", str(target), "")) == text + "not a directory"
    assert failure(Places("none", "", str(tmp_path / "f"), "")).endswith(
        f"mkdir {tmp_path}/f: not a directory"
    )


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    places = Places(str(tmp_path / "d"), "", str(tmp_path / "x/b"), "")
    snap = f"open {tmp_path}/d/member/snap: no such file or directory"
    assert failure(places) == snap
    (tmp_path / "d/member/snap").mkdir(parents=True)
    assert failure(places) == f"open {tmp_path}/d/member/wal: no such file or directory"
    (tmp_path / "d/member/wal").mkdir()
    assert failure(places) == "wal: file not found"
    (tmp_path / "d/member/snap/other").touch()
    assert "there is no log" in failure(places)
    (tmp_path / "d/member/wal/0.wal").write_bytes(b"garbage")
    failure(places)
    assert not (tmp_path / "x").exists()
    # what was there before stays
    (tmp_path / "x").mkdir()
    failure(places)
    assert list((tmp_path / "x").iterdir()) == []


def test_damage_is_told_with_what_to_do(tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=30)
    [log] = (tmp_path / "d/member/wal").glob("*.wal")
    data = log.read_bytes()
    log.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    text = failure(Places(str(tmp_path / "d"), "", str(tmp_path / "b"), ""))
    assert str(log) in text
    assert "\n" not in text
    assert not (tmp_path / "b").exists()


def test_lines_are_stamped() -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.540877 I \| file already exists\n",
        stamped("file already exists", 1_800_000_000.540877),
    )
