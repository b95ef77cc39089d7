"""Locks, in virtual time, with every failure at every step; `test_recipes` has real servers."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.client.errors import ClientError, DidNotHappen, LockLost, LockTimeout
from kvraft.client.lock import Lock
from tests.client.fakekeys import LATE_S, PATIENCE_S, FakeKeys, Fault, each_fault
from tests.client.virtual import VirtualLoop, now, run

TTL = 3
HOLD_S = 4.0  # longer than the TTL: without refreshes the lock would be lost
PLACES = "/_locks/x"


def lock_on(keys: FakeKeys, ttl: int = TTL) -> Lock:
    return Lock(keys, "x", ttl=ttl, clock=now)


class Workers:
    """Workers who take the same lock in turn; checks that they are alone, and fenced off."""

    def __init__(self, keys: FakeKeys, count: int, hold_s: float = HOLD_S) -> None:
        self.keys = keys
        self.locks = [lock_on(keys) for _ in range(count)]
        self.hold_s = hold_s
        self.fences: list[int] = []
        self.order: list[int] = []
        self.losses = 0

    async def work(self, number: int, start_s: float = 0) -> None:
        await asyncio.sleep(start_s)
        lock = self.locks[number]
        try:
            async with lock:
                self.entered(number)
                end_s = now() + self.hold_s
                while now() < end_s:
                    self.certain(lock)
                    await asyncio.sleep(0.2)
                    lock.check()
        except LockLost:
            self.losses += 1

    def certain(self, lock: Lock) -> None:
        """Nobody believes for longer than the servers will keep the key."""
        expires_s = self.keys.nodes[lock.key].expires_s
        assert expires_s is not None
        assert now() + lock.remaining_s() <= expires_s

    def entered(self, number: int) -> None:
        lock = self.locks[number]
        assert lock.held
        assert not lock.lost.is_set()
        believers = [other for other in self.locks if other is not lock and other.held]
        assert not believers, "two hold the lock"
        assert not self.fences or lock.fencing_index > self.fences[-1]
        self.fences.append(lock.fencing_index)
        self.order.append(number)

    async def all(self) -> None:
        await asyncio.gather(*(self.work(n, 0.1 * n) for n in range(len(self.locks))))

    async def check_end(self, failures: int) -> None:
        """Everybody had a turn, in a time that failures explain; nothing is left behind."""
        assert sorted(self.order) == list(range(len(self.locks)))
        await self.keys.settle()
        await asyncio.sleep(TTL)
        assert self.keys.keys(PLACES) == []
        names = {task.get_name() for task in asyncio.all_tasks()} - {"main"}
        assert not [name for name in names if name.startswith(("keep", "queue"))]
        assert self.losses <= failures


def outcome(faults: dict[int, Fault], workers: int = 2) -> tuple[FakeKeys, float]:
    """Let workers take turns; what was asked of the servers, and the time that it took."""

    async def main() -> tuple[FakeKeys, float]:
        keys = FakeKeys(faults)
        began_s = now()
        crew = Workers(keys, workers)
        await crew.all()
        took_s = now() - began_s
        await crew.check_end(len(faults))
        return keys, took_s

    return run(main())


def test_one_after_the_other() -> None:
    keys, took_s = outcome({}, 3)
    assert 3 * HOLD_S < took_s < 3 * HOLD_S + 1
    # a change of the queue wakes one: each asks once on arrival, and once more when it is its turn
    assert sum(call.startswith("get") for call in keys.calls) == 1 + 2 + 2
    assert sum(call.startswith("queue") for call in keys.calls) == 3


CALLS = len(outcome({})[0].calls)


@pytest.mark.parametrize(("number", "fault"), each_fault(CALLS))
def test_one_failure_anywhere(number: int, fault: Fault) -> None:
    _, took_s = outcome({number: fault})
    assert took_s < 2 * HOLD_S + 3 * TTL


@settings(max_examples=20)
@given(
    st.dictionaries(st.integers(0, 2 * CALLS), st.sampled_from(Fault), max_size=12),
    st.integers(2, 4),
)
def test_any_failures(faults: dict[int, Fault], workers: int) -> None:
    outcome(faults, workers)


@pytest.mark.parametrize("fault", [None, *Fault])
@pytest.mark.parametrize("call", range(3))
def test_giving_up_at_any_moment_leaves_nothing(fault: Fault | None, call: int) -> None:
    """Cancelled while it queues up, waits, or is about to get the lock."""

    async def main(after_s: float) -> None:
        keys = FakeKeys()
        first = await lock_on(keys).acquire()
        keys.faults = {} if fault is None else {len(keys.calls) + call: fault}
        lock = lock_on(keys)
        waiting = asyncio.create_task(lock.acquire())
        leaving = asyncio.create_task(first.release())
        await asyncio.sleep(after_s)
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            assert not lock.held
        else:
            await lock.release()
        await leaving
        await keys.settle()
        if fault is Fault.LATE:
            await asyncio.sleep(TTL)
        assert keys.keys(PLACES) == []

    for step in range(12):
        run(main(step * 0.1501))


def test_not_in_time() -> None:
    async def main() -> None:
        keys = FakeKeys()
        holder = await lock_on(keys).acquire()
        second = lock_on(keys)
        began_s = now()
        with pytest.raises(LockTimeout, match="not within 1.5 s"):
            await second.acquire(timeout_s=1.5)
        assert 1.5 <= now() - began_s < 1.6
        assert not await second.try_acquire()
        assert len(keys.keys(PLACES)) == 1
        assert not second.held
        with pytest.raises(LockLost):
            second.check()
        with pytest.raises(LockLost):
            _ = second.fencing_index
        await holder.release()
        assert await second.try_acquire()
        assert second.fencing_index > 0
        await second.release()
        assert keys.keys(PLACES) == []

    run(main())


def test_waits_through_an_outage_if_it_may() -> None:
    async def main() -> None:
        keys = FakeKeys()
        keys.down = True
        lock = lock_on(keys)
        with pytest.raises(DidNotHappen):
            await lock.try_acquire()
        with pytest.raises(LockTimeout):
            await lock.acquire(timeout_s=5)
        waiting = asyncio.create_task(lock.acquire())
        await asyncio.sleep(60)
        keys.down = False
        await waiting
        assert lock.held
        await lock.release()

    run(main())


def test_not_reentrant_and_usable_again() -> None:
    async def main() -> None:
        keys = FakeKeys()
        lock = lock_on(keys)
        fences = []
        for _ in range(3):
            async with lock as held:
                with pytest.raises(RuntimeError, match="not reentrant"):
                    await lock.acquire()
                fences.append(held.fencing_index)
        assert fences == sorted(set(fences))
        assert keys.keys(PLACES) == []

    run(main())


def test_refusals_are_raised_and_leave_nothing() -> None:
    class Strict(FakeKeys):
        async def get(self, key: str, **options: bool) -> object:  # type: ignore[override]
            raise ClientError("no permission")

    async def main() -> None:
        keys = Strict()
        with pytest.raises(ClientError, match="no permission"):
            await lock_on(keys).acquire()
        assert keys.keys(PLACES) == []

    run(main())


# --- losing it ----------------------------------------------------------------------------------


def test_cut_off_holder_stops_before_the_next_one_begins() -> None:
    async def main() -> None:
        keys = FakeKeys()
        cut_off = FakeKeys()
        cut_off.nodes, cut_off.events = keys.nodes, keys.events
        first, second = lock_on(cut_off), lock_on(keys)
        ended_s = 0.0

        async def hold() -> None:
            nonlocal ended_s
            async with first:
                cut_off.down = True
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended_s = now()

        holding = asyncio.create_task(hold())
        await asyncio.sleep(1)
        keys.index = cut_off.index
        await second.acquire()
        assert 0 < ended_s <= now()
        assert not first.held
        with pytest.raises(LockLost, match="x is not held: it could not be refreshed in time"):
            await holding
        await second.release()

    run(main())


def test_deleted_key_is_noticed_at_the_next_refresh() -> None:
    async def main() -> None:
        keys = FakeKeys()
        lock = await lock_on(keys, ttl=30).acquire()
        await keys.delete(lock.key)
        began_s = now()
        await lock.lost.wait()
        assert now() - began_s <= 10.1
        assert not lock.held
        with pytest.raises(LockLost, match="expired or was deleted"):
            lock.check()
        await lock.release()

    run(main())


def test_interrupted_block_may_not_hide_it() -> None:
    """Whoever catches the cancellation is told at the end of the block."""

    async def main() -> None:
        keys = FakeKeys()

        async def hold() -> None:
            async with lock_on(keys) as lock:
                keys.down = True
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(3600)
                assert not lock.held

        with pytest.raises(LockLost):
            await hold()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(main())


def test_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        keys = FakeKeys()

        async def hold() -> None:
            async with lock_on(keys):
                await asyncio.sleep(3600)

        holding = asyncio.create_task(hold())
        await asyncio.sleep(10)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert keys.keys(PLACES) == []

    run(main())


def test_errors_of_the_block_come_first() -> None:
    async def main() -> None:
        keys = FakeKeys()
        with pytest.raises(ZeroDivisionError):
            async with lock_on(keys):
                raise ZeroDivisionError
        assert keys.keys(PLACES) == []

    run(main())


def test_machine_that_slept_knows_that_it_is_too_late() -> None:
    """The clock tells at once, before any timer has had its turn."""

    async def main() -> None:
        keys = FakeKeys()
        lock = await lock_on(keys).acquire()
        assert lock.held
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.now_s += TTL
        assert not lock.held
        assert lock.remaining_s() == 0
        await lock.lost.wait()
        await lock.release()

    run(main())


def test_place_that_expired_in_the_queue_is_taken_again() -> None:
    async def main() -> None:
        keys = FakeKeys()
        first, second = lock_on(keys, ttl=60), lock_on(keys)
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(1)
        (_, place) = keys.keys(PLACES)
        await keys.delete(place)
        await asyncio.sleep(5)
        assert len(keys.keys(PLACES)) == 2
        await first.release()
        await waiting
        assert second.held
        await second.release()

    run(main())


def test_place_that_is_gone_is_not_the_front() -> None:
    """The queue is empty when it is read: that does not make anybody the first in it."""

    async def main() -> None:
        keys = FakeKeys()
        first, second = lock_on(keys, ttl=60), lock_on(keys, ttl=60)
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(1)
        (_, place) = keys.keys(PLACES)
        await keys.delete(place)
        await first.release()
        await waiting
        assert keys.keys(PLACES) == [second.key] != [place]
        await second.release()

    run(main())


def test_other_keys_in_the_directory_do_not_count() -> None:
    async def main() -> None:
        keys = FakeKeys()
        await keys.set(f"{PLACES}/0note", "left by an administrator")
        assert await lock_on(keys).try_acquire()

    run(main())


def test_change_of_a_predecessor_is_not_its_end() -> None:
    """Other programs renew their key by writing it."""

    async def main() -> None:
        keys = FakeKeys()
        first = await keys.create_in_order(PLACES, "somebody else", ttl=None)
        lock = lock_on(keys)
        waiting = asyncio.create_task(lock.acquire())
        for _ in range(5):
            await asyncio.sleep(1)
            keys.put("update", first.key, "renewed", None, first.node.created_index)
        assert sum(call.startswith("get") for call in keys.calls) == 1
        await keys.delete(first.key)
        await waiting
        await lock.release()

    run(main())


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "3", None, True])
def test_ttl_has_to_be_whole_seconds(ttl: int) -> None:
    with pytest.raises(ValueError, match="ttl must be a whole number of seconds"):
        Lock(FakeKeys(), "x", ttl=ttl)


@pytest.mark.parametrize("name", ["", "/", "//"])
def test_name_must_not_be_empty(name: str) -> None:
    with pytest.raises(ValueError, match="name must not be empty"):
        Lock(FakeKeys(), name)


def test_queue_is_left_where_the_servers_are_silent() -> None:
    """Releasing takes a bounded time; then the TTL does it."""

    async def main() -> None:
        keys = FakeKeys()
        lock = await lock_on(keys).acquire()
        keys.down = True
        began_s = now()
        await lock.release()
        assert now() - began_s < TTL + PATIENCE_S + LATE_S
        assert not lock.held

    run(main())


def test_strays_of_unknown_outcomes_do_not_block_their_owner() -> None:
    """Twice created late, once in time: the own late keys are recognised and deleted."""
    for numbers in itertools.combinations(range(4), 2):

        async def main(numbers: tuple[int, ...] = numbers) -> None:
            keys = FakeKeys(dict.fromkeys(numbers, Fault.LATE))
            async with lock_on(keys, ttl=60):
                pass
            await keys.settle()
            others = [key for key in keys.keys(PLACES) if keys.nodes[key].expires_s is None]
            assert not others

        run(main())
