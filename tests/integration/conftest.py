"""Clusters of real processes. When a test fails, the ends of their logs are part of its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster

StartCluster = Callable[[int], Cluster]


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Starts a cluster of so many members; the test may stop and start them as it likes."""
    started: list[Cluster] = []

    def start(size: int) -> Cluster:
        directory = tmp_path / f"cluster{len(started)}"
        directory.mkdir()
        cluster = Cluster(KVRAFT, size, directory)
        started.append(cluster)
        return cluster.start()

    yield start
    for cluster in started:
        print(cluster.logs())
        cluster.kill()
