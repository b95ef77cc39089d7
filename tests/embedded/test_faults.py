"""Members in memory under faults: what was acknowledged stays, and no event is missed in silence.

The simulator and the campaigns on real processes look for faults of consensus; this looks for
those of what an embedded member has in its place: links, disk and direct calls.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Final

import pytest

from kvraft.client.errors import ClientError, DidNotHappen
from kvraft.client.model import Resync, WatchEvent
from kvraft.embedded.cluster import Cluster
from kvraft.embedded.errors import NodeStopped
from kvraft.embedded.node import Node
from tests.conftest import Run

FAULTS: Final = 12
WRITERS: Final = 4


class Campaign:
    """Writers, watchers and a source of faults on one cluster."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.acknowledged: dict[str, int] = {}  # key -> etcd index
        self.uncertain: set[str] = set()
        self.over = False
        self.last_index = 0  # of all events, once it is known

    async def write(self, writer: int) -> None:
        """Create one key after the other, each at any member that runs."""
        number = 0
        while not self.over:
            number += 1
            key = f"/keys/{writer}-{number}"
            node = self.rng.choice(self.cluster.nodes)
            try:
                async with asyncio.timeout(0.5):
                    result = await node.create(key, "x")
                self.acknowledged[key] = result.etcd_index
            except DidNotHappen:
                await asyncio.sleep(0.002)
            except (ClientError, TimeoutError):
                self.uncertain.add(key)
            await asyncio.sleep(0)

    async def watch(self, node: Node) -> list[WatchEvent]:
        """What one member tells, over all its lives; a resync stands for the events it replaces."""
        events: list[WatchEvent] = []
        watch = node.watch("/keys", recursive=True, after_index=0)
        while self.last_index == 0 or watch.index < self.last_index:
            try:
                async with asyncio.timeout(0.05):
                    item = await anext(watch)
            except TimeoutError:
                continue
            except NodeStopped:
                await asyncio.sleep(0.002)
                continue
            if isinstance(item, Resync):
                assert item.node is not None
                known = {event.key for event in events}
                events += [
                    WatchEvent("create", child, None, child.modified_index)
                    for child in sorted(item.node.nodes, key=lambda child: child.modified_index)
                    if child.key not in known
                ]
            else:
                events.append(item)
        return events

    async def faults(self) -> None:
        """Kill, isolate, cut one way; and mend all of it in between."""
        cluster, rng = self.cluster, self.rng
        for _ in range(FAULTS):
            await asyncio.sleep(rng.uniform(0.02, 0.1))
            node = rng.choice(cluster.nodes)
            kind = rng.choice(("kill", "isolate", "one way", "pause"))
            if kind == "kill":
                await cluster.kill(node)
            elif kind == "isolate":
                cluster.links.isolate(node)
            elif kind == "one way":
                other = rng.choice([other for other in cluster.nodes if other is not node])
                cluster.links.block(node, other, both=False)
            else:
                node.pause()
            await asyncio.sleep(rng.uniform(0.05, 0.3))
            cluster.links.heal()
            if kind == "kill":
                await cluster.restart(node)
            elif kind == "pause":
                await node.resume()
        async with asyncio.timeout(30):  # healthy again, it has to make progress
            while len(self.acknowledged) <= FAULTS:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        self.over = True


@pytest.mark.parametrize("snapshot_count", [30, 10_000])
def test_nothing_acknowledged_is_lost_and_no_event_missed(run: Run, snapshot_count: int) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")

    async def main() -> None:
        async with Cluster(3, sockets=False, snapshot_count=snapshot_count) as cluster:
            campaign = Campaign(cluster, random.Random(seed))
            watching = [asyncio.ensure_future(campaign.watch(node)) for node in cluster.nodes]
            writing = [asyncio.ensure_future(campaign.write(n)) for n in range(WRITERS)]
            await campaign.faults()
            await asyncio.gather(*writing)
            await cluster.wait_ready(10)
            tree = await cluster.leader().get("/keys", quorum=True)
            found = {node.key: node.created_index for node in tree.node.nodes}
            for key, index in campaign.acknowledged.items():
                assert found.get(key) == index, key
            assert set(found) <= set(campaign.acknowledged) | campaign.uncertain
            for node in cluster.nodes:
                await node.get("/", quorum=True)
            digests = {node.life.member.store.digest() for node in cluster.nodes}
            assert len(digests) == 1
            expected = sorted(found.items(), key=lambda pair: pair[1])
            campaign.last_index = expected[-1][1]
            for events in await asyncio.wait_for(asyncio.gather(*watching), 30):
                assert [(event.key, event.index) for event in events] == expected

    run(main())
