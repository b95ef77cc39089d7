"""What a power cut leaves: synced bytes and names for certain, others perhaps."""

from __future__ import annotations

import random

import pytest

from jepsen_like.sim.disk import BLOCK, Disk, DiskFiles, PowerCut


def _disk(seed: int) -> Disk:
    disk = Disk(random.Random(seed))
    disk.make_data_dir("/data")
    return disk


def _after_power_cuts(prepare: str) -> set[bytes | None]:
    """All contents of /data/f that some seed leaves."""
    found: set[bytes | None] = set()
    for seed in range(200):
        disk = _disk(seed)
        files = DiskFiles(disk)
        handle = files.create("/data/f")
        files.write(handle, b"a" * BLOCK)
        if "sync" in prepare:
            files.sync(handle)
        if "dir" in prepare:
            files.sync_dir("/data")
        if "more" in prepare:
            files.write(handle, b"b" * BLOCK)
            files.write(handle, b"c" * BLOCK)
        disk.power_cut()
        files = DiskFiles(disk)
        found.add(files.read("/data/f") if files.exists("/data/f") else None)
    return found


def test_what_is_synced_survives_for_certain() -> None:
    assert _after_power_cuts("sync dir") == {b"a" * BLOCK}


def test_an_unsynced_name_may_be_gone() -> None:
    assert _after_power_cuts("sync") == {None, b"a" * BLOCK}


def test_unsynced_content_may_be_gone() -> None:
    assert _after_power_cuts("dir") == {b"", b"a" * BLOCK}


def test_unsynced_blocks_survive_in_any_combination() -> None:
    a, b, c, hole = b"a" * BLOCK, b"b" * BLOCK, b"c" * BLOCK, bytes(BLOCK)
    assert _after_power_cuts("sync dir more") == {a, a + b, a + b + c, a + hole + c}


def test_a_failed_sync_forgets_what_it_should_have_written() -> None:
    disk = _disk(1)
    files = DiskFiles(disk)
    handle = files.create("/data/f")
    files.sync_dir("/data")
    files.write(handle, b"x")
    disk.fail_next_sync = True
    with pytest.raises(OSError, match="input/output"):
        files.sync(handle)
    files.sync(handle)  # "succeeds", and the cache still shows the byte
    assert files.read("/data/f") == b"x"
    disk.power_cut()
    assert DiskFiles(disk).read("/data/f") == b"\0"  # the length had been written, the byte not


def test_power_can_fail_in_the_middle_of_a_write() -> None:
    disk = _disk(1)
    files = DiskFiles(disk)
    handle = files.create("/data/f")
    disk.cut_after_calls = 1
    with pytest.raises(PowerCut):
        files.write(handle, b"abc")
    assert b"abc".startswith(files.read("/data/f"))


def test_a_full_disk_takes_a_part_and_then_refuses() -> None:
    disk = _disk(1)
    files = DiskFiles(disk)
    handle = files.create("/data/f")
    disk.full = True
    taken = 0
    with pytest.raises(OSError, match="no space"):  # noqa: PT012
        for _ in range(100):
            taken += files.write(handle, b"abcd")
    assert len(files.read("/data/f")) == taken < 400
