"""Discovery with the programs of others: their members or service with ours, in every pairing."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import ETCD, KVRAFT, Cluster
from tests.integration.discovery import REFERENCE_SERVICE, Lab, Service, same_cluster

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


# In paths and answers, T stands for a token.
PATHS = """
    /new /new?size=5 /new?size=x /new?size=1.5 /new?size=%205 /new?size=+5 /new?size=&size=3
    /new?size=99999999999999999999 /new?size="a" /new?size=%00%ff /new?size=a%0ab /new?size=%c3%a9
    /new?size=;5 /new?size=%zz /health /robots.txt /robots.txt/ /metrics/ /new/ /New //new?size=x
    /a/../new?size=y /./new /new/.. /new/. /%2e%2e/new /%6eew?size=q /nope /T /T/ /T// /T/m
    /T/m/ /T/m/s /T/_config /T/_config/ /T/_config/size /T/_config/size/ /T/_config/x /t/T /T0
    /T?quorum=true /T?recursive=true&sorted=true /T/a%20b /T/a+b /T/a%2fb /T/%e4 /T/x?wait=maybe
    /T/x;y /T/a:b@c /T/<b> //<b> /a//<b>?x=<y>&z /v2/keys /version /%zz /T/.. /T/../new?size=z
""".split()
SIZES = ("size=5", "size=x", "size=1&size=x", "")
VALUES = ("value=1", "value=%zz", "ttl=x", "value=1&prevExist=false", "")
CASES = (
    *((method, path, None) for path in PATHS for method in ("GET", "POST", "PUT", "DELETE")),
    *((method, "/new?size=q", form) for form in SIZES for method in ("GET", "PATCH", "PUT")),
    *(("PUT", path, form) for form in VALUES for path in ("/T/k", "/T/k?prevExist=true")),
    *(("PUT", "/T", form) for form in ("value=1", "")),
)


def seen(service: Service, token: str, method: str, path: str, form: str | None) -> tuple[str, ...]:
    """What a client sees of an answer, without what differs from store to store."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=10)
    types = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, path.replace("/T", f"/{token}"), form, types)
    response = connection.getresponse()
    body = response.read().decode("latin-1").replace(token, "T").replace(service.url, "URL")
    connection.close()
    body = re.sub(r"[0-9a-f]{32}", "TOKEN", body)
    body = re.sub(r'ndex":[0-9]+', 'ndex":N', body)
    kind = response.headers.get("Content-Type", "") if body else ""
    where = response.headers.get("Location", "").replace(token, "T")
    return str(response.status), kind, where, body


@pytest.mark.refdiscovery
@pytest.mark.parametrize("store", [ETCD], indirect=True, ids=["etcd"])
@pytest.mark.realetcd
def test_the_pages_are_those_of_the_reference(lab: Lab, store: str) -> None:
    theirs = lab.service("-e", store, command=REFERENCE_SERVICE)
    ours = lab.service("--new-per-minute", "0", "--embedded", str(lab.directory / "ours"))
    tokens = {service: service.new(3)[-32:] for service in (theirs, ours)}
    different = {
        case: (reference, own)
        for case in CASES
        if (reference := seen(theirs, tokens[theirs], *case))
        != (own := seen(ours, tokens[ours], *case))
    }
    assert different == {}
