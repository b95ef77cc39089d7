"""A member's side: the order of its requests, the outcomes with their texts, and noise."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft import limits
from kvraft.discovery.client import Timing, get_cluster, join_cluster, proxy_url
from kvraft.discovery.errors import ClusterFull, DiscoveryError, DiscoveryFailed, DuplicateId
from kvraft.discovery.registry import Failure, Registry
from kvraft.server import ids, logs
from kvraft.server.logs import LineFormatter
from tests.discovery.world import Asked, World, http_answer, scripted

pytestmark = pytest.mark.asyncio
TOKEN_PATH = "/fd7b48053b2e6c963956eb38abaa4b58"


class Sleeps:
    """Time that passes at once; `during` is what happens meanwhile."""

    def __init__(self, during: Callable[[], Awaitable[None]] | None = None) -> None:
        self.slept_s: list[float] = []
        self.during = during

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if self.during is not None:
            await self.during()

    @property
    def timing(self) -> Timing:
        return Timing(self, 5)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged: level letter and text."""
    logs.configure()
    logging.getLogger(logs.ROOT).propagate = True
    caplog.set_level(logging.INFO)
    formatter = LineFormatter()

    def lines() -> list[str]:
        return [
            formatter.format(record).split(" ", 2)[2]
            for record in caplog.records
            if record.name == "kvraft.discovery" and "cluster created" not in record.getMessage()
        ]

    return lines


def peer(number: int) -> str:
    return f"http://127.0.0.1:{36202 + 10 * number}"


def join(
    url: str,
    number: int,
    name: str = "",
    *,
    timing: Timing | None = None,
    peers: tuple[str, ...] = (),
) -> asyncio.Task[str]:
    urls = peers or (peer(number),)
    own = ids.member_id(urls, url)
    return asyncio.create_task(
        join_cluster(
            url, "", name or f"m{number}", own, urls, data_dir="d", timing=timing or Timing()
        )
    )


async def error_of(joining: Awaitable[str]) -> DiscoveryError:
    with pytest.raises(DiscoveryError) as raised:
        await asyncio.wait_for(joining, 10)
    return raised.value


def shown(error: DiscoveryError) -> list[str]:
    formatter = LineFormatter()
    return [formatter.format_line(line, 0).split(" ", 2)[2] for line in error.lines]


def trailer(url: str) -> list[str]:
    return [
        f"I | etcdmain: discovery token {url} was used, but failed to bootstrap the cluster.",
        "I | etcdmain: please generate a new discovery token and try to bootstrap again.",
    ]


def failed(url: str, text: str) -> list[str]:
    return [f"E | etcdmain: failed to join discovery cluster ({text})", *trailer(url)]


async def registered(world: World, path: str, count: int) -> None:
    """Wait until so many members have registered."""
    async with asyncio.timeout(10):
        while True:
            nodes = (await world.ask("GET", path)).document["node"].get("nodes", [])
            if len(nodes) >= count:
                return
            await asyncio.sleep(0.01)


# --- the usual way ---------------------------------------------------------------------


async def test_three_members_find_each_other(world: World, said: Callable[[], list[str]]) -> None:
    path = await world.new(3)
    url = world.url + path
    own = [ids.format_id(ids.member_id([peer(number)], url)) for number in range(3)]
    first = join(url, 0)
    await registered(world, path, 1)
    second = join(url, 1)
    await registered(world, path, 2)
    third = join(url, 2)
    expected = ",".join(f"m{number}={peer(number)}" for number in range(3))
    assert set(await asyncio.gather(first, second, third)) == {expected}
    assert await get_cluster(url, "") == expected
    lines = said()
    assert lines[:2] == [
        f"N | discovery: found self {own[0]} in the cluster",
        "N | discovery: found 1 peer(s), waiting for 2 more",
    ]
    assert f"N | discovery: found peer {own[1]} in the cluster" in lines
    assert lines.count("N | discovery: found 2 peer(s), waiting for 1 more") == 2
    assert lines.count("N | discovery: found 3 needed peer(s)") == 4


async def test_the_requests_are_those_of_etcd(world: World) -> None:
    """The trace of the reference, section 3.1: three members, one after the other."""
    path = await world.new(3)
    traces: dict[int, list[str]] = {0: [], 1: [], 2: []}
    tasks = []
    heads: list[tuple[tuple[str, str], ...]] = []
    bodies: list[str] = []

    async with asyncio.TaskGroup() as group:
        for number in range(3):

            async def script(asked: Asked, number: int = number) -> bytes | None:
                traces[number].append(str(asked))
                heads.append(asked.headers)
                if asked.body:
                    bodies.append(asked.body.decode())
                types = {k: v for k, v in asked.headers if k == "Content-Type"}
                reply = await world.ask(
                    asked.method, asked.target, asked.body.decode() or None, **types
                )
                index = int(reply.headers["X-Etcd-Index"])
                return http_answer(reply.status, reply.body, index=index)

            async def run(number: int = number) -> None:
                async with scripted(script) as url:
                    # the ids have to differ between members only, not to be those of one token
                    await join(url + path, number)

            tasks.append(group.create_task(run()))
            await registered(world, path, number + 1)

    read = "quorum=false&recursive=false&sorted=false"
    check = [f"GET {path}/_config/size?{read}", f"GET {path}?{read}"]
    for number, trace in traces.items():
        put, confirm = trace[2:4]
        own = put.split("?")[0].rpartition("/")[2]
        index = 5 + number  # of the fourth write to a store with three records of its own
        assert trace[:2] == trace[4:6] == check
        assert put == f"PUT {path}/{own}?prevExist=false"
        assert confirm == f"GET {path}/{own}?recursive=false&wait=true&waitIndex={index}"
        assert trace[6:] == [
            f"GET {path}?recursive=true&wait=true&waitIndex={later}"
            for later in range(index + 1, 8)
        ]
    assert sorted(bodies) == [
        f"value=m{n}%3Dhttp%3A%2F%2F127.0.0.1%3A{36202 + 10 * n}" for n in range(3)
    ]
    for head in heads:
        fields = dict(head)
        assert fields.pop("Host").startswith("127.0.0.1:")
        assert fields.pop("User-Agent") == "Go-http-client/1.1"
        assert fields.pop("Accept-Encoding") == "gzip"
        kind = fields.pop("Content-Type", None)
        assert kind in (None, "application/x-www-form-urlencoded")
        assert fields in ({}, {"Content-Length": "41"})


async def test_a_proxy_only_looks(world: World) -> None:
    path = await world.new(2)
    url = world.url + path
    looking = asyncio.create_task(get_cluster(url, ""))
    members = [join(url, 0), join(url, 1)]
    await asyncio.gather(*members)
    assert await looking == f"m0={peer(0)},m1={peer(1)}"
    nodes = (await world.ask("GET", path)).document["node"]["nodes"]
    assert len(nodes) == 2


async def test_a_member_with_several_urls(world: World) -> None:
    path = await world.new(1)
    urls = ("http://127.0.0.1:36703", "http://127.0.0.1:36702")
    found = await join(world.url + path, 0, "multi", peers=urls)
    assert found == "multi=http://127.0.0.1:36702,multi=http://127.0.0.1:36703"
    (node,) = (await world.ask("GET", path)).document["node"]["nodes"]
    assert node["value"] == found


async def test_a_trailing_slash_is_harmless_if_all_have_it(world: World) -> None:
    path = await world.new(1)
    assert await join(f"{world.url}{path}/", 0) == f"m0={peer(0)}"


async def test_another_spelling_of_the_url_is_pointed_out(
    world: World, said: Callable[[], list[str]]
) -> None:
    path = await world.new(2)
    both = [join(world.url + path, 0), join(f"{world.url}{path}/", 1)]
    await asyncio.gather(*both)
    assert sum("another spelling of the discovery URL" in line for line in said()) == 2


async def test_the_vector_of_the_reference() -> None:
    url = f"http://127.0.0.1:36104{TOKEN_PATH}"
    members = [ids.member_id([peer(number)], url) for number in range(3)]
    assert [ids.format_id(member) for member in members] == [
        "1e20ba546961851d",
        "5a5e0af57f7119dd",
        "3ba82d5e35cc9d18",
    ]
    assert ids.format_id(ids.cluster_id(members)) == "6296fdf6b1c29fbf"


# --- outcomes --------------------------------------------------------------------------


async def test_full(world: World) -> None:
    path = await world.new(1)
    url = world.url + path
    await join(url, 0)
    before = world.store.store.index
    error = await error_of(join(url, 1))
    assert isinstance(error, ClusterFull)
    assert shown(error) == failed(url, "discovery: cluster is full")
    assert world.store.store.index == before, "the late member must not register"


async def test_four_members_race_for_two_places(world: World) -> None:
    path = await world.new(2)
    outcomes = await asyncio.gather(
        *(join(world.url + path, number) for number in range(4)), return_exceptions=True
    )
    found = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert len(found) == 1
    assert sum(isinstance(outcome, ClusterFull) for outcome in outcomes) == 2


async def test_registered_before(world: World) -> None:
    path = await world.new(2)
    url = world.url + path
    first = join(url, 2, "x2")
    await registered(world, path, 1)
    error = await error_of(join(url, 2, "x2"))
    assert isinstance(error, DuplicateId)
    assert shown(error) == [
        (
            'E | etcdmain: member "x2" has previously registered with discovery service '
            f"token ({url})."
        ),
        (
            "E | etcdmain: But etcd could not find valid cluster configuration in the given "
            "data dir (d)."
        ),
        "I | etcdmain: Please check the given data dir path if the previous bootstrap succeeded",
        "I | etcdmain: or use a new discovery token if the previous bootstrap failed.",
    ]
    await join(url, 1)
    await first


async def test_registered_before_and_complete(world: World) -> None:
    """Also when the cluster has formed: the id is among the first, but not of this data."""
    path = await world.new(1)
    await join(world.url + path, 0)
    assert isinstance(await error_of(join(world.url + path, 0)), DuplicateId)


async def test_two_members_of_one_name(world: World) -> None:
    path = await world.new(2)
    url = world.url + path
    errors = await asyncio.gather(error_of(join(url, 0, "x")), error_of(join(url, 1, "x")))
    for error in errors:
        assert shown(error) == [
            (
                "E | etcdmain: member with duplicated name has registered with discovery service "
                f"token({url})."
            ),
            "E | etcdmain: please check (cURL) the discovery token for more information.",
            (
                "E | etcdmain: please do not reuse the discovery token and generate a new one to "
                "bootstrap the cluster."
            ),
        ]
    assert shown(await error_of(get_cluster(url, ""))) == [
        "C | etcdmain: discovery: found duplicate name"
    ]


async def test_one_url_under_two_names(world: World) -> None:
    path = await world.new(2)
    world.put(f"{path}/other", "other=http://h:1")
    error = await error_of(join(world.url + path, 0, "x12", peers=("http://h:1",)))
    assert shown(error) == [
        "C | etcdmain: discovery cluster other=http://h:1,x12=http://h:1 has duplicate url"
    ]


async def test_a_value_that_is_no_url(world: World) -> None:
    path = await world.new(2)
    world.put(f"{path}/other", "nonsense")
    url = world.url + path
    assert shown(await error_of(join(url, 0))) == failed(url, "discovery: invalid URL")
    assert shown(await error_of(get_cluster(url, ""))) == ["C | etcdmain: discovery: invalid URL"]


@pytest.mark.parametrize("size", ["x", "", "0", "-1", "3.5"])
async def test_sizes_of_no_use(world: World, size: str) -> None:
    world.put(f"{TOKEN_PATH}/_config/size", size)
    url = world.url + TOKEN_PATH
    assert shown(await error_of(join(url, 0))) == failed(url, "discovery: size key is bad")
    assert (await world.ask("GET", TOKEN_PATH)).document["node"].get("nodes") is None


async def test_a_token_that_is_none(world: World) -> None:
    url = world.url + TOKEN_PATH
    text = "100: Key not found (/_etcd) [3]"
    assert shown(await error_of(join(url, 0))) == failed(url, text)
    assert shown(await error_of(get_cluster(url, ""))) == [f"C | etcdmain: {text}"]


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/robots.txt", "/v2/keys"])
async def test_no_discovery_service(world: World, path: str) -> None:
    url = world.url + path
    text = "discovery: bad discovery endpoint"
    assert shown(await error_of(join(url, 0))) == failed(url, text)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"x"',
        b"{}",
        b'{"node":5}',
        b'{"node":{"value":5}}',
        b"[" * 100_000,
        b'{"node":{"value":"1","key":"/t","nodes":[{"key":"/t/a","createdIndex":"1"}]}}',
        b'{"node":{"value":"1","key":"/t","nodes":[5]}}',
        b'{"node":{"value":"1","key":"/t","nodes":5}}',
        b'{"node":{"value":"1","nodes":[]}}',
    ],
)
async def test_answers_of_no_use(body: bytes) -> None:
    async def script(asked: Asked) -> bytes | None:
        return http_answer(200, body)

    async with scripted(script) as url:
        lines = shown(await error_of(join(url, 0)))
    bad_size = "discovery: size key is bad"
    assert lines in (failed(url, "discovery: bad discovery endpoint"), failed(url, bad_size))


async def test_an_answer_without_end() -> None:
    async def script(asked: Asked) -> bytes | None:
        return http_answer(200, b"x" * (limits.DISCOVERY_MAX_ANSWER_BYTES + 1))

    async with scripted(script) as url:
        error = await error_of(join(url, 0))
    assert error.text == "discovery: bad discovery endpoint"


async def test_no_answer_in_time() -> None:
    async def script(asked: Asked) -> bytes | None:
        await asyncio.sleep(60)
        return None

    async with scripted(script) as url:
        error = await error_of(join(url, 0, timing=Timing(request_timeout_s=0.05)))
    assert shown(error) == failed(url, "context deadline exceeded")


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(500, {"errorCode": 300, "message": "Raft Internal Error"}),
        http_answer(503),
        b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        None,
    ],
)
async def test_a_registration_is_tried_once(world: World, answer: bytes | None) -> None:
    path = await world.new(1)
    puts: list[Asked] = []

    async def script(asked: Asked) -> bytes | None:
        if asked.method == "PUT":
            puts.append(asked)
            return answer
        reply = await world.ask(asked.method, asked.target)
        return http_answer(reply.status, reply.body)

    async with scripted(script) as base:
        url = base + path
        error = await error_of(join(url, 0))
    text = "client: etcd cluster is unavailable or misconfigured"
    assert shown(error) == failed(url, text)
    assert len(puts) == 1


async def test_a_get_may_be_redirected(world: World) -> None:
    path = await world.new(1)
    await join(world.url + path, 0)

    async def script(asked: Asked) -> bytes | None:
        location = f"Location: {world.url}{asked.target}\r\nContent-Length: 0\r\n\r\n"
        return f"HTTP/1.1 302 Found\r\n{location}".encode()

    async with scripted(script) as base:
        assert await get_cluster(base + path, "") == f"m0={peer(0)}"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("foo", 'unsupported protocol scheme ""'),
        ("ftp://x/t", 'unsupported protocol scheme "ftp"'),
        ("http:///t", 'unsupported protocol scheme "http"'),
    ],
)
async def test_urls_of_no_use(url: str, text: str) -> None:
    error = await error_of(join(url, 0))
    assert isinstance(error, DiscoveryFailed)
    assert shown(error) == failed(url, text)


# --- trouble on the way ----------------------------------------------------------------


async def test_a_service_that_is_down_is_asked_again(
    world: World, said: Callable[[], list[str]]
) -> None:
    path = await world.new(1)
    down = {"left": 8}

    async def script(asked: Asked) -> bytes | None:
        if down["left"]:
            down["left"] -= 1
            return [http_answer(503), http_answer(500), http_answer(502), None][down["left"] % 4]
        reply = await world.ask(asked.method, asked.target, asked.body.decode() or None)
        return http_answer(reply.status, reply.body, index=int(reply.headers["X-Etcd-Index"]))

    sleeps = Sleeps()
    async with scripted(script) as base:
        assert await join(base + path, 0, timing=sleeps.timing) == f"m0={peer(0)}"
    lines = said()
    doubled = [2, 4, 8, 16, 32, 64, 64, 64]
    assert sleeps.slept_s == doubled[: len(sleeps.slept_s)]
    assert len(sleeps.slept_s) > 5
    member = f"E | discovery: error #0: client: etcd member {base}"
    assert f"{member} has no leader" in lines
    assert f"{member} returns server error [Bad Gateway]" in lines
    retrying = f"I | discovery: cluster status check: error connecting to {base}, retrying in"
    assert f"{retrying} 2s" in lines
    assert f"{retrying} 1m4s" in lines


async def test_nobody_listens(said: Callable[[], list[str]], unused_tcp_port: int) -> None:
    class Enough(Exception):
        pass

    async def stop() -> None:
        if len(sleeps.slept_s) == 3:
            raise Enough

    base = f"http://127.0.0.1:{unused_tcp_port}"
    sleeps = Sleeps(stop)
    with pytest.raises(Enough):
        await join(base + TOKEN_PATH, 0, timing=sleeps.timing)
    assert sleeps.slept_s == [2, 4, 8]
    refused = f"dial tcp 127.0.0.1:{unused_tcp_port}: connect: connection refused"
    assert said()[:2] == [
        f"E | discovery: error #0: {refused}",
        f"I | discovery: cluster status check: error connecting to {base}, retrying in 2s",
    ]


async def test_a_service_that_is_cut_off_while_waiting(
    world: World, said: Callable[[], list[str]]
) -> None:
    path = await world.new(2)
    cut = {"waits": 0}

    async def script(asked: Asked) -> bytes | None:
        if "recursive=true&wait=true" in asked.target:
            cut["waits"] += 1
            if cut["waits"] == 1:
                return None
        reply = await world.ask(asked.method, asked.target, asked.body.decode() or None)
        return http_answer(reply.status, reply.body, index=int(reply.headers["X-Etcd-Index"]))

    async def second_member_comes() -> None:
        world.put(f"{path}/other", "other=http://h:1")

    sleeps = Sleeps(second_member_comes)
    async with scripted(script) as base:
        found = await join(base + path, 0, timing=sleeps.timing)
    assert found == f"m0={peer(0)},other=http://h:1"
    assert sleeps.slept_s == [2]
    retry = f"waiting for other nodes: error connecting to {base}, retrying in 2s"
    assert f"I | discovery: {retry}" in said()


async def test_noise_under_the_token(world: World) -> None:
    path = await world.new(3)
    url = world.url + path
    joining = join(url, 0)
    await registered(world, path, 1)
    own = ids.format_id(ids.member_id([peer(0)], url))
    world.put(f"{path}/{own}", f"m0={peer(0)}")  # repeated
    world.put(f"{path}/a", "a=http://a:1")
    world.put(f"{path}/a", "a=http://a:2")  # changed
    world.put(f"{path}/d/sub", "no member")
    world.put(f"{path}/_hidden", "no member either")
    await asyncio.sleep(0.1)
    assert not joining.done()
    world.put(f"{path}/c", "c=http://c:1")
    assert await joining == f"a=http://a:2,c=http://c:1,m0={peer(0)}"


async def test_a_registration_that_goes_while_others_wait(world: World) -> None:
    path = await world.new(3)
    joining = join(world.url + path, 0)
    await registered(world, path, 1)
    world.put(f"{path}/b", "b=http://b:1")
    await asyncio.sleep(0.05)
    world.delete(f"{path}/b")
    await asyncio.sleep(0.05)
    world.put(f"{path}/c", "c=http://c:1")
    await asyncio.sleep(0.05)
    assert not joining.done()
    world.put(f"{path}/d", "d=http://d:1")
    assert await joining == f"c=http://c:1,d=http://d:1,m0={peer(0)}"


async def test_the_own_registration_goes(world: World) -> None:
    path = await world.new(2)
    url = world.url + path
    joining = join(url, 0)
    await registered(world, path, 1)
    await asyncio.sleep(0.05)
    world.delete(f"{path}/{ids.format_id(ids.member_id([peer(0)], url))}")
    world.put(f"{path}/a", "a=http://a:1")
    world.put(f"{path}/b", "b=http://b:1")
    assert isinstance(await error_of(joining), ClusterFull)


async def test_the_token_goes(world: World) -> None:
    path = await world.new(2)
    joining = join(world.url + path, 0)
    await registered(world, path, 1)
    await asyncio.sleep(0.05)
    world.delete(path)
    error = await error_of(joining)
    assert error.text.startswith("100: Key not found (/_etcd/registry/")


async def test_an_index_that_is_too_old(world: World) -> None:
    """The history has been overrun between two waits: the directory is read again."""
    path = await world.new(2)
    late = {"done": False}

    async def script(asked: Asked) -> bytes | None:
        if "recursive=true&wait=true" in asked.target and not late["done"]:
            late["done"] = True
            world.put(f"{path}/other", "other=http://h:1")
            for _ in range(limits.HISTORY_EVENTS + 1):
                world.put("/elsewhere", "x")
        reply = await world.ask(asked.method, asked.target, asked.body.decode() or None)
        return http_answer(reply.status, reply.body, index=int(reply.headers["X-Etcd-Index"]))

    sleeps = Sleeps()
    async with scripted(script) as base:
        found = await join(base + path, 0, timing=sleeps.timing)
    assert found == f"m0={peer(0)},other=http://h:1"
    assert sleeps.slept_s == []


async def test_waits_that_end_without_an_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DISCOVERY_SERVED_WAIT_S", 0.01)
    path = await world.new(2)

    async def second_member_comes() -> None:
        if len(sleeps.slept_s) == 3:
            world.put(f"{path}/other", "other=http://h:1")

    sleeps = Sleeps(second_member_comes)
    found = await join(world.url + path, 0, timing=sleeps.timing)
    assert found == f"m0={peer(0)},other=http://h:1"
    assert set(sleeps.slept_s) == {limits.DISCOVERY_EMPTY_WAIT_PAUSE_S}


async def test_a_registration_that_cannot_be_confirmed(world: World) -> None:
    path = await world.new(1)

    async def script(asked: Asked) -> bytes | None:
        if "recursive=false&wait=true" in asked.target:
            return None
        reply = await world.ask(asked.method, asked.target, asked.body.decode() or None)
        return http_answer(reply.status, reply.body, index=int(reply.headers["X-Etcd-Index"]))

    async with scripted(script) as base:
        assert await join(base + path, 0) == f"m0={peer(0)}"


# --- a forward proxy -------------------------------------------------------------------


async def test_through_a_forward_proxy(world: World, said: Callable[[], list[str]]) -> None:
    path = await world.new(1)
    seen: list[str] = []

    async def script(asked: Asked) -> bytes | None:
        seen.append(asked.target)
        target = asked.target.removeprefix("http://service.example.com:8087")
        reply = await world.ask(asked.method, target, asked.body.decode() or None)
        return http_answer(reply.status, reply.body, index=int(reply.headers["X-Etcd-Index"]))

    url = f"http://service.example.com:8087{path}"
    async with scripted(script) as base:
        found = await join_cluster(url, base.removeprefix("http://"), "m0", 1, [peer(0)])
    assert found == f"m0={peer(0)}"
    assert all(target.startswith(url) for target in seen)
    assert said()[0] == f'I | discovery: using proxy "{base}"'


@pytest.mark.parametrize("proxy", ["http://", "host:port", "http://[::1"])
async def test_proxies_of_no_use(proxy: str) -> None:
    with pytest.raises(Failure, match="invalid proxy address"):
        proxy_url(proxy)


# --- whatever a server may say ---------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "node nodes key value dir createdIndex modifiedIndex action errorCode".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.lists(_JSON, min_size=1, max_size=4), st.sampled_from([200, 201, 404]))
async def test_no_answer_is_worse_than_a_failure(answers: list[object], status: int) -> None:
    turns = itertools.cycle(answers)

    async def script(asked: Asked) -> bytes | None:
        return http_answer(status, next(turns))

    async with scripted(script) as url, Registry(url) as registry:
        for ask in (
            registry.size,
            registry.listing,
            lambda: registry.register("a", "b"),
            lambda: registry.wait(1),
            lambda: registry.wait_for_own("a", 1),
        ):
            with contextlib.suppress(Failure):
                await ask()
