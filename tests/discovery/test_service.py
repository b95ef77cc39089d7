"""The service's pages: the tables of the reference row by row, and what a hardened one refuses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from kvraft import limits
from kvraft.discovery.backend import Answer, BackendDown, HttpBackend, Question
from kvraft.discovery.embedded import MemberBackend
from kvraft.discovery.rate import RateLimit
from kvraft.discovery.service import DOCUMENTATION_URL
from kvraft.store.store import Store
from tests.api.fakes import FakeService
from tests.discovery.world import TOKEN, Asked, Recording, World, http_answer, scripted

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


# --- /new ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("", "3"),
        ("?size=", "3"),
        ("?SIZE=9", "3"),
        ("?foo=bar", "3"),
        ("?size=5", "5"),
        ("?size=007", "7"),
        ("?size=%2B5", "5"),
        ("?size=1000000", "1000000"),
        ("?size=2&size=9", "2"),
    ],
)
async def test_new_tokens(world: World, query: str, stored: str) -> None:
    reply = await world.ask("GET", f"/new{query}")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    found = re.fullmatch(re.escape(world.url) + r"/([0-9a-f]{32})", reply.text)
    assert found, reply.text
    assert world.value(f"/{found[1]}/_config/size") == stored


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        *(
            (f"size={sent}", f'strconv.Atoi: parsing "{seen}": invalid syntax\n')
            for sent, seen in (
                ("abc", "abc"),
                ("3.5", "3.5"),
                ("0x10", "0x10"),
                ("+5", " 5"),
                ("%205", " 5"),
            )
        ),
        (
            "size=99999999999999999999",
            'strconv.Atoi: parsing "99999999999999999999": value out of range\n',
        ),
        ("size=0", "a cluster has at least one member: size is 0\n"),
        ("size=-1", "a cluster has at least one member: size is -1\n"),
    ],
)
async def test_sizes_that_are_none(world: World, query: str, problem: str) -> None:
    before = world.store.store.index
    reply = await world.ask("GET", f"/new?{query}")
    assert (reply.status, reply.text) == (400, problem)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert world.store.store.index == before


@pytest.mark.parametrize(
    ("method", "stored"),
    [("PUT", "9"), ("POST", "9"), ("PATCH", "9"), ("GET", "4"), ("DELETE", "4"), ("QUERY", "4")],
)
async def test_any_method_will_do_and_some_have_forms(
    world: World, method: str, stored: str
) -> None:
    reply = await world.ask(method, "/new?size=4", "size=9")
    assert world.value(f"/{reply.text[-32:]}/_config/size") == stored


async def test_multipart_and_other_bodies(world: World) -> None:
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    form = '--x\r\nContent-Disposition: form-data; name="size"\r\n\r\n9\r\n--x--\r\n'
    for query, stored in (("", "9"), ("?size=4", "4")):
        reply = await world.ask("POST", f"/new{query}", form, **multipart)
        assert world.value(f"/{reply.text[-32:]}/_config/size") == stored
    json_type = {"Content-Type": "application/json"}
    reply = await world.ask("POST", "/new", '{"size": 9}', **json_type)
    assert world.value(f"/{reply.text[-32:]}/_config/size") == "3"
    reply = await world.ask("POST", "/new", "no boundary", **multipart)
    assert world.value(f"/{reply.text[-32:]}/_config/size") == "3"
    head = await world.ask("HEAD", "/new")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(world.url) + 33)


async def test_tokens_that_are_forgotten() -> None:
    async with World(token_ttl_s=60) as world:
        token = await world.new()
        document = (await world.ask("GET", token)).document
        assert document["node"]["ttl"] == 60
        assert (await world.ask("PUT", f"{token}/m?prevExist=false", "value=a")).status == 201
        assert (await world.ask("GET", token)).document["node"]["ttl"] == 60


async def test_an_address_may_not_ask_without_end() -> None:
    now_s = 0.0
    async with World(new_rate=RateLimit(2, lambda: now_s)) as world:
        statuses = [(await world.ask("GET", "/new")).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        now_s = 30.0
        assert (await world.ask("GET", "/new")).status == 200


# --- the other pages -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_pages_for_any_method(world: World, method: str) -> None:
    head = method == "HEAD"
    robots = await world.ask(method, "/robots.txt")
    assert robots.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert robots.headers["Content-Length"] == "25"
    assert robots.text == ("" if head else "User-agent: *\nDisallow: /")
    health = await world.ask(method, "/health")
    assert (health.status, health.text) == (200, "" if head else "OK")
    root = await world.ask(method, "/")
    assert (root.status, root.headers["Location"]) == (301, DOCUMENTATION_URL)
    page = f'<a href="{DOCUMENTATION_URL}">Moved Permanently</a>.\n\n'
    assert root.text == (page if method == "GET" else "")
    assert (await world.ask(method, "/metrics")).status == 200


@pytest.mark.parametrize(
    "path", ["/new/", "/New", "/v2/keys", "/version", f"/{TOKEN}/m/sub", f"/{TOKEN.upper()}"]
)
async def test_unknown_pages(world: World, path: str) -> None:
    reply = await world.ask("GET", path)
    assert (reply.status, reply.text) == (404, "404 page not found\n")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_paths_are_cleaned(world: World) -> None:
    reply = await world.ask("GET", f"//{TOKEN}/../new?size=4")
    assert (reply.status, reply.headers["Location"]) == (301, "/new?size=4")
    assert reply.text == '<a href="/new?size=4">Moved Permanently</a>.\n\n'
    assert (await world.ask("GET", "/%zz")).status == 400


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("", "HEAD POST DELETE PATCH OPTIONS"),
        ("/", "HEAD POST DELETE"),
        ("/m", "HEAD POST PATCH"),
        ("/_config/size", "PUT DELETE HEAD POST"),
        ("/_config", "HEAD POST PATCH"),
    ],
)
async def test_methods_that_are_not_allowed(world: World, path: str, methods: str) -> None:
    token = await world.new()
    before = world.store.store.index
    for method in methods.split():
        for query in ("", "?recursive=true"):
            reply = await world.ask(method, f"{token}{path}{query}")
            assert (reply.status, reply.body) == (405, b"")
    assert world.store.store.index == before
    assert world.value(f"{token}/_config/size") == "3"


async def test_metrics_count_what_the_pages_answer(world: World) -> None:
    token = await world.new()
    await world.ask("GET", "/new?size=x")
    await world.ask("PUT", f"{token}/m", "value=a")
    await world.ask("GET", f"{token}/_config/size")
    await world.ask("GET", "/health")
    await world.ask("QUERY", "/new")
    for path in ("/x", "/robots.txt"):
        await world.ask("GET", path)
    await world.ask("DELETE", token)
    reply = await world.ask("GET", "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = "How many /{0} requests processed, partitioned by status code and HTTP method."
    counts = {
        "health": ['code="200",method="GET"'],
        "new": [
            'code="200",method="GET"',
            'code="200",method="other"',
            'code="400",method="GET"',
        ],
        "token": ['code="200",method="GET"', 'code="201",method="PUT"'],
    }
    lines = []
    for name, labels in counts.items():
        family = f"endpoint_{name}_requests_total"
        lines += [f"# HELP {family} {text.format(name)}", f"# TYPE {family} counter"]
        lines += [f"{family}{{{label}}} 1.0" for label in labels]
    assert reply.text.splitlines() == lines


async def test_the_access_log_is_in_the_common_format(world: World) -> None:
    token = await world.new()
    await world.ask("GET", token)
    await world.ask("GET", '/"x')
    lines = world.access_log.getvalue().splitlines()
    when = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    for line, rest in zip(
        lines,
        [
            f'"GET /new?size=3 HTTP/1.1" 200 {len(world.url) + 33}',
            f'"GET {token} HTTP/1.1" 200 129',
            '"GET /\\"x HTTP/1.1" 404 19',
        ],
        strict=True,
    ):
        assert re.fullmatch(rf"127\.0\.0\.1 - - {when} {re.escape(rest)}", line), line


# --- tokens ----------------------------------------------------------------------------


async def test_a_member_sees_the_store(world: World) -> None:
    token = await world.new()
    listing = await world.ask("GET", f"{token}/?quorum=false&recursive=false&sorted=false")
    assert listing.document == {
        "action": "get",
        "node": {
            "key": f"/_etcd/registry{token}",
            "dir": True,
            "modifiedIndex": 4,
            "createdIndex": 4,
        },
    }
    for name in ("X-Etcd-Cluster-Id", "X-Etcd-Index", "X-Raft-Index", "X-Raft-Term"):
        assert name in listing.headers
    assert listing.headers["Content-Type"] == "application/json"
    assert (await world.ask("PUT", f"{token}/m?prevExist=false", "value=a%3Db")).status == 201
    again = await world.ask("PUT", f"{token}/m?prevExist=false", "value=a%3Db")
    assert (again.status, again.document["errorCode"]) == (412, 105)
    assert (await world.ask("GET", f"{token}/m")).document["node"]["value"] == "a=b"
    assert (await world.ask("GET", f"{token}/_config")).document["node"]["dir"]
    assert (await world.ask("DELETE", f"{token}/m")).document["action"] == "delete"
    bad = await world.ask("GET", f"{token}?wait=perhaps")
    assert (bad.status, bad.document["errorCode"]) == (400, 209)
    bad = await world.ask("PUT", f"{token}/m", "value=%zz")
    assert (bad.status, bad.document["errorCode"]) == (400, 210)


async def test_the_head_of_a_wait_comes_at_once(world: World) -> None:
    token = await world.new()
    index = world.store.store.index
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{world.url}{token}?recursive=true&wait=true&waitIndex={index + 1}"
        ) as waiting,
    ):
        assert waiting.status == 200
        assert waiting.headers["X-Etcd-Index"] == str(index)
        assert waiting.headers["Transfer-Encoding"] == "chunked"
        world.put(f"{token}/_hidden", "not for those who watch from above")
        world.put(f"{token}/m", "a=b")
        document = await waiting.json()
        assert document["node"]["value"] == "a=b"


async def test_a_stream_is_passed_on_event_by_event(world: World) -> None:
    token = await world.new()
    url = f"{world.url}{token}?recursive=true&wait=true&stream=true"
    async with aiohttp.ClientSession() as session, session.get(url) as waiting:
        for number in range(3):
            world.put(f"{token}/m", str(number))
            line = await waiting.content.readline()
            assert f'"value":"{number}"'.encode() in line
        for _ in range(limits.WATCH_QUEUE + 1):  # more than may wait for a slow client
            world.put(f"{token}/m", "x")
        assert (await waiting.read()).count(b"\n") == limits.WATCH_QUEUE


async def test_a_client_that_leaves_takes_its_wait_along(world: World) -> None:
    token = await world.new()
    url = f"{world.url}{token}?wait=true"
    async with aiohttp.ClientSession() as session, session.get(url) as waiting:
        assert waiting.status == 200
        assert len(list(world.store.store.hub.watchers())) == 1
    for _ in range(500):
        if not list(world.store.store.hub.watchers()):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the store still watches for a client that has gone")


async def test_a_wait_ends_some_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISCOVERY_SERVED_WAIT_S", 0.05)
    token = await world.new()
    reply = await world.ask("GET", f"{token}?wait=true")
    assert (reply.status, reply.body) == (200, b"")


async def test_a_stop_ends_waits_properly() -> None:
    async with World() as world:
        token = await world.new()
        url = f"{world.url}{token}?wait=true"
        async with aiohttp.ClientSession() as session, session.get(url) as waiting:
            assert waiting.status == 200
            await world.front.stop()
            assert await waiting.read() == b""


async def test_long_listings(world: World) -> None:
    token = await world.new()
    count = limits.GET_INLINE_NODES + 10
    for number in range(count):
        world.put(f"{token}/{number}", "x")
    assert len((await world.ask("GET", token)).document["node"]["nodes"]) == count


async def test_only_new_makes_tokens(world: World) -> None:
    before = world.store.store.index
    cause = f'"cause":"/_etcd/registry/{TOKEN}"'
    for path in (f"/{TOKEN}", f"/{TOKEN}/m"):
        reply = await world.ask("PUT", path, "value=x")
        assert (reply.status, reply.document["errorCode"]) == (404, 100)
        assert cause in reply.text or '"cause":"/_etcd"' in reply.text
    assert world.store.store.index == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ""),
        ("PUT", "?dir=true"),
        ("PUT", "?dir=true&prevExist=true&ttl=1"),
        ("PUT", "/_config"),
        ("DELETE", "/_config"),
        ("DELETE", "/_config?recursive=true"),
        ("DELETE", "/%5Fconfig?recursive=true"),
    ],
)
async def test_a_token_cannot_be_changed_itself(world: World, method: str, path: str) -> None:
    token = await world.new()
    before = world.store.store.index
    reply = await world.ask(method, f"{token}{path}", "value=x" if method == "PUT" else None)
    assert reply.status == 403
    key = f"/_etcd/registry{token}" + ("/_config" if "onfig" in path else "")
    assert reply.text == (
        f'{{"errorCode":102,"message":"Not a file","cause":"{key}","index":{before}}}\n'
    )
    assert reply.headers["X-Etcd-Index"] == str(before)
    assert "X-Raft-Index" not in reply.headers
    assert world.store.store.index == before


async def test_health_leaves_nothing(world: World) -> None:
    before = world.store.store.index
    assert (await world.ask("GET", "/health")).text == "OK"
    assert world.store.store.index == before + 2


# --- bounds and failures ---------------------------------------------------------------


async def test_bodies_have_a_bound(world: World) -> None:
    token = await world.new()
    reply = await world.ask("PUT", f"{token}/m", "value=" + "x" * limits.DISCOVERY_MAX_BODY_BYTES)
    assert reply.status == 413
    reply = await world.ask("POST", "/new", "size=" + "0" * limits.DISCOVERY_MAX_BODY_BYTES)
    assert reply.status == 413


async def test_a_body_has_to_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISCOVERY_BODY_S", 0.05)
    token = await world.new()
    host, _, port = world.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"PUT {token}/m HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nvalue".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_silent_connections_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.05)
    host, _, port = world.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HT")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_too_many_connections_are_turned_away() -> None:
    async with World(max_connections=1) as world:
        token = await world.new()
        url = f"{world.url}{token}"
        async with aiohttp.ClientSession() as session, session.get(url) as other:
            assert other.status == 503
            assert await other.text() == "too many connections\n"


class Down:
    """A store that is not there."""

    def __init__(self, service: FakeService) -> None:
        self.asked: list[Question] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def ask(self, question: Question) -> _Never:
        return _Never()


class _Never:
    async def __aenter__(self) -> Answer:
        raise BackendDown("connection refused")

    async def __aexit__(self, *_: object) -> None: ...


async def test_without_a_store() -> None:
    async with World(Down) as world:
        reply = await world.ask("GET", "/new")
        assert (reply.status, reply.text) == (400, "Unable to generate token\n")
        reply = await world.ask("GET", "/health")
        assert (reply.status, reply.text) == (400, "health failed to setupToken\n")
        for method in ("GET", "PUT", "DELETE"):
            reply = await world.ask(method, f"/{TOKEN}/m")
            assert (reply.status, reply.body) == (500, b"")


async def test_a_store_that_forgets_how_to_delete() -> None:
    async def script(asked: Asked) -> bytes | None:
        return http_answer(201 if asked.method == "PUT" else 500, {})

    async with scripted(script) as url:
        backend = HttpBackend(url)
        await backend.start()
        async with World(lambda service: backend) as world:
            reply = await world.ask("GET", "/health")
            assert (reply.status, reply.text) == (400, "health failed to deleteToken\n")
        await backend.stop()


async def test_a_defect_is_a_clean_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("for the test")

    monkeypatch.setattr(Store, "get_body", broken)
    assert (await world.ask("GET", f"/{TOKEN}")).status == 500


async def test_a_store_that_redirects_is_followed() -> None:
    """Members cannot follow it: their registration would have lost its body."""
    seen: list[str] = []

    async def script(asked: Asked) -> bytes | None:
        seen.append(f"{asked} {asked.body.decode()}")
        if "moved" not in asked.target:
            location = b"Location: /moved\r\nContent-Length: 0\r\n\r\n"
            return b"HTTP/1.1 307 Temporary Redirect\r\n" + location
        return http_answer(201, {"action": "create"})

    async with scripted(script) as url:
        backend = HttpBackend(url)
        await backend.start()
        question = Question("PUT", "/a b", "x=1", b"value=y", (("Content-Type", "a/b"),))
        async with backend.ask(question) as answer:
            assert answer.status == 201
            assert await answer.read() == b'{"action": "create"}'
        await backend.stop()
    assert seen == ["PUT /v2/keys/a%20b?x=1 value=y", "PUT /moved value=y"]


async def test_only_what_is_for_the_store_is_passed_on() -> None:
    seen: list[Asked] = []

    async def script(asked: Asked) -> bytes | None:
        seen.append(asked)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\nX-A: 1\r\n\r\nx"

    async with scripted(script) as url:
        backend = HttpBackend(url + "/")
        await backend.start()
        headers = (
            ("Host", "service"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("User-Agent", "Go-http-client/1.1"),
            ("Transfer-Encoding", "chunked"),
            ("Authorization", "Basic x"),
        )
        async with backend.ask(Question("GET", "/a", headers=headers)) as answer:
            assert ("X-A", "1") in answer.headers
            assert not any(name == "Connection" for name, _ in answer.headers)
            assert answer.length == 1
        await backend.stop()
    names = {name for name, _ in seen[0].headers}
    assert names == {"Host", "User-Agent", "Authorization"}


async def test_a_store_that_breaks_off() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    backend = HttpBackend(f"http://{host}:{port}")
    await backend.start()
    async with World(lambda service: backend) as front:
        with pytest.raises(aiohttp.ClientError):
            await front.ask("GET", f"/{TOKEN}")
    await backend.stop()
    server.close()


async def test_a_write_asks_the_store_whether_there_is_such_a_token() -> None:
    recordings: list[Recording] = []

    def recorded(service: FakeService) -> Recording:
        recordings.append(Recording(MemberBackend(service)))
        return recordings[0]

    async with World(recorded) as world:
        token = await world.new()
        await world.ask("PUT", f"{token}/m?prevExist=false", "value=a")
        await world.ask("GET", f"{token}/m")
    questions = [f"{q.method} {q.key}?{q.query}" for q in recordings[0].questions]
    assert questions == [
        f"PUT /_etcd/registry{token}/_config/size?prevExist=false",
        f"GET /_etcd/registry{token}/_config/size?quorum=true",
        f"PUT /_etcd/registry{token}/m?prevExist=false",
        f"GET /_etcd/registry{token}/m?",
    ]
