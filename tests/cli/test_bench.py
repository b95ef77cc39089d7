"""bench: what it measures, that it cleans up, and its arithmetic."""

from __future__ import annotations

import json
import re

import pytest

from kvraft_cli.loadgen import histogram, percentile, server_of
from tests.cli.conftest import StartMember, kvraftctl


def test_percentiles_and_bars() -> None:
    times = [number / 1000 for number in range(1, 101)]
    assert percentile(times, 50) == 0.051
    assert percentile(times, 99.9) == 0.1
    assert percentile([], 50) == 0
    lines = histogram(times)
    assert sum(int(line.split()[3]) for line in lines) == 100
    assert max(line.count("#") for line in lines) == 40
    assert histogram([]) == []


def test_urls_are_taken_apart() -> None:
    server = server_of("http://h:1/behind/", ("u", "p"), None)
    assert (server.host, server.port, server.path) == ("h", 1, "/behind")
    assert server.headers == b"Host: h:1\r\nAuthorization: Basic dTpw\r\n"
    assert server_of("https://h", (None, None), None).port == 443


def test_it_measures_and_leaves_nothing(start_member: StartMember) -> None:
    member = start_member()
    ran = member.ctl("bench", "--seconds", "0.2", "-c", "4", "--keys", "20")
    assert ran.code == 0, ran
    assert "p99.9 ms" in ran.out
    for name in ("PUT", "GET", "quorum GET", "watch"):
        assert re.search(rf"^{name} +[1-9]\d* ", ran.out, re.MULTILINE), name
    assert "  <= " in ran.out
    assert "writing 20 keys below /kvraftctl-bench-" in ran.err
    assert member.keys() == {}


def test_json_a_prefix_and_keeping(start_member: StartMember) -> None:
    member = start_member()
    words = ("bench", "--seconds", "0.1", "-c", "2", "--keys", "3", "--kinds", "get", "--json")
    ran = member.ctl(*words, "--prefix", "/load", "--keep")
    (result,) = json.loads(ran.out)["results"]
    assert result["kind"] == "get"
    assert result["number"] > 0
    assert result["failed"] == 0
    assert len(member.keys("/load")) == 4
    ran = member.ctl(*words, "--prefix", "/load")
    assert ran.code == 2
    assert "--prefix: /load is there already, and would be removed; give another" in ran.err
    assert len(member.keys("/load")) == 4


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--kinds", "put,x"), "argument --kinds: 'x' is none of put, get, quorum, watch"),
        (("--connections", "0"), "'0' has to be a number, at least 1"),
        (("--connections", "1000000"), "'1000000' has to be a number, at most 10000"),
        (("--keys", "9" * 5000), "has to be a number, at least 1"),
        (("--seconds", "inf"), "'inf' has to be seconds, at least 0.1"),
        (("--seconds", "soon"), "argument --seconds: 'soon' has to be seconds"),
    ],
)
def test_bad_arguments_are_named(words: tuple[str, ...], text: str) -> None:
    ran = kvraftctl("bench", *words)
    assert ran.code == 2
    assert text in ran.err


def test_nobody_there() -> None:
    ran = kvraftctl("--endpoints", "http://127.0.0.1:1", "bench")
    assert ran.code == 2
    assert "connection refused" in ran.err
