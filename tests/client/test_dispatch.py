"""A server that fails at every possible point: which requests are sent again, which never."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kvraft import Client, Result
from kvraft.client.errors import (
    CompareFailed,
    DidNotHappen,
    KeyNotFound,
    OutcomeUnknown,
    ReadFailed,
    Unauthorized,
)
from tests.client.scripted import (
    SUCCESS,
    Act,
    InOrder,
    Scripted,
    Seen,
    hangs,
    head,
    raft_error,
    resets,
    says,
    unused_url,
    writes,
)
from tests.conftest import Run

BODY = b'{"action":"set","node":{"key":"/a","value":"1"}}'

# The server had the request in its hands, and nobody knows what it did with it.
UNCLEAR: dict[str, Act] = {
    "closes": writes(b""),
    "resets": resets,
    "half a status line": writes(b"HTTP/1.1 2"),
    "half a head": writes(head(200, length=48)[:-5]),
    "no body": writes(head(200, length=len(BODY))),
    "half a body": writes(head(200, length=len(BODY)) + BODY[:20]),
    "half a chunk": writes(head(200) + b"30\r\n" + BODY[:20]),
    "no last chunk": writes(head(200) + b"%x\r\n%b\r\n" % (len(BODY), BODY)),
    "no HTTP": writes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "no JSON": says(200, b"<html>Welcome to the hotel</html>"),
    "an empty success": says(200),
    "another document": says(200, {"health": "true"}),
    "internal error": says(500, b'{"message":"Internal Server Error"}'),
    "bad gateway": says(502, b"<html>bad gateway</html>"),
    "unavailable": says(503, b"upstream connect error or disconnect/reset before headers"),
    "gateway timeout": says(504),
    "request timed out": raft_error("etcdserver: request timed out"),
    "server stopped": raft_error("etcdserver: server stopped"),
    "election": raft_error("", 301),
    "a proxy's failure": says(502, {"message": "proxy: unable to get response from 1 endpoint(s)"}),
}
# The server says that it did nothing.
NOT_DONE: dict[str, Act] = {
    "overloaded": raft_error("etcdserver: too many requests"),
    "disk full": raft_error("etcdserver: no space left on the device of the data directory"),
    "too many logins": raft_error(
        "too many passwords are being checked or changed; try again", status=503
    ),
    "too many connections": says(503, b"too many connections or unfinished requests"),
    "rate limit": says(429),
    "an empty proxy": says(503, {"message": "proxy: zero endpoints currently available"}),
}
SILENT: dict[str, Act] = {
    "no answer": hangs(),
    "no body comes": hangs(head(200, length=len(BODY))),
    "the body stops": hangs(head(200, length=len(BODY)) + BODY[:20]),
}

Operation = Callable[[Client], Awaitable[Result]]
READS: dict[str, Operation] = {
    "get": lambda client: client.get("/a"),
    "quorum": lambda client: client.get("/a", quorum=True),
}
CHANGES: dict[str, Operation] = {
    "set": lambda client: client.set("/a", "1"),
    "swap": lambda client: client.compare_and_swap("/a", "1", prev_value="0"),
    "post": lambda client: client.create_in_order("/a", "1"),
    "delete": lambda client: client.delete("/a"),
}
OPERATIONS = {**READS, **CHANGES}


async def two(stack: AsyncExitStack, act: Act, **options: Any) -> tuple[Scripted, Scripted, Client]:
    """A server that does `act`, one that works, and a client that asks them in this order."""
    bad = await stack.enter_async_context(Scripted(act))
    good = await stack.enter_async_context(Scripted())
    urls = [bad.url, good.url]
    client = await stack.enter_async_context(Client(urls, rng=InOrder(), **options))
    return bad, good, client


@pytest.mark.parametrize("name", UNCLEAR)
def test_after_a_failure_that_says_nothing(name: str) -> None:
    """Reads go on; a change ends there, and neither server gets it once more."""

    async def main() -> None:
        for operation in CHANGES.values():
            async with AsyncExitStack() as stack:
                bad, good, client = await two(stack, UNCLEAR[name])
                with pytest.raises(OutcomeUnknown):
                    await operation(client)
                assert (len(bad.seen), len(good.seen)) == (1, 0)
        for operation in READS.values():
            async with AsyncExitStack() as stack:
                bad, good, client = await two(stack, UNCLEAR[name])
                if name in ("no JSON", "an empty success", "another document"):
                    with pytest.raises(ReadFailed):  # a success, as far as HTTP goes
                        await operation(client)
                    continue
                assert (await operation(client)).value == "1"
                assert (len(bad.seen), len(good.seen)) == (1, 1)
                assert client.endpoints[0] == good.url

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("name", NOT_DONE)
def test_after_an_answer_that_nothing_was_done(name: str) -> None:
    async def main() -> None:
        for operation in OPERATIONS.values():
            async with AsyncExitStack() as stack:
                bad, good, client = await two(stack, NOT_DONE[name])
                assert (await operation(client)).value == "1"
                assert (len(bad.seen), len(good.seen)) == (1, 1)

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("name", SILENT)
def test_after_silence(name: str) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            bad, good, client = await two(stack, SILENT[name], timeout_s=1.2)
            assert (await client.get("/a")).value == "1"  # there was time left for the other one
            assert (len(bad.seen), len(good.seen)) == (1, 1)
        async with AsyncExitStack() as stack:
            bad, good, client = await two(stack, SILENT[name], timeout_s=0.2)
            with pytest.raises(OutcomeUnknown, match="no answer in time"):
                await client.set("/a", "1")
            assert (len(bad.seen), len(good.seen)) == (1, 0)

    asyncio.run(main(), debug=True)


def test_nobody_there(run: Run) -> None:
    async def main() -> None:
        async with Scripted() as good:
            nowhere = await unused_url()
            for operation in OPERATIONS.values():
                async with Client([nowhere, good.url], rng=InOrder()) as client:
                    assert (await operation(client)).value == "1"
        for name, operation in OPERATIONS.items():
            async with Client([nowhere], rng=InOrder()) as client:
                kind = DidNotHappen if name in CHANGES else ReadFailed
                with pytest.raises(kind, match="connection refused"):
                    await operation(client)

    run(main())


def test_a_name_that_does_not_exist() -> None:
    async def main() -> None:
        async with Client(["http://nowhere.invalid:1"], rng=InOrder()) as client:
            with pytest.raises(DidNotHappen):
                await client.set("/a", "1")

    asyncio.run(main(), debug=True)


def test_no_connection_in_time() -> None:
    """The handshake never ends: nothing was sent, so a change may go on."""

    async def main() -> None:
        async with Scripted() as good:
            with socket.create_server(("127.0.0.1", 0)) as deaf:
                urls = [f"https://127.0.0.1:{deaf.getsockname()[1]}", good.url]
                async with Client(urls, rng=InOrder(), connect_timeout_s=0.2) as client:
                    assert (await client.set("/a", "1")).value == "1"
                assert len(good.seen) == 1

    asyncio.run(main(), debug=True)


def test_closed_before_the_request_was_read() -> None:
    """For a client that is no different from a server that read it, and then died."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            bad = await stack.enter_async_context(Scripted(early=True))
            good = await stack.enter_async_context(Scripted())
            urls = [bad.url, good.url]
            client = await stack.enter_async_context(Client(urls, rng=InOrder()))
            with pytest.raises(OutcomeUnknown):
                await client.set("/a", "1")
            assert (await client.get("/a")).value == "1"

    asyncio.run(main(), debug=True)


def test_a_kept_connection_that_the_server_closes() -> None:
    """A read is sent again at once, to the same server; a change is not."""

    async def main() -> None:
        async with Scripted() as server, Client([server.url], rng=InOrder()) as client:
            await client.get("/a")
            times = 0

            async def once(seen: Any, writer: asyncio.StreamWriter) -> None:
                nonlocal times
                times += 1
                await (writes(b"") if times == 1 else SUCCESS)(seen, writer)

            server.act = once
            assert (await client.get("/a")).value == "1"
            assert (times, server.connections) == (2, 2)
            times = 0
            with pytest.raises(OutcomeUnknown):
                await client.set("/a", "1")
            assert times == 1

    asyncio.run(main(), debug=True)


def test_refusals_end_the_call() -> None:
    refusals = {
        KeyNotFound: says(404, {"errorCode": 100, "message": "Key not found", "index": 3}),
        CompareFailed: says(412, {"errorCode": 101, "message": "Compare failed", "index": 3}),
        Unauthorized: says(401, {"errorCode": 110, "message": "no", "index": 0}),
    }

    async def main() -> None:
        for kind, act in refusals.items():
            for operation in OPERATIONS.values():
                async with AsyncExitStack() as stack:
                    _, good, client = await two(stack, act)
                    with pytest.raises(kind):
                        await operation(client)
                    assert not good.seen

    asyncio.run(main(), debug=True)


def test_all_endpoints_in_rounds() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            act = NOT_DONE["overloaded"]
            bad, other, client = await two(stack, act)
            other.act = act
            with pytest.raises(DidNotHappen) as caught:
                await client.set("/a", "1")
            assert (len(bad.seen), len(other.seen)) == (3, 3)
            assert bad.url in str(caught.value)
            assert "too many requests" in str(caught.value)

    asyncio.run(main(), debug=True)


def test_endpoints_that_members_advertise() -> None:
    def members(*urls: str) -> Act:
        return says(200, {"members": [{"id": "1", "name": "m", "clientURLs": list(urls)}]})

    async def main() -> None:
        async with Scripted() as server, Client(server.url, sync_endpoints=True) as client:
            server.act = says(500)  # who cannot list the members may still serve keys
            with pytest.raises(ReadFailed):
                await client.sync()
            server.act = members("http://a:1/", "https://b:1", "ftp://c:1")
            assert await client.sync() == ["http://a:1", "https://b:1"]
            assert client.endpoints[0] == server.url
            assert set(client.endpoints) == {server.url, "http://a:1", "https://b:1"}
            server.act = members()
            assert await client.sync() == []
            assert len(client.endpoints) == 3
        # Credentials that were to be encrypted do not go to a plain address.
        async with Scripted(members("http://a:1", "https://b:1")) as server:
            urls = [server.url, "https://c:1"]
            async with Client(urls, rng=InOrder()) as client:
                assert await client.sync() == ["https://b:1"]

    asyncio.run(main(), debug=True)


def test_a_value_stands_in_no_message() -> None:
    async def main() -> None:
        async with Scripted(UNCLEAR["closes"]) as server, Client([server.url]) as client:
            with pytest.raises(OutcomeUnknown) as caught:
                await client.compare_and_delete("/a", prev_value="secret")
            assert "secret" not in str(caught.value)
            assert "DELETE /v2/keys/a" in str(caught.value)

    asyncio.run(main(), debug=True)


def test_a_cancelled_call_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def act(seen: Seen, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await hangs(head(200, length=9))(seen, writer)

        async with Scripted(act) as server, Client([server.url]) as client:
            tasks = asyncio.all_tasks()
            call = asyncio.ensure_future(client.get("/a"))
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            server.act = SUCCESS
            assert (await client.get("/a")).value == "1"
            assert server.connections == 2
            assert asyncio.all_tasks() - tasks <= server._tasks

    run(main())


def test_connections_are_kept() -> None:
    async def main() -> None:
        async with Scripted() as server, Client([server.url]) as client:
            for _ in range(5):
                await client.get("/a")
                await client.set("/a", "1")
            assert (server.connections, len(server.seen)) == (1, 10)

    asyncio.run(main(), debug=True)


def test_what_is_sent() -> None:
    async def main() -> None:
        async with Scripted() as server:
            async with Client([server.url], username="bob", password="a:b ü") as client:
                await client.set("/a b", "1&2", ttl=5)
                await client.get("/a b")
            put, get = server.seen
            assert (put.method, put.target, put.body) == (
                "PUT",
                "/v2/keys/a%20b",
                b"value=1%262&ttl=5",
            )
            assert put.headers["content-type"] == "application/x-www-form-urlencoded"
            assert put.headers["authorization"] == "Basic Ym9iOmE6YiDDvA=="
            assert "content-type" not in get.headers
            assert "cookie" not in get.headers

    asyncio.run(main(), debug=True)
