"""Hostile clients by the thousand: the members keep their leader, their memory and their manners.

The attackers run in the test's own process, on the same processors as the members, so latencies
are printed rather than judged; elections, memory and survival are judged.
"""

from __future__ import annotations

import contextlib
import selectors
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.members import KVRAFT, Cluster, Member, wait_until
from kvraft import limits
from tests.integration.test_tls import flags
from tests.transport.authority import Authority

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20


def address(member: Member) -> tuple[str, int]:
    host, _, port = member.client_url.partition("://")[2].partition(":")
    return host, int(port)


def term(member: Member) -> int:
    return int(member.call("GET", "/v2/keys/").headers["x-raft-term"])


class Attackers:
    """Connections that have sent something and read nothing."""

    def __init__(self, member: Member) -> None:
        self._address = address(member)
        self.sockets: list[socket.socket] = []

    def connect(self, count: int, payload: bytes) -> None:
        """Open connections and push this into each, as far as it goes."""
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(self._address)
                selector.register(sock, selectors.EVENT_WRITE, memoryview(payload))
                self.sockets.append(sock)
            deadline = time.monotonic() + 5
            while selector.get_map() and time.monotonic() < deadline:
                for key, _ in selector.select(0.05):
                    sock = key.fileobj  # type: ignore[assignment]
                    try:
                        sent = sock.send(key.data)
                    except BlockingIOError:
                        continue
                    except OSError:
                        selector.unregister(sock)
                        continue
                    if sent == len(key.data):
                        selector.unregister(sock)
                    else:
                        selector.modify(sock, selectors.EVENT_WRITE, key.data[sent:])

    def drip(self) -> None:
        """One more byte on each connection."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.send(b"x")

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


class Client:
    """An honest client that asks all the time; notes how long answers take."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._thread = threading.Thread(target=self._run)
        self._stop = threading.Event()
        self.took_s: list[float] = []
        self.errors: list[str] = []

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.01):
            number += 1
            began = time.perf_counter()
            try:
                if number % 2:
                    form = {"value": str(number)}
                    answer = self._member.call("PUT", "/v2/keys/honest", form, 20)
                else:
                    answer = self._member.call("GET", "/v2/keys/honest", timeout_s=20)
            except OSError as error:
                self.errors.append(repr(error))
                continue
            if answer.status >= 500:
                self.errors.append(str(answer))
                continue
            self.took_s.append(time.perf_counter() - began)

    def summary(self) -> str:
        ordered = sorted(self.took_s)
        p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        return f"{len(ordered)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(KVRAFT, 3, tmp_path) as running:
        yield running.start()
        print(running.logs())


Record = Callable[[str, object], None]


def test_floods_of_all_kinds(cluster: Cluster, record_property: Record) -> None:
    leader = cluster.leader()
    before_term, before_bytes = term(leader), leader.resident_bytes()
    large = "v" * MIB
    assert leader.call("PUT", "/v2/keys/large", {"value": large}).status == 201
    attackers = Attackers(leader)
    pipelined = b"GET /v2/keys/large HTTP/1.1\r\nHost: x\r\n\r\n" * 5000
    watch = b"GET /v2/keys/watched?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    body = b"PUT /v2/keys/b HTTP/1.1\r\nHost: x\r\n%bContent-Length: 9000000\r\n\r\n" % form
    steps: list[tuple[str, int, bytes]] = [
        ("slow heads", 2000, b"GET / HTTP/1.1\r\nX: "),
        ("slow bodies", 200, body + b"value=" + b"x" * 50_000),
        ("huge heads", 50, b"GET / HTTP/1.1\r\nX: " + b"x" * 900_000),
        ("pipelines that are not read", 50, pipelined),
        ("large answers that are not read", 200, b"GET /v2/keys/large HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("watches", 1000, watch),
    ]
    for name, count, payload in steps:
        with Client(leader) as client:
            attackers.connect(count, payload)
            for _ in range(3):
                attackers.drip()
                leader.call("PUT", "/v2/keys/watched", {"value": "1"}, 20)
                time.sleep(0.3)
        record_property(f"during {count} {name}", client.summary())
        assert client.errors == []
    during_bytes = leader.resident_bytes()
    attackers.close()
    after_bytes = leader.resident_bytes()
    record_property(
        "resident memory",
        f"{before_bytes / MIB:.0f} MiB, {during_bytes / MIB:.0f} MiB under attack, "
        f"{after_bytes / MIB:.0f} MiB after it",
    )
    assert during_bytes - before_bytes < 1000 * MIB
    assert cluster.leader() is leader
    assert term(leader) == before_term, "no election"


def test_more_connections_than_there_is_room_for(tmp_path: Path, record_property: Record) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit")
    with Cluster(("prlimit", "--nofile=400:400", *KVRAFT), 1, tmp_path) as cluster:
        (member,) = cluster.members
        member.extra_flags = ("--snapshot-count=20",)
        cluster.start()
        began = member.cpu_seconds()
        attackers = Attackers(member)
        for _ in range(3):
            attackers.connect(1500, b"GET / HT")
            time.sleep(0.5)
        used = member.cpu_seconds() - began
        assert member.running
        with Client(member) as client:
            wait_until("the silent make room", lambda: len(client.took_s) > 60)
        record_property(
            "with all descriptors taken", f"{client.summary()}, {len(client.errors)} refused"
        )
        text = "saved snapshot"  # files can be opened all the time
        wait_until(text, lambda: text in member.log_file.read_text())
        attackers.close()
        wait_until("it serves", member.ready)
        log = member.log_file.read_text()
    assert "slow and idle clients are cut off sooner" in log
    assert " C | " not in log
    assert used < 10


def hello(context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def mostly_served(client: Client) -> bool:
    return len(client.errors) < len(client.took_s)


def test_floods_of_handshakes(tmp_path: Path, record_property: Record) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("server", "127.0.0.1", auth=False)
    with Cluster(KVRAFT, 3, tmp_path) as cluster:
        for member in cluster.members:
            member.client_url = member.client_url.replace("http:", "https:")
            member.extra_flags = flags(files)
            member.context = authority.context()
        cluster.start()
        leader = cluster.leader()
        before_term, before_bytes = term(leader), leader.resident_bytes()
        attackers = Attackers(leader)
        assert leader.context is not None
        for name, count, payload in (
            ("silent connections", 2000, b""),
            ("hellos in pieces", 1000, b"\x16\x03\x01\x02\x00\x01"),
            ("handshakes that stop", 1000, hello(leader.context)),
            ("requests without TLS", 1000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ):
            with Client(leader) as client:
                attackers.connect(count, payload)
                time.sleep(1)
                # A handshake may wait for a second in such a crowd, so few have ended by now.
                served = partial(mostly_served, client)
                wait_until("honest clients are served, more often than not", served)
            record_property(f"during {count} {name}", client.summary())
        with Client(leader) as client:
            wait_until("it is as before", lambda: len(client.took_s) > 20)
        grown = leader.resident_bytes() - before_bytes
        record_property("memory gained", f"{grown / MIB:.0f} MiB")
        attackers.close()
        assert grown < 500 * MIB
        assert term(leader) == before_term, "no election"
        rejections = leader.log_file.read_text().count("rejected")
        assert 0 < rejections < 60, "a flood does not fill the disk with log lines"
    assert limits.HANDSHAKE_LOG_S >= 1
