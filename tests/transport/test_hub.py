"""The hub follows the membership and gives each frame to whom it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kvraft import limits
from kvraft.raft.message import Heartbeat
from kvraft.transport.handshake import Hello
from kvraft.transport.hub import PeerHub
from tests.transport.members import CLUSTER, FakeMember, encoder, listening, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

OWN = 9


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_RECONNECT_MS", 1)


class Hub:
    """A hub and what it has reported."""

    def __init__(self) -> None:
        self.unreachable: list[int] = []
        self.hub = PeerHub(
            CLUSTER,
            OWN,
            encoder(),
            on_unreachable=self.unreachable.append,
            on_state=lambda *_: None,
            on_removed=lambda _: None,
        )


@pytest_asyncio.fixture
async def own() -> AsyncIterator[Hub]:
    hub = Hub()
    yield hub
    await hub.hub.close()


def beat(to: int, round_: int = 0) -> Heartbeat:
    return Heartbeat(to, OWN, 7, 1, round_, 9)


async def test_each_frame_goes_to_its_member(own: Hub) -> None:
    members = FakeMember(1), FakeMember(2)
    async with listening(members[0]) as one, listening(members[1]) as two:
        own.hub.update({1: [one.url], 2: [two.url], OWN: ["http://127.0.0.1:1"]})
        await until(lambda: own.hub.connected() == {1, 2})
        own.hub.send([beat(1, 1), beat(2, 2), beat(1, 3), beat(OWN), beat(77)])
        await until(lambda: bool(members[0].frames and members[1].frames))
        assert [frame.read_round for frame in members[0].frames] == [1, 3]
        assert [frame.read_round for frame in members[1].frames] == [2]
        assert own.unreachable == []
        await own.hub.close()


async def test_members_that_left_are_hung_up_on(own: Hub) -> None:
    async with listening(FakeMember(1)) as one, listening(FakeMember(2)) as two:
        own.hub.update({1: [one.url], 2: [two.url]})
        await until(lambda: own.hub.connected() == {1, 2})
        own.hub.update({2: [two.url]})
        assert own.hub.connected() == {2}
        assert own.hub.reached(1) == ""
        await until(lambda: not one.connections)
        own.hub.send([beat(1)])
        assert own.unreachable == []
        await own.hub.close()


async def test_a_member_that_moved_is_dialled_at_its_new_address(own: Hub) -> None:
    async with listening(FakeMember(1)) as old, listening(FakeMember(1)) as new:
        own.hub.update({1: [old.url]})
        await until(lambda: own.hub.connected() == {1})
        own.hub.update({1: [new.url]})
        assert own.hub.reached(1) == new.url
        await until(lambda: len(new.connections) == 1 and not old.connections)
        await own.hub.close()


async def test_of_several_addresses_the_one_that_answers_is_used(own: Hub) -> None:
    async with listening(FakeMember(1)) as one:
        dead = "http://127.0.0.1:1"
        own.hub.update({1: [dead, one.url]})
        assert own.hub.reached(1) == dead
        await until(lambda: own.hub.connected() == {1})
        assert own.hub.reached(1) == one.url
        await own.hub.close()


async def test_an_update_without_news_disturbs_no_connection(own: Hub) -> None:
    async with listening(FakeMember(1)) as one:
        own.hub.update({1: [one.url]})
        await until(lambda: own.hub.connected() == {1})
        [before] = one.connections
        own.hub.update({1: [one.url]})
        assert own.hub.connected() == {1}
        assert one.connections == {before}
        await own.hub.close()


async def test_members_without_an_address_are_not_dialled(own: Hub) -> None:
    own.hub.update({1: []})
    assert own.hub.connected() == set()
    own.hub.send([beat(1)])


async def test_the_hub_introduces_itself(own: Hub) -> None:
    assert own.hub.hello(5) == Hello(CLUSTER, OWN, 5)
