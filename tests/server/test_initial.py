"""Where a first start gets its cluster from when it is not in the flags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvraft.discovery import srv
from kvraft.discovery.errors import ClusterFull
from kvraft.discovery.srv import LookupFailed, Target
from kvraft.server import bootstrap, config, ids
from kvraft.server.config import ServerConfig
from kvraft.server.initial import first_peer_urls, with_first_members
from kvraft.server.modes import StartRefused
from tests.discovery.world import World

PEER = "http://10.0.0.1:2380"
_FLAGS = ("--initial-advertise-peer-urls", "--listen-peer-urls")


class Names:
    """DNS with three members; the first one is the others' cluster as well."""

    async def services(self, name: str) -> list[Target]:
        if not name.startswith("_etcd-server._tcp."):
            raise LookupFailed(f"lookup {name}: no such host")
        return [Target(f"h{number}", 2380) for number in (3, 1, 2)]

    async def address(self, host: str) -> str:
        return f"10.0.0.{host[1:]}" if host.startswith("h") else host


def settings(*words: str, peer_url: str = PEER) -> ServerConfig:
    made = config.parse([*words, *(word for flag in _FLAGS for word in (flag, peer_url))], {})
    assert isinstance(made, ServerConfig), made
    return made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srv, "SystemResolver", Names)


def texts(refusal: pytest.ExceptionInfo[StartRefused]) -> list[str]:
    return [line.text for line in refusal.value.lines]


def test_flags_are_left_alone() -> None:
    given = settings("--initial-cluster", f"default={PEER}")
    assert asyncio.run(with_first_members(given)) is given
    assert asyncio.run(first_peer_urls(given)) == (PEER,)


def test_a_cluster_by_a_token() -> None:
    async def run() -> tuple[Any, ...]:
        async with World() as world:
            url = world.url + await world.new(1)
            given = settings("--discovery", url)
            found = await with_first_members(given)
            with pytest.raises(ClusterFull):
                await with_first_members(
                    settings("--discovery", url, peer_url="http://10.0.0.2:2380")
                )
            with pytest.raises(StartRefused) as twice:
                await with_first_members(given)
            return url, found, await first_peer_urls(given), texts(twice)

    url, found, peers, said = asyncio.run(run())
    assert found.initial_cluster == {"default": (PEER,)}
    assert found.initial_cluster_token == url
    assert peers == (PEER,)
    assert f"has previously registered with discovery service token ({url})." in said[0]
    founding = bootstrap.found(found.initial_cluster, found.initial_cluster_token, found.name)
    assert founding.identity.member_id == ids.member_id([PEER], url)
    shown = [line.text for line in config.describe(found, bootstrapping=True)]
    assert f"discovery URL= {url}" in shown


def test_a_token_that_is_none() -> None:
    async def run() -> list[str]:
        async with World() as world:
            given = settings("--discovery", f"{world.url}/{'0' * 32}")
            with pytest.raises(StartRefused) as member:
                await with_first_members(given)
            with pytest.raises(StartRefused) as proxy:
                await first_peer_urls(given)
            return [*texts(member), *texts(proxy)]

    said = asyncio.run(run())
    key = "100: Key not found (/_etcd) [3]"
    assert said[0] == f"failed to join discovery cluster ({key})"
    assert said[-1] == key


@pytest.mark.usefixtures("names")
def test_a_cluster_out_of_dns() -> None:
    clusters = []
    for number in (1, 2, 3):
        given = settings(
            *("--name", f"m{number}", "--discovery-srv", "example.com"),
            peer_url=f"http://h{number}:2380",
        )
        found = asyncio.run(with_first_members(given))
        assert config.check_new_cluster(found, lambda host: host) is None
        assert found.initial_cluster_token == "etcd-cluster"
        founding = bootstrap.found(found.initial_cluster, "etcd-cluster", found.name)
        clusters.append(founding.identity.cluster_id)
    assert len(set(clusters)) == 1
    given = settings("--discovery-srv", "example.com", "--proxy", "on")
    assert asyncio.run(first_peer_urls(given)) == tuple(f"http://h{n}:2380" for n in (1, 2, 3))


@pytest.mark.usefixtures("names")
def test_dns_without_this_member_or_with_another_scheme() -> None:
    given = settings("--discovery-srv", "example.com", peer_url="http://10.0.0.9:2380")
    with pytest.raises(StartRefused) as refusal:
        asyncio.run(with_first_members(given))
    last = (
        'error setting up initial cluster: cannot find local etcd member "default" in SRV records'
    )
    assert texts(refusal) == [last]
    given = settings("--discovery-srv", "example.com", peer_url="https://h1:2380")
    found = asyncio.run(with_first_members(given))
    refused = config.check_new_cluster(found, lambda host: host)
    assert refused is not None
    assert refused.lines[0].text == (
        "--initial-cluster must include default=https://h1:2380 given "
        "--initial-advertise-peer-urls=https://h1:2380"
    )


def test_names_in_dns_that_make_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Names):
        async def services(self, name: str) -> list[Target]:
            return [Target("h1", 2380), Target("h2 x", 2380)]

    monkeypatch.setattr(srv, "SystemResolver", Odd)
    with pytest.raises(StartRefused) as refusal:
        asyncio.run(with_first_members(settings("--discovery-srv", "example.com")))
    assert texts(refusal)[0].startswith("error setting up initial cluster: parse ")
