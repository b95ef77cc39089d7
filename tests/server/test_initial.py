"""kvraft/server/initial.py: who the first members are, where others are asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kvraft.discovery import client, srv
from kvraft.discovery.errors import ClusterFull, DiscoveryFailed, SrvFailed
from kvraft.server import config, ids
from kvraft.server.config import ServerConfig
from kvraft.server.initial import first_peer_urls, with_first_members
from kvraft.server.logs import LogLine
from kvraft.server.modes import StartRefused

URL = "http://d:1/v2/keys/token"
LINES = (LogLine(logging.ERROR, "etcdmain", "why"),)


def _config(*words: str) -> ServerConfig:
    peer = ("--initial-advertise-peer-urls", "http://a:1", "--name", "a", "--data-dir", "/d")
    found = config.parse([*peer, *words], {})
    assert isinstance(found, ServerConfig), found
    return found


class Answer:
    """Stands for a call; says or raises what it was given, and keeps how it was called."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.called: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    async def __call__(self, *arguments: Any, **named: Any) -> str:
        self.called = arguments, named
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.asyncio
async def test_the_flags_say_it_all() -> None:
    given = _config("--initial-cluster", "a=http://a:1,b=http://b:1")
    assert await with_first_members(given) is given
    assert await first_peer_urls(given) == ("http://a:1", "http://b:1")


@pytest.mark.asyncio
async def test_discovery(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer("b=http://b:1,a=http://a:1")
    monkeypatch.setattr(client, "join_cluster", answer)
    found = await with_first_members(_config("--discovery", URL, "--discovery-proxy", "p:1"))
    assert found.initial_cluster == {"a": ("http://a:1",), "b": ("http://b:1",)}
    assert found.initial_cluster_token == URL
    own_id = ids.member_id(("http://a:1",), URL)
    assert answer.called == ((URL, "p:1", "a", own_id, ("http://a:1",)), {"data_dir": "/d"})


@pytest.mark.asyncio
async def test_discovery_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "join_cluster", Answer(DiscoveryFailed("x", LINES)))
    with pytest.raises(StartRefused) as caught:
        await with_first_members(_config("--discovery", URL))
    assert caught.value.lines == LINES
    monkeypatch.setattr(client, "join_cluster", Answer(ClusterFull(URL)))
    with pytest.raises(ClusterFull):
        await with_first_members(_config("--discovery", URL))


@pytest.mark.asyncio
async def test_discovery_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "get_cluster", Answer("b=http://b:1,c=http://a:1"))
    given = _config("--discovery", URL, "--proxy", "on")
    assert await first_peer_urls(given) == ("http://a:1", "http://b:1")
    monkeypatch.setattr(client, "get_cluster", Answer(DiscoveryFailed("x", LINES)))
    with pytest.raises(StartRefused):
        await first_peer_urls(given)


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.asyncio
async def test_dns(monkeypatch: pytest.MonkeyPatch, proxy: bool) -> None:
    answer = Answer("a=http://a:1,0=http://b:1")
    monkeypatch.setattr(srv, "srv_cluster", answer)
    given = _config("--discovery-srv", "e.com", "--initial-cluster-token", "t")
    if proxy:
        assert await first_peer_urls(given) == ("http://a:1", "http://b:1")
    else:
        found = await with_first_members(given)
        assert found.initial_cluster == {"a": ("http://a:1",), "0": ("http://b:1",)}
        assert found.initial_cluster_token == "t"
    assert answer.called == (("e.com", "a", ("http://a:1",)), {"proxy": proxy})
    monkeypatch.setattr(srv, "srv_cluster", Answer(SrvFailed("x", LINES)))
    with pytest.raises(StartRefused) as caught:
        await with_first_members(given)
    assert [line.text for line in caught.value.lines] == [
        "why",
        "error setting up initial cluster: x",
    ]
