"""Real members find each other by a token of a real service, or do not, and say why."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, call, free_ports, wait_until
from kvraft.server import ids
from tests.integration.discovery import SERVICE, Lab, Service, same_cluster

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One complete service of ours for the tests that do not hurt it: each has its own token."""
    with Lab(tmp_path_factory.mktemp("service")) as made:
        yield made.service()


# --- members of ours --------------------------------------------------------------------


def test_three_members_by_a_token(lab: Lab, service: Service) -> None:
    url = service.new(3)
    members = [lab.member(url) for _ in range(3)]
    found = same_cluster(members)
    own = [ids.member_id([member.peer_url], url) for member in members]
    assert found == ids.format_id(ids.cluster_id(own))
    for member in members:
        text = member.log_text()
        assert f"I | etcdserver: discovery URL= {url}\n" in text
        assert f"I | etcdserver: initial cluster = {member.initial_cluster}\n" in text
        assert "N | discovery: found 3 needed peer(s)\n" in text
        bound = text.index("listening for peers on")
        assert bound < text.index("N | discovery: found self")

    # a restart needs no service, and says so
    follower = members[2]
    follower.terminate()
    follower.source = ("--discovery", url.replace("127.0.0.1", "127.0.0.9"))
    follower.start()
    follower.wait_ready()
    ignored = "discovery token ignored since a cluster has already been initialized."
    text = follower.log_text()
    assert f'{ignored} Valid log found at "{follower.data_dir}/member/wal"\n' in text
    assert "the server is already initialized as member before, starting as etcd member" in text


def test_more_members_than_places(lab: Lab, service: Service) -> None:
    """Of four that start at once two form the cluster, one gives up, one serves as a proxy."""
    url = service.new(2)
    members = [lab.member(url) for _ in range(2)]
    same_cluster(members)
    late = lab.member(url, "--discovery-fallback", "exit")
    assert late.wait_end() == 1
    assert late.log_text().endswith(
        f"I | etcdmain: discovery token {url} was used, but failed to bootstrap the cluster.\n"
        + late.log_text().splitlines()[-1]
        + "\n"
    )
    assert "E | etcdmain: failed to join discovery cluster (discovery: cluster is full)" in (
        late.log_text()
    )
    proxy = lab.member(url)
    path = "/v2/keys/through-the-proxy"

    def serves() -> bool:
        return call(proxy.client_url, "PUT", path, {"value": "x"}, 2).status in (200, 201)

    wait_until("the proxy serves", serves)
    assert call(members[0].client_url, "GET", f"{path}?quorum=true").body["node"]["value"] == "x"
    text = proxy.log_text()
    assert "N | etcdmain: discovery cluster full, falling back to proxy\n" in text
    peers = " ".join(sorted(member.peer_url for member in members))
    assert f"proxy: using peer urls [{peers}]" in text
    assert not (proxy.data_dir / "member").exists()

    # it stays a proxy, without asking the service
    proxy.terminate()
    proxy.source = ("--discovery", "http://127.0.0.1:1/nowhere")
    proxy.start()
    wait_until("the proxy serves again", serves)
    assert "discovery token ignored since the proxy has already been initialized." in (
        proxy.log_text()
    )


@pytest.mark.slow
def test_four_at_once_for_two_places(lab: Lab, service: Service) -> None:
    url = service.new(2)
    members = [lab.member(url, "--discovery-fallback", "exit") for _ in range(4)]

    def two_have_ended() -> bool:
        return sum(not member.running for member in members) == 2

    wait_until("two of four end", two_have_ended)
    losers = [member for member in members if not member.running]
    assert [loser.wait_end() for loser in losers] == [1, 1]
    same_cluster([member for member in members if member not in losers])


def test_a_proxy_that_never_was_a_member(lab: Lab, service: Service) -> None:
    url = service.new(1)
    proxy = lab.member(url, "--proxy", "on")
    member = lab.member(url)
    same_cluster([member])

    def serves() -> bool:
        return call(proxy.client_url, "GET", "/v2/keys/k", timeout_s=2).status == 200

    wait_until("the proxy serves", serves)
    registered = call(url, "GET", url.removeprefix(service.url)).body["node"]["nodes"]
    assert len(registered) == 1
    unknown = lab.member(f"{service.url}/{'0' * 32}", "--proxy", "on")
    assert unknown.wait_end() == 1
    assert "C | etcdmain: 100: Key not found (/_etcd/registry/0000" in unknown.log_text()


def test_a_lost_data_directory(lab: Lab, service: Service) -> None:
    url = service.new(2)
    first, second = lab.member(url), lab.member(url)
    same_cluster([first, second])
    second.kill()
    second.data_dir.rename(lab.directory / "elsewhere")
    second.start()
    assert second.wait_end() == 1
    text = second.log_text()
    token = f"discovery service token ({url})."
    assert f'E | etcdmain: member "{second.name}" has previously registered with {token}' in text
    where = f"in the given data dir ({second.data_dir})."
    assert f"E | etcdmain: But etcd could not find valid cluster configuration {where}" in text
    assert not (second.data_dir / "member").exists()


def test_a_taken_address_is_noticed_before_anything_is_registered(
    lab: Lab, service: Service
) -> None:
    url = service.new(2)
    port = int(service.url.rpartition(":")[2])
    member = lab.member(url, "--listen-client-urls", f"http://127.0.0.1:{port}")
    assert member.wait_end() == 1
    listing = call(service.url, "GET", url.removeprefix(service.url)).body["node"]
    assert "nodes" not in listing


@pytest.mark.slow
def test_a_service_that_comes_late_and_goes(lab: Lab) -> None:
    """Down at first, killed while a member waits, gone when the cluster serves."""
    made = lab.service()
    url = made.new(2)
    assert made.stop() == -signal.SIGTERM
    first = lab.member(url)
    retry = f"error connecting to {made.url}, retrying in 2s"

    def complains() -> bool:
        return f"I | discovery: cluster status check: {retry}" in first.log_text()

    wait_until("the member finds nobody", complains)
    made.start()
    waiting = "N | discovery: found 1 peer(s), waiting for 1 more"
    wait_until("the member waits", lambda: waiting in first.log_text())
    made.stop(kill=True)
    wait_until(
        "the member is cut off",
        lambda: "I | discovery: waiting for other nodes: error" in first.log_text(),
    )
    made.start()
    same_cluster([first, lab.member(url)])


def test_a_member_can_be_stopped_while_it_waits(lab: Lab, service: Service) -> None:
    member = lab.member(service.new(2))
    waiting = "found 1 peer(s), waiting for 1 more"
    wait_until("the member waits", lambda: waiting in member.log_text())
    assert member.terminate() == -signal.SIGTERM


def test_without_any_service(lab: Lab, start_single: Cluster) -> None:
    """Any key of a v2 server can be a token: `/v2/keys/discovery/<token>`."""
    store = start_single.members[0].client_url
    path = "/v2/keys/discovery/6c007a14875d53d9bf0ef5a6fc0257c817f0fb83"
    call(store, "PUT", f"{path}/_config/size", {"value": "2"})
    same_cluster([lab.member(store + path) for _ in range(2)])


@pytest.fixture
def start_single(tmp_path: Path) -> Iterator[Cluster]:
    """A store for the tokens: one member of ours."""
    directory = tmp_path / "store"
    directory.mkdir()
    with Cluster(KVRAFT, 1, directory) as running:
        yield running.start()


def test_existing_and_discovery_exclude_each_other(lab: Lab, service: Service) -> None:
    member = lab.member(service.new(1), "--initial-cluster-state", "existing")
    assert member.wait_end() == 1
    assert (
        "C | etcdmain: discovery URL should not be set when joining existing initial cluster\n"
        in member.log_text()
    )


def test_dns_that_knows_nothing(lab: Lab) -> None:
    member = lab.member("", "--discovery-srv", "kvraft.invalid")
    assert member.wait_end(30) == 1
    text = member.log_text()
    query = "error querying DNS SRV records for _etcd-server-ssl lookup _etcd-server-ssl._tcp."
    assert f"W | discovery: {query}kvraft.invalid" in text
    last = "C | etcdmain: error setting up initial cluster: lookup _etcd-server._tcp.kvraft.invalid"
    assert last in text


# --- the service --------------------------------------------------------------------------


def test_the_service_over_a_cluster(lab: Lab, start_single: Cluster) -> None:
    made = lab.service("--etcd", start_single.members[0].client_url)
    url = made.new(2)
    same_cluster([lab.member(url) for _ in range(2)])
    start_single.kill()
    assert call(made.url, "GET", url.removeprefix(made.url)).status == 500
    assert call(made.url, "GET", "/new").body == b"Unable to generate token\n"
    assert call(made.url, "GET", "/health").status == 400


def test_the_tokens_survive_and_can_be_read_as_keys(lab: Lab) -> None:
    port = free_ports(1)[0]
    data, client_url = str(lab.directory / "data"), f"http://127.0.0.1:{port}"
    made = lab.service("--embedded", data, "--client-url", client_url)
    url = made.new(5)
    path = f"{url.removeprefix(made.url)}/_config/size"
    assert made.stop() == -signal.SIGTERM
    made.start()
    assert call(made.url, "GET", path).body["node"]["value"] == "5"
    key = call(client_url, "GET", f"/v2/keys/_etcd/registry{path}").body["node"]["key"]
    assert key == f"/_etcd/registry{path}"
    assert f"curl -w '\\n' '{made.url}/new?size=3'" in made.log_text()


def test_a_service_that_cannot_listen(lab: Lab, service: Service, tmp_path: Path) -> None:
    port = int(service.url.rpartition(":")[2])
    made = Service([*SERVICE, "--embedded", str(tmp_path / "d")], tmp_path / "log", port)
    lab.services.append(made)
    assert made.run() == 1
    assert "C | discovery: " in made.log_text()
    assert "address already in use" in made.log_text()
