"""The file that a proxy keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvraft.errors import Corrupt, DiskFailed
from kvraft.proxy import state
from kvraft.storage.files import PosixFiles

URLS = ("http://127.0.0.1:2380", "http://127.0.0.1:7001")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    data_dir = str(tmp_path / "deep" / "p.etcd")
    state.prepare(data_dir)
    assert state.load(data_dir) is None
    state.save(data_dir, URLS)
    assert state.load(data_dir) == URLS
    state.save(data_dir, URLS[:1])
    assert state.load(data_dir) == URLS[:1]


def test_the_file_is_that_of_etcd(tmp_path: Path) -> None:
    state.prepare(str(tmp_path))
    state.save(str(tmp_path), URLS)
    file = tmp_path / "proxy" / "cluster"
    assert file.read_bytes() == (b'{"PeerURLs":["http://127.0.0.1:2380","http://127.0.0.1:7001"]}')
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(file.parent) == ["cluster"]


def test_a_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state.prepare("p.etcd")
    state.save("p.etcd", URLS)
    assert (tmp_path / "p.etcd" / "proxy" / "cluster").exists()


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    state.prepare(str(tmp_path))
    state.save(str(tmp_path), URLS)
    state.prepare(str(tmp_path))
    assert state.load(str(tmp_path)) == URLS


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"PeerURLs":[]}', '{"PeerURLs":"x"}', '{"PeerURLs":[1]}', "null",
     '{"PeerURLs":["ftp://x:1"]}', '{"PeerURLs":null}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_advice(tmp_path: Path, text: str) -> None:
    state.prepare(str(tmp_path))
    (tmp_path / "proxy" / "cluster").write_text(text)
    with pytest.raises(Corrupt, match="remove it"):
        state.load(str(tmp_path))


class RecordingFiles(PosixFiles):
    """Notes the calls whose order decides what a crash leaves; fails at one of them on demand."""

    def __init__(self, fails_at: str = "") -> None:
        self.calls: list[str] = []
        self._fails_at = fails_at
        self.sync = self._sync  # type: ignore[assignment]

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._fails_at:
            raise OSError(5, "Input/output error")

    def create(self, path: str) -> int:
        self._note("create " + os.path.basename(path))
        return super().create(path)

    def _sync(self, handle: int) -> None:
        self._note("sync")
        os.fsync(handle)

    def rename(self, old: str, new: str) -> None:
        self._note("rename")
        super().rename(old, new)

    def sync_dir(self, path: str) -> None:
        self._note("sync_dir")
        super().sync_dir(path)


def test_the_new_file_is_durable_before_it_replaces_the_old_one(tmp_path: Path) -> None:
    state.prepare(str(tmp_path))
    files = RecordingFiles()
    state.save(str(tmp_path), URLS, files)
    assert files.calls == ["create cluster.bak", "sync", "rename", "sync_dir"]


@pytest.mark.parametrize("call", ["create cluster.bak", "sync", "rename"])
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, call: str) -> None:
    state.prepare(str(tmp_path))
    state.save(str(tmp_path), URLS)
    with pytest.raises(DiskFailed):
        state.save(str(tmp_path), URLS[:1], RecordingFiles(call))
    assert state.load(str(tmp_path)) == URLS


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFailed):
        state.prepare(str(tmp_path / "file" / "p.etcd"))
