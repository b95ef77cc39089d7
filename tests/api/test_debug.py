"""Metrics, debug variables, the log level and the process's own profiles (admin-api, 2 and 3)."""

from __future__ import annotations

import asyncio
import json

import pytest

from kvraft.api.profiling import add_profiling_routes
from tests.api.wire import Client, Wire, answer, answers, get, request

PLAIN = b"text/plain; charset=utf-8"
LOG = b"/config/local/log"


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH"])
def test_metrics_for_any_method(wire: Wire, client: Client, method: bytes) -> None:
    wire.client()
    metrics = answer(client.ask(request(method, b"/metrics")))
    assert metrics.status == 200
    assert metrics.headers[b"Content-Type"] == b"text/plain; version=0.0.4"
    assert metrics.body == b"connections 2\n"


def test_metrics_head(client: Client) -> None:
    (head,) = answers(client.ask(request(b"HEAD", b"/metrics")), [0])
    assert (head.status, head.headers[b"Content-Length"]) == (200, b"14")


def test_debug_variables_are_in_order_and_one_to_a_line(client: Client) -> None:
    variables = answer(client.ask(get(b"/debug/vars")))
    assert variables.status == 200
    assert variables.headers[b"Content-Type"] == b"application/json; charset=utf-8"
    assert variables.body == (
        b'{\n"cmdline": ["kvraft","\\u003cx\\u003e"],\n"raft.status": {"id":"1"}\n}\n'
    )
    refused = answer(client.ask(request(b"POST", b"/debug/vars")))
    assert (refused.status, refused.headers[b"Allow"]) == (405, b"GET")


@pytest.mark.parametrize(
    ("body", "level"),
    [
        (b'{"Level":"DEBUG"}', "DEBUG"),
        (b'{"level":"info"}', "info"),
        (b' {"LEVEL":"x", "level":"Debug", "other": [1, {}]} and more', "Debug"),
        (b'{"Level":"INFO","level":null}', "INFO"),
    ],
)
def test_log_level(wire: Wire, client: Client, body: bytes, level: str) -> None:
    changed = answer(client.ask(request(b"PUT", LOG, body, b"Content-Type: application/json")))
    assert (changed.status, changed.body) == (204, b"")
    assert b"Content-Type" not in changed.headers
    assert wire.service.diagnostics.levels == [level]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"Level":"loud"}', "Invalid log level loud"),
        (b"{}", "Invalid log level "),
        (b"null", "Invalid log level "),
        (b'{"other":"INFO"}', "Invalid log level "),
        (b"", "Invalid json body"),
        (b"INFO", "Invalid json body"),
        (b'"INFO"', "Invalid json body"),
        (b"[]", "Invalid json body"),
        (b'[["level","INFO"]]', "Invalid json body"),
        (b'{"Level":5}', "Invalid json body"),
        (b'{"Level":"INFO"', "Invalid json body"),
        (b"[" * 100_000, "Invalid json body"),
        (b"\xff\xfe", "Invalid json body"),
    ],
)
def test_log_level_refusals(client: Client, body: bytes, told: str) -> None:
    refused = answer(client.ask(request(b"PUT", LOG, body)))
    assert (refused.status, json.loads(refused.body)) == (400, {"message": told})
    assert refused.headers[b"Content-Type"] == b"application/json"


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"HEAD"])
def test_log_level_is_put_only(client: Client, method: bytes) -> None:
    (refused,) = answers(client.ask(request(method, LOG)), [0] if method == b"HEAD" else [])
    assert (refused.status, refused.headers[b"Allow"]) == (405, b"PUT")


def test_profiles_do_not_exist_unless_enabled(client: Client) -> None:
    for path in (b"/debug/pprof", b"/debug/pprof/", b"/debug/pprof/heap", b"/debug"):
        assert answer(client.ask(get(path))).status == 404


def test_profiles(wire: Wire, client: Client) -> None:
    add_profiling_routes(wire.port.router)
    index = answer(client.ask(get(b"/debug/pprof")))
    assert (index.status, index.headers[b"Content-Type"]) == (200, PLAIN)
    pages = [line.split()[0].encode() for line in index.body.decode().splitlines()]
    assert b"/debug/pprof/goroutine" in pages
    assert answer(client.ask(get(b"/debug/pprof/"))).status == 404

    async def ask() -> dict[bytes, bytes]:
        asyncio.current_task().set_name("the only task")  # type: ignore[union-attr]
        told = {}
        for page in pages:
            client.send(get(page))
            wire.loop.run()
            told[page] = answer(client.take()).body
        return told

    told = asyncio.run(ask())
    assert b"MainThread" in told[b"/debug/pprof/threadcreate"]
    assert b"1 tasks" in told[b"/debug/pprof/tasks"]
    assert b"the only task" in told[b"/debug/pprof/goroutine"]
    assert b"generation 2" in told[b"/debug/pprof/gc"]
    assert b"builtins.dict" in told[b"/debug/pprof/heap"]
    assert b"\0" in told[b"/debug/pprof/cmdline"]
