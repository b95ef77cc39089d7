"""The routes of auth, row by row (admin-api, sections 7.1, 7.3, 7.4 and 7.5), on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kvraft.api.service import Unavailable
from kvraft.auth import password as passwords_module
from kvraft.limits import AUTH_INLINE_RECORDS, MAX_AUTH_BODY_BYTES
from tests.api.protected import INSUFFICIENT, ROOT, ask, basic, protect, put_role, put_user
from tests.api.wire import Answer, Wire

JSON_TYPE = b"Content-Type: application/json"
ROOT_ROLE = b'{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}'
GUEST_ROLE = ROOT_ROLE.replace(b"root", b"guest")

Send = Callable[..., Answer]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(passwords_module, "COST", 4)
    return Wire()


@pytest.fixture
def send(wire: Wire) -> Send:
    client = wire.client()

    def asked(method: str, path: str, body: str | None = None, *headers: bytes) -> Answer:
        data = None if body is None else body.encode()
        given = (JSON_TYPE, *headers) if body is not None else headers
        return ask(wire, method.encode(), b"/v2/auth" + path.encode(), data, *given, client=client)

    return asked


def test_the_order_of_checks(wire: Wire, send: Send) -> None:
    protect(wire.service)
    for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
        deep = send(method, "/users/a/b", "{")
        assert (deep.status, deep.body) == (400, b'{"message":"Invalid path"}')
        assert b"X-Etcd-Cluster-Id" not in deep.headers
        assert send(method, "/roles/a%2Fb", "{").body == deep.body
    for path in ("/users/a", "/roles/a", "/enable"):
        for method in ("POST", "PATCH", "HEAD"):
            refused = send(method, path, None if method == "HEAD" else "{")
            assert (refused.status, refused.headers[b"Allow"]) == (405, b"GET,PUT,DELETE")
            assert b"X-Etcd-Cluster-Id" not in refused.headers
    for path in ("/users", "/users/", "/roles", "/roles/"):
        for method in ("PUT", "DELETE", "POST"):
            refused = send(method, path, "{")
            assert (refused.status, refused.headers[b"Allow"]) == (405, b"GET")
    for method, path in (
        ("GET", "/users"),
        ("GET", "/roles/"),
        ("GET", "/users/x"),
        ("PUT", "/users/x"),
        ("PUT", "/roles/root"),
        ("DELETE", "/roles/x"),
        ("PUT", "/enable"),
        ("DELETE", "/enable"),
    ):
        for header in (b"X: y", basic("root:x"), basic("u:p"), basic(":"), b"Authorization: x"):
            refused = send(method, path, "{", header)
            assert (refused.status, refused.body) == (401, INSUFFICIENT)
            assert refused.headers.keys() == {b"Content-Type", b"Date", b"Content-Length"}
        assert send(method, path, "{", ROOT).status not in (401, 405)


def test_a_cluster_without_a_version_is_not_capable(wire: Wire, send: Send) -> None:
    wire.service.cluster_version = None
    protect(wire.service)
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        for path in ("/enable", "/users", "/users/a/b", "/roles/x"):
            refused = send(method, path)
            assert (refused.status, refused.body) == (
                500,
                b'{"message":"Not capable of accessing auth feature during rolling upgrades."}',
            )
    assert send("GET", "/nothing").status == 404


@pytest.mark.parametrize("path", ["", "/", "/enable/", "/enabled", "/user"])
def test_there_is_nothing_else(send: Send, path: str) -> None:
    assert send("GET", path).body == b"404 page not found\n"


def test_the_switch(wire: Wire, send: Send) -> None:
    shown = send("GET", "/enable")
    assert (shown.status, shown.body) == (200, b'{"enabled":false}\n')
    assert shown.headers[b"X-Etcd-Cluster-Id"] == b"7e27652122e8b2ae"
    assert send("DELETE", "/enable").body == b'{"message":"auth: already disabled"}'
    no_root = send("PUT", "/enable")
    assert (no_root.status, no_root.body) == (
        409,
        b'{"message":"auth: No root user available, please create one"}',
    )
    assert send("PUT", "/users/root", '{"user":"root","password":"p"}').status == 201
    assert wire.service.store.index == 8
    on = send("PUT", "/enable")
    assert (on.status, on.body) == (200, b"")
    assert on.headers[b"Content-Type"] == b"application/json"
    assert on.headers[b"Content-Length"] == b"0"
    assert wire.service.store.index == 10
    assert send("GET", "/enable", None, basic("x:y")).body == b'{"enabled":true}\n'
    again = send("PUT", "/enable", None, ROOT)
    assert (again.status, again.body) == (409, b'{"message":"auth: already enabled"}')
    assert send("GET", "/roles/guest", None, ROOT).body == GUEST_ROLE + b"\n"
    kept = send("DELETE", "/users/root", None, ROOT)
    assert (kept.status, kept.body) == (
        403,
        b'{"message":"auth: Cannot delete root user while auth is enabled."}',
    )
    off = send("DELETE", "/enable", None, ROOT)
    assert (off.status, off.body) == (200, b"")
    assert send("DELETE", "/users/root").status == 200


def test_users(wire: Wire, send: Send) -> None:
    assert send("GET", "/users").body == b'{"users":null}\n'
    missing = send("GET", "/users/bob")
    assert (missing.status, missing.body) == (
        404,
        b'{"message":"auth: User bob does not exist."}',
    )
    gone = send("DELETE", "/users/bob")
    assert (gone.status, gone.body) == (404, b'{"message":"auth: User bob does not exist"}')
    made = send("PUT", "/users/bob", '{"user":"bob","password":"x"}')
    assert (made.status, made.body) == (201, b'{"user":"bob","roles":null}\n')
    again = send("PUT", "/users/bob", '{"user":"bob","password":"x"}')
    assert (again.status, again.body) == (200, b'{"user":"bob","roles":[]}\n')
    granted = send("PUT", "/users/bob", '{"user":"bob","grant":["z","r"]}')
    assert (granted.status, granted.body) == (200, b'{"user":"bob","roles":["r","z"]}\n')
    dangling = send("GET", "/users/bob")
    assert (dangling.status, dangling.body) == (
        404,
        b'{"message":"auth: Role r does not exist."}',
    )
    assert send("GET", "/users").body == b'{"users":[{"user":"bob"}]}\n'
    for name in ("r", "z"):
        put_role(wire.service, name, ("/a",))
    shown = b",".join(
        b'{"role":"%b","permissions":{"kv":{"read":["/a"],"write":[]}}}' % name
        for name in (b"r", b"z")
    )
    assert send("GET", "/users/bob/").body == b'{"user":"bob","roles":[%b]}\n' % shown
    assert send("GET", "/users/").body == (b'{"users":[{"user":"bob","roles":[%b]}]}\n' % shown)
    ana = send("PUT", "/users/ana", '{"user":"ana","password":"x","roles":["z","q"]}')
    assert (ana.status, ana.body) == (200, b'{"user":"ana","roles":["z","q"]}\n')
    assert send("DELETE", "/users/bob").body == b""
    assert json.loads(send("GET", "/users").body)["users"][0]["user"] == "ana"


def test_roles(wire: Wire, send: Send) -> None:
    assert send("GET", "/roles").body == b'{"roles":[%b]}\n' % ROOT_ROLE
    assert send("GET", "/roles/root").body == ROOT_ROLE + b"\n"
    missing = send("GET", "/roles/x")
    assert (missing.status, missing.body) == (404, b'{"message":"auth: Role x does not exist."}')
    gone = send("DELETE", "/roles/x")
    assert (gone.status, gone.body) == (404, b'{"message":"auth: Role x doesn\'t exist."}')
    document = '{"role":"x","permissions":{"kv":{"read":["/b","/a"],"write":null}}}'
    made = send("PUT", "/roles/x", document)
    assert (made.status, made.body.decode()) == (201, document + "\n")
    granted = send("PUT", "/roles/x", '{"role":"x","grant":{"kv":{"write":["/w"]}}}')
    assert granted.body == (
        b'{"role":"x","permissions":{"kv":{"read":["/a","/b"],"write":["/w"]}}}\n'
    )
    for method, body in (("PUT", '{"role":"root"}'), ("DELETE", None)):
        fixed = send(method, "/roles/root", body)
        assert (fixed.status, fixed.body) == (
            403,
            b'{"message":"auth: Cannot modify role root: is root role."}',
        )
    assert send("DELETE", "/roles/x").body == b""
    assert wire.service.store.index == 10


@pytest.mark.parametrize("name", ["a b", "\u00e9", "a<b", "'", "%", "a+b"])
def test_names_are_decoded(send: Send, name: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in name.encode())
    document = json.dumps({"user": name, "password": "x"})
    assert send("PUT", f"/users/{escaped}", document).status == 201
    assert json.loads(send("GET", f"/users/{escaped}").body) == {"user": name}
    missing = send("GET", f"/roles/{escaped}")
    assert json.loads(missing.body) == {"message": f"auth: Role {name} does not exist."}


def test_names_that_are_no_text(send: Send) -> None:
    assert send("GET", "/users/%ff").body == (b'{"message":"auth: User \\ufffd does not exist."}')
    refused = send("PUT", "/users/%ff", '{"user":"\ufffd","password":"x"}')
    assert refused.status == 400


@pytest.mark.parametrize("content_type", [b"Content-Type: text/plain", b"Content-Type: x; ="])
def test_the_content_type_is_not_looked_at(wire: Wire, content_type: bytes) -> None:
    made = ask(wire, b"PUT", b"/v2/auth/roles/r", b'{"role":"r"}', content_type)
    assert made.status == 201


def test_bodies_are_bounded(send: Send) -> None:
    huge = '{"role":"r","permissions":{"kv":{"read":["%s"]}}}' % ("x" * MAX_AUTH_BODY_BYTES)
    refused = send("PUT", "/roles/r", huge)
    assert refused.status == 413
    assert b"bytes" in refused.body
    assert send("PUT", "/roles/r", '{"role":"r"}').status == 201


def test_what_the_cluster_does_not_do(
    wire: Wire, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    wire.service.unavailable = Unavailable("etcdserver: request timed out")
    for path, document in (
        ("/users/u", '{"user":"u","password":"p"}'),
        ("/roles/r", '{"role":"r"}'),
    ):
        failed = send("PUT", path, document)
        assert (failed.status, failed.body) == (500, b'{"message":"Internal Server Error"}')
        assert send("DELETE", path).status == 500
    assert "etcdserver: request timed out" in caplog.text


def test_too_many_at_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords_module, "MAX_PASSWORD_JOBS", 0)
    document = b'{"user":"u","password":"p"}'
    busy = ask(wire, b"PUT", b"/v2/auth/users/u", document, JSON_TYPE)
    assert busy.status == 503
    assert b"try again" in busy.body
    protect(wire.service)
    assert ask(wire, b"GET", b"/v2/auth/users", None, ROOT).status == 503
    key = ask(wire, b"GET", b"/v2/keys/a", None, ROOT)
    assert key.status == 503
    assert json.loads(key.body)["errorCode"] == 300
    assert ask(wire, b"GET", b"/v2/auth/users").status == 401


def test_long_lists_are_made_in_a_thread(wire: Wire, send: Send) -> None:
    for number in range(AUTH_INLINE_RECORDS + 1):
        put_user(wire.service, f"u{number}", "root")
    client = wire.client()
    client.send(b"GET /v2/auth/users HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.take() == b""
    wire.loop.run()
    assert client.take().count(b'"user":') == AUTH_INLINE_RECORDS + 1
    assert len(json.loads(send("GET", "/roles").body)["roles"]) == 1


def test_an_administrator_is_whoever_has_the_role_root(wire: Wire, send: Send) -> None:
    protect(wire.service)
    put_user(wire.service, "adm", "r", "root")
    put_user(wire.service, "u", "r")
    put_user(wire.service, "root")  # its role has been revoked, which changes nothing
    assert send("GET", "/users/u", None, basic("adm:p")).status == 404
    assert send("GET", "/users", None, ROOT).status == 200
    assert send("GET", "/users/u", None, basic("u:p")).status == 401
    assert send("PUT", "/users/u", '{"user":"u","password":"q"}', basic("u:p")).status == 401
    assert send("PUT", "/users/u", '{"user":"u","password":"q"}', basic("adm:p")).status == 200
    assert send("GET", "/users", None, basic("u:q")).status == 401
    assert send("PUT", "/users/u", '{"user":"u","grant":["root"]}', ROOT).status == 200
    assert send("GET", "/roles", None, basic("u:p")).status == 401, "the old password"
    assert send("GET", "/roles", None, basic("u:q")).status == 200
