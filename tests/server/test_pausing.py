"""A member that stands still for a while, and log time that is set forward."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvraft.clock import ShiftedClock, SystemClock
from kvraft.raft.core import Role
from kvraft.server import replica
from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request
from tests.server.inprocess import ELECTION_TICKS, TICK_MS, Running, running, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

SECOND = 10**9


async def test_a_paused_leader_is_replaced_and_follows_once_it_goes_on(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        old = await cluster.leader()
        await old.put("before")
        await cluster.settled()
        others = [member for member in cluster.members if member is not old]
        term = old.replica.core.term
        old.member.pause()
        lost = old.propose("lost")
        await until(lambda: any(member.leads for member in others))
        await others[0].put("meanwhile")
        assert old.replica.core.role is Role.LEADER  # it has not heard of it
        assert old.replica.core.term == term
        assert not lost.done()
        old.member.resume()
        await until(lambda: old.replica.core.role is Role.FOLLOWER)
        await lost  # given to the new leader: it had not left the paused member
        await cluster.settled()
        assert old.value("meanwhile") == old.value("lost") == b"v"


async def test_a_short_pause_changes_nothing(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("before")
        term = leader.replica.core.term
        follower = next(member for member in cluster.members if member is not leader)
        for paused in (follower, leader, follower):
            paused.member.pause()
            write = leader.propose("during")
            await asyncio.sleep(TICK_MS * ELECTION_TICKS / 4 / 1000)
            assert write.done() is (paused is follower)
            paused.member.resume()
            await write
        await cluster.settled()
        assert leader.replica.core.term == term


async def test_what_a_disk_has_done_meanwhile_is_told_afterwards(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        leader = await cluster.leader()
        leader.files.syncing.clear()
        write = leader.propose("a")
        await asyncio.sleep(TICK_MS / 1000)
        leader.member.pause()
        leader.files.syncing.set()
        await asyncio.sleep(TICK_MS / 1000)
        assert not write.done()
        leader.member.resume()
        await write
        assert leader.value("a") == b"v"


async def test_a_paused_member_can_be_stopped(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        leader.member.pause()
        write = leader.propose("a")
        await leader.member.transfer_leadership()
        await leader.stop()
        leader.member.resume()
        assert (await write).cause == replica.STOPPED
        await leader.start()


def expired(member: Running, key: bytes) -> bool:
    try:
        member.replica.store.get(key)
    except StoreError:
        return True
    return False


async def test_log_time_set_forward_expires_keys_and_fails_no_request(
    tmp_path: Path,
) -> None:
    shifted = ShiftedClock()
    async with running(3, tmp_path, shifted) as cluster:
        leader = await cluster.leader()
        for seconds in (20, 40):
            done = asyncio.get_running_loop().create_future()
            request = Request(Op.SET, b"/ttl%d" % seconds, b"v", ttl_seconds=seconds)
            leader.member.propose(request, done.set_result)
            await done
        await cluster.settled()
        for member in cluster.members:
            assert member.member.expire_now() is (member is leader)
        waiting = leader.propose("under way")
        shifted.advance(30 * SECOND)
        assert leader.member.expire_now()
        await waiting
        await cluster.settled()
        for member in cluster.members:
            assert expired(member, b"/ttl20")
            assert not expired(member, b"/ttl40")
        assert leader.leads


async def test_a_shifted_clock_runs_ahead_by_what_it_was_told() -> None:
    clock, real = ShiftedClock(), SystemClock()
    for _ in range(2):
        clock.advance(1000 * SECOND)
    for ahead in (
        clock.wall_ns() - real.wall_ns(),
        clock.monotonic_ns() - real.monotonic_ns(),
    ):
        assert abs(ahead - 2000 * SECOND) < SECOND
