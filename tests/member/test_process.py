"""A real member under the harness: what it loses, where it dies, what it answers meanwhile."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import Cluster, Member
from jepsen_like.member.control import Control

KILLED = -9


class Held:
    """A single member under the harness."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket = directory / "control"
        self.options = options
        self.cluster = Cluster(self._command(), 1, directory)
        self.member: Member = self.cluster.members[0]
        self.member.extra_flags = ("--snapshot-count=20", "--heartbeat-interval=10")
        self.member.extra_flags += ("--election-timeout=100",)
        self.control = Control(self.socket)

    def _command(self, *more: str) -> tuple[str, ...]:
        harness = (sys.executable, "-m", "jepsen_like.member", "--control", str(self.socket))
        return (*harness, *self.options, *more, "--")

    def start(self, *more: str) -> None:
        self.member.command = self._command(*more)
        self.member.start()

    def serve(self) -> None:
        self.start()
        self.member.wait_ready()

    def ended(self) -> int:
        assert self.member.process is not None
        status = self.member.process.wait(15)
        self.member.process = None
        return status

    def put(self, number: int) -> None:
        answer = self.member.call("PUT", f"/v2/keys/k{number}", {"value": "v"})
        assert answer.status == 201, answer

    def keys(self) -> int:
        nodes = self.member.call("GET", "/v2/keys/").body["node"].get("nodes", [])
        return len(nodes)

    def cut(self, mode: str) -> None:
        asyncio.run(self.control.power_cut(mode, 1))
        assert self.ended() == KILLED


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    found = Held(tmp_path)
    with found.cluster:
        yield found


def test_what_was_acknowledged_is_there_after_power_cuts(held: Held) -> None:
    held.serve()
    count = 0
    for mode in ("nothing", "torn"):
        for _ in range(30):
            held.put(count)
            count += 1
        held.cut(mode)
        held.serve()
        assert held.keys() == count


def test_without_syncs_it_is_not(tmp_path: Path) -> None:
    held = Held(tmp_path, "--mutant", "no sync")
    with held.cluster:
        held.serve()
        held.put(1)
        held.cut("nothing")
        held.start()
        assert held.ended() == 1
        assert "empty segment" in held.member.log_tail()


def test_it_dies_at_points_of_its_recovery_and_recovers_all_the_same(held: Held) -> None:
    held.serve()
    held.put(1)
    held.member.kill()
    for order in ("before recovery repair=kill", "after rename=power:2"):
        held.start("--arm", order)
        assert held.ended() == KILLED
    held.serve()
    assert held.keys() == 1


def test_the_harness_answers_while_the_loop_stands_still(held: Held) -> None:
    async def look() -> None:
        read = asyncio.to_thread(held.member.call, "GET", "/v2/keys/")
        await held.control.block(1.0)
        began_s = time.monotonic()
        reading = asyncio.create_task(read)
        await held.control.arm("before apply", "kill")
        await held.control.disarm()
        assert not reading.done()
        assert (await reading).status == 200
        assert time.monotonic() - began_s > 0.5
        passed = await held.control.passed()
        assert passed["after log sync"] > 0
        assert await held.control.points() == list(passed)
        with pytest.raises(ConnectionError, match="no failpoint 'nowhere'"):
            await held.control.arm("nowhere", "kill")
        with pytest.raises(ConnectionError, match="a disk has no"):
            await held.control._call("disk", color=1)

    held.serve()
    asyncio.run(look())


def test_a_failed_sync_ends_it_with_a_message(held: Held) -> None:
    held.serve()
    held.put(1)
    asyncio.run(held.control.disk(failing_syncs=1))
    with pytest.raises(OSError, match=r".*"):
        held.put(2)
    assert held.ended() == 1
    assert "input/output error" in held.member.log_tail()
    held.serve()
    assert held.keys() == 1


def test_wrong_orders_are_refused_before_anything_starts(held: Held) -> None:
    held.start("--arm", "nowhere=kill")
    assert held.ended() == 1
    assert "no failpoint 'nowhere'" in held.member.log_tail()
    assert not held.member.data_dir.exists()
