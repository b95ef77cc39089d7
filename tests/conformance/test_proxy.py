"""Replays the recorded cases of the keys API through a proxy: nobody should notice it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.members import Cluster, Member
from tests.conformance.test_keys import replay_on_clusters
from tests.integration.test_proxy import Proxy, initial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_proxy_answers_as_recorded(tmp_path: Path) -> None:
    proxies: list[Proxy] = []

    def proxied(cluster: Cluster) -> Member:
        member = cluster.members[0]
        proxy = Proxy(member.data_dir.parent, initial(cluster))
        proxies.append(proxy)
        proxy.start()
        proxy.wait_ready()
        return proxy

    try:
        replay_on_clusters(1, proxied, tmp_path)
    finally:
        for proxy in proxies:
            proxy.kill()
