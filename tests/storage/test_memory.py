"""Files in memory: what a real disk does, without what may go wrong on one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kvraft.raft.entry import Entry, EntryKind, HardState
from kvraft.storage import Files, Identity, PosixFiles, Storage
from kvraft.storage.memory import MemoryFiles


@pytest.fixture(params=["memory", "posix"])
def files(request: pytest.FixtureRequest) -> Files:
    return MemoryFiles() if request.param == "memory" else PosixFiles()


@pytest.fixture
def home(files: Files, tmp_path: Path) -> str:
    """A directory to work in, on either disk."""
    if isinstance(files, MemoryFiles):
        files.make_dir("/home")
        return "/home"
    return str(tmp_path)


def test_files_are_written_read_and_cut(files: Files, home: str) -> None:
    handle = files.create(f"{home}/a")
    assert files.write(handle, b"hello ") == 6
    files.write(handle, b"world")
    files.sync(handle)
    assert files.read(f"{home}/a") == b"hello world"
    files.truncate(handle, 5)
    files.truncate(handle, 7)
    files.close(handle)
    handle = files.open_read(f"{home}/a")
    assert files.read_at(handle, 100, 1) == b"ello\0\0"
    assert files.read_at(handle, 2, 100) == b""
    files.close(handle)
    assert files.mode(f"{home}/a") == 0o600
    files.close(files.create(f"{home}/a"))
    assert files.read(f"{home}/a") == b""
    assert files.free_bytes(home) > 0


def test_a_handle_outlives_its_name(files: Files, home: str) -> None:
    handle = files.create(f"{home}/old")
    files.rename(f"{home}/old", f"{home}/new")
    files.write(handle, b"x")
    assert files.read(f"{home}/new") == b"x"
    reading = files.open_read(f"{home}/new")
    files.remove(f"{home}/new")
    files.write(handle, b"y")
    assert files.read_at(reading, 9, 0) == b"xy"
    assert not files.exists(f"{home}/new")
    files.close(reading)
    files.close(handle)


def test_directories_list_what_is_in_them(files: Files, home: str) -> None:
    files.make_dir(f"{home}/d")
    files.make_dir(f"{home}/d/e")
    files.close(files.create(f"{home}/d/f"))
    files.sync_dir(f"{home}/d")
    assert sorted(files.list_dir(f"{home}/d")) == ["e", "f"]
    assert files.list_dir(home) == ["d"]
    assert files.mode(f"{home}/d") == 0o700


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda files, home: files.read(f"{home}/no"), errno.ENOENT),
        (lambda files, home: files.open_read(f"{home}/no"), errno.ENOENT),
        (lambda files, home: files.remove(f"{home}/no"), errno.ENOENT),
        (lambda files, home: files.rename(f"{home}/no", f"{home}/x"), errno.ENOENT),
        (lambda files, home: files.create(f"{home}/no/x"), errno.ENOENT),
        (lambda files, home: files.make_dir(f"{home}/no/x"), errno.ENOENT),
        (lambda files, home: files.list_dir(f"{home}/no"), errno.ENOENT),
        (lambda files, home: files.mode(f"{home}/no"), errno.ENOENT),
        (lambda files, home: files.make_dir(home), errno.EEXIST),
    ],
)
def test_what_is_missing_is_reported_as_posix_does(
    files: Files, home: str, call: object, number: int
) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is what matters
        call(files, home)  # type: ignore[operator]
    assert raised.value.errno == number


def test_a_lock_is_held_once(files: Files, home: str) -> None:
    lock = files.lock(f"{home}/lock")
    with pytest.raises(BlockingIOError):
        files.lock(f"{home}/lock")
    files.close(lock)
    files.close(files.lock(f"{home}/lock"))


def test_a_member_finds_again_what_it_stored() -> None:
    files = MemoryFiles()
    files.make_dir("/data")
    identity = Identity(1, 2)
    entry = Entry(1, 1, EntryKind.NORMAL, b"x" * 1000)
    storage = Storage.create(files, "/data", identity, [], HardState(1, 0, 0))
    storage.save(HardState(1, 1, 1), [entry], True)
    storage.close()
    storage, recovered = Storage.open(files, "/data")
    assert recovered.identity == identity
    assert recovered.entries == [entry]
    assert files.used_bytes() > 1000
    storage.close()
