"""Auth on real members: Debian's etcdctl, restarts, several members at once, a flood of logins."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.members import FORM, KVRAFT, Cluster, Member, wait_until
from tests.integration import ctl
from tests.integration.conftest import StartCluster

pytestmark = pytest.mark.timeout(120)

ROOT = "root:rpw"


def ask(
    member: Member,
    method: str,
    path: str,
    body: object = None,
    credentials: str | None = None,
    timeout_s: float = 15,
) -> tuple[int, bytes]:
    """One request; a string is a form, anything else a JSON document."""
    host, port = member.client_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    headers = {}
    if credentials is not None:
        headers["Authorization"] = "Basic " + b64encode(credentials.encode()).decode()
    data = None
    if body is not None:
        data = body if isinstance(body, str) else json.dumps(body)
        headers["Content-Type"] = FORM if isinstance(body, str) else "application/json"
    try:
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def protect(member: Member, *, guest: bool = False) -> None:
    """Make root, switch auth on, and take the guests' permissions away."""
    root = {"user": "root", "password": "rpw"}
    assert ask(member, "PUT", "/v2/auth/users/root", root)[0] == 201
    assert ask(member, "PUT", "/v2/auth/enable")[0] == 200
    if not guest:
        assert ask(member, "DELETE", "/v2/auth/roles/guest", None, ROOT)[0] == 200


def applied_everywhere(cluster: Cluster, method: str, path: str, status: int) -> None:
    wait_until(
        f"all answer {status}",
        lambda: all(ask(member, method, path)[0] == status for member in cluster.members),
    )


# --- etcdctl -----------------------------------------------------------------------------------


@pytest.fixture
def etcdctl(start_cluster: StartCluster) -> Callable[..., str]:
    cluster = start_cluster(3)
    member = cluster.followers()[0]

    def run(*arguments: str, status: int = 0, typed: str = "") -> str:
        return ctl.etcdctl("--endpoints", member.client_url, *arguments, status=status, typed=typed)

    return run


@pytest.mark.etcdctl
def test_etcdctl(etcdctl: Callable[..., str]) -> None:
    assert etcdctl("user", "add", "root:rpw") == "User root created\n"
    assert etcdctl("user", "add", "bob:bpw") == "User bob created\n"
    assert etcdctl("role", "add", "app") == "Role app created\n"
    assert "updated" in etcdctl("role", "grant", "app", "--path", "/app/*", "--readwrite")
    assert "updated" in etcdctl("user", "grant", "bob", "--roles", "app")
    assert etcdctl("user", "list") == "bob\nroot\n"
    assert etcdctl("role", "list") == "app\nroot\n"
    assert etcdctl("auth", "enable") == "Authentication Enabled\n"
    assert "Insufficient credentials" in etcdctl("user", "list", status=1)
    assert etcdctl("-u", ROOT, "role", "remove", "guest") == "Role guest removed\n"
    assert etcdctl("-u", "bob:bpw", "set", "/app/a", "1") == "1\n"
    assert etcdctl("-u", "bob:bpw", "get", "/app/a") == "1\n"
    refused = "The request requires user authentication (Insufficient credentials)"
    assert refused in etcdctl("-u", "bob:bpw", "set", "/other", "1", status=4)
    assert refused in etcdctl("-u", "bob:no", "get", "/app/a", status=4)
    assert refused in etcdctl("get", "/app/a", status=4)
    assert etcdctl("-u", ROOT, "get", "/app/a") == "1\n"
    shown = etcdctl("-u", ROOT, "user", "get", "bob")
    assert shown.split() == ["User:", "bob", "Roles:", "app"]
    assert "/app/*" in etcdctl("-u", ROOT, "role", "get", "app")
    assert "already" not in etcdctl("-u", ROOT, "user", "passwd", "bob", typed="new\n")
    assert etcdctl("-u", "bob:new", "get", "/app/a") == "1\n"
    assert refused in etcdctl("-u", "bob:bpw", "get", "/app/a", status=4)
    assert "updated" in etcdctl("-u", ROOT, "user", "revoke", "bob", "--roles", "app")
    assert refused in etcdctl("-u", "bob:new", "get", "/app/a", status=4)
    assert "Insufficient credentials" in etcdctl("-u", "bob:new", "auth", "disable", status=1)
    assert etcdctl("-u", ROOT, "auth", "disable") == "Authentication Disabled\n"
    assert etcdctl("get", "/app/a") == "1\n"
    assert etcdctl("user", "remove", "root") == "User root removed\n"


# --- several members ---------------------------------------------------------------------------


def test_changes_reach_every_member_and_none_is_lost(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    leader, (first, second) = cluster.leader(), cluster.followers()
    user = {"user": "u", "password": "p", "roles": ["r"]}
    assert ask(first, "PUT", "/v2/auth/users/u", user)[0] == 200
    assert ask(second, "PUT", "/v2/auth/roles/r", {"role": "r"})[0] == 201
    applied_everywhere(cluster, "GET", "/v2/auth/users/u", 200)
    applied_everywhere(cluster, "GET", "/v2/auth/roles/r", 200)

    def grant(number: int) -> tuple[int, int]:
        member = (leader, first, second)[number % 3]
        name = f"r{number:02}"
        granted = {"user": "u", "grant": [name]}
        pattern = {"role": "r", "grant": {"kv": {"read": [f"/{name}"]}}}
        return (
            ask(member, "PUT", "/v2/auth/users/u", granted)[0],
            ask(member, "PUT", "/v2/auth/roles/r", pattern)[0],
        )

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(grant, range(48))) == {(200, 200)}
    names = [f"r{number:02}" for number in range(48)]
    shown = json.loads(ask(leader, "PUT", "/v2/auth/users/u", {"user": "u", "grant": ["z"]})[1])
    assert shown["roles"] == ["r", *names, "z"]
    role = json.loads(ask(leader, "GET", "/v2/auth/roles/r")[1])
    assert role["permissions"]["kv"]["read"] == [f"/{name}" for name in names]
    protect(second)
    applied_everywhere(cluster, "GET", "/v2/keys/", 401)
    for member in cluster.members:
        assert ask(member, "GET", "/v2/keys/r00", None, "u:p")[0] == 404
        assert ask(member, "GET", "/v2/keys/other", None, "u:p")[0] == 401
        assert ask(member, "DELETE", "/v2/members/1")[0] == 401
        assert ask(member, "GET", "/v2/admin/backup")[0] == 401
    leader.kill()
    for member in (first, second):
        assert ask(member, "GET", "/v2/keys/r00", None, "u:p")[0] == 404
    wait_until(
        "auth can be changed by those who are left",
        lambda: ask(first, "DELETE", "/v2/auth/enable", None, ROOT)[0] in (200, 409),
    )
    wait_until("keys are open", lambda: ask(second, "GET", "/v2/keys/")[0] == 200)


# --- restarts ----------------------------------------------------------------------------------


def never_served_while_starting(member: Member) -> int:
    """Ask without credentials from the first moment on; how often it was refused properly."""
    refused = 0
    stop = threading.Event()
    served: list[tuple[int, bytes]] = []

    def hammer(path: str) -> None:
        nonlocal refused
        while not stop.wait(0.002):
            try:
                status, body = ask(member, "GET", path)
            except OSError:
                continue
            if status == 401:
                refused += 1
            elif status != 500:
                served.append((status, body))

    paths = ("/v2/keys/secret", "/v2/keys/?recursive=true", "/v2/auth/users")
    threads = [threading.Thread(target=hammer, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    member.start()
    try:
        member.wait_ready()
        time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not served
    return refused


@pytest.mark.parametrize("size", [1, 3])
def test_a_restarted_member_serves_nobody_unauthenticated(
    start_cluster: StartCluster, size: int
) -> None:
    cluster = start_cluster(size)
    member = cluster.members[0]
    for number in range(200):  # a log that takes a moment to be applied
        assert ask(member, "PUT", f"/v2/keys/k{number}", "value=1")[0] == 201
    assert ask(member, "PUT", "/v2/keys/secret", "value=1")[0] == 201
    protect(cluster.members[-1])
    wait_until("it is protected", lambda: ask(member, "GET", "/v2/keys/secret")[0] == 401)
    for number in (signal.SIGKILL, signal.SIGTERM):
        member.signal(number)
        assert never_served_while_starting(member) > 0
        assert ask(member, "GET", "/v2/keys/secret", None, ROOT)[0] == 200


# --- what it costs -----------------------------------------------------------------------------


def test_a_flood_of_logins_leaves_others_alone(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Cluster(KVRAFT, 1, tmp_path) as cluster:
        member = cluster.start().members[0]
        protect(member, guest=True)
        assert ask(member, "PUT", "/v2/keys/a", "value=1", ROOT)[0] == 201
        statuses: list[int] = []

        def flood(number: int) -> None:
            for guess in range(3):
                credentials = f"root:{number}.{guess}"
                statuses.append(ask(member, "GET", "/v2/keys/a", None, credentials)[0])

        waits: list[float] = []
        before_s = member.cpu_seconds()
        with ThreadPoolExecutor(32) as pool:
            floods = [pool.submit(flood, number) for number in range(32)]
            while not all(done.done() for done in floods):
                began = time.monotonic()
                assert ask(member, "GET", "/v2/keys/a", None, ROOT)[0] == 200
                assert ask(member, "GET", "/v2/keys/a")[0] == 200
                waits.append((time.monotonic() - began) / 2)
        assert set(statuses) <= {401, 503}
        assert len(statuses) == 96
        assert statuses.count(401) >= 16
        waits.sort()
        record_property(
            "guesses checked, refused unchecked", f"{statuses.count(401)}, {statuses.count(503)}"
        )
        record_property("server's processor seconds", f"{member.cpu_seconds() - before_s:.1f}")
        record_property(
            "proven user and guest meanwhile, ms: median, worst",
            f"{waits[len(waits) // 2] * 1e3:.1f}, {waits[-1] * 1e3:.1f}",
        )
