"""A proxy as users meet it: a process in front of real members, ours and those of etcd."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.members import ETCD, KVRAFT, Answer, Cluster, Member, call, free_ports, wait_until
from tests.integration import ctl

pytestmark = pytest.mark.timeout(120)

FLAVOURS = [
    pytest.param(KVRAFT, id="kvraft"),
    pytest.param(ETCD, id="etcd", marks=pytest.mark.realetcd),
]


class Proxy(Member):
    """A proxy process; it looks for the members at the peer URLs of `initial_cluster`."""

    def __init__(self, directory: Path, initial_cluster: str, *flags: str) -> None:
        port = free_ports(1)[0]
        super().__init__(KVRAFT, "proxy", directory, (port, port))
        self.initial_cluster = initial_cluster
        self.extra_flags = flags

    def arguments(self) -> list[str]:
        return [
            *self.command,
            *("--name", self.name),
            *("--data-dir", str(self.data_dir)),
            *("--listen-client-urls", self.client_url),
            *("--initial-cluster", self.initial_cluster),
            *("--proxy", "on"),
            *self.extra_flags,
        ]

    def ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended by itself:\n{self.log_tail()}")
        return bool(self.endpoints())

    def endpoints(self) -> list[str]:
        found = call(self.client_url, "GET", "/v2/config/local/proxy", timeout_s=2)
        return list(found.body["endpoints"])


StartProxy = Callable[..., Proxy]


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    started: list[Proxy] = []

    def start(initial_cluster: str, *flags: str) -> Proxy:
        directory = tmp_path / f"proxy{len(started)}"
        directory.mkdir()
        proxy = Proxy(directory, initial_cluster, *flags)
        started.append(proxy)
        proxy.start()
        proxy.wait_ready()
        return proxy

    yield start
    for proxy in started:
        print(proxy.log_tail())
        if proxy.process is not None:
            proxy.kill()


@pytest.fixture(scope="module", params=FLAVOURS)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three members, ours and then etcd's, that these tests share; none of them is stopped."""
    command: Sequence[str] = request.param
    with Cluster(command, 3, tmp_path_factory.mktemp("members")) as running:
        yield running.start()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three members of ours that the test may stop."""
    with Cluster(KVRAFT, 3, tmp_path) as running:
        yield running.start()


def initial(cluster: Cluster) -> str:
    return cluster.members[0].initial_cluster


def put(url: str, key: str, value: str) -> Answer:
    return call(url, "PUT", f"/v2/keys/{key}", {"value": value})


def value_of(url: str, key: str) -> str | None:
    answer = call(url, "GET", f"/v2/keys/{key}")
    return str(answer.body["node"]["value"]) if answer.status == 200 else None


class Watch:
    """A watch through a proxy, whose answer is read as it comes."""

    def __init__(self, url: str, path: str) -> None:
        target = urllib.parse.urlsplit(url)
        assert target.hostname is not None
        self.connection = http.client.HTTPConnection(target.hostname, target.port, timeout=20)
        self.connection.request("GET", path)
        self.response = self.connection.getresponse()  # returns as soon as the head is there

    def event(self) -> dict[str, object]:
        """The next event; in a stream each has a line of its own."""
        line = self.response.readline()
        assert line, "the watch has ended"
        document = json.loads(line)
        assert isinstance(document, dict)
        return document

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def test_members_serve_through_it(cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(cluster))
    urls = sorted(member.client_url for member in cluster.members)
    assert sorted(proxy.endpoints()) == urls

    created = put(proxy.client_url, "served", "1")
    assert (created.status, created.body["action"]) == (201, "set")
    assert "x-etcd-index" in created.headers
    wait_until("every member has it", lambda: {value_of(url, "served") for url in urls} == {"1"})
    assert value_of(proxy.client_url, "served") == "1"
    missing = call(proxy.client_url, "GET", "/v2/keys/missing")
    assert (missing.status, missing.body["errorCode"]) == (404, 100)
    deleted = call(proxy.client_url, "DELETE", "/v2/keys/served")
    assert deleted.body["prevNode"]["value"] == "1"

    for path in ("/version", "/v2/machines", "/v2/members", "/health", "/v2/stats/store"):
        assert call(proxy.client_url, "GET", path).status == 200
    metrics = call(proxy.client_url, "GET", "/metrics").body.decode()
    assert 'etcd_proxy_handled_total{code="201",method="PUT"} 1.0' in metrics


def test_a_watch_begins_before_there_is_an_event(cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(cluster))
    watch = Watch(proxy.client_url, "/v2/keys/watched?wait=true")
    assert watch.response.status == 200
    assert watch.response.getheader("X-Etcd-Index") is not None
    put(proxy.client_url, "watched", "1")
    assert watch.event()["action"] == "set"
    assert watch.response.read() == b""
    watch.close()


def test_events_of_a_stream_arrive_at_once(cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(cluster))
    watch = Watch(proxy.client_url, "/v2/keys/stream?wait=true&stream=true&recursive=true")
    for number in range(5):
        put(proxy.client_url, f"stream/{number}", "x")
        # Only with each event passed on by itself does this line come before the next write.
        node = watch.event()["node"]
        assert isinstance(node, dict)
        assert node["key"] == f"/stream/{number}"
    watch.close()


def test_readonly(cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(cluster), "--proxy", "readonly")
    put(cluster.members[0].client_url, "readable", "1")
    wait_until("it can be read", lambda: value_of(proxy.client_url, "readable") == "1")
    for method in ("PUT", "POST", "DELETE", "OPTIONS"):
        refused = call(proxy.client_url, method, "/v2/keys/readable")
        assert (refused.status, refused.body) == (501, b"")
    assert value_of(proxy.client_url, "readable") == "1"


@pytest.mark.etcdctl
def test_etcdctl(cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(cluster))

    def etcdctl(*words: str) -> str:
        return ctl.etcdctl("--no-sync", "--endpoints", proxy.client_url, *words)

    assert etcdctl("set", "/ctl/a", "one") == "one\n"
    assert etcdctl("ls", "--recursive", "/ctl") == "/ctl/a\n"
    assert etcdctl("update", "/ctl/a", "two") == "two\n"
    assert etcdctl("member", "list").count("isLeader=") == 3
    watched: list[str] = []
    watcher = threading.Thread(target=lambda: watched.append(etcdctl("watch", "/ctl/a")))
    watcher.start()

    def seen() -> bool:
        etcdctl("set", "/ctl/a", "three")
        return not watcher.is_alive()

    wait_until("the watch has seen it", seen)
    assert watched == ["three\n"]


def test_a_killed_member_is_left_out(own_cluster: Cluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(initial(own_cluster))
    assert put(proxy.client_url, "a", "1").status == 201
    first = proxy.endpoints()[0]
    victim = next(member for member in own_cluster.members if member.client_url == first)
    watch = Watch(proxy.client_url, "/v2/keys/a?wait=true")
    victim.kill()
    with pytest.raises(http.client.IncompleteRead):
        watch.response.read()
    watch.close()
    # A read goes to the next endpoint without the client noticing; a write may have to wait for a
    # leader, but not for the proxy.
    assert value_of(proxy.client_url, "a") == "1"
    assert first not in proxy.endpoints()
    wait_until("a write", lambda: put(proxy.client_url, "a", "2").status == 200)
    assert f"marked endpoint {first} unavailable" in proxy.log_file.read_text()

    victim.start()
    victim.wait_ready()
    wait_until("it is tried again", lambda: first in proxy.endpoints())


def test_it_finds_the_members_after_a_restart(
    own_cluster: Cluster, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(initial(own_cluster))
    peers = sorted(member.peer_url for member in own_cluster.members)
    file = proxy.data_dir / "proxy" / "cluster"
    assert json.loads(file.read_text()) == {"PeerURLs": peers}
    assert not (proxy.data_dir / "member").exists()
    assert proxy.terminate() == -signal.SIGTERM

    # What the flags say no longer matters, and neither do two of the three members.
    proxy.initial_cluster = "proxy=http://127.0.0.1:1"
    for member in own_cluster.members[:2]:
        member.kill()
    proxy.start()
    proxy.wait_ready()
    text = f'proxy: using peer urls [{" ".join(peers)}] from cluster file "{file}"'
    assert text in proxy.log_file.read_text()
    assert call(proxy.client_url, "GET", "/version").status == 200


def test_no_member_is_there(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, "m1=http://127.0.0.1:1")
    proxy.start()
    try:
        path = "/v2/keys/a"
        wait_until("it listens", lambda: call(proxy.client_url, "GET", path).status == 503)
        answer = call(proxy.client_url, "GET", path)
        assert answer.body == {"message": "proxy: zero endpoints currently available"}
    finally:
        assert proxy.terminate() == -signal.SIGTERM
