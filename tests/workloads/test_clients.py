"""What a client may claim: `failed` only where nothing was sent, `unknown` wherever in doubt."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks.members import free_ports, release_ports
from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.procs import clients
from jepsen_like.procs.clients import Client, Recorder
from kvraft.store.request import Op, Request
from tests.workloads.scripted import Answering, OneMember, answer, server

KEY = b"/c/k"
NODE = {"key": "/c/k", "value": "v", "modifiedIndex": 12, "createdIndex": 12}
SET = Request(Op.SET, KEY, b"v")

pytestmark = pytest.mark.asyncio


def client_of(member: OneMember, timeout_s: float = 5.0) -> Client:
    return Client(member.as_fleet(), Recorder(), random.Random(1), timeout_s)


async def told(answering: Answering, request: Request = SET, timeout_s: float = 5.0) -> Operation:
    async with server(answering) as member:
        client = client_of(member, timeout_s)
        try:
            return await client.write(request)
        finally:
            client.leave()


def error(code: int, index: int = 30) -> dict[str, Any]:
    return {"errorCode": code, "message": "x", "cause": "/c/k", "index": index}


async def test_acknowledged() -> None:
    previous = {"key": "/c/k", "value": "u", "modifiedIndex": 7}
    document = {"action": "set", "node": NODE, "prevNode": previous}
    operation = await told(lambda _: answer(200, document))
    assert operation.outcome is Outcome.OK
    assert (operation.index, operation.node_value, operation.action) == (12, b"v", "set")
    assert operation.previous == (b"u", 7)
    assert 0 < operation.invoked_ns < operation.ended_ns


@pytest.mark.parametrize("code", [100, 101, 102, 104, 105, 108])
async def test_refused_by_the_key_space(code: int) -> None:
    operation = await told(lambda _: answer(404, error(code)))
    assert operation.outcome is Outcome.REFUSED
    assert operation.error == clients.REFUSALS[code]
    assert operation.index == 30


@pytest.mark.parametrize(
    "text",
    [
        answer(500, error(300)),
        answer(503, error(301)),
        answer(401, error(110)),
        answer(502, b"<html>no JSON</html>"),
        answer(200, {"action": "set", "node": NODE})[:-5],
        b"",
        None,
    ],
    ids=["raft error", "election", "no right", "not JSON", "cut off", "silence", "reset"],
)
async def test_whatever_else_is_told_leaves_it_open(text: bytes | None) -> None:
    operation = await told(lambda _: text, timeout_s=0.3)
    assert operation.outcome is Outcome.UNKNOWN


async def test_nobody_listens() -> None:
    (port,) = free_ports(1)
    try:
        operation = await client_of(OneMember(port)).write(SET)
    finally:
        release_ports([port])
    assert operation.outcome is Outcome.FAILED


async def test_a_member_that_was_restarted_while_connecting_is_not_asked() -> None:
    asked: list[str] = []

    def answering(line: str) -> bytes | None:
        asked.append(line)
        return None

    class Restarted(OneMember):
        def address(self, number: int) -> tuple[str, int]:
            self.starts += 1
            return super().address(number)

    async with server(answering) as member:
        operation = await client_of(Restarted(member.port)).write(SET)
    assert operation.outcome is Outcome.FAILED
    assert asked == []


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (SET, "PUT /v2/keys/c/k HTTP/1.1"),
        (Request(Op.CREATE_IN_ORDER, KEY, b"v"), "POST /v2/keys/c/k HTTP/1.1"),
        (Request(Op.DELETE, KEY), "DELETE /v2/keys/c/k HTTP/1.1"),
        (
            Request(Op.DELETE, KEY, directory=True, recursive=True),
            "DELETE /v2/keys/c/k?dir=true&recursive=true HTTP/1.1",
        ),
        (
            Request(Op.COMPARE_AND_DELETE, KEY, prev_value=b"a b", prev_index=3),
            "DELETE /v2/keys/c/k?prevValue=a%20b&prevIndex=3 HTTP/1.1",
        ),
    ],
)
async def test_how_changes_are_asked_for(request_: Request, line: str) -> None:
    lines: list[str] = []

    def answering(first: str) -> bytes:
        lines.append(first)
        return answer(404, error(100))

    await told(answering, request_)
    assert lines == [line]


async def test_a_tree_is_recorded_with_all_below_it() -> None:
    nodes = [
        {"key": "/c/d/a", "value": "1", "modifiedIndex": 5},
        {"key": "/c/d/b", "dir": True, "modifiedIndex": 6, "nodes": [
            {"key": "/c/d/b/c", "value": "2", "modifiedIndex": 7},
        ]},
    ]  # fmt: skip
    root = {"key": "/c/d", "dir": True, "modifiedIndex": 4, "nodes": nodes}
    async with server(lambda _: answer(200, {"action": "get", "node": root}, 40)) as member:
        client = client_of(member)
        deep = await client.look_into(b"/c/d", recursive=True)
        flat = await client.look_into(b"/c/d")
        client.leave()
    assert deep.tree == {b"/c/d/a": (b"1", 5), b"/c/d/b": (None, 6), b"/c/d/b/c": (b"2", 7)}
    assert flat.listing == [b"/c/d/a", b"/c/d/b"]
    assert deep.index == flat.index == 40
    assert deep.quorum


async def test_the_last_writes_are_repeated_with_new_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = iter([None, answer(500, error(300)), answer(200, {"action": "set", "node": NODE})])
    async with server(lambda _: next(texts)) as member:
        client = client_of(member)
        made: list[bytes] = []

        def make() -> Request:
            made.append(client.value())
            return Request(Op.SET, KEY, made[-1])

        assert (await client.last_write(make)).outcome is Outcome.OK
    assert len(set(made)) == 3

    monkeypatch.setattr(clients, "LAST_LIMIT_S", 0.0)
    async with server(lambda _: None) as member:
        with pytest.raises(Violation, match="no answer though all faults are over"):
            await client_of(member).last_read(KEY)


async def test_whoever_gets_no_answer_waits_longer_for_the_next() -> None:
    async with server(lambda _: b"") as member:
        client = client_of(member, 0.02)
        took_ms = []
        for _ in range(3):
            operation = await client.write(SET)
            took_ms.append((operation.ended_ns - operation.invoked_ns) / 1e6)
        client.leave()
    assert took_ms[0] >= 20
    assert took_ms[1] >= 40
    assert took_ms[2] >= 80
