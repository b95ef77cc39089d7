"""All workloads at once on real members."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.members import ETCD, KVRAFT
from jepsen_like.check.coverage import merge
from jepsen_like.procs.clients import ROOT, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.procs.watchers import Watcher
from jepsen_like.workloads.load import Load
from jepsen_like.workloads.registry import EVERY, SHARES

FLAGS = ("--heartbeat-interval=100", "--election-timeout=1000", "--snapshot-count=500")


@contextlib.asynccontextmanager
async def cluster(directory: Path, kind: tuple[str, ...] = KVRAFT) -> AsyncIterator[Fleet]:
    with Fleet(3, directory, FLAGS, kind=kind) as fleet:
        fleet.start(fleet.numbers())
        await asyncio.to_thread(fleet.wait_ready)
        yield fleet


async def ends(load: Load, stopped: asyncio.Event, task: asyncio.Task[None]) -> None:
    stopped.set()
    await task
    await load.finish()
    findings = load.check()
    assert set(findings) == set(EVERY)
    wrong = {name: text for name, (verdict, text) in findings.items() if verdict != "passed"}
    assert not wrong


async def until_acknowledged(recorder: Recorder, count: int, limit_s: float = 60.0) -> None:
    goal = recorder.acknowledged + count
    deadline_s = time.monotonic() + limit_s
    while recorder.acknowledged < goal:
        assert time.monotonic() < deadline_s, f"only {recorder.acknowledged} of {goal} writes"
        await asyncio.sleep(0.05)


def seed_of_this_run() -> int:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    return seed


def test_every_workload_has_a_share() -> None:
    assert set(SHARES) == set(EVERY)


@pytest.mark.asyncio
async def test_all_workloads_on_three_members(tmp_path: Path) -> None:
    async with cluster(tmp_path) as fleet:
        recorder = Recorder()
        load = Load(fleet, recorder, seed_of_this_run(), timeout_s=2.0, late_s=10.0)
        watcher = Watcher(fleet, 0)
        following = asyncio.create_task(watcher.run())
        stopped = asyncio.Event()
        task = asyncio.create_task(load.run(stopped))
        await until_acknowledged(recorder, 400)
        await ends(load, stopped, task)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        coverage = merge(watcher.sessions)
        assert list(coverage.roots) == [ROOT]
        assert len(coverage.events) > 300


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_all_workloads_while_the_leader_is_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as fleet:
        recorder = Recorder()
        load = Load(fleet, recorder, seed_of_this_run(), late_s=10.0)
        stopped = asyncio.Event()
        task = asyncio.create_task(load.run(stopped))
        for _ in range(2):
            await until_acknowledged(recorder, 400)
            leader = await fleet.leader()
            if leader is not None:
                await fleet.kill([leader])
                await until_acknowledged(recorder, 200)
                fleet.start([leader])
        await asyncio.to_thread(fleet.wait_ready)
        await until_acknowledged(recorder, 200)
        await ends(load, stopped, task)


@pytest.mark.slow
@pytest.mark.realetcd
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_all_workloads_on_a_real_etcd(tmp_path: Path) -> None:
    async with cluster(tmp_path, ETCD) as fleet:
        recorder = Recorder()
        load = Load(
            fleet,
            recorder,
            seed_of_this_run(),
            timeout_s=2.0,
            late_s=10.0,
            resuming_streams=False,
        )
        stopped = asyncio.Event()
        task = asyncio.create_task(load.run(stopped))
        await until_acknowledged(recorder, 1000)
        await ends(load, stopped, task)
