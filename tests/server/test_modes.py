"""kvraft/server/modes.py: what a data directory says, and whether it can be used."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from kvraft.server import modes
from kvraft.server.logs import NOTICE, LogLine
from kvraft.server.modes import Mode, StartRefused
from kvraft.storage import PosixFiles


class Broken(PosixFiles):
    """A disk on which one kind of call fails."""

    def __init__(self, call: str, number: int) -> None:
        self.call = call
        self.number = number

    def _fail(self, call: str, path: str) -> None:
        if call == self.call:
            raise OSError(self.number, os.strerror(self.number), path)

    def create(self, path: str) -> int:
        self._fail("create", path)
        return super().create(path)

    def make_dir(self, path: str) -> None:
        self._fail("make_dir", path)
        super().make_dir(path)

    def list_dir(self, path: str) -> list[str]:
        self._fail("list_dir", path)
        return super().list_dir(path)


def _make(directory: Path, *names: str) -> str:
    for name in names:
        (directory / name).mkdir()
    return str(directory)


@pytest.mark.parametrize(
    ("names", "mode", "word"),
    [
        ([], Mode.EMPTY, ""),
        (["lost+found", ".touch"], Mode.EMPTY, ""),
        (["member"], Mode.MEMBER, "member"),
        (["proxy"], Mode.PROXY, "proxy"),
    ],
)
def test_what_exists_decides(tmp_path: Path, names: list[str], mode: Mode, word: str) -> None:
    found, lines = modes.decide(PosixFiles(), _make(tmp_path, *names))
    assert found is mode
    text = f"the server is already initialized as {word} before, starting as etcd {word}..."
    assert lines == ([LogLine(NOTICE, "etcdmain", text)] if word else [])


def test_nothing_is_there(tmp_path: Path) -> None:
    assert modes.decide(PosixFiles(), str(tmp_path / "no")) == (Mode.EMPTY, [])


def test_other_names_are_junk(tmp_path: Path) -> None:
    _found, lines = modes.decide(PosixFiles(), _make(tmp_path, "wal", "a", "member"))
    texts = [line.text for line in lines if line.level == logging.WARNING]
    assert texts == [
        f"found invalid file/dir {name} under data dir {tmp_path} "
        "(Ignore this if you are upgrading etcd)"
        for name in ("a", "wal")
    ]


def test_both_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused) as caught:
        modes.decide(PosixFiles(), _make(tmp_path, "member", "proxy", "junk"))
    junk, both = caught.value.lines
    assert "junk" in junk.text
    text = "invalid datadir. Both member and proxy directories exist."
    assert both == LogLine(logging.CRITICAL, "etcdmain", text)
    assert caught.value.code == 1


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    (line,) = _refusal(lambda: modes.decide(Broken("list_dir", errno.EIO), str(tmp_path)))
    assert line.text == f"error listing data dir: {tmp_path}"


def _refusal(call: object) -> tuple[LogLine, ...]:
    assert callable(call)
    with pytest.raises(StartRefused) as caught:
        call()
    return caught.value.lines


def test_the_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    modes.make_data_dir(PosixFiles(), f"{path}/")
    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == []
    modes.make_data_dir(PosixFiles(), str(path))


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    path = f"{tmp_path}/new"
    (line,) = _refusal(lambda: modes.make_data_dir(Broken("make_dir", errno.EACCES), path))
    assert line.text == f"cannot access data directory: mkdir {path}: permission denied"
    assert (line.level, line.package) == (logging.CRITICAL, "etcdmain")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path)
    (line,) = _refusal(lambda: modes.make_data_dir(Broken("create", errno.EROFS), path))
    text = f"cannot access data directory: open {path}/.touch: read-only file system"
    assert line.text == text


def test_a_log_directory_of_its_own_that_cannot_be_made(tmp_path: Path) -> None:
    path = str(tmp_path / "wal")
    (line,) = _refusal(lambda: modes.make_wal_dir(Broken("make_dir", errno.EACCES), path))
    assert line.text == f"cannot write to WAL directory: mkdir {path}: permission denied"
    modes.make_wal_dir(PosixFiles(), path)
    assert (tmp_path / "wal").is_dir()


def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (line,) = _refusal(lambda: modes.make_data_dir(PosixFiles(), f"{tmp_path}/file"))
    assert line.text.endswith("/file/.touch: not a directory")


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("member", "cannot write to member directory: open {}/member/.touch: no such file"),
        ("wal", "cannot write to WAL directory: open {}/member/wal/.touch: no such file"),
        ("", ""),
    ],
)
def test_the_directories_of_a_member(tmp_path: Path, missing: str, complaint: str) -> None:
    if missing != "member":
        _make(tmp_path, "member")
    if not missing:
        _make(tmp_path / "member", "wal")
        modes.check_writable(PosixFiles(), str(tmp_path), None)
        modes.check_writable(PosixFiles(), str(tmp_path), str(tmp_path))
        return
    (line,) = _refusal(lambda: modes.check_writable(PosixFiles(), str(tmp_path), None))
    assert line.text.startswith(complaint.format(tmp_path))
