"""Redirects, credentials, TLS: who is followed, and who is trusted with what."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from kvraft import Client
from kvraft.client.errors import DidNotHappen, OutcomeUnknown, ReadFailed
from tests.client.scripted import Act, InOrder, Scripted, says
from tests.conftest import Run
from tests.transport.authority import Authority


def to(url: str, status: int = 307) -> Act:
    return says(status, b"", f"Location: {url}\r\n")


def test_a_redirect_keeps_method_body_and_credentials_within_the_cluster(run: Run) -> None:
    async def main() -> None:
        async with Scripted() as leader, Scripted() as standby:
            urls = [standby.url, leader.url]
            async with Client(urls, username="u", password="p", rng=InOrder()) as client:
                for status in (301, 302, 307, 308):
                    standby.act = to(f"{leader.url}/v2/keys/a?prevExist=true", status)
                    assert (await client.update("/a", "1")).value == "1"
                    last = leader.seen[-1]
                    assert (last.method, last.body) == ("PUT", b"value=1")
                    assert "authorization" in last.headers

    run(main())


def test_a_stranger_gets_no_credentials() -> None:
    async def main() -> None:
        async with Scripted() as stranger, Scripted(to(stranger.url + "/v2/keys/a")) as server:
            async with Client(server.url, username="u", password="p") as client:
                assert (await client.get("/a")).value == "1"
            assert "authorization" in server.seen[0].headers
            assert "authorization" not in stranger.seen[0].headers

    asyncio.run(main(), debug=True)


def test_circles_and_other_schemes_do_nothing() -> None:
    async def main() -> None:
        async with Scripted() as server, Client(server.url) as client:
            for target in ("/v2/keys/a", "ftp://127.0.0.1/"):
                server.act = to(target)
                with pytest.raises(DidNotHappen, match="redirect"):
                    await client.set("/a", "1")
                with pytest.raises(ReadFailed, match="redirect"):
                    await client.get("/a")
            server.act = to("/v2/keys/b", 303)
            with pytest.raises(OutcomeUnknown, match="303"):
                await client.set("/a", "1")

    asyncio.run(main(), debug=True)


# --- TLS --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def server_context(authority: Authority, ask: bool = False) -> ssl.SSLContext:
    files = authority.issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(files.cert_file, files.key_file)
    context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
    return context


def test_tls_from_files_and_from_a_context(authority: Authority) -> None:
    files = authority.issue("client")

    async def main() -> None:
        async with Scripted(tls=server_context(authority, ask=True)) as server:
            by_files = Client(
                server.url,
                ca_file=str(authority.file),
                cert_file=files.cert_file,
                key_file=files.key_file,
            )
            by_context = Client(server.url, tls=authority.context(files))
            async with by_files, by_context:
                assert (await by_files.set("/a", "1")).value == "1"
                assert (await by_context.set("/a", "1")).value == "1"

    asyncio.run(main(), debug=True)


def test_servers_and_clients_that_are_not_trusted(authority: Authority, tmp_path: Path) -> None:
    """A client that is not trusted learns of it after it has sent (TLS 1.3), if it is told at all:
    this server resets the connection, which could mean anything."""
    stranger = Authority(tmp_path, "stranger")

    async def main() -> None:
        async with Scripted(tls=server_context(authority, ask=True)) as server:
            async with Client(server.url, tls=stranger.context()) as client:
                with pytest.raises(DidNotHappen, match="certificate"):
                    await client.set("/a", "1")
            async with Client(server.url, tls=authority.context()) as client:
                with pytest.raises((DidNotHappen, OutcomeUnknown)):
                    await client.set("/a", "1")
            assert not server.seen

    asyncio.run(main(), debug=True)


def test_settings_that_contradict_each_other(authority: Authority) -> None:
    with pytest.raises(ValueError, match="either"):
        Client(tls=authority.context(), ca_file=str(authority.file))
    with pytest.raises(ValueError, match="cert_file"):
        Client(key_file="x")
    with pytest.raises(ValueError, match="username"):
        Client(password="x")
    with pytest.raises(ValueError, match="colon"):
        Client(username="a:b", password="x")
    with pytest.raises(ValueError, match="timeout_s"):
        Client(timeout_s=0)
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        Client(ca_file="/nowhere")


def test_one_loop_for_one_client() -> None:
    async def main(client: Client) -> None:
        await client.get("/a")

    async def serve() -> None:
        async with Scripted() as server:
            client = Client(server.url)
            await main(client)
            with pytest.raises(RuntimeError, match="event loop that used it first"):
                await asyncio.to_thread(lambda: asyncio.run(main(client)))
            await client.close()

    asyncio.run(serve())
