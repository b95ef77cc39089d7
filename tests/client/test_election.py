"""Elections in virtual time; what they share with locks is tested there."""

from __future__ import annotations

import asyncio

import pytest

from kvraft.client.election import Election, Leader
from kvraft.client.errors import LockLost, LockTimeout
from tests.client.fakekeys import FakeKeys, Fault
from tests.client.virtual import now, run

PLACES = "/_elections/x"


def candidate(keys: FakeKeys, value: str = "", ttl: int = 3) -> Election:
    return Election(keys, "x", value, ttl=ttl, clock=now)


def test_leaders_follow_in_the_order_of_their_candidacy() -> None:
    async def main() -> None:
        keys = FakeKeys()
        shown: list[Leader | None] = []

        async def observe() -> None:
            async for leader in candidate(keys).observe():
                shown.append(leader)

        observing = asyncio.create_task(observe())
        await asyncio.sleep(1)
        order = []

        async def lead(name: str, start_s: float) -> None:
            await asyncio.sleep(start_s)
            async with candidate(keys, name) as leadership:
                order.append((name, leadership.fencing_index))
                assert (await leadership.leader()) == Leader(name, leadership.key, order[-1][1])
                await asyncio.sleep(5)

        await asyncio.gather(lead("a", 0), lead("b", 0.5), lead("c", 1))
        await asyncio.sleep(1)
        observing.cancel()
        assert [name for name, _ in order] == ["a", "b", "c"]
        assert [one and (one.value, one.fencing_index) for one in shown] == [None, *order, None]
        assert await candidate(keys).leader() is None

    run(main())


def test_leader_that_vanishes_is_replaced_after_its_ttl() -> None:
    async def main() -> None:
        keys = FakeKeys()
        gone = await candidate(keys, "gone").campaign()
        keeper = gone._place.keeper
        assert keeper is not None
        await keeper.stop()
        began_s = now()
        async with candidate(keys, "next") as leadership:
            assert 2.5 < now() - began_s < 4
            assert not gone.held
            assert leadership.fencing_index > int(keeper.key[-20:])

    run(main())


def test_candidate_gives_up() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await candidate(keys, "first").campaign()
        with pytest.raises(LockTimeout):
            await candidate(keys, "second").campaign(timeout_s=10)
        assert len(keys.keys(PLACES)) == 1

    run(main())


def test_leader_that_is_deposed_is_interrupted() -> None:
    async def main() -> None:
        keys = FakeKeys()

        async def lead() -> None:
            async with candidate(keys, "deposed") as leadership:
                await keys.delete(leadership.key)
                await asyncio.sleep(60)

        with pytest.raises(LockLost, match="the leadership /_elections/x is not held"):
            await lead()

    run(main())


@pytest.mark.parametrize("value", ["", "plain", "with blanks and\nlines", "ü" * 40])
def test_value_is_readable_by_all(value: str) -> None:
    async def main() -> None:
        keys = FakeKeys({0: Fault.UNANSWERED})  # found again by its mark, whatever the value
        async with candidate(keys, value) as leadership:
            leader = await candidate(keys).leader()
            assert leader is not None
            assert (leader.value, leader.key) == (value, leadership.key)
            assert keys.nodes[leadership.key].value.partition(" ")[2] == value

    run(main())


def test_key_made_by_hand_is_its_own_value() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await keys.create_in_order(PLACES, "an administrator was here, and wrote more than an id")
        leader = await candidate(keys).leader()
        assert leader is not None
        assert leader.value.startswith("an administrator")

    run(main())


def test_observer_starts_over_where_events_were_lost() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await candidate(keys, "a").campaign()
        observing = candidate(keys).observe()
        first = await anext(observing)
        assert first is not None
        changes: dict[str, object] = {}
        watcher = candidate(keys)
        watch = keys.watch(PLACES, recursive=True)
        watcher._follow(changes, watch.resync("cleared"))  # type: ignore[arg-type]
        assert list(changes) == [first.key]
        await keys.delete(first.key)
        watcher._follow(changes, watch.resync("cleared"))  # type: ignore[arg-type]
        assert not changes
        assert await anext(observing) is None

    run(main())
