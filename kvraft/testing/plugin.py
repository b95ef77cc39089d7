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
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kvraft.testing.cluster import Cluster, Server


@pytest.fixture
def kvraft_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A server of its own for one test: a member in memory at a free port of this machine.

    See `kvraft.testing.Server`: `.url`, `.host`, `.port`, `.client()`, `.async_client()`, and
    `.advance(seconds)` for keys with a TTL.
    """
    with _imported(pytestconfig).Server() as server:
        yield server


@pytest.fixture
def kvraft_cluster(pytestconfig: pytest.Config) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters: `cluster = kvraft_cluster(3)`; three members if no number is given.

    See `kvraft.testing.Cluster` for what may be done to one. A test may make several; they end
    with it, in the opposite order.
    """
    cluster_class = _imported(pytestconfig).Cluster
    with contextlib.ExitStack() as stack:

        def make(size: int = 3, **options: Any) -> Cluster:
            cluster: Cluster = stack.enter_context(cluster_class(size, **options))
            return cluster

        yield make


@pytest.fixture(scope="session")
def kvraft_session_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """One server that the tests of a run share; each had better keep to keys of its own."""
    with _imported(pytestconfig).Server() as server:
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


def _imported(config: pytest.Config) -> Any:
    """`kvraft.testing.cluster`, imported as any program would.

    Pytest rewrites the assertions of all that comes with a plugin, which here is a whole server: it
    would take seconds, and the members would be slower.
    """
    rewriting: object = config.pluginmanager.rewrite_hook
    hooks = [finder for finder in sys.meta_path if finder is rewriting]
    for hook in hooks:
        sys.meta_path.remove(hook)
    try:
        return importlib.import_module("kvraft.testing.cluster")
    finally:
        sys.meta_path[:0] = hooks
