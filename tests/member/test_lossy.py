"""The lossy disk of a real member, against the reference disk of the storage tests.

The same calls go to both. What the process sees must be the same; what is in the real directory, as
SIGKILL leaves it or after a power cut, must be one of the outcomes that the reference allows.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from jepsen_like.member.lossy import LossyFiles
from jepsen_like.sim.disk import BLOCK, MODES
from tests.storage.fakedisk import FakeDisk, Inode

NAMES = ("a", "b", "c")


class Create(NamedTuple):
    name: str


class Write(NamedTuple):
    name: str
    size: int


class Sync(NamedTuple):
    name: str


class Truncate(NamedTuple):
    name: str
    size: int


class Rename(NamedTuple):
    old: str
    new: str


class Remove(NamedTuple):
    name: str


class SyncDir(NamedTuple):
    pass


Step = Create | Write | Sync | Truncate | Rename | Remove | SyncDir
NAME = st.sampled_from(NAMES)
STEPS = st.one_of(
    st.builds(Create, NAME),
    st.builds(Write, NAME, st.sampled_from([1, 100, 512, 700, 1500])),
    st.builds(Sync, NAME),
    st.builds(Truncate, NAME, st.sampled_from([0, 10, 512, 600])),
    st.builds(Rename, NAME, NAME),
    st.builds(Remove, NAME),
    st.just(SyncDir()),
)


class Both:
    """The lossy disk on a real directory and the reference, given the same calls."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.lossy = LossyFiles([root], 0)
        self.reference = FakeDisk()
        for directory in (os.path.dirname(root), root):
            if directory not in self.reference.directories:
                self.reference.directories[directory] = type(self.reference.directories["/"])()
        self.handles: dict[str, tuple[int, int]] = {}
        self.letters = itertools.cycle(b"abcdefghijklmnopqrstuvwxyz")

    def run(self, step: Step) -> None:
        """One call on both, if it makes sense now."""
        if isinstance(step, SyncDir):
            self.lossy.sync_dir(self.root)
            self.reference.sync_dir(self.root)
        elif isinstance(step, Create):
            path = f"{self.root}/{step.name}"
            self.handles[step.name] = (self.lossy.create(path), self.reference.create(path))
        elif (name := step[0]) in self.handles:
            self._with_handle(name, step)

    def _with_handle(self, name: str, step: Step) -> None:
        path = f"{self.root}/{name}"
        one, other = self.handles[name]
        if isinstance(step, Write):
            data = bytes([next(self.letters)]) * step.size
            assert self.lossy.write(one, data) == self.reference.write(other, data)
        elif isinstance(step, Sync):
            self.lossy.sync(one)
            self.reference.sync(other)
        elif isinstance(step, Truncate):
            self.lossy.truncate(one, step.size)
            self.reference.truncate(other, step.size)
        elif isinstance(step, Rename) and step.new != name:
            new = f"{self.root}/{step.new}"
            self.lossy.rename(path, new)
            self.reference.rename(path, new)
            self.handles[step.new] = self.handles.pop(name)
        elif isinstance(step, Remove):
            self.lossy.remove(path)
            self.reference.remove(path)
            del self.handles[name]

    def check_view(self) -> None:
        """The process sees what it did."""
        assert sorted(self.lossy.list_dir(self.root)) == self.reference.names(self.root)
        for name in self.reference.names(self.root):
            path = f"{self.root}/{name}"
            assert self.lossy.read(path) == self.reference.contents(path)

    def check_platter(self) -> None:
        """What is in the real directory may be left by a power cut."""
        real = {path.name: path.read_bytes() for path in Path(self.root).iterdir()}
        directory = self.reference.directories[self.root]
        for subset in itertools.product((False, True), repeat=len(directory.pending)):
            names = dict(directory.durable)
            for taken, change in zip(subset, directory.pending, strict=True):
                if taken:
                    change(names)
            if names.keys() == real.keys() and all(
                possible(names[name], real[name]) for name in names
            ):
                return
        raise AssertionError(f"{real} is no outcome of {directory}")


def possible(inode: Inode, data: bytes) -> bool:
    """Whether a power cut may leave this content: each block as it was at some time."""
    versions = [inode.durable, *inode.versions]
    sizes = {len(version) for version in versions}
    whole_blocks = len(data) % BLOCK == 0 and min(sizes) <= len(data) <= max(sizes)
    if len(data) not in sizes and not whole_blocks:
        return False
    for start in range(0, len(data), BLOCK):
        piece = data[start : start + BLOCK]
        pieces = (version[start : start + BLOCK].ljust(BLOCK, b"\0") for version in versions)
        if piece not in {one[: len(piece)] for one in pieces}:
            return False
    return True


@contextmanager
def both() -> Iterator[Both]:
    with tempfile.TemporaryDirectory() as root:
        yield Both(os.path.realpath(root))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_sigkill_leaves_what_was_synced_and_nothing_else(steps: list[Step]) -> None:
    with both() as disks:
        for step in steps:
            disks.run(step)
            disks.check_view()
            disks.check_platter()
        again = LossyFiles([disks.root], 1)
        lost = disks.reference.directories[disks.root]
        assert sorted(again.list_dir(disks.root)) == sorted(lost.durable)
        for name, inode in lost.durable.items():
            assert again.read(f"{disks.root}/{name}") == inode.durable


@settings(max_examples=250, deadline=None)
@given(st.lists(STEPS, max_size=14), st.sampled_from(MODES), st.integers(0, 1 << 32))
def test_a_power_cut_leaves_what_posix_allows(steps: list[Step], mode: str, seed: int) -> None:
    with both() as disks:
        for step in steps:
            disks.run(step)
        disks.lossy.settle(mode, seed)
        note(f"left: {sorted(Path(disks.root).iterdir())}")
        disks.check_platter()
        if mode == "everything":
            names = disks.reference.names(disks.root)
            assert sorted(path.name for path in Path(disks.root).iterdir()) == names


def test_directories_are_lost_until_the_one_above_is_synced(tmp_path: Path) -> None:
    root = str(tmp_path / "data")
    files = LossyFiles([root], 0)
    files.make_dir(root)
    files.make_dir(f"{root}/member")
    files.close(files.create(f"{root}/member/f"))
    files.sync_dir(f"{root}/member")
    assert files.exists(f"{root}/member/f")
    assert not os.path.exists(root)
    files.sync_dir(root)
    assert not os.path.exists(root)
    files.sync_dir(str(tmp_path))
    assert os.path.exists(f"{root}/member/f")


def test_a_failed_sync_forgets_what_it_should_have_written(tmp_path: Path) -> None:
    root = str(tmp_path)
    files = LossyFiles([root], 0)
    handle = files.create(f"{root}/f")
    files.sync(handle)
    files.sync_dir(root)
    files.write(handle, b"x" * 10)
    files.faults.failing_syncs = 1
    with pytest.raises(OSError, match="input/output error"):
        files.sync(handle)
    files.sync(handle)  # "succeeds", as ext4 and XFS do
    assert files.read(f"{root}/f") == b"x" * 10
    assert b"x" not in (tmp_path / "f").read_bytes()


def test_a_full_disk_and_short_writes(tmp_path: Path) -> None:
    root = str(tmp_path)
    files = LossyFiles([root], 0)
    handle = files.create(f"{root}/f")
    files.faults.short_writes = True
    assert 0 < files.write(handle, b"x" * 100) < 100
    files.faults.full = True
    files.faults.short_writes = False
    written = 0
    with pytest.raises(OSError, match="no space left"):
        written += files.write(handle, b"x")  # one byte is a byte too many
    assert written == 0
    assert files.free_bytes(root) == 0


def test_a_lock_is_a_real_one(tmp_path: Path) -> None:
    root = str(tmp_path)
    one, other = LossyFiles([root], 0), LossyFiles([root], 0)
    handle = one.lock(f"{root}/lock")
    with pytest.raises(BlockingIOError):
        other.lock(f"{root}/lock")
    one.close(handle)
    other.close(other.lock(f"{root}/lock"))
