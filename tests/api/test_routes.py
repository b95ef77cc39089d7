"""Routing, and the routes beside the keys (admin-api, sections 1, 2, 4 and 5)."""

from __future__ import annotations

import json

import pytest

from kvraft.api.exchange import Exchange
from kvraft.api.service import MemberInfo
from tests.api.fakes import MEMBER
from tests.api.wire import Client, Wire, answer, answers, get, request

PLAIN = b"text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [b"/", b"/v2", b"/v2/", b"/v2/keysx", b"/v2/stats", b"/v2/stats/", b"/version/", b"/health/"],
)
@pytest.mark.parametrize("method", [b"GET", b"PUT", b"PATCH"])
def test_unknown_paths(client: Client, path: bytes, method: bytes) -> None:
    missing = answer(client.ask(request(method, path)))
    assert (missing.status, missing.body) == (404, b"404 page not found\n")
    assert missing.headers[b"Content-Type"] == PLAIN
    assert missing.headers[b"X-Content-Type-Options"] == b"nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        (b"HEAD", b"/version", b"GET"),
        (b"POST", b"/health", b"GET"),
        (b"PUT", b"/v2/stats/store", b"GET"),
        (b"DELETE", b"/v2/machines", b"GET,HEAD"),
        (b"HEAD", b"/v2/members", b"GET,POST,DELETE,PUT"),
        (b"PATCH", b"/v2/members/1", b"GET,POST,DELETE,PUT"),
        (b"PATCH", b"/v2/keys/a", b"HEAD,GET,PUT,POST,DELETE"),
    ],
)
def test_methods(client: Client, method: bytes, path: bytes, allowed: bytes) -> None:
    (refused,) = answers(client.ask(request(method, path)), [0] if method == b"HEAD" else [])
    assert (refused.status, refused.headers[b"Allow"]) == (405, allowed)
    assert refused.headers[b"Content-Length"] == b"19"
    assert b"X-Etcd-Cluster-Id" not in refused.headers


@pytest.mark.parametrize("path", [b"/nowhere", b"/v2/keys//a?ttl=x", b"*"])
def test_options(client: Client, path: bytes) -> None:
    options = answer(client.ask(request(b"OPTIONS", path)))
    assert options.status == 200
    assert options.headers.keys() == {b"Date", b"Content-Length"}


@pytest.mark.parametrize("path", [b"/v2/keys//a", b"/v2/./keys/a", b"/v2/keys/b/%2e%2e/a"])
def test_redirects(client: Client, path: bytes) -> None:
    moved = answer(client.ask(get(path + b"?x=%20<")))
    assert (moved.status, moved.headers[b"Location"]) == (301, b"/v2/keys/a?x=%20<")
    assert moved.headers[b"Content-Type"] == b"text/html; charset=utf-8"
    assert moved.body == b'<a href="/v2/keys/a?x=%20&lt;">Moved Permanently</a>.\n\n'
    other = answer(client.ask(request(b"PUT", path, b"value=1")))
    assert (other.status, other.body) == (301, b"")
    assert b"Content-Type" not in other.headers
    (head,) = answers(client.ask(request(b"HEAD", path)), heads=[0])
    assert b"Content-Length" not in head.headers


def test_routes_can_be_added(wire: Wire, client: Client) -> None:
    seen = []

    def handler(exchange: Exchange) -> None:
        seen.append((exchange.method, exchange.path, exchange.query, exchange.body))
        exchange.respond(204, b"", b"")

    wire.port.router.add(b"/v2/others/", (b"PUT",), handler)
    wire.port.router.add(b"/any", (), handler)
    data = request(b"PUT", b"/v2/others/x?y", b"{}", b"Content-Type: application/json")
    sent = client.ask(data)
    assert sent.startswith(b"HTTP/1.1 204 No Content\r\nDate: ")
    assert b"Content" not in sent.partition(b"\r\n")[2]
    client.ask(request(b"BREW", b"/any"))
    assert seen == [
        (b"PUT", b"/v2/others/x", b"y", b"{}"),
        (b"PATCH", b"/any", b"", b""),
    ]


def test_version(wire: Wire, client: Client) -> None:
    version = answer(client.ask(get(b"/version")))
    assert version.body == b'{"etcdserver":"2.3.8","etcdcluster":"2.3.0"}'
    assert version.headers.keys() == {b"Content-Type", b"Date", b"Content-Length"}
    wire.service.cluster_version = None
    assert b'"not_decided"' in answer(client.ask(get(b"/version"))).body


def test_health(wire: Wire, client: Client) -> None:
    sent = client.ask(get(b"/health"))
    assert sent.endswith(b"Content-Type: " + PLAIN + b'\r\n\r\n{"health": "true"}')
    wire.service.healthy = False
    ill = answer(client.ask(get(b"/health")))
    assert (ill.status, ill.body) == (503, b'{"health": "false"}\n')
    assert ill.headers[b"X-Content-Type-Options"] == b"nosniff"


def test_members(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    other = MemberInfo(0xF, "", ("http://b:1", "http://a:1"), ())
    monkeypatch.setattr(wire.service, "members", lambda: [MEMBER, other])
    for path in (b"/v2/members", b"/v2/members/"):
        members = answer(client.ask(get(path)))
        assert members.body == (
            b'{"members":[{"id":"f","name":"","peerURLs":["http://b:1","http://a:1"],'
            b'"clientURLs":[]},{"id":"7924593a81a969fd","name":"default",'
            b'"peerURLs":["http://127.0.0.1:1"],"clientURLs":["http://127.0.0.1:2"]}]}\n'
        )
        assert members.headers[b"X-Etcd-Cluster-Id"] == b"7e27652122e8b2ae"
    leader = answer(client.ask(get(b"/v2/members/leader")))
    assert json.loads(leader.body)["id"] == "7924593a81a969fd"
    assert leader.body.endswith(b"\n")
    for path in (b"/v2/members/7924593a81a969fd", b"/v2/members/leader/"):
        missing = answer(client.ask(get(path)))
        assert (missing.status, missing.body) == (404, b'{"message":"Not found"}')
    wire.service.leads = False
    electing = answer(client.ask(get(b"/v2/members/leader")))
    assert (electing.status, electing.body) == (503, b'{"message":"During election"}')


def test_machines(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    other = MemberInfo(0xF, "", (), ("http://z:1", "http://a:1"))
    monkeypatch.setattr(wire.service, "members", lambda: [MEMBER, other])
    machines = answer(client.ask(get(b"/v2/machines")))
    assert machines.body == b"http://127.0.0.1:2, http://a:1, http://z:1"
    (head,) = answers(client.ask(request(b"HEAD", b"/v2/machines")), heads=[0])
    assert head.headers[b"Content-Type"] == PLAIN
    monkeypatch.setattr(wire.service, "members", list)
    empty = answer(client.ask(get(b"/v2/machines")))
    assert (empty.status, empty.body) == (200, b"")
    assert b"Content-Type" not in empty.headers


def test_statistics(wire: Wire, client: Client) -> None:
    own = answer(client.ask(get(b"/v2/stats/self")))
    assert own.body == b'{"name":"default","id":"7924593a81a969fd","state":"StateLeader"}'
    leader = answer(client.ask(get(b"/v2/stats/leader")))
    assert leader.body == b'{"leader":"7924593a81a969fd","followers":{}}'
    wire.service.leads = False
    follower = answer(client.ask(get(b"/v2/stats/leader")))
    assert (follower.status, follower.body) == (403, b'{"message":"not current leader"}')
    watching = wire.client()
    watching.send(get(b"/v2/keys/a?wait=true"))
    store = json.loads(answer(client.ask(get(b"/v2/stats/store"))).body)
    assert list(store)[0] == "getsSuccess"
    assert list(store)[-1] == "watchers"
    assert store["watchers"] == 1
    assert (store["createSuccess"], store["setsSuccess"]) == (1, 2)
