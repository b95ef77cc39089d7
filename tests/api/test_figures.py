"""What is counted of requests, and which of them are called slow."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from kvraft.api import connection, exchange, watching
from kvraft.api.figures import BOUNDS_S, DELETE, GET, HEAD, OTHER, POST, PUT, QGET, WATCH
from kvraft.limits import GET_INLINE_NODES, SLOW_LINES_PER_SECOND, SLOW_PATH_BYTES
from tests.api.wire import Client, Wire, get, put, request

BASE = b"/v2/keys"


class Time:
    """The clock of everything that is measured."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    for module in (connection, exchange, watching):
        monkeypatch.setattr(module, "now", clock)
    return clock


def done(wire: Wire, kind: int) -> tuple[int, int]:
    """How many requests of a kind there were, and how many of them went well."""
    figures = wire.port.figures
    return figures.received[kind], figures.durations[kind].count


def test_each_kind_of_request_is_counted(wire: Wire, client: Client) -> None:
    client.ask(put(BASE + b"/a", b"value=1"))
    client.ask(put(BASE + b"/a?prevExist=true", b"value=2&ttl=9"))
    client.ask(request(b"PUT", BASE + b"//a?value=3"))
    client.ask(request(b"PUT", BASE + b"/a?value=3", None, b"X-Any: thing"))
    client.ask(request(b"POST", BASE + b"/q", b"value=1"))
    for target in (b"/a", b"/a?sorted=true", b"/?recursive=true", b"/%61", b"/a?recursive=true"):
        client.ask(get(BASE + target))
    for target in (b"/a?quorum=true", b"/a?quorum=true", b"/a?quorum=true&wait=true"):
        client.ask(get(BASE + target))
    client.ask(request(b"HEAD", BASE + b"/a"))
    client.ask(request(b"DELETE", BASE + b"/a"))
    assert done(wire, PUT) == (3, 3)
    assert done(wire, POST) == (1, 1)
    assert done(wire, GET) == (5, 5)
    assert done(wire, QGET) == (3, 3)
    assert done(wire, HEAD) == (1, 1)
    assert done(wire, DELETE) == (1, 1)
    assert wire.port.keys.recursive_reads == 2
    assert wire.port.figures.failed == {}


def test_failures_are_counted_by_status(wire: Wire, client: Client) -> None:
    for _ in range(2):
        client.ask(get(BASE + b"/none"))
    client.ask(request(b"DELETE", BASE + b"/none"))
    client.ask(put(BASE + b"/none?prevValue=x", b"value=1"))
    client.ask(get(BASE + b"/none?quorum=true"))
    assert wire.port.figures.failed == {
        (GET, 404): 2,
        (DELETE, 404): 1,
        (PUT, 404): 1,
        (QGET, 404): 1,
    }
    assert done(wire, GET) == (2, 0)


def test_what_is_refused_before_it_reaches_the_keys_does_not_count(
    wire: Wire, client: Client
) -> None:
    client.ask(get(BASE + b"/a?wait=maybe"))
    client.ask(put(BASE + b"/a?ttl=x", b"value=1"))
    client.ask(request(b"PATCH", BASE + b"/a"))
    client.ask(get(b"/version"))
    assert sum(wire.port.figures.received) == 0
    assert wire.port.figures.failed == {}


def test_watches_are_counted_apart_and_never_timed(wire: Wire, time: Time) -> None:
    wire.port.slow.limit_s = 0.5
    watch, writer = wire.client(), wire.client()
    watch.ask(get(BASE + b"/a?wait=true"))
    time.now_s += 60
    writer.ask(put(BASE + b"/a", b"value=1"))
    assert watch.take().endswith(b"0\r\n\r\n")
    assert wire.port.figures.watch_requests == 1
    assert wire.port.figures.durations[WATCH].total == pytest.approx(60), "kept, but never shown"
    assert wire.port.figures.slow == 0


def test_durations_are_sorted_into_etcds_buckets(wire: Wire, client: Client, time: Time) -> None:
    wire.service.held = []
    for seconds in (BOUNDS_S[0], 0.0011, 100.0):
        client.send(put(BASE + b"/a", b"value=1"))
        time.now_s += seconds
        wire.service.release()
        wire.service.held = []
    histogram = wire.port.figures.durations[PUT]
    assert [histogram.counts[place] for place in (0, 2, 13)] == [1, 1, 1]
    assert histogram.total == pytest.approx(100.0016)


def test_a_slow_request_is_logged_with_the_reason(
    wire: Wire, client: Client, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    wire.port.slow.limit_s = 0.5
    wire.service.held = []
    client.send(put(BASE + b"/a?prevExist=false", b"value=secret"))
    time.now_s += 0.51
    wire.service.release()
    assert wire.port.figures.slow == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("kvraft.etcdhttp", logging.WARNING)
    assert record.getMessage() == "slow request: PUT /v2/keys/a took 0.510s: cluster"


def test_failures_and_other_routes_are_logged_too(
    wire: Wire,
    client: Client,
    time: Time,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: list[Callable[[None], None]] = []
    monkeypatch.setattr(wire.service, "change_membership", lambda _, done: changes.append(done))
    wire.port.slow.limit_s = 0.5
    wire.service.held_barriers = []
    client.send(get(BASE + b"/none?quorum=true"))
    time.now_s += 1
    wire.service.held_barriers.pop()(None)
    client.send(request(b"DELETE", b"/v2/members/7924593a81a969fd"))
    time.now_s += 2
    changes.pop()(None)
    asked: list[Callable[[bool], None]] = []
    monkeypatch.setattr(wire.service, "health", asked.append)
    client.send(get(b"/health"))
    time.now_s += 3
    asked.pop()(True)

    def slow_stats() -> dict[str, object]:
        time.now_s += 4
        return {}

    monkeypatch.setattr(wire.service, "self_stats", slow_stats)
    client.send(get(b"/v2/stats/self"))
    assert [record.getMessage() for record in caplog.records] == [
        "slow request: QGET /v2/keys/none took 1.000s: cluster",
        "slow request: DELETE /v2/members/7924593a81a969fd took 2.000s: cluster",
        "slow request: GET /health took 3.000s: cluster",
        "slow request: GET /v2/stats/self took 4.000s: local",
    ]
    assert done(wire, OTHER) == (0, 3)


def test_a_client_that_does_not_read_is_the_reason(
    wire: Wire, client: Client, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    wire.port.slow.limit_s = 0.5
    for number in range(GET_INLINE_NODES + 1):
        client.send(put(BASE + b"/d/%d" % number, b"value=1"))
    client.send(get(BASE + b"/d"))
    client.connection.pause_writing()
    wire.loop.run()
    time.now_s += 3
    client.connection.resume_writing()
    wire.loop.run()
    (record,) = caplog.records
    assert record.getMessage() == (
        "slow request: GET /v2/keys/d took 3.000s: the client did not read for 3.000s"
    )


def test_lines_are_limited_and_short(
    wire: Wire, client: Client, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    wire.port.slow.limit_s = 0.5
    slow = wire.port.slow
    for _ in range(SLOW_LINES_PER_SECOND + 5):
        slow.note("GET", b"/\xff" + b"x" * 1000, 1000.0, 0.9, 0.0, local=True)
    assert len(caplog.records) == SLOW_LINES_PER_SECOND
    assert len(caplog.records[0].getMessage()) < SLOW_PATH_BYTES + 100
    slow.note("GET", b"/", 1001.0, 0.9, 0.0, local=True)
    assert caplog.records[-1].getMessage() == (
        "slow request: GET / took 0.900s: local (and 5 more slow requests before)"
    )


def test_nothing_is_slow_unless_there_is_a_limit(
    wire: Wire, client: Client, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    wire.service.held = []
    client.send(put(BASE + b"/a", b"value=1"))
    time.now_s += 1e6
    wire.service.release()
    assert not caplog.records
