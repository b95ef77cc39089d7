"""Calls that must not be taken: what the harness says, and what it makes of the answers."""

from __future__ import annotations

import pytest

from jepsen_like.faults.strangers import MISMATCH, NO_ANSWER, call_in
from kvraft.transport.handshake import REMOVED, Hello
from tests.transport.members import CLUSTER, HELLO, PEER, SELF, FakeMember, listening, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def test_a_call_from_another_cluster_is_refused_unheard() -> None:
    member = FakeMember()
    async with listening(member) as port:
        assert await call_in(port.url, Hello(CLUSTER + 1, PEER, SELF)) == MISMATCH
        assert await call_in(port.url, Hello(CLUSTER, PEER, SELF + 5)) == MISMATCH
    assert member.frames == []


async def test_a_call_of_a_removed_member_is_refused_unheard() -> None:
    member = FakeMember()
    member.removed.add(PEER)
    async with listening(member) as port:
        assert await call_in(port.url, HELLO) == REMOVED
    assert member.frames == []


async def test_a_call_that_is_taken_would_do_harm() -> None:
    member = FakeMember()
    async with listening(member) as port:
        assert await call_in(port.url, HELLO) == 101
        await until(lambda: len(member.frames) == 2)


async def test_nobody_there_is_no_refusal() -> None:
    async with listening(FakeMember()) as port:
        url = port.url
    assert await call_in(url, HELLO) == NO_ANSWER
