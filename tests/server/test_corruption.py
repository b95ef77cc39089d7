"""Members compare their data while they run; planted damage is found, and stops the right one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from kvraft import limits
from kvraft.server.checks import CheckReport, CheckVerdict
from kvraft.server.corruption import Diverged
from kvraft.store.node import File
from tests.server.inprocess import Cluster, Running, running, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECK_PAUSE_S", 0)
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_NODES", 10)
    monkeypatch.setattr(limits, "CHECK_INLINE_BYTES", 50)


def damage(member: Running, key: str) -> None:
    """Flip one bit of a value, as broken memory would."""
    children = member.replica.store.get(b"/").children
    old = children[key.encode()]
    assert type(old) is File
    flipped = bytes([old.value[0] ^ 1]) + old.value[1:]
    children[old.name] = File(old.name, flipped, old.modified, old.created, old.expiration_ns)


async def filled(cluster: Cluster) -> Running:
    """Write something, and give the leader, once all members are connected to it and equal."""
    leader = await cluster.leader()
    await asyncio.gather(*(leader.put(f"k{number}") for number in range(50)))
    await connected(leader, len(cluster.members) - 1)
    await cluster.settled()
    return leader


async def connected(leader: Running, count: int) -> None:
    await until(lambda: len(leader.member._hub.connected()) == count)


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]


async def test_equal_members_agree_and_clients_see_nothing(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        index, stats = leader.replica.store.index, leader.replica.store.stats_body()
        applied = leader.replica.applied_index
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert judgement.deviating == ()
        assert len(judgement.agreeing) == 3
        assert leader.member.metrics.checks == 1
        assert leader.member.metrics.check_index == applied + 1
        await until(lambda: all(m.member.metrics.check_index for m in cluster.members))
        assert not any(m.member.metrics.check_failures or m.fatal for m in cluster.members)
        assert leader.replica.store.index == index
        assert leader.replica.store.stats_body() == stats
        assert not leader.replica.store._pictures.any_open()
        await leader.put("after")
        await cluster.settled()


async def test_a_flipped_bit_is_found_and_stops_that_follower(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        victim = next(member for member in cluster.members if member is not leader)
        damage(victim, "k7")
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert judgement.deviating == (victim.member.member_id,)
        await until(lambda: bool(victim.fatal))
        (error,) = victim.fatal
        assert isinstance(error, Diverged)
        assert "remove this member from the cluster" in str(error)
        assert f"log entry {leader.replica.applied_index} " in str(error)
        assert leader.member.metrics.check_failures == 1
        assert victim.member.metrics.check_failures == 1
        assert not any(m.fatal for m in cluster.members if m is not victim)
        (line,) = critical(caplog)
        assert f"the data of member {victim.member.member_id:x} differs" in line


async def test_a_leader_that_is_wrong_stops_itself(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        damage(leader, "k0")
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert judgement.deviating == (leader.member.member_id,)
        assert [type(error) for error in leader.fatal] == [Diverged]
        others = [member for member in cluster.members if member is not leader]
        await until(lambda: all(member.member.metrics.check_index for member in others))
        assert not any(member.fatal for member in others)


async def test_without_a_majority_nobody_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(2, tmp_path) as cluster:
        leader = await filled(cluster)
        damage(leader, "k0")
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert judgement.majority is None
        assert len(judgement.deviating) == 2
        assert leader.member.metrics.check_failures == 1
        (line,) = critical(caplog)
        assert "nobody knows who is right" in line
        await leader.put("goes on")
        assert not any(member.fatal for member in cluster.members)


async def test_who_cannot_be_reached_is_not_waited_for(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        away = next(member for member in cluster.members if member is not leader)
        await away.stop()
        await connected(leader, 1)
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert len(judgement.agreeing) == 2
        await away.start()
        await connected(leader, 2)
        # What it finds in the log is an old check: whatever it says about it is of no use.
        await cluster.settled()
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert len(judgement.agreeing) == 3


async def test_late_digests_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECK_GRACE_S", 2.0)
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        late = next(member for member in cluster.members if member is not leader)
        late.replica.checks = None
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert late.member.member_id not in judgement.agreeing
        assert len(judgement.agreeing) == 2


async def test_a_leader_that_leads_no_more_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECK_GRACE_S", limits.CHECK_PATIENCE_S)
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        comparing = asyncio.create_task(leader.member.corruption.compare())
        for member in cluster.members:
            if member is not leader:
                await member.stop()
        assert await asyncio.wait_for(comparing, limits.CHECK_PATIENCE_S / 4) is None


async def test_other_versions_are_not_compared(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        newer = next(member for member in cluster.members if member is not leader)
        newer.member.corruption._version = b"next"
        damage(newer, "k0")  # stands for another way to write the same
        judgement = await leader.member.corruption.compare()
        assert judgement is not None
        assert judgement.deviating == ()
        assert len(judgement.agreeing) == 2


async def test_only_a_leader_with_others_compares(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        for member in cluster.members:
            if member is not leader:
                assert await member.member.corruption.compare() is None
    async with running(1, tmp_path / "alone") as alone:
        assert await (await filled(alone)).member.corruption.compare() is None


async def test_checks_are_made_again_and_again(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        for member in cluster.members:
            member.member.corruption.start(0.02)
        leader = await filled(cluster)
        writes = [asyncio.ensure_future(leader.put(f"w{number}")) for number in range(100)]
        await until(lambda: leader.member.metrics.checks >= 3)
        await asyncio.gather(*writes)
        assert not any(m.member.metrics.check_failures or m.fatal for m in cluster.members)


async def test_only_the_present_leader_is_believed(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await filled(cluster)
        await leader.member.corruption.compare()
        follower = next(member for member in cluster.members if member is not leader)
        await until(lambda: follower.member.metrics.check_index > 0)
        latest: Any = follower.member.corruption._latest
        core = follower.replica.core
        verdict = CheckVerdict(
            core.member_id, core.leader, core.term, latest.number, latest.at, False, b"other"
        )
        impostor = next(m for m in core.membership.voters if m not in (core.leader, core.member_id))
        for lie in (
            verdict._replace(sender=impostor),
            verdict._replace(term=core.term - 1),
            verdict._replace(number=latest.number + 1),
            verdict._replace(at=latest.at + 1),
            verdict._replace(digest=latest.digest),
            CheckReport(core.member_id, impostor, core.term, 1, 1, b"", b""),
        ):
            follower.replica.receive(lie)
        assert not follower.fatal
        follower.replica.receive(verdict)
        assert [type(error) for error in follower.fatal] == [Diverged]
