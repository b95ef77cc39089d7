"""The commands that `kvraft dev` takes, on a cluster."""

from __future__ import annotations

import pytest

from kvraft.dev.console import COMMANDS, execute, status_text
from kvraft.testing.control import AsyncCluster

pytestmark = pytest.mark.asyncio


async def test_a_tour() -> None:
    async with AsyncCluster(3) as cluster, cluster.client() as client:

        async def say(line: str) -> str:
            return await execute(cluster, line)

        first = await cluster.wait_leader()
        assert f"{first}  {cluster.url(first)}    leader     term 2, index " in await say("status")
        assert await say("kill") == (
            f'{first} is dead, as after kill -9; "start {first}" brings it back.'
        )
        assert "stopped" in await say("status")
        assert "Nobody leads" in await say("status")
        second = await cluster.wait_leader()
        assert await say(f"start {first}") == f"{first} is back at {cluster.url(first)}."
        await cluster.wait_leader()
        assert await say(f"stop {first}") == f'{first} has stopped; "start {first}" brings it back.'
        await say(f"start {first}")
        assert await say(f"pause {second}") == (
            f'{second} stands still, as after SIGSTOP; "resume {second}" lets it go on.'
        )
        assert f"{second}  {cluster.url(second)}    paused " in status_text(cluster)
        assert await say("resume") == f"{second} goes on."
        assert await say("resume") == "Nobody was paused."
        await say("pause m1")
        await say("pause m2")
        assert await say("resume") == "m1, m2 go on."
        await cluster.wait_leader()
        assert await say("partition m1") == (
            'Cut: m1 | m2 m3; clients still reach every member. "heal" joins them again.'
        )
        assert (await say("partition m1,m2 m3")).startswith("Cut: m1 m2 | m3;")
        await cluster.wait_leader()
        assert "Cut: " in await say("partition")
        assert await say("heal") == "All members reach each other."
        await cluster.wait_leader()
        await client.set("/a", "1", ttl=30)
        assert await say("advance 30") == "30 seconds have passed for keys with a TTL."
        assert (await client.get("/", quorum=True)).node.nodes == ()


async def test_what_is_not_understood() -> None:
    async with AsyncCluster(1) as cluster:
        for line, answer in (
            ("", ""),
            ("   ", ""),
            ("explode", 'There is no command "explode"; "help" lists them.'),
            ("stop", "A word is missing. Usage: stop MEMBER"),
            ("start m1 m2", "'m2' is one word too many. Usage: start MEMBER"),
            ("heal all", "'all' is one word too many. Usage: heal"),
            ("advance soon", "'soon' is not a number of seconds. Usage: advance SECONDS"),
            ("advance -1", "time cannot be advanced by -1 seconds"),
            ("stop m2", "there is no member 'm2'; there are m1"),
            ("start m1", "m1 runs already"),
            ("partition m1,m1", "a member can be in one group only"),
        ):
            assert await execute(cluster, line) == answer, line


async def test_help_names_every_command() -> None:
    async with AsyncCluster(1) as cluster:
        lines = (await execute(cluster, "help")).splitlines()
    assert [line.split()[0] for line in lines] == [*COMMANDS, "quit"]
    assert all(len(line) <= 100 for line in lines)
