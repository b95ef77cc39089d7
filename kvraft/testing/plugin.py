"""The fixtures that pytest finds by itself where kvraft is installed.

    def test_greeting(kvraft_server):
        with kvraft_server.client() as client:
            client.set("/greeting", "hello")
        assert requests.get(f"{kvraft_server.url}/v2/keys/greeting").ok

    def test_failover(kvraft_cluster):
        cluster = kvraft_cluster(3)
        killed = cluster.kill_leader()
        assert cluster.wait_leader() != killed

`kvraft_server` and `kvraft_cluster` are new for every test and live in memory; nothing of them is
left when the test is over, however it ends. `kvraft_session_server` is one server for the whole run
(with xdist: of one worker), and `kvraft_directory` a directory of its own on it for each test.

It is imported with every run of pytest, also of projects that do not use it: nothing of kvraft but
its name may be imported before a fixture is asked for.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kvraft.testing.cluster import Cluster, Server


@pytest.fixture
def kvraft_server() -> Iterator[Server]:
    """A server of its own for one test: a member in memory at a free port of this machine.

    See `kvraft.testing.Server`: `.url`, `.host`, `.port`, `.client()`, `.async_client()`, and
    `.advance(seconds)` for keys with a TTL.
    """
    from kvraft.testing.cluster import Server

    with Server() as server:
        yield server


@pytest.fixture
def kvraft_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes clusters: `cluster = kvraft_cluster(3)`; three members if no number is given.

    See `kvraft.testing.Cluster` for what may be done to one. A test may make several; they end
    with it, in the opposite order.
    """
    from kvraft.testing.cluster import Cluster

    with contextlib.ExitStack() as stack:

        def make(size: int = 3, **options: Any) -> Cluster:
            return stack.enter_context(Cluster(size, **options))

        yield make


@pytest.fixture(scope="session")
def kvraft_session_server() -> Iterator[Server]:
    """One server that the tests of a run share; each had better keep to keys of its own."""
    from kvraft.testing.cluster import Server

    with Server() as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def kvraft_directory(kvraft_session_server: Server) -> Iterator[str]:
    """A directory on `kvraft_session_server` for one test, such as "/test-1"; gone afterwards."""
    from kvraft.client.errors import KeyNotFound

    directory = f"/test-{next(_numbers)}"
    client = kvraft_session_server.shared_client
    client.make_dir(directory)
    yield directory
    with contextlib.suppress(KeyNotFound):
        client.delete(directory, recursive=True)
