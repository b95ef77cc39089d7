"""Members with TLS as processes: they find each other, turn strangers away, renew certificates."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, Member, wait_until
from kvraft.transport.tls import TlsFiles
from tests.integration import ctl
from tests.transport.authority import EXPIRED, LONG_AGO, Authority

pytestmark = pytest.mark.timeout(120)


def flags(files: TlsFiles, prefix: str = "") -> tuple[str, ...]:
    given = [f"--{prefix}cert-file={files.cert_file}", f"--{prefix}key-file={files.key_file}"]
    if files.client_cert_auth:
        given.append(f"--{prefix}client-cert-auth")
    if files.trusted_ca_file:
        given.append(f"--{prefix}trusted-ca-file={files.trusted_ca_file}")
    return tuple(given)


def secure(cluster: Cluster, clients: Authority, peers: list[Authority]) -> None:
    """Give every member a certificate for each of its ports, signed by these."""
    for member, authority in zip(cluster.members, peers, strict=True):
        member.client_url = member.client_url.replace("http:", "https:")
        member.peer_url = member.peer_url.replace("http:", "https:")
        peer_files = authority.issue(f"{member.name}-peer")
        client_files = clients.issue(f"{member.name}-client", "127.0.0.1")
        member.extra_flags = (*flags(client_files), *flags(peer_files, "peer-"))
        member.context = clients.context(clients.issue("somebody"))
    initial = ",".join(f"{member.name}={member.peer_url}" for member in cluster.members)
    for member in cluster.members:
        member.initial_cluster = initial


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Cluster]:
    """Three members with TLS and client certificates on both ports."""
    with Cluster(KVRAFT, 3, tmp_path_factory.mktemp("tls")) as running:
        secure(running, authority, [authority] * 3)
        yield running.start()
        print(running.logs())


def value(member: Member, path: str) -> str | None:
    answer = member.call("GET", path)
    node = answer.body.get("node", {})
    found: str | None = node.get("value")
    return found


def test_a_write_reaches_all_members(cluster: Cluster) -> None:
    follower = cluster.followers()[0]
    assert follower.call("PUT", "/v2/keys/a", {"value": "1"}).status == 201
    for member in cluster.members:
        wait_until("it is there", partial(value, member, "/v2/keys/a"))
        assert value(member, "/v2/keys/a") == "1"
    assert all(
        m["peerURLs"][0].startswith("https:") and m["clientURLs"][0].startswith("https:")
        for m in follower.call("GET", "/v2/members").body["members"]
    )


def test_a_large_value_and_a_watch(cluster: Cluster) -> None:
    leader, follower = cluster.leader(), cluster.followers()[0]
    text = "x" * 3_000_000
    index = leader.call("PUT", "/v2/keys/large", {"value": text}).body["node"]["modifiedIndex"]
    event = follower.call("GET", f"/v2/keys/large?wait=true&waitIndex={index}").body
    assert event["node"]["value"] == text


def test_strangers_are_turned_away(cluster: Cluster, authority: Authority, tmp_path: Path) -> None:
    member = cluster.members[0]
    stranger = Authority(tmp_path, "stranger")
    for context in (
        authority.context(),
        authority.context(stranger.issue("stranger")),
        authority.context(authority.issue("old", not_before=LONG_AGO, not_after=EXPIRED)),
        stranger.context(),
    ):
        member.context, kept = context, member.context
        try:
            with pytest.raises(OSError, match=r"(?i)ssl|certificate|alert"):
                member.call("GET", "/v2/keys/a")
        finally:
            member.context = kept
    wait_until("it is logged", lambda: "rejected connection from" in member.log_file.read_text())


def curl(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_curl(cluster: Cluster, authority: Authority) -> None:
    url = cluster.members[0].client_url + "/v2/keys/curl"
    trust = ("--cacert", str(authority.file))
    files = authority.issue("curl")
    own = ("--cert", files.cert_file, "--key", files.key_file)
    status, text = curl(*trust, *own, "-X", "PUT", "-d", "value=hi", url)
    assert (status, '"value":"hi"' in text) == (0, True)
    status, text = curl(*trust, url)
    assert status != 0
    assert "certificate required" in text
    other_name = url.replace("127.0.0.1", "localhost")
    status, text = curl(*trust, *own, "-4", other_name)
    assert status == 60, text  # the certificate names the address only
    status, text = curl("-i", url.replace("https:", "http:"))
    assert status == 0
    assert text == ("HTTP/1.0 400 Bad Request\n\nClient sent an HTTP request to an HTTPS server.\n")


@pytest.mark.etcdctl
def test_etcdctl(cluster: Cluster, authority: Authority) -> None:
    files = authority.issue("ctl")
    words = [
        *("--endpoints", ",".join(member.client_url for member in cluster.members)),
        *("--ca-file", str(authority.file)),
        *("--cert-file", files.cert_file, "--key-file", files.key_file),
    ]

    def etcdctl(*arguments: str) -> str:
        return ctl.etcdctl(*words, *arguments)

    assert etcdctl("set", "/ctl", "v") == "v\n"
    assert etcdctl("get", "/ctl") == "v\n"
    assert etcdctl("cluster-health").endswith("cluster is healthy\n")


def shown_certificate(member: Member) -> bytes:
    assert member.context is not None
    host, _, port = member.client_url.removeprefix("https://").partition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        member.context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    return der


def test_renewed_certificates_need_no_restart(cluster: Cluster, authority: Authority) -> None:
    member = cluster.leader()
    before = shown_certificate(member)
    assert member.context is not None
    host, _, port = member.client_url.removeprefix("https://").partition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        member.context.wrap_socket(plain, server_hostname=host) as open_before,
    ):
        open_before.send(b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
        assert open_before.recv(1000).startswith(b"HTTP/1.1 200 OK")
        authority.issue(f"{member.name}-client", "127.0.0.1")
        authority.issue(f"{member.name}-peer")
        assert member.process is not None
        member.process.send_signal(signal.SIGHUP)
        wait_until("the new one is shown", lambda: shown_certificate(member) != before)
        assert cluster.members[0].call("PUT", "/v2/keys/a", {"value": "2"}).status in (200, 201)
        assert b'"value":"2"' in open_before.recv(1000), "old connections live on"
    for side in ("client", "peer"):
        line = f"new connections on the {side} side use the changed files"
        wait_until(line, lambda: line in member.log_file.read_text())  # noqa: B023 - at once
    follower = cluster.followers()[0]
    follower.kill()
    follower.start()  # both dial each other anew, one of them with the new certificate
    follower.wait_ready()


def test_a_member_joins(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Cluster(KVRAFT, 2, tmp_path) as cluster:
        secure(cluster, authority, [authority] * 2)
        first, second = cluster.members
        first.initial_cluster = f"{first.name}={first.peer_url}"
        first.start()
        first.wait_ready()
        assert first.call("PUT", "/v2/keys/a", {"value": "1"}).status == 201
        body = json.dumps({"peerURLs": [second.peer_url]})
        files = authority.issue("admin")
        own = ("--cacert", str(authority.file), "--cert", files.cert_file, "--key", files.key_file)
        json_type = "Content-Type: application/json"
        url = first.client_url + "/v2/members"
        assert curl(*own, "-f", "-d", body, "-H", json_type, url)[0] == 0
        second.initial_cluster_state = "existing"
        second.start()
        second.wait_ready()
        assert value(second, "/v2/keys/a") == "1"
        print(cluster.logs())


def test_members_of_different_authorities_do_not_talk_and_say_why(tmp_path: Path) -> None:
    authorities = [Authority(tmp_path, f"ca{number}") for number in range(3)]
    with Cluster(KVRAFT, 3, tmp_path) as apart:
        secure(apart, authorities[0], authorities)
        for member in apart.members:
            member.start()
        first = apart.members[0]
        wait_until("it serves", lambda: first.call("GET", "/version").status == 200)
        text = "the member's certificate does not verify: "
        wait_until("the reason is logged", lambda: first.log_file.read_text().count(text) >= 2)
        wait_until(
            "and the other side's", lambda: "rejected connection from" in first.log_file.read_text()
        )
        assert first.call("GET", "/version").body["etcdcluster"] == "not_decided"
        assert first.call("GET", "/v2/members/leader").status == 503
        assert first.call("GET", "/v2/keys/").status == 200
        log = first.log_file.read_text()
        assert "certificate does not verify: self-signed certificate" in log
        assert log.count(text) == 2, "once for each of the others"
        assert "became leader" not in log


def refused(tmp_path: Path, *arguments: str) -> str:
    """The last line of a member that does not start."""
    done = subprocess.run(
        [*KVRAFT, "--data-dir", str(tmp_path / "x"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert not (tmp_path / "x").exists(), "nothing is founded with settings that cannot be used"
    return done.stdout.splitlines()[-1]


def test_what_cannot_be_used_ends_the_start(tmp_path: Path, authority: Authority) -> None:
    listen = ("--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://a:1")
    line = refused(tmp_path, *listen)
    assert line.endswith(
        " C | etcdmain: cannot listen on TLS for given listener: "
        "KeyFile and CertFile are not presented"
    )
    files = authority.issue("a")._replace(key_file="/no/key")
    line = refused(tmp_path, *listen, *flags(files))
    assert line.endswith(" C | etcdmain: open /no/key: no such file or directory")
    line = refused(tmp_path, "--peer-cert-file=/x")
    assert line.endswith("KeyFile and CertFile must both be present[key: , cert: /x]")


def test_an_expired_certificate_is_warned_of(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("old", not_before=LONG_AGO, not_after=EXPIRED)
    with Cluster(KVRAFT, 1, tmp_path) as cluster:
        (member,) = cluster.members
        member.client_url = member.client_url.replace("http:", "https:")
        member.extra_flags = (
            *flags(files._replace(client_cert_auth=False)),
            *flags(files, "peer-"),
        )
        member.context = ssl.create_default_context()
        member.context.check_hostname = False
        member.context.verify_mode = ssl.CERT_NONE
        member.start()
        member.wait_ready()
        log = member.log_file.read_text()
    assert f"the certificate in {files.cert_file} expired on 2020-01-02 03:04:05 UTC" in log
    assert f"The scheme of peer url {member.peer_url} is http while peer key/cert files" in log
