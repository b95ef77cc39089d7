"""A whole proxy: how it finds members, what it keeps, how it ends."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
import trustme

from kvraft.clock import ManualClock
from kvraft.errors import DiskFull
from kvraft.proxy import state
from kvraft.proxy.main import ProxyServer
from kvraft.transport.tls import TlsError
from tests.proxy.fakes import (
    FakeMember,
    forever,
    no_fatal,
    proxying,
    settings,
    until,
)

pytestmark = pytest.mark.asyncio
FAST = ("--proxy-refresh-interval", "100")


def saved(data_dir: Path) -> tuple[str, ...] | None:
    return state.load(str(data_dir))


async def test_members_are_found_through_the_first_peer_that_answers(
    tmp_path: Path, lines: list[str]
) -> None:
    async with FakeMember() as member, FakeMember() as gone, FakeMember() as other:
        gone.cut()
        async with proxying(tmp_path, gone, member, other) as (_, connect):
            reply = await (await connect()).ask("GET", "/v2/config/local/proxy")
            assert reply.body == b'{"endpoints":["%b"]}\n' % member.url.encode()
            assert (member.lists_asked, other.lists_asked) == (1, 0)
            assert f'proxy: endpoints found ["{member.url}"]' in lines
            url = "http://127.0.0.1:0"
            assert lines[-1] == f"etcdmain: proxy: listening for client requests on {url}"
        await until(lambda: saved(tmp_path) == (member.url,))


async def test_the_list_is_refreshed_and_kept(tmp_path: Path, lines: list[str]) -> None:
    async with FakeMember() as member, proxying(tmp_path, member, flags=FAST) as (proxy, _):
        found = [*proxy._director.available()]
        member.client_urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
        await until(lambda: len(proxy._director.available()) == 2)
        assert found == [member.url]
        assert len([line for line in lines if "endpoints found" in line]) == 1
        async with FakeMember() as moved:
            member.members_text = b'[{"id":1,"peerURLs":["%b"]}]' % moved.url.encode()
            await until(lambda: moved.lists_asked > 0)
            assert saved(tmp_path) == (moved.url,)


@pytest.mark.parametrize("text", [b"", b"404 page not found\n", b"[]", b"{}", b"[" * 2_000_000])
async def test_what_is_no_member_list_counts_as_no_answer(tmp_path: Path, text: bytes) -> None:
    async with FakeMember() as bad, FakeMember() as member:
        bad.members_text = text
        async with proxying(tmp_path, bad, member) as (proxy, _):
            assert proxy._director.available() == [member.url]


async def test_endpoints_stay_while_no_peer_answers(tmp_path: Path, lines: list[str]) -> None:
    async with FakeMember() as member, proxying(tmp_path, member, flags=FAST) as (proxy, _):
        member.members_text = b"nonsense"
        asked = member.lists_asked
        await until(lambda: member.lists_asked >= asked + 3)
        assert proxy._director.available() == [member.url]
        complaint = "could not retrieve cluster information from the given urls"
        assert [line for line in lines if complaint in line] == [f"etcdmain: proxy: {complaint}"]


async def test_without_endpoints_it_listens_and_looks_every_second(tmp_path: Path) -> None:
    async with FakeMember() as member:
        member.cut()
        async with proxying(tmp_path, member) as (proxy, connect):
            client = await connect()
            assert (await client.ask("GET", "/v2/keys/a")).status == 503
            assert saved(tmp_path) is None
            await member.listen()
            await until(lambda: proxy._director.available() == [member.url])
            assert (await client.ask("GET", "/v2/keys/a")).status == 200


async def test_a_silent_peer_does_not_keep_it_from_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvraft.proxy.main.PROXY_FIRST_REFRESH_S", 0.05)
    async with FakeMember() as member:
        member.lister = forever
        async with proxying(tmp_path, member) as (_, connect):
            assert (await (await connect()).ask("GET", "/v2/keys/a")).status == 503


async def test_available_again_after_the_failure_wait(tmp_path: Path, lines: list[str]) -> None:
    clock = ManualClock()
    async with (
        FakeMember() as member,
        proxying(tmp_path, member, flags=("--proxy-failure-wait", "7000"), clock=clock) as (
            proxy,
            connect,
        ),
    ):
        member.cut()
        client = await connect()
        assert (await client.ask("GET", "/v2/keys/a")).status == 502
        assert (await client.ask("GET", "/v2/keys/a")).status == 503
        await member.listen()
        clock.advance(7_000_000_000)
        assert proxy._director.available() == [member.url]
        assert (await client.ask("GET", "/v2/keys/a")).status == 200
        text = f"proxy: marked endpoint {member.url} available, to retest connectivity"
        await until(lambda: text in lines)


async def test_own_address_is_no_endpoint(tmp_path: Path) -> None:
    async with FakeMember() as member:
        reserved = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        port = reserved.sockets[0].getsockname()[1]
        reserved.close()
        await reserved.wait_closed()
        member.client_urls = [f"http://localhost:{port}", member.url, "http://proxy.example:1"]
        flags = (
            *("--listen-client-urls", f"http://127.0.0.1:{port}"),
            *("--advertise-client-urls", "http://proxy.example:1"),
        )
        async with proxying(tmp_path, member, flags=flags) as (proxy, _):
            assert proxy._director.available() == [member.url]


async def test_a_full_disk_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def full(*_args: object) -> None:
        raise DiskFull("cluster: No space left on device")

    monkeypatch.setattr("kvraft.proxy.state.save", full)
    async with FakeMember() as member, proxying(tmp_path, member) as (_, connect):
        assert (await (await connect()).ask("GET", "/v2/keys/a")).status == 200
        assert any("No space left" in line for line in lines)


async def test_an_address_in_use(tmp_path: Path) -> None:
    async with FakeMember() as member:
        flags = ("--listen-client-urls", member.url)
        proxy = ProxyServer(settings(tmp_path, *flags), [member.url], no_fatal)
        with pytest.raises(OSError, match="in use"):
            await proxy.start()
        assert len(asyncio.all_tasks()) <= 1 + len(member._tasks)


async def test_stopping_cuts_watches_and_leaves_nothing(tmp_path: Path, lines: list[str]) -> None:
    async with FakeMember(forever) as member:
        async with proxying(tmp_path, member) as (proxy, connect):
            client = await connect()
            client.send("GET", "/v2/keys/a?wait=true")
            await until(lambda: bool(member.seen))
            start_s = time.monotonic()
            await proxy.stop()
            assert time.monotonic() - start_s < 5
            assert await client.reader.read() == b""
            async with asyncio.timeout(5):
                await member.lost.wait()
        assert not [line for line in lines if "prematurely" in line]


async def test_a_bug_in_the_refresh_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ZeroDivisionError()
    heard: list[BaseException] = []
    async with FakeMember() as member:
        proxy = ProxyServer(settings(tmp_path, *FAST), [member.url], heard.append)
        await proxy.start()

        def fail(_text: bytes) -> None:
            raise failure

        monkeypatch.setattr("kvraft.proxy.main.read_members", fail)
        await until(lambda: heard == [failure])
        await proxy.stop()


# --- TLS -------------------------------------------------------------------------------


class Certificates:
    """Files of one authority, and one more that nobody trusts."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.issued = authority.issue_cert("127.0.0.1", "localhost")
        self.issued.private_key_pem.write_to_path(str(self.key))
        self.key.chmod(0o600)
        for part in self.issued.cert_chain_pems:
            part.write_to_path(str(self.cert), append=True)
        self.authority = authority


async def test_tls_on_both_sides(tmp_path: Path) -> None:
    """The proxy shows the members its peer certificate, and its clients the other one."""
    files = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.issued.configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    files.authority.configure_trust(context)
    flags = (
        *("--listen-client-urls", "https://127.0.0.1:0"),
        *("--cert-file", str(files.cert), "--key-file", str(files.key)),
        *("--peer-cert-file", str(files.cert), "--peer-key-file", str(files.key)),
        *("--peer-trusted-ca-file", str(files.ca)),
    )
    async with (
        FakeMember(tls=context) as member,
        proxying(tmp_path / "p", member, flags=flags) as (proxy, _),
    ):
        assert proxy._director.available() == [member.url]
        trusting = ssl.create_default_context(cafile=str(files.ca))
        host, port = proxy.addresses[0]
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting)
        writer.write(b"GET /v2/keys/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert answer.endswith(b"\r\n\r\n{}")
        writer.close()


async def test_a_member_that_nobody_vouches_for_is_not_asked(
    tmp_path: Path, lines: list[str]
) -> None:
    files = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    flags = ("--peer-trusted-ca-file", str(files.ca))
    async with FakeMember() as member, FakeMember(tls=context) as strange:
        member.client_urls = [strange.url]
        async with proxying(tmp_path / "p", member, flags=flags) as (_, connect):
            reply = await (await connect()).ask("PUT", "/v2/keys/a", body=b"value=1")
            assert reply.status == 502
            assert b"may have been executed" not in reply.body
            assert any("the certificate of 127.0.0.1 is not good" in line for line in lines)
            assert strange.seen == []


async def test_https_without_certificate(tmp_path: Path) -> None:
    config = settings(tmp_path, "--listen-client-urls", "https://127.0.0.1:0")
    with pytest.raises(TlsError, match="KeyFile and CertFile are not presented"):
        ProxyServer(config, [], no_fatal)
