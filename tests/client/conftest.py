"""Servers for the tests of a whole client: the same tests run against kvraft and a real etcd."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from benchmarks.members import ETCD, KVRAFT, Cluster

_numbers = itertools.count()


@pytest.fixture(
    scope="session", params=["kvraft", pytest.param("etcd", marks=pytest.mark.realetcd)]
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster of one that lives as long as the run; each test uses a directory of its own."""
    command = KVRAFT if request.param == "kvraft" else ETCD
    with Cluster(command, 1, tmp_path_factory.mktemp(request.param)) as cluster:
        yield cluster.start()
        print(cluster.logs())


@pytest.fixture
def url(server: Cluster) -> str:
    """Where the server listens."""
    return server.members[0].client_url


@pytest.fixture
def root() -> str:
    """A directory that no other test uses."""
    return f"/test{next(_numbers)}"
