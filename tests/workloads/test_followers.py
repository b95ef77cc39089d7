"""Watchers that resume, are refused, begin in the future, and note what they asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from jepsen_like.procs.clients import Recorder
from jepsen_like.workloads.followers import Follower, Manner, Notebook
from jepsen_like.workloads.workload import Context
from tests.workloads.scripted import Answering, OneMember, answer, server, stream

KEY = b"/c/watch/k"

pytestmark = pytest.mark.asyncio


def event(index: int) -> dict[str, Any]:
    node = {"key": KEY.decode(), "value": f"v{index}", "modifiedIndex": index}
    return {"action": "set", "node": node}


def follower_of(member: OneMember, manner: Manner) -> Follower:
    fleet = member.as_fleet()
    context = Context(fleet, Recorder(), random.Random(1), b"/c/watch", lambda: True)
    return Follower(context, Notebook(), manner)


async def follow(
    answering: Answering, manner: Manner, done: Callable[[Follower], bool]
) -> Follower:
    """Let it watch until something has come about."""
    async with server(answering) as member:
        follower = follower_of(member, manner)
        task = asyncio.create_task(follower.run(lambda: False))
        deadline_s = time.monotonic() + 20
        while not done(follower):
            assert time.monotonic() < deadline_s, [one.describe() for one in follower.watches]
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
    return follower


async def test_single_events_are_chained() -> None:
    lines: list[str] = []

    def answering(line: str) -> bytes:
        lines.append(line)
        return stream(event(20 + len(lines)), index=10)

    follower = await follow(answering, Manner(KEY), lambda one: one.position >= 23)
    assert lines[0].startswith("GET /v2/keys/c/watch/k?wait=true HTTP")
    assert lines[1].startswith("GET /v2/keys/c/watch/k?wait=true&waitIndex=22 HTTP")
    assert [watch.first_index for watch in follower.watches[:3]] == [11, 22, 23]
    assert not any(watch.stream for watch in follower.watches)


async def test_a_stream_that_ends_is_resumed_behind_its_last_event() -> None:
    texts = iter([stream(event(21), event(23)), stream(event(24))])
    lines: list[str] = []

    def answering(line: str) -> bytes:
        lines.append(line)
        return next(texts, b"")

    manner = Manner(KEY, recursive=True, stream=True)
    follower = await follow(answering, manner, lambda one: one.position >= 24)
    assert "recursive=true&stream=true&waitIndex=24" in lines[1]
    first = follower.watches[0]
    assert [seen.index for seen in first.events] == [21, 23]
    assert (first.ended, first.reached_index) == ("closed", 23)


async def test_who_is_too_late_reads_and_goes_on_behind_that() -> None:
    cleared = {"errorCode": 401, "message": "x", "cause": "cleared [900/22]", "index": 1900}

    def answering(line: str) -> bytes:
        if "wait=true" not in line:
            return answer(200, {"action": "get", "node": event(1895)["node"]}, 1905)
        if "waitIndex=22" in line:
            return answer(400, cleared, 1900)
        return stream(event(21 if "waitIndex" not in line else 1950))

    follower = await follow(answering, Manner(KEY), lambda one: one.position >= 1950)
    refused = follower.watches[1]
    assert refused.refused_cause == b"cleared [900/22]"
    assert refused.registered_index == 1900
    assert follower.watches[2].first_index == 1906


async def test_a_broken_watch_is_noted_as_such() -> None:
    texts = iter([stream(event(21))[:-5], stream(event(22))])
    manner = Manner(KEY, stream=True)

    def answering(line: str) -> bytes | None:
        del line
        text = next(texts, None)
        return text if text is None or text.endswith(b"0\r\n\r\n") else text + b"not chunked\r\n"

    follower = await follow(answering, manner, lambda one: one.position >= 22)
    assert follower.watches[0].ended == "crash"
    assert follower.watches[1].first_index == 22


async def test_a_watch_of_the_future_asks_for_it() -> None:
    lines: list[str] = []

    def answering(line: str) -> bytes:
        lines.append(line)
        return stream(event(100 * len(lines)), index=10)

    await follow(answering, Manner(KEY, ahead=30), lambda one: one.position >= 200)
    assert "waitIndex=131" in lines[1]
