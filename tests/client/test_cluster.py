"""The client and a cluster of three: members fail, with TLS and without."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, Member
from kvraft import Client, Resync
from kvraft.client.errors import DidNotHappen, OutcomeUnknown
from kvraft.client.watcher import Watch
from tests.integration.test_tls import flags
from tests.transport.authority import Authority

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Each test leaves it complete."""
    with Cluster(KVRAFT, 3, tmp_path_factory.mktemp("cluster")) as running:
        yield running.start()
        print(running.logs())


def urls(cluster: Cluster) -> list[str]:
    return [member.client_url for member in cluster.members]


async def write(client: Client, done: asyncio.Event) -> tuple[set[str], set[str]]:
    """Write one value after the other; those that are known to be written, and the doubtful."""
    written, doubtful = set(), set()
    number = 0
    while not done.is_set():
        number += 1
        try:
            await client.set(f"/w/{number % 5}", str(number))
            written.add(str(number))
        except OutcomeUnknown:
            doubtful.add(str(number))
        except DidNotHappen:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.002)
    await client.set("/w/end", "end")
    return written, doubtful


async def read(watch: Watch) -> list[str]:
    """All values up to the last; their indices rise."""
    values, index = [], watch.index
    async for event in watch:
        assert not isinstance(event, Resync), event
        assert event.index > index
        index = event.index
        assert event.value is not None
        if event.value == "end":
            break
        values.append(event.value)
    return values


def test_members_fail_under_a_watch(cluster: Cluster) -> None:
    """The leader is killed and comes back; then a follower is stopped and goes on."""

    async def main() -> None:
        done = asyncio.Event()
        writer, reader = Client(urls(cluster)), Client(urls(cluster))
        async with writer, reader, reader.watch("/w", recursive=True) as watch:
            writing = asyncio.create_task(write(writer, done))
            reading = asyncio.create_task(read(watch))
            await asyncio.sleep(0.5)
            for act, undo in ((Member.kill, Member.start), (pause, resume)):
                victim = await asyncio.to_thread(cluster.leader)
                act(victim)
                await asyncio.sleep(2)
                undo(victim)
                await asyncio.to_thread(cluster.wait_ready)
            done.set()
            written, doubtful = await writing
            values = await asyncio.wait_for(reading, 60)
        assert len(written) > 100
        assert len(values) == len(set(values))
        assert written <= set(values) <= written | doubtful
        assert values == sorted(values, key=int)

    asyncio.run(main())


def pause(member: Member) -> None:
    assert member.process is not None
    member.process.send_signal(signal.SIGSTOP)


def resume(member: Member) -> None:
    assert member.process is not None
    member.process.send_signal(signal.SIGCONT)


def test_endpoints_from_the_members(cluster: Cluster) -> None:
    """One address is enough to find the others, and to go on without the first."""

    async def main() -> None:
        first = cluster.members[0]
        async with Client(first.client_url, sync_endpoints=True) as client:
            await client.set("/a", "1")
            assert sorted(client.endpoints) == sorted(urls(cluster))
            await asyncio.to_thread(first.kill)
            for _ in range(10):
                assert (await client.get("/a", quorum=True)).value == "1"
            leader = await client.leader()
            assert leader is not None
            assert (await client.leader_stats())["leader"] == leader.id

    asyncio.run(main())
    cluster.members[0].start()
    cluster.wait_ready()


def test_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("somebody")
    with Cluster(KVRAFT, 1, tmp_path) as cluster:
        member = cluster.members[0]
        member.client_url = member.client_url.replace("http:", "https:")
        member.extra_flags = flags(authority.issue("server"))
        member.context = authority.context(files)
        cluster.start()

        async def main() -> None:
            url = member.client_url
            by_files = Client(
                url,
                ca_file=str(authority.file),
                cert_file=files.cert_file,
                key_file=files.key_file,
            )
            async with by_files as client:
                assert (await client.set("/a", "1")).created
                async with client.watch("/a") as events:
                    await client.set("/a", "2")
                    assert (await anext(events)).index == (await client.get("/a")).etcd_index
            # The server says why it ends the connection; so it is certain that nothing was done.
            async with Client(url, ca_file=str(authority.file)) as client:
                with pytest.raises(DidNotHappen, match=r"(?i)certificate"):
                    await client.set("/a", "3")
            async with Client(url) as client:
                with pytest.raises(DidNotHappen, match="certificate is not good"):
                    await client.set("/a", "3")

        asyncio.run(main())
