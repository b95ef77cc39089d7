"""Discovery with the programs of others: their members or service with ours, in every pairing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import ETCD, KVRAFT, Cluster
from tests.integration.discovery import REFERENCE_SERVICE, Lab, same_cluster

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The client URL of a single member of ours, or of whoever the test names."""
    directory = tmp_path / "store"
    directory.mkdir()
    with Cluster(getattr(request, "param", KVRAFT), 1, directory) as running:
        yield running.start().members[0].client_url


@pytest.mark.realetcd
def test_real_members_through_our_service(lab: Lab) -> None:
    url = lab.service().new(3)
    same_cluster([lab.member(url, command=ETCD) for _ in range(3)])


@pytest.mark.realetcd
@pytest.mark.parametrize("store", [ETCD], indirect=True, ids=["etcd"])
def test_our_service_over_a_real_store(lab: Lab, store: str) -> None:
    url = lab.service("--etcd", store).new(2)
    same_cluster([lab.member(url) for _ in range(2)])


@pytest.mark.refdiscovery
def test_the_reference_service_over_our_store(lab: Lab, store: str) -> None:
    url = lab.service("-e", store, command=REFERENCE_SERVICE).new(3)
    same_cluster([lab.member(url) for _ in range(3)])
    late = lab.member(url, "--discovery-fallback", "exit")
    assert late.wait_end() == 1


@pytest.mark.refdiscovery
@pytest.mark.realetcd
@pytest.mark.parametrize("store", [ETCD], indirect=True, ids=["etcd"])
def test_the_reference_service_over_a_real_store(lab: Lab, store: str) -> None:
    url = lab.service("-e", store, command=REFERENCE_SERVICE).new(2)
    same_cluster([lab.member(url) for _ in range(2)])


@pytest.mark.refdiscovery
@pytest.mark.realetcd
def test_real_members_through_the_reference_service_over_our_store(lab: Lab, store: str) -> None:
    url = lab.service("-e", store, command=REFERENCE_SERVICE).new(2)
    same_cluster([lab.member(url, command=ETCD) for _ in range(2)])
