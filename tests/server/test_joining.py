"""What a member asks before it takes part: answers of peers, good and bad, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest

from benchmarks.members import free_ports
from kvraft.api.service import MemberInfo
from kvraft.server import joining
from kvraft.server.joining import JoinError, RemoteCluster, RemovedError
from kvraft.transport.handshake import ACCEPTANCE

CLUSTER = 0xC1
OWN_URL = "http://127.0.0.1:1"


class FakePeer:
    """A peer port that says what it is told to say."""

    def __init__(self) -> None:
        self.members: list[dict[str, object]] = []
        self.version = "2.3.0"
        self.stream = ACCEPTANCE
        self.callers: list[str] = []
        self.silent = False
        self.raw: bytes | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self.silent:
                    await reader.read()
                    break
                writer.write(self.answer(head.split()[1]))
                await writer.drain()
        writer.close()

    def answer(self, path: bytes) -> bytes:
        if path == b"/raft/stream":
            return self.stream
        document: object = {"etcdserver": "2.3.8", "etcdcluster": self.version}
        if path == b"/members":
            document = self.members
        elif path == joining.CALLERS_PATH.encode():
            document = {"callers": self.callers}
        body = self.raw if self.raw is not None else json.dumps(document).encode()
        return (
            b"HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: c1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )


@contextlib.asynccontextmanager
async def listening(peer: FakePeer) -> AsyncIterator[str]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    peer.members = [
        {"id": 5, "peerURLs": [url], "name": "a", "clientURLs": ["http://a:2"]},
        {"id": 2**63, "peerURLs": [OWN_URL]},
    ]
    try:
        yield url
    finally:
        server.close()
        await asyncio.sleep(0.01)


def with_peer(work: Callable[[FakePeer, str], Awaitable[None]]) -> None:
    async def main() -> None:
        peer = FakePeer()
        async with listening(peer) as url:
            await work(peer, url)

    asyncio.run(main())


def flags(url: str) -> Mapping[str, tuple[str, ...]]:
    return {"a": (url,), "own": (OWN_URL,)}


def test_a_member_takes_its_id_from_the_others() -> None:
    async def work(peer: FakePeer, url: str) -> None:
        (down,) = free_ports(1)
        peer.members.append({"id": 7, "peerURLs": [f"http://127.0.0.1:{down}"]})
        cluster = {**flags(url), "b": (f"http://127.0.0.1:{down}",)}
        joined = await joining.join(cluster, "own", None)
        assert joined.identity == (2**63, CLUSTER)
        assert [member.id for member in joined.members] == [5, 7, 2**63]

    with_peer(work)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda peer: peer.members.pop(), "member count is unequal"),
        (
            lambda peer: peer.members[1].update(peerURLs=["http://127.0.0.1:2"]),
            "unmatched member while checking PeerURLs",
        ),
        (
            lambda peer: peer.members[1].update(clientURLs=["http://x:1"]),
            "member 8000000000000000 has already been bootstrapped",
        ),
        (
            lambda peer: setattr(peer, "version", "2.4.0"),
            "incomptible with current running cluster",
        ),
        (lambda peer: setattr(peer, "version", "2.1.0"), "incomptible"),
        (lambda peer: setattr(peer, "version", "not_decided"), "incomptible"),
        (
            lambda peer: setattr(
                peer, "stream", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            ),
            "cannot be added to a cluster of etcd members",
        ),
        (lambda peer: setattr(peer, "raw", b"{}"), "could not retrieve cluster information"),
        (lambda peer: setattr(peer, "raw", b"no JSON"), "could not retrieve cluster information"),
        (lambda peer: setattr(peer, "raw", b"[" * 10_000), "could not retrieve cluster"),
    ],
)
def test_why_not(change: Callable[[FakePeer], object], text: str) -> None:
    async def work(peer: FakePeer, url: str) -> None:
        change(peer)
        with pytest.raises(JoinError, match=text):
            await joining.join(flags(url), "own", None)

    with_peer(work)


def test_a_removed_member_is_told_so() -> None:
    async def work(peer: FakePeer, url: str) -> None:
        peer.stream = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(RemovedError):
            await joining.join(flags(url), "own", None)

    with_peer(work)


def test_of_two_peers_the_one_that_knows_of_it_counts() -> None:
    async def main() -> None:
        peers = FakePeer(), FakePeer()
        async with listening(peers[0]) as one, listening(peers[1]) as two:
            known = [{"id": 5, "peerURLs": [one]}, {"id": 6, "peerURLs": [two]}]
            cluster = {"a": (one,), "b": (two,), "own": (OWN_URL,)}
            for behind, ahead in (peers, peers[::-1]):
                behind.members = [*known]
                ahead.members = [*known, {"id": 7, "peerURLs": [OWN_URL]}]
                assert (await joining.join(cluster, "own", None)).identity == (7, CLUSTER)

    asyncio.run(main())


def test_a_member_that_has_read_nothing_asks_again_whom_to_dial() -> None:
    async def work(peer: FakePeer, url: str) -> None:
        del peer.members[1]  # it has been removed, and can only be told if it calls
        found = await joining.known_again(flags(url), "own", CLUSTER, None)
        assert found == (MemberInfo(5, "a", (url,), ("http://a:2",)),)
        assert await joining.known_again(flags(url), "own", CLUSTER + 1, None) == ()
        assert await joining.known_again({"own": (OWN_URL,)}, "own", CLUSTER, None) == ()

    with_peer(work)


def test_the_refusal_shows_what_the_cluster_looks_like() -> None:
    members = (
        MemberInfo(0xAB, "a", ("http://a:1", "http://a:3"), ("http://a:2",)),
        MemberInfo(0xCD, "", ("http://b:1",), ()),
    )
    with pytest.raises(JoinError) as raised:
        joining._match({"x": ("http://x:1",)}, "x", RemoteCluster(CLUSTER, members, None), str)
    assert str(raised.value) == (
        "error validating peerURLs {ClusterID:c1 Members:[&{ID:ab RaftAttributes:{PeerURLs:"
        "[http://a:1 http://a:3]} Attributes:{Name:a ClientURLs:[http://a:2]}} &{ID:cd "
        "RaftAttributes:{PeerURLs:[http://b:1]} Attributes:{Name: ClientURLs:[]}}] "
        "RemovedMemberIDs:[]}: member count is unequal"
    )


def test_the_probe_of_a_founder() -> None:
    async def work(peer: FakePeer, url: str) -> None:
        (down,) = free_ports(1)
        urls = [f"http://127.0.0.1:{down}", url]
        assert await joining.already_bootstrapped(5, urls, 5, None)
        assert not await joining.already_bootstrapped(2**63, urls, 5, None), "never started"
        assert not await joining.already_bootstrapped(99, urls, 5, None)

    with_peer(work)


def test_one_peer_that_has_seen_the_founder_is_enough() -> None:
    """Its record may not say so yet, and another peer may not have heard of it."""

    async def work(peer: FakePeer, url: str) -> None:
        behind = FakePeer()
        async with listening(behind) as other:
            peer.callers = [f"{2**63:x}"]
            assert await joining.already_bootstrapped(2**63, [url, other], 5, None)
            peer.callers = ["63"]  # 99 in figures of 16, who is no member
            assert not await joining.already_bootstrapped(99, [url, other], 5, None)

    with_peer(work)


def test_peers_that_are_down_cost_nothing() -> None:
    async def main() -> None:
        urls = [f"http://127.0.0.1:{port}" for port in free_ports(4)]
        began = time.monotonic()
        assert not await joining.already_bootstrapped(5, urls, 60, None)
        assert time.monotonic() - began < 5

    asyncio.run(main())


def test_silent_peers_cost_no_more_than_allowed() -> None:
    async def work(peer: FakePeer, url: str) -> None:
        peer.silent = True
        assert not await joining.already_bootstrapped(5, [url], 0.05, None)
        with pytest.raises(JoinError):
            await joining.fetch_members([url], 0.05, None)

    with_peer(work)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [1],
        [{}],
        [{"id": 0}],
        [{"id": 2**64}],
        [{"id": True}],
        [{"id": "5"}],
        [{"id": 5, "name": 1}],
        [{"id": 5, "peerURLs": "http://a:1"}],
        [{"id": 5, "peerURLs": ["nonsense"]}],
        [{"id": 5, "clientURLs": [1]}],
    ],
)
def test_lists_that_are_none(document: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        joining.read_members(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "version"),
    [
        ({"etcdcluster": "2.3.0"}, "2.3.0"),
        ({"etcdcluster": "not_decided"}, None),
        ({"etcdcluster": 1}, None),
        ({}, None),
    ],
)
def test_versions(document: object, version: str | None) -> None:
    assert joining.read_version(json.dumps(document).encode()) == version
