"""Who may use the keys (admin-api, section 7.6), on the wire."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from kvraft.api.access import Credentials, parse_basic
from kvraft.api.port import ClientPort
from kvraft.auth import password as passwords_module
from kvraft.limits import MAX_PASSWORD_JOBS_PER_OWNER, PASSWORD_THREADS
from kvraft.store.codec import Restorer
from kvraft.store.request import Op, Request
from tests.api.fakes import FakeService
from tests.api.protected import (
    INSUFFICIENT,
    REFUSED,
    ROOT,
    ask,
    basic,
    drop_role,
    protect,
    put_role,
    put_user,
)
from tests.api.wire import Client, Wire, answer, answers, get, put, request

CHEAP_NOBODY = bcrypt.hashpw(b"nobody", bcrypt.gensalt(4, prefix=b"2a"))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(passwords_module, "_NOBODY", CHEAP_NOBODY)
    return Wire()


@pytest.fixture
def client(wire: Wire) -> Client:
    return wire.client()


# --- credentials -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "name", "password"),
    [
        (b"Basic dTpw", "u", b"p"),
        (b"basic dTpw", "u", b"p"),
        (b"BASIC dTpw", "u", b"p"),
        (b"Basic dTo=", "u", b""),
        (b"Basic OnA=", "", b"p"),
        (b"Basic Og==", "", b""),
        (b"Basic dTpwOng=", "u", b"p:x"),
        (b"Basic /zr/", "\udcff", b"\xff"),
    ],
)
def test_basic(header: bytes, name: str, password: bytes) -> None:
    assert parse_basic(header) == Credentials(name, password)


@pytest.mark.parametrize(
    "header",
    [
        b"Basic",
        b"Basic ",
        b"Basic  dTpw",
        b"Basic\tdTpw",
        b"BasicdTpw",
        b"Bearer dTpw",
        b"dTpw",
        b"Basic dTp",
        b"Basic dTo",
        b"Basic dTpw=",
        b"Basic dTo==",
        b"Basic dTpw====",
        b"Basic dTp=w===",
        b"Basic !!!!",
        b"Basic dTpw dTpw",
        b"Basic dXA=",  # no colon
        b"Basic -_-_",
    ],
)
def test_malformed(header: bytes) -> None:
    assert parse_basic(header) is None


def test_refusals_on_keys(wire: Wire) -> None:
    protect(wire.service)
    wrong = [
        b"X-Nothing: 1",
        b"Authorization:",
        b"Authorization: Bearer x",
        b"Authorization: Basic x",
        basic("root:wrong"),
        basic("nobody:p"),
        basic(":p"),
        b"Authorization: Basic Og==",
        basic("root:"),
        basic("root"),
    ]
    for header in wrong:
        refused = ask(wire, b"GET", b"/v2/keys/a", None, header)
        assert (refused.status, refused.body) == (401, REFUSED), header
        assert refused.headers[b"X-Etcd-Index"] == b"0"
        assert refused.headers[b"X-Etcd-Cluster-Id"] == b"7e27652122e8b2ae"
        assert refused.headers[b"Content-Type"] == b"application/json"
        assert b"WWW-Authenticate" not in refused.headers
        head = ask(wire, b"HEAD", b"/v2/keys/a", None, header)
        assert (head.status, head.headers[b"X-Etcd-Index"]) == (401, b"0")
    for header in (ROOT, ROOT + b" ", ROOT.replace(b"Basic", b"bASIC")):
        assert ask(wire, b"GET", b"/v2/keys/a", None, header).status == 404
    put_role(wire.service, "guest", ("/*",), ("/*",))
    for header in wrong:
        status = ask(wire, b"GET", b"/v2/keys/a", None, header).status
        no_credentials = header in wrong[:2]
        assert status == (404 if no_credentials else 401), "no fall-back to guest"


def test_requests_are_parsed_before_credentials_are_looked_at(wire: Wire) -> None:
    protect(wire.service)
    for header in (b"X: y", basic("root:wrong"), b"Authorization: x"):
        assert ask(wire, b"PATCH", b"/v2/keys/a", None, header).status == 405
        assert ask(wire, b"OPTIONS", b"/v2/keys/a", None, header).status == 200
        assert ask(wire, b"GET", b"/v2/keys//a", None, header).status == 301
        assert b'"errorCode":209' in ask(wire, b"GET", b"/v2/keys/a?wait=x", None, header).body
        bad = ask(wire, b"PUT", b"/v2/keys/a?prevIndex=x", b"value=1", header)
        assert b'"errorCode":203' in bad.body
        assert ask(wire, b"GET", b"/v2/keys/a", None, header).body == REFUSED
        assert ask(wire, b"PUT", b"/v2/keys/a", b"value=1&ttl=5", header).body == REFUSED


def test_everything_else_is_open(wire: Wire) -> None:
    protect(wire.service)
    for path in (b"/version", b"/health", b"/v2/machines", b"/v2/members", b"/v2/stats/store"):
        assert ask(wire, b"GET", path).status == 200
        assert ask(wire, b"GET", path, None, basic("x:y")).status == 200
    for method, path in (
        (b"POST", b"/v2/members"),
        (b"PUT", b"/v2/members"),
        (b"PUT", b"/v2/members/zz"),
        (b"DELETE", b"/v2/members"),
        (b"DELETE", b"/v2/members/1"),
    ):
        for header in (b"X: y", basic("root:wrong"), basic("u:p"), b"Authorization: x"):
            refused = ask(wire, method, path, b"x", header, b"Content-Type: text/plain")
            assert (refused.status, refused.body) == (401, INSUFFICIENT)
            assert b"X-Etcd-Cluster-Id" not in refused.headers
        allowed = ask(wire, method, path, b"x", ROOT, b"Content-Type: text/plain")
        assert allowed.status in (204, 404, 405, 415)
    assert ask(wire, b"PATCH", b"/v2/members").status == 405


# --- the whole table ---------------------------------------------------------------------------

PATHS = ("", "/", "/a", "/a/", "/a/x", "/ab", "/b", "/b/", "/b/c", "/x*y", "/xzy", "/a%2Fx", "/%61")
ROLE_SETS: tuple[dict[str, tuple[tuple[str, ...], tuple[str, ...]]], ...] = (
    {},
    {"r": (("/*",), ("/*",))},
    {"r": (("/a*",), ()), "s": (("/b",), ("/b", "/x*y"))},
    {"r": (("/a/*", "/b"), ("*",))},
    {"r": (("*",), ("/a",)), "guest": (("/a", "/b/"), ("/x*y",))},
    {"s": (("/",), ("/a/",)), "guest": (("/a/*",), ("/*",))},
    {"guest": (("*",), ())},
)
USER_ROLES = ("gone", "r", "s")
KINDS: dict[str, bytes | None] = {
    "guest": None,
    "empty": b"Authorization:",
    "user": basic("u:p"),
    "root": ROOT,
    "administrator": basic("adm:p"),
    "nothing": basic("none:p"),
    "wrong": basic("u:x"),
    "unknown": basic("who:p"),
    "malformed": b"Authorization: Basic %",
    "scheme": b"Authorization: Digest dTpw",
}


def plainly_allowed(
    kind: str,
    roles: dict[str, tuple[tuple[str, ...], tuple[str, ...]]],
    path: str,
    write: bool,
    recursive: bool,
) -> bool:
    if kind in ("root", "administrator"):
        return True
    if kind not in ("guest", "empty", "user"):
        return False
    names = USER_ROLES if kind == "user" else ("guest",)
    exact_counts = kind != "user" or not recursive
    for name in names:
        for pattern in roles.get(name, ((), ()))[write]:
            if pattern.endswith("*") and path.startswith(pattern[:-1]):
                return True
            if exact_counts and pattern == path:
                return True
    return False


class Browserless:
    """A client on a real socket, one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, data: bytes, head: bool = False) -> int:
        """Send one request; the status of its answer, which is read to its end."""
        self._writer.write(data)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        lower = answered.lower()
        if not head and b"content-length: " in lower:
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await self._reader.readexactly(length)
        return int(answered.split()[1])

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Served:
    """A port on a real socket."""

    def __init__(self, service: FakeService) -> None:
        self.service = service

    async def __aenter__(self) -> Served:
        loop = asyncio.get_running_loop()
        self.port = ClientPort(self.service, loop)
        self._server = await loop.create_server(self.port.connection, "127.0.0.1", 0)
        return self

    async def client(self) -> Browserless:
        number = self._server.sockets[0].getsockname()[1]
        return Browserless(*await asyncio.open_connection("127.0.0.1", number))

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.port.drain(5)
        await self._server.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("roles", ROLE_SETS)
async def test_every_combination(
    roles: dict[str, tuple[tuple[str, ...], tuple[str, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials x method x path x recursive, for each set of roles, over a real connection."""
    logging.getLogger("kvraft.etcdhttp").disabled = True
    monkeypatch.setattr(passwords_module, "_NOBODY", CHEAP_NOBODY)
    asyncio.get_running_loop().set_debug(False)  # thousands of requests
    service = FakeService()
    protect(service)
    put_user(service, "u", *USER_ROLES)
    put_user(service, "adm", "root")
    put_user(service, "none")
    for name, patterns in roles.items():
        put_role(service, name, *patterns)
    wrong = []
    methods = (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE")
    try:
        async with Served(service) as served:
            client = await served.client()
            for kind, method, path, recursive in itertools.product(
                KINDS, methods, PATHS, (False, True)
            ):
                header = KINDS[kind]
                target = b"/v2/keys" + path.encode() + (b"?recursive=true" if recursive else b"")
                body = b"value=1" if method in (b"PUT", b"POST") else None
                headers = () if header is None else (header,)
                status = await client.ask(
                    request(method, target, body, *headers), head=method == b"HEAD"
                )
                write = method not in (b"GET", b"HEAD")
                decoded = path.replace("%2F", "/").replace("%61", "a")
                expected = plainly_allowed(kind, roles, decoded, write, recursive)
                if (status != 401) != expected:
                    wrong.append((kind, method, path, recursive, status))
            await client.close()
    finally:
        logging.getLogger("kvraft.etcdhttp").disabled = False
    assert not wrong


# --- what it costs -----------------------------------------------------------------------------


def test_guests_with_permission_stay_on_the_quick_path(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(wire.service)
    put_role(wire.service, "guest", ("/open/*",), ("/open/w*",))
    client.ask(get(b"/v2/keys/open/a?quorum=true"))
    long_way: list[bytes] = []
    serve = wire.port.router.serve

    def noted(exchange: Any) -> None:
        long_way.append(exchange.path)
        serve(exchange)

    monkeypatch.setattr(type(wire.port.router), "serve", lambda _, exchange: noted(exchange))
    assert answer(client.ask(put(b"/v2/keys/open/w", b"value=1"))).status == 201
    assert answer(client.ask(put(b"/v2/keys/open/w", b"value=1&prevExist=true"))).status == 200
    assert answer(client.ask(get(b"/v2/keys/open/w"))).status == 200
    assert answer(client.ask(get(b"/v2/keys/open/a?quorum=true"))).status == 404
    assert long_way == []
    assert answer(client.ask(put(b"/v2/keys/open/r", b"value=1"))).status == 401
    assert answer(client.ask(put(b"/v2/keys/open/r", b"value=1&ttl=5"))).status == 401
    assert answer(client.ask(get(b"/v2/keys/other"))).status == 401
    assert answer(client.ask(get(b"/v2/keys/other?quorum=true"))).status == 401
    assert len(long_way) == 4


def test_while_auth_is_off_nobody_looks(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(wire.service, on=False)
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 404
    assert not wire.port.auth.guarded
    for name in ("admit", "passes_guest", "_require_root"):
        monkeypatch.delattr(type(wire.port.access), name)
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 404
    assert answer(client.ask(put(b"/v2/keys/a", b"value=1"))).status == 201
    assert ask(wire, b"GET", b"/v2/keys/a", None, basic("x:y"), client=client).status == 200
    assert ask(wire, b"DELETE", b"/v2/keys/a", client=client).status == 200
    assert ask(wire, b"DELETE", b"/v2/members/zz", client=client).status == 404


def test_a_password_is_checked_once(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(wire.service)
    checks: list[bytes] = []

    def noted(given: bytes, _hash: bytes) -> bool:
        checks.append(given)
        return True

    monkeypatch.setattr(passwords_module, "_matches", noted)
    for _ in range(5):
        assert ask(wire, b"GET", b"/v2/keys/a", None, ROOT, client=client).status == 404
    assert checks == [b"p"]
    assert answer(client.ask(request(b"GET", b"/v2/keys/a", None, ROOT))).status == 404, "at once"
    put_user(wire.service, "root", "other")
    assert ask(wire, b"GET", b"/v2/keys/a", None, ROOT, client=client).status == 404
    assert checks == [b"p"], "the hash is the same"


def test_statistics_count_what_was_looked_up(wire: Wire, client: Client) -> None:
    protect(wire.service)
    put_user(wire.service, "u", "gone", "r", "s")
    put_role(wire.service, "r", ("/r",))
    put_role(wire.service, "s", ("/s",))
    stats = wire.service.store.stats

    def counted(path: bytes, *headers: bytes) -> tuple[int, int]:
        before = stats.gets_success, stats.gets_fail
        ask(wire, b"PUT", path, b"value=1", *headers, client=client)
        return stats.gets_success - before[0], stats.gets_fail - before[1]

    assert counted(b"/v2/keys/r", basic("u:p")) == (3, 1)  # user, two roles; one is missing
    assert counted(b"/v2/keys/r", basic("who:p")) == (0, 1)
    assert counted(b"/v2/keys/r") == (0, 1)  # the role guest
    put_role(wire.service, "guest", (), ("/*",))
    assert counted(b"/v2/keys/r") == (2, 0)  # the switch and the role
    assert counted(b"/v2/keys/r/", b"X: y") == (2, 0), "the long way counts the same"


# --- the log -----------------------------------------------------------------------------------


def test_refusals_are_logged(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    protect(wire.service)
    put_user(wire.service, "u", "r")
    for header in (
        b"X: y",
        b"Authorization: x",
        basic("who:p"),
        basic("root:wrong"),
        basic("u:p"),
        b"Authorization: Basic " + base64.b64encode(b"\xff\n:p"),
    ):
        ask(wire, b"GET", b"/v2/keys/k", None, header)
    ask(wire, b"DELETE", b"/v2/auth/enable", None, basic("u:p"))
    ask(wire, b"DELETE", b"/v2/members/1", None, b"Authorization: x")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (30, "auth: no authorization provided, checking guest access"),
        (30, "auth: invalid access for unauthenticated user on resource /k."),
        (30, "auth: malformed basic auth encoding"),
        (30, "auth: no such user: who."),
        (30, "auth: incorrect password for user: root."),
        (30, "auth: invalid access for user u on key /k."),
        (30, "auth: no such user: \\xff\n."),
        (30, "auth: user u does not have the root role for resource /v2/auth/enable."),
        (30, "auth: malformed basic auth encoding"),
    ]
    assert {record.name for record in caplog.records} == {"kvraft.etcdhttp"}


def test_guests_are_mentioned_once_a_second(
    wire: Wire, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    protect(wire.service)
    put_role(wire.service, "guest", ("/*",))
    for _ in range(10):
        client.ask(get(b"/v2/keys/a"))
    assert len(caplog.records) == 1
    wire.loop.now += 1
    client.ask(get(b"/v2/keys/a"))
    assert len(caplog.records) == 2


# --- when things change ------------------------------------------------------------------------


def test_nobody_is_served_before_it_is_known_whether_auth_is_on(wire: Wire) -> None:
    """A member that starts may hold an old state, in which auth was off."""
    protect(wire.service, on=False)
    put_user(wire.service, "u")
    wire.service.ready = False
    clients = [wire.client() for _ in range(8)]
    requests = [
        get(b"/v2/keys/a"),
        put(b"/v2/keys/a", b"value=1"),
        put(b"/v2/keys/a", b"value=1&ttl=9"),
        get(b"/v2/keys/?recursive=true&wait=true"),
        request(b"DELETE", b"/v2/keys/a", None, basic("u:p")),
        request(b"GET", b"/v2/auth/users"),
        request(b"PUT", b"/v2/auth/users/x", b'{"user":"x","password":"p"}'),
        request(b"POST", b"/v2/members", b"{}", b"Content-Type: application/json"),
    ]
    for client, data in zip(clients, requests, strict=True):
        assert client.ask(data) == b""
    switch = wire.client()
    assert switch.ask(get(b"/v2/auth/enable")) == b""
    wire.loop.advance(0.5)
    protect(wire.service)  # the rest of the log is applied
    index = wire.service.store.index
    wire.service.ready = True
    wire.loop.advance(0.1)
    assert [answer(client.take()).status for client in clients] == [401] * 8
    assert answer(switch.take()).body == b'{"enabled":true}\n'
    assert wire.service.store.index == index


def test_members_that_never_get_to_know_refuse(wire: Wire) -> None:
    wire.service.ready = False
    key, members, switch = wire.client(), wire.client(), wire.client()
    key.send(get(b"/v2/keys/a"))
    members.send(request(b"DELETE", b"/v2/members/1"))
    switch.send(get(b"/v2/auth/enable"))
    wire.loop.advance(8)
    assert b'"errorCode":300' in answer(key.take()).body
    for client in (members, switch):
        refused = answer(client.take())
        assert (refused.status, refused.body) == (500, b'{"message":"Internal Server Error"}')


def test_auth_that_is_switched_on_counts_from_the_next_request(wire: Wire, client: Client) -> None:
    protect(wire.service, on=False)
    watcher = wire.client()
    watcher.send(get(b"/v2/keys/?recursive=true&wait=true&stream=true"))
    assert answer(client.ask(put(b"/v2/keys/a", b"value=1"))).status == 201
    protect(wire.service)
    assert answer(client.ask(put(b"/v2/keys/a", b"value=2"))).status == 401
    assert ask(wire, b"PUT", b"/v2/keys/a", b"value=3", ROOT).status == 200
    assert watcher.take().count(b'"action":"set"') == 2, "a watch is checked when it starts"
    assert answer(wire.client().ask(get(b"/v2/keys/?wait=true"))).status == 401
    put_role(wire.service, "guest", ("/*",))
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 200
    assert answer(client.ask(put(b"/v2/keys/a", b"value=2"))).status == 401
    drop_role(wire.service, "guest")
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 401
    protect(wire.service, on=False)
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 200
    assert ask(wire, b"GET", b"/v2/keys/a", None, basic("root:wrong")).status == 200


def test_a_received_snapshot_may_switch_it_on(wire: Wire, client: Client) -> None:
    protect(wire.service, on=False)
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 404
    other = FakeService()
    protect(other)
    restorer = Restorer()
    for chunk in other.store.snapshot().chunks(100):
        restorer.feed(chunk)
    old, wire.service.store = wire.service.store, restorer.finish()
    wire.service.store.succeed(old)
    assert answer(client.ask(get(b"/v2/keys/a"))).status == 401


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda service: put_user(service, "u"), 401),
        (lambda service: service.store.apply(Request(Op.DELETE_RECORD, b"/2/users/u")), 401),
        (lambda service: protect(service, on=False), 404),
        (lambda service: put_role(service, "r", ("/a",)), 404),
    ],
)
def test_what_changes_while_a_password_is_checked(
    wire: Wire, client: Client, change: Callable[[FakeService], None], status: int
) -> None:
    protect(wire.service)
    put_user(wire.service, "u", "r", "root")
    client.send(request(b"GET", b"/v2/keys/a", None, basic("u:p")))
    change(wire.service)
    wire.loop.run()
    assert answer(client.take()).status == status


def test_a_client_that_leaves_while_its_password_is_checked(wire: Wire, client: Client) -> None:
    protect(wire.service)
    client.send(request(b"GET", b"/v2/keys/?wait=true", None, ROOT))
    client.hang_up()
    wire.loop.run()
    assert client.take() == b""
    assert wire.service.store.hub.count == 0


def test_pipelined_requests_are_answered_in_order(wire: Wire, client: Client) -> None:
    protect(wire.service)
    put_role(wire.service, "guest", ("/*",))
    client.send(
        request(b"PUT", b"/v2/keys/a", b"value=1", ROOT)
        + get(b"/v2/keys/a")
        + put(b"/v2/keys/a", b"value=2")
        + request(b"GET", b"/v2/keys/a", None, basic("root:wrong"))
        + get(b"/v2/keys/a")
    )
    wire.loop.run()
    assert [only.status for only in answers(client.take())] == [201, 200, 401, 401, 200]


# --- a flood of guesses ------------------------------------------------------------------------


class Observer:
    """Notes every 2 ms how late the loop is, and what the passwords take up."""

    def __init__(self, port: ClientPort) -> None:
        self.lags: list[float] = []
        self.threads: set[str] = set()
        self.most_jobs = 0
        self._port = port
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.002)
            self.lags.append(loop.time() - began - 0.002)
            self.most_jobs = max(self.most_jobs, self._port.access.passwords.jobs)
            names = {thread.name for thread in threading.enumerate()}
            self.threads |= {name for name in names if "password" in name}

    def stop(self) -> str:
        """Stop; the lags in ms, as their 50, 90, 99 and 100 percentiles."""
        self._task.cancel()
        lags = sorted(self.lags)
        chosen = [lags[len(lags) * share // 100] for share in (50, 90, 99)] + [lags[-1]]
        return "/".join(f"{lag * 1e3:.1f}" for lag in chosen)


@pytest.mark.asyncio
async def test_a_flood_of_guesses_holds_up_nobody(
    record_property: Callable[[str, object], None],
) -> None:
    """500 clients guess passwords of users that exist and of some that do not."""
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    service = FakeService()
    protect(service)
    put_role(service, "guest", ("/open",))
    users = [f"u{number}" for number in range(20)]
    for name in users:
        put_user(service, name, "root")
        real = passwords_module._NOBODY.decode()  # costs what passwords of etcd cost
        record = b'{"user":"%b","password":"%b","roles":null}' % (name.encode(), real.encode())
        service.store.apply(Request(Op.PUT_RECORD, b"/2/users/" + name.encode(), record))
    draw = random.Random(7)
    statuses: list[int] = []

    async def guess(client: Browserless, number: int) -> None:
        name = draw.choice([*users, f"nobody{number}"])
        header = basic(f"{name}:guess{number}")
        statuses.append(await client.ask(request(b"GET", b"/v2/keys/a", None, header)))

    async with Served(service) as served:
        root, guest = await served.client(), await served.client()
        assert await root.ask(request(b"GET", b"/v2/keys/a", None, ROOT)) == 404
        clients = [await served.client() for _ in range(500)]
        observer = Observer(served.port)
        began = loop.time()
        guesses = [
            asyncio.ensure_future(guess(client, number)) for number, client in enumerate(clients)
        ]
        waits = []
        for _ in range(50):
            asked = loop.time()
            assert await root.ask(request(b"PUT", b"/v2/keys/a", b"value=1", ROOT)) in (200, 201)
            assert await guest.ask(get(b"/v2/keys/open")) == 404
            waits.append(loop.time() - asked)
        await asyncio.gather(*guesses)
        took = loop.time() - began
        figures = observer.stop()
        for client in (*clients, root, guest):
            await client.close()
    assert set(statuses) == {401, 503}, "checked and refused, or refused unchecked"
    assert len(statuses) == 500
    assert statuses.count(401) >= MAX_PASSWORD_JOBS_PER_OWNER
    assert 0 < observer.most_jobs <= MAX_PASSWORD_JOBS_PER_OWNER, "all from one address"
    assert 0 < len(observer.threads) <= PASSWORD_THREADS
    record_property("guesses refused unchecked", statuses.count(503))
    record_property("flood seconds", f"{took:.2f}")
    record_property("lag of the loop in ms: 50%, 90%, 99%, worst", figures)
    record_property("worst pair of other requests ms", f"{max(waits) * 1e3:.1f}")
