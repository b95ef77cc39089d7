"""Leases in virtual time, with every failure at every step."""

from __future__ import annotations

import asyncio

import pytest

from kvraft.client.errors import ClientError, DidNotHappen, KeyExists, LeaseLost
from kvraft.client.lease import Lease
from kvraft.limits import LEASE_PARALLEL
from tests.client.fakekeys import FakeKeys, Fault, each_fault
from tests.client.virtual import now, run

TTL = 3


def lease_on(keys: FakeKeys, ttl: int = TTL) -> Lease:
    return Lease(keys, ttl, clock=now)


async def keep(keys: FakeKeys, seconds: float) -> None:
    """Keep a few keys; none of them may be away as long as the lease does not say that it is."""
    async with lease_on(keys) as lease:
        for name in "abc":
            try:
                await lease.create(f"/s/{name}", name)
            except ClientError:
                continue
        end_s = now() + seconds
        while now() < end_s:
            await asyncio.sleep(0.1)
            there = keys.keys("/s")
            assert all(key in there for key in lease.keys)
            assert not set(lease.lost_keys) & set(lease.keys)
    await keys.settle()


def test_keys_live_beyond_the_ttl_and_go_at_the_end() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await keep(keys, 10)
        assert keys.keys("/s") == []
        assert sum(call.startswith("refresh") for call in keys.calls) >= 3 * 9

    run(main())


@pytest.mark.parametrize(("number", "fault"), each_fault(24))
def test_one_failure_anywhere(number: int, fault: Fault) -> None:
    async def main() -> None:
        keys = FakeKeys({number: fault})
        await keep(keys, 4 * TTL)
        await asyncio.sleep(TTL)
        assert keys.keys("/s") == []

    run(main())


def test_failed_refresh_alone_loses_nothing() -> None:
    """A refresh that fails is repeated in time, whether or not it was carried out."""
    for fault in (Fault.REFUSED, Fault.UNANSWERED, Fault.SLOW):

        async def main(fault: Fault = fault) -> None:
            keys = FakeKeys({1: fault, 5: fault})
            async with lease_on(keys, 9) as lease:
                await lease.set("/s/a", "1")
                await asyncio.sleep(60)
                lease.check()
                assert lease.keys == ("/s/a",)

        run(main())


def test_key_of_somebody_else_is_not_kept() -> None:
    async def main() -> None:
        keys = FakeKeys()
        async with lease_on(keys) as lease:
            for name in "abcd":
                await lease.set(f"/s/{name}", "mine")
            keys.put("set", "/s/a", "theirs", TTL)
            keys.put("update", "/s/b", "theirs", None, keys.nodes["/s/b"].created)
            await keys.delete("/s/c")
            await lease.lost.wait()
            await asyncio.sleep(2)
            assert set(lease.lost_keys) == {"/s/a", "/s/b", "/s/c"}
            assert lease.keys == ("/s/d",)
            with pytest.raises(LeaseLost, match="/s/c: it has expired or was deleted"):
                lease.check()
            await asyncio.sleep(TTL)
            assert keys.keys("/s") == ["/s/b", "/s/d"]
            await lease.set("/s/c", "mine again")
            assert set(lease.lost_keys) == {"/s/a", "/s/b"}
        assert keys.keys("/s") == ["/s/b"]

    run(main())


def test_lost_key_that_is_put_again_is_well() -> None:
    async def main() -> None:
        keys = FakeKeys()
        async with lease_on(keys) as lease:
            await lease.set("/s/a", "1")
            await keys.delete("/s/a")
            await lease.lost.wait()
            await lease.set("/s/a", "2")
            assert not lease.lost.is_set()
            lease.check()
            await asyncio.sleep(10)
            assert lease.keys == ("/s/a",)

    run(main())


def test_outage_longer_than_the_ttl_loses_everything_in_time() -> None:
    async def main() -> None:
        keys = FakeKeys()
        lease = lease_on(keys)
        await lease.set("/s/a", "1")
        sent_s = now()
        keys.down = True
        await lease.lost.wait()
        assert now() - sent_s <= TTL
        assert lease.lost_keys == {"/s/a": "it could not be refreshed in time"}
        assert lease.keys == ()

    run(main())


def test_created_key_must_not_exist() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await keys.set("/s/a", "theirs")
        async with lease_on(keys) as lease:
            with pytest.raises(KeyExists):
                await lease.create("/s/a", "mine")
            assert lease.keys == ()
        assert keys.keys("/s") == ["/s/a"]

    run(main())


def test_detached_key_stays_until_its_ttl_ends() -> None:
    async def main() -> None:
        keys = FakeKeys()
        async with lease_on(keys) as lease:
            await lease.set("/s/a", "1")
            lease.detach("/s/a")
            with pytest.raises(KeyError):
                lease.detach("/s/a")
        assert keys.keys("/s") == ["/s/a"]
        await asyncio.sleep(TTL)
        assert keys.keys("/s") == []

    run(main())


def test_revoke_tells_what_it_could_not_do() -> None:
    async def main() -> None:
        keys = FakeKeys()
        lease = lease_on(keys)
        await lease.set("/s/a", "1")
        keys.down = True
        with pytest.raises(DidNotHappen):
            await lease.revoke()
        keys.down = False
        await asyncio.sleep(TTL)
        assert keys.keys("/s") == []

    run(main())


def test_many_keys_take_turns() -> None:
    async def main() -> None:
        keys = FakeKeys()
        count = 10 * LEASE_PARALLEL
        async with lease_on(keys) as lease:
            for number in range(count):
                await lease.set(f"/s/{number}", "")
            await asyncio.sleep(10)
            lease.check()
            assert len(keys.keys("/s")) == count
        assert keys.keys("/s") == []

    run(main())
