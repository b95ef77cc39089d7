"""What clients of a proxy get, and what members behind it see."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvraft.api.guards import FOREIGN_ORIGIN
from tests.proxy.fakes import (
    OK,
    Client,
    FakeMember,
    Script,
    Seen,
    forever,
    proxying,
    until,
)

pytestmark = pytest.mark.asyncio
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def answering(raw: bytes) -> Script:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return script


async def breaking(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


# --- forwarding ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/v2/keys/a?wait=true&recursive=true",
        "/v2/keys/a%2Fb%20c?value=%26+x",
        "/v2/keys/a;b,c:@!$&'()*+=~",
        '/v2/keys/|"[]^`{}\\',
        "/v2/keys/%E4%BD%A0",
        "/v2/keys/new%0Aline",
        "/v2/keys/a?x=%zz&a=1;b=2",
        "/v2/keys/a?b?c",
        "/version",
        "/v2/config/local/proxy/",
    ],
)
async def test_the_target_arrives_as_it_was_sent(tmp_path: Path, target: str) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        reply = await (await connect()).ask("GET", target)
        assert (reply.status, reply.body) == (200, b"{}")
        assert member.seen[0].line == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/v2/keys/ü", "/v2/keys/%C3%BC"),
        ("/v2/keys/a#b", "/v2/keys/a%23b"),
        ("http://127.0.0.1/version?a=1", "/version?a=1"),
    ],
)
async def test_targets_of_another_form_are_translated(
    tmp_path: Path, target: str, arrives: str
) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        assert (await (await connect()).ask("GET", target)).status == 200
        assert member.seen[0].line == f"GET {arrives} HTTP/1.1"


async def test_methods_that_nobody_knows_arrive_as_one_that_members_refuse(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        assert (await (await connect()).ask("BREW", "/v2/keys/a")).status == 200
        assert member.seen[0].line == "PATCH /v2/keys/a HTTP/1.1"


async def test_method_headers_and_body_arrive(tmp_path: Path) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        await client.ask(
            "PUT", "/v2/keys/a", form, "Connection: x-hop", "X-Hop: 1", body=b"value=1"
        )
        seen = member.seen[0]
        assert (seen.line, seen.body) == ("PUT /v2/keys/a HTTP/1.1", b"value=1")
        assert seen.header("host") == f"127.0.0.1:{member.port}"
        assert seen.header("content-type") == "application/x-www-form-urlencoded"
        assert seen.header("x-forwarded-for") == "127.0.0.1"
        assert seen.header("x-hop") is None
        for absent in ("user-agent", "accept", "accept-encoding"):
            assert seen.header(absent) is None, "the proxy adds nothing of its own"


async def test_a_chunked_body_gets_a_length(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("PUT", "/v2/keys/a", "Transfer-Encoding: chunked")
        client.writer.write(b"3\r\nval\r\n4\r\nue=1\r\n0\r\n\r\n")
        assert (await client.reply()).status == 200
        assert member.seen[0].body == b"value=1"
        assert member.seen[0].header("transfer-encoding") is None


async def test_a_large_body_arrives(tmp_path: Path) -> None:
    body = bytes(range(256)) * 12_000  # 3 MB: does not fit into any buffer on the way
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        assert (await client.ask("PUT", "/v2/keys/a", body=body)).status == 200
        assert member.seen[0].body == body


async def test_the_client_may_wait_for_permission_to_send(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("PUT", "/v2/keys/a", "Expect: 100-continue", "Content-Length: 7")
        assert await client.head() == (100, [])
        client.writer.write(b"value=1")
        assert (await client.reply()).status == 200
        assert member.seen[0].body == b"value=1"
        assert member.seen[0].header("expect") is None


async def test_the_answer_is_passed_on_with_sorted_headers(tmp_path: Path) -> None:
    raw = (
        b"HTTP/1.1 201 Created\r\nX-Etcd-Index: 7\r\nDate: Sat, 21 Nov 2026 15:32:23 GMT\r\n"
        b"Content-Type: application/json\r\nKeep-Alive: 5\r\nContent-Length: 3\r\n"
        b"Content-Encoding: gzip\r\n\r\n{}\n"
    )
    async with FakeMember(answering(raw)) as member, proxying(tmp_path, member) as (_, connect):
        reply = await (await connect()).ask("GET", "/v2/keys/a")
        assert reply.status == 201
        assert reply.headers == [
            ("Content-Encoding", "gzip"),
            ("Content-Length", "3"),
            ("Content-Type", "application/json"),
            ("Date", "Sat, 21 Nov 2026 15:32:23 GMT"),
            ("X-Etcd-Index", "7"),
        ]
        assert reply.body == b"{}\n", "the body is not unpacked"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_empty_answer_gets_no_type(tmp_path: Path, raw: bytes) -> None:
    async with FakeMember(answering(raw)) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        for _ in range(2):  # and the connections stay usable
            reply = await client.ask("PUT", "/v2/members/1")
            assert reply.status == int(raw.split()[1])
            assert reply.header("content-type") is None
            assert reply.body == b""


async def test_head(tmp_path: Path) -> None:
    raw = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 84\r\n\r\n"
    async with FakeMember(answering(raw)) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        for _ in range(2):
            reply = await client.ask("HEAD", "/v2/keys/a")
            assert (reply.status, reply.header("content-length")) == (200, "84")
        assert member.seen[0].line == "HEAD /v2/keys/a HTTP/1.1"


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
async def test_errors_and_redirects_of_members_are_passed_on(tmp_path: Path, status: int) -> None:
    raw = b"HTTP/1.1 %d X\r\nLocation: /a\r\nContent-Length: 1\r\n\r\nx" % status
    async with (
        FakeMember(answering(raw)) as one,
        FakeMember(answering(raw)) as two,
        proxying(tmp_path, one, two) as (_, connect),
    ):
        assert (await (await connect()).ask("GET", "/v2/keys/a")).status == status
        assert len(one.seen) + len(two.seen) == 1


async def test_connections_are_kept_on_both_sides(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        for _ in range(3):
            assert (await client.ask("GET", "/v2/keys/a")).status == 200
        assert not member.lost.is_set()


async def test_an_http_1_0_client_gets_an_unframed_body(tmp_path: Path) -> None:
    raw = CHUNKED + b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    async with FakeMember(answering(raw)) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.writer.write(b"GET /v2/keys/a HTTP/1.0\r\n\r\n")
        status, headers = await client.head()
        assert status == 200
        assert "transfer-encoding" not in {name.lower() for name, _ in headers}
        assert await client.reader.read() == b"abcd"


# --- streaming -------------------------------------------------------------------------


async def test_head_and_events_of_a_stream_arrive_one_by_one(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for number in range(3):
            await more.wait()
            more.clear()
            writer.write(b"2\r\n%d\n\r\n" % number)
        writer.write(b"0\r\n\r\n")

    async with FakeMember(script) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("GET", "/v2/keys/a?wait=true&stream=true")
        status, headers = await client.head()  # before there is any event
        assert status == 200
        assert headers[-1] == ("Transfer-Encoding", "chunked")
        for number in range(3):
            more.set()
            assert await client.chunk() == b"%d\n" % number
        assert await client.chunk() == b""
        assert (await client.ask("GET", "/v2/config/local/proxy")).status == 200


async def test_a_stream_that_breaks_off_does_not_end_in_order(
    tmp_path: Path, lines: list[str]
) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\n0\n\r\n")
        await asyncio.Event().wait()

    async with FakeMember(script) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("GET", "/v2/keys/a?wait=true&stream=true")
        await client.head()
        assert await client.chunk() == b"0\n"
        member.cut()
        with pytest.raises(asyncio.IncompleteReadError):
            await client.chunk()
        assert any("was cut off" in line for line in lines)
        assert not any("prematurely" in line for line in lines)


async def test_a_client_that_goes_away_takes_its_request_along(
    tmp_path: Path, lines: list[str]
) -> None:
    async with FakeMember(forever) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("GET", "/v2/keys/a?wait=true")
        await until(lambda: bool(member.seen))
        host, port = client.writer.get_extra_info("sockname")
        client.writer.close()
        async with asyncio.timeout(5):
            await member.lost.wait()
        await until(lambda: f"proxy: client {host}:{port} closed request prematurely" in lines)


async def test_a_client_that_goes_away_in_a_stream(tmp_path: Path) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        await asyncio.Event().wait()

    async with FakeMember(script) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("GET", "/v2/keys/a?wait=true")
        await client.head()
        client.writer.close()
        async with asyncio.timeout(5):
            await member.lost.wait()


# --- failures --------------------------------------------------------------------------


async def test_the_next_endpoint_is_asked(tmp_path: Path, lines: list[str]) -> None:
    async with (
        FakeMember() as member,
        FakeMember() as gone,
        proxying(tmp_path, member) as (proxy, connect),
    ):
        proxy._director.refresh([gone.url])
        proxy._director.refresh([gone.url, member.url])
        gone.cut()
        client = await connect()
        for method in ("PUT", "GET"):  # nothing was sent: this is for writes, too
            assert (await client.ask(method, "/v2/keys/a")).status == 200
        assert len([line for line in lines if "failed to direct request to" in line]) == 1
        assert f"proxy: marked endpoint {gone.url} unavailable" in lines
        assert proxy._director.available() == [member.url]


async def test_a_read_is_repeated_when_the_connection_breaks(tmp_path: Path) -> None:
    async with (
        FakeMember() as member,
        FakeMember(breaking) as bad,
        proxying(tmp_path, member) as (proxy, connect),
    ):
        proxy._director.refresh([bad.url])
        proxy._director.refresh([bad.url, member.url])
        assert (await (await connect()).ask("GET", "/v2/keys/a")).status == 200
        assert len(bad.seen) == len(member.seen) == 1


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_a_write_is_never_executed_twice(tmp_path: Path, method: str) -> None:
    async with (
        FakeMember() as member,
        FakeMember(breaking) as bad,
        proxying(tmp_path, member) as (proxy, connect),
    ):
        proxy._director.refresh([bad.url])
        proxy._director.refresh([bad.url, member.url])
        reply = await (await connect()).ask(method, "/v2/keys/a", body=b"value=1")
        assert reply.status == 502
        assert reply.body == (
            b'{"message":"proxy: unable to get response from 1 endpoint(s); '
            b'the request may have been executed"}'
        )
        assert len(bad.seen) == 1
        assert member.seen == []


async def test_a_write_on_a_connection_that_dies_is_not_repeated(tmp_path: Path) -> None:
    """Connections are kept, and each of them may turn out to be dead with the next request."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("PUT"):
            writer.transport.abort()
        else:
            writer.write(OK)

    async with FakeMember(script) as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        assert (await client.ask("GET", "/v2/keys/a")).status == 200
        assert (await client.ask("PUT", "/v2/keys/a", body=b"value=1")).status == 502
        assert [seen.line.split()[0] for seen in member.seen] == ["GET", "PUT"]


async def test_no_endpoint_answers(tmp_path: Path, lines: list[str]) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        member.cut()
        client = await connect()
        reply = await client.ask("PUT", "/v2/keys/a", body=b"value=1")
        assert reply.status == 502
        assert reply.header("content-type") == "application/json"
        assert reply.body == b'{"message":"proxy: unable to get response from 1 endpoint(s)"}'
        reply = await client.ask("GET", "/v2/keys/a")
        assert reply.status == 503
        assert reply.header("content-type") == "application/json"
        assert reply.body == b'{"message":"proxy: zero endpoints currently available"}'
        shown = (await client.ask("GET", "/metrics")).body.decode()
        for method, error in (
            ("PUT", "failed_sending_request"),
            ("PUT", "failed_getting_response"),
            ("GET", "zero_endpoints"),
        ):
            labels = f'{{method="{method}",proxying_error="{error}"}}'
            assert f"etcd_proxy_dropped_total{labels} 1.0" in shown


async def test_reads_time_out_where_that_is_wanted(tmp_path: Path) -> None:
    flags = ("--proxy-read-timeout", "50")
    async with (
        FakeMember(forever) as member,
        proxying(tmp_path, member, flags=flags) as (_, connect),
    ):
        assert (await (await connect()).ask("GET", "/v2/keys/a")).status == 502


async def test_a_body_that_is_no_body(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("PUT", "/v2/keys/a", "Transfer-Encoding: chunked")
        client.writer.write(b"zz\r\n")
        reply = await client.reply()
        assert reply.status in (400, 500)
        assert member.seen == []


async def test_a_body_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.proxy.reverse.PROXY_MAX_BODY_BYTES", 1000)
    async with FakeMember() as member, proxying(tmp_path, member) as (proxy, connect):
        reply = await (await connect()).ask("PUT", "/v2/keys/a", body=b"x" * 1001)
        assert reply.status == 413
        assert b"failed to read request body: http: request body too large" in reply.body
        reply = await (await connect()).ask("PUT", "/v2/keys/a", body=b"x" * 1000)
        assert reply.status == 200
        assert len(member.seen) == 1
        assert proxy._proxy is not None
        assert proxy._proxy._buffered_bytes == 0


async def test_a_request_that_comes_back_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """Two proxies that take each other for members, a thing that wrong addresses bring about."""
    async with (
        FakeMember() as member,
        proxying(tmp_path / "a", member) as (one, connect),
        proxying(tmp_path / "b", member) as (two, _),
    ):
        for here, there in ((one, two), (two, one)):
            host, port = there.addresses[0]
            here._director.refresh([f"http://{host}:{port}"])
        reply = await (await connect()).ask("PUT", "/v2/keys/a", body=b"value=1")
        assert reply.status == 508
        assert b"leads back to this proxy" in reply.body
        assert any("runs in a circle" in line for line in lines)
        assert member.seen == []


async def test_a_head_that_is_too_long_is_refused_without_a_trace(
    tmp_path: Path, lines: list[str]
) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.send("GET", "/version", "X-A: " + "x" * (65 << 10))
        assert (await client.head())[0] == 431
        client = await connect()
        client.writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert (await client.head())[0] == 400
        assert not [line for line in lines if "Traceback" in line or "Error handling" in line]
        assert member.seen == []


# --- what is answered by the proxy -----------------------------------------------------


async def test_own_endpoints(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        reply = await client.ask("GET", "/v2/config/local/proxy")
        assert reply.status == 200
        assert reply.header("content-type") == "text/plain; charset=utf-8"
        assert reply.body == b'{"endpoints":["%b"]}\n' % member.url.encode()
        for method in ("PUT", "HEAD"):
            reply = await client.ask(method, "/v2/config/local/proxy")
            assert (reply.status, reply.header("allow")) == (405, "GET")
        assert member.seen == []


async def test_own_metrics(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        await client.ask("GET", "/v2/keys/a")
        for method in ("GET", "POST"):
            reply = await client.ask(method, "/metrics")
            assert reply.status == 200
            assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        assert b'etcd_proxy_handled_total{code="200",method="GET"} 1.0' in reply.body
        assert len(member.seen) == 1


@pytest.mark.parametrize(
    "target", ["/v2/keys/a", "/nowhere", "/metrics", "/v2/config/local/proxy", "*"]
)
async def test_options_is_answered_here(tmp_path: Path, target: str) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        reply = await (await connect()).ask("OPTIONS", target)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("content-length") == "0"
        assert reply.header("server") is None
        assert member.seen == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("target", ["/v2/keys/a", "/v2/config/local/proxy", "/metrics"])
async def test_readonly_takes_get_only(tmp_path: Path, method: str, target: str) -> None:
    flags = ("--proxy", "readonly", "--cors", "*")
    async with FakeMember() as member, proxying(tmp_path, member, flags=flags) as (_, connect):
        client = await connect()
        reply = await client.ask(method, target)
        assert (reply.status, reply.body) == (501, b"")
        # as Go has it, a head alone that stands for an empty body states no length
        expected = {"Date"} if method == "HEAD" else {"Date", "Content-Length"}
        assert {name for name, _ in reply.headers} == expected
        assert (await client.ask("GET", target)).status == 200


@pytest.mark.parametrize(
    ("target", "clean"), [("//version", "/version"), ("/v2/keys/./a?b=c", "/v2/keys/a?b=c")]
)
async def test_unclean_paths_are_redirected(tmp_path: Path, target: str, clean: str) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        reply = await (await connect()).ask("GET", target)
        assert (reply.status, reply.header("location")) == (301, clean)
        assert reply.body == b'<a href="%b">Moved Permanently</a>.\n\n' % clean.encode()
        reply = await (await connect()).ask("PUT", target)
        assert (reply.status, reply.body) == (301, b"")


@pytest.mark.parametrize(
    "raw", [b"GET /version HTTP/1.1\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"]
)
async def test_what_makes_no_sense(tmp_path: Path, raw: bytes) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        client.writer.write(raw)
        assert (await client.head())[0] == 400
        assert member.seen == []


# --- who may ask -----------------------------------------------------------------------


async def cors_of(client: Client, target: str, *headers: str) -> dict[str, str]:
    reply = await client.ask("GET", target, *headers)
    prefix = "Access-Control-Allow-"
    found = [field for field in reply.headers if field[0].startswith(prefix)]
    assert len(found) == len(dict(found)), "each header comes once"
    return {name.removeprefix(prefix): value for name, value in found}


async def test_cors(tmp_path: Path) -> None:
    raw = OK.replace(b"Content-Type", b"Access-Control-Allow-Origin: http://member\r\nContent-Type")
    flags = ("--cors", "http://a.example")
    ours = {
        "Methods": "POST, GET, OPTIONS, PUT, DELETE",
        "Origin": "http://a.example",
        "Headers": "accept, content-type, authorization",
    }
    async with (
        FakeMember(answering(raw)) as member,
        proxying(tmp_path, member, flags=flags) as (_, connect),
    ):
        client = await connect()
        listed = "Origin: http://a.example"
        for target in ("/v2/keys/a", "/v2/config/local/proxy", "//a"):
            assert await cors_of(client, target, listed) == ours
        # A page that this proxy does not know may be known to the members.
        other = "Origin: http://b.example"
        assert await cors_of(client, "/v2/keys/a", other) == {"Origin": "http://member"}
        assert [seen.header("origin") for seen in member.seen] == [None, "http://b.example"]
        assert (await client.ask("PUT", "/v2/keys/a", listed, body=b"value=1")).status == 200
        member.cut()
        for _ in range(2):  # failures carry the headers, too: a page has to see them
            assert await cors_of(client, "/v2/keys/a", listed) == ours


async def test_foreign_pages_change_nothing(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        reply = await client.ask("PUT", "/v2/keys/a", "Origin: http://evil.example", body=b"v=1")
        assert (reply.status, reply.body) == (403, FOREIGN_ORIGIN)
        assert member.seen == []
        reply = await (await connect()).ask("PUT", "/v2/keys/a", "Origin: http://127.0.0.1")
        assert reply.status == 200
        assert member.seen[0].header("origin") is None


async def test_foreign_names_are_refused_to_browsers(tmp_path: Path) -> None:
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        client = await connect()
        name = "Host: rebound.example"
        reply = await client.ask("GET", "/v2/keys/a", name, "User-Agent: Mozilla/5.0")
        assert reply.status == 403
        assert b"--host-whitelist" in reply.body
        assert (await client.ask("GET", "/v2/keys/a", name)).status == 200


async def test_too_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft.proxy.main.connection_cap", lambda: 2)
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        first = await connect()
        assert (await first.ask("GET", "/version")).status == 200
        assert (await (await connect()).head())[0] == 503
        assert (await first.ask("GET", "/version")).status == 200
