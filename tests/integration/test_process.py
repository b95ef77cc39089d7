"""The server as a process: command lines, start-up, signals, service manager, and its end."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.members import ETCD, KVRAFT, READY_TIMEOUT_S, Cluster, Member, call, wait_until
from tests.integration.conftest import StartCluster

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
HINT = " See 'etcd --help'."
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} ")


def run(
    *words: str, environ: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """A process that is expected to end by itself."""
    return subprocess.run(
        [*KVRAFT, *words],
        env={**CLEAN, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_TIMEOUT_S,
        check=False,
        **options,
    )


def lines(text: str) -> list[str]:
    """The lines of a log without their dates."""
    return [STAMP.sub("", line, count=1) for line in text.splitlines()]


def log(member: Member) -> list[str]:
    return lines(member.log_file.read_text())


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Member]:
    """A member that has not been started yet."""
    cluster = Cluster(KVRAFT, 1, tmp_path)
    yield cluster.members[0]
    print(cluster.logs())
    cluster.kill()


def started(member: Member) -> Member:
    member.start()
    member.wait_ready()
    return member


# --- ends by itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "first"),
    [
        (["--nope"], 2, "flag provided but not defined: -nope"),
        (["--name"], 2, "flag needs an argument: -name"),
        (["foo"], 1, f"E | etcdmain: error verifying flags, 'foo' is not a valid flag.{HINT}"),
        (
            ["--initial-cluster-state", "foo"],
            2,
            'invalid value "foo" for flag -initial-cluster-state: invalid value',
        ),
    ],
)
def test_bad_command_lines(words: list[str], code: int, first: str) -> None:
    ended = run(*words)
    assert (ended.returncode, ended.stdout) == (code, "")
    said = lines(ended.stderr)
    assert said[0] == first
    if code == 2:
        assert said[1].startswith("usage: kvraft [flags]")
    else:
        assert len(said) == 1


def test_a_bad_variable() -> None:
    ended = run(environ={"ETCD_SNAPSHOT_COUNT": "x"})
    assert ended.returncode == 1
    assert lines(ended.stderr) == [
        "I | flags: recognized and used environment variable ETCD_SNAPSHOT_COUNT=x",
        'C | etcdmain: invalid value "x" for ETCD_SNAPSHOT_COUNT: parse error',
    ]


def test_version_and_help() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "etcd Version: 2.3.8"
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "security flags:" in ended.stdout


def test_an_address_in_use_leaves_nothing_behind(one: Member) -> None:
    with socket.create_server(("127.0.0.1", int(one.client_url.rpartition(":")[2]))):
        ended = run(*one.arguments()[len(KVRAFT) :])
    assert ended.returncode == 1
    assert "bind: address already in use" in lines(ended.stderr)[-1]
    assert not one.data_dir.exists()


def test_a_name_is_spelled_alike_on_both_ports(one: Member) -> None:
    one.name = "\u00e9<&>"
    one.initial_cluster = f"{one.name}={one.peer_url}"
    started(one)
    for url in (f"{one.client_url}/v2/members", f"{one.peer_url}/members"):
        with urllib.request.urlopen(url) as answer:
            assert '"name":"\u00e9\\u003c\\u0026\\u003e"'.encode() in answer.read()


def test_a_fresh_member_has_counted_what_etcd_counts(one: Member) -> None:
    started(one)
    counters = one.call("GET", "/v2/stats/store").body
    expected = {"getsFail": 1, "setsSuccess": 2, "createSuccess": 1}
    assert {name: value for name, value in counters.items() if value} == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_an_address_used_for_two_things_leaves_nothing_behind(one: Member, host: str) -> None:
    twice = one.peer_url.replace("127.0.0.1", host)
    for flag in ("--listen-client-urls", "--listen-peer-urls"):
        ended = run(*one.arguments()[len(KVRAFT) :], flag, f"{one.peer_url},{twice}")
        assert ended.returncode == 1
        assert lines(ended.stderr)[-1].endswith(": bind: address already in use")
        assert not one.data_dir.exists()


@pytest.mark.parametrize("same_ports", [True, False])
def test_a_second_process_on_the_same_data(one: Member, tmp_path: Path, same_ports: bool) -> None:
    started(one)
    other = one if same_ports else Cluster(KVRAFT, 1, tmp_path).members[0]
    other.name, other.data_dir = one.name, one.data_dir
    ended = run(*other.arguments()[len(KVRAFT) :])
    assert ended.returncode == 1
    assert "C | etcdserver: open wal error: file already locked" in lines(ended.stderr)
    assert one.ready()


def test_data_of_both_kinds(one: Member) -> None:
    for name in ("member", "proxy", "junk"):
        (one.data_dir / name).mkdir(mode=0o700, parents=True)
    ended = run(*one.arguments()[len(KVRAFT) :])
    assert ended.returncode == 1
    junk = f"found invalid file/dir junk under data dir {one.data_dir}"
    assert lines(ended.stderr)[-2:] == [
        f"W | etcdmain: {junk} (Ignore this if you are upgrading etcd)",
        "C | etcdmain: invalid datadir. Both member and proxy directories exist.",
    ]


@pytest.mark.realetcd
def test_data_of_an_etcd_are_left_alone(one: Member) -> None:
    one.command = ETCD
    started(one)
    one.terminate()
    before = {path: path.stat().st_mtime_ns for path in one.data_dir.rglob("*.wal")}
    one.command = KVRAFT
    ended = run(*one.arguments()[len(KVRAFT) :])
    assert ended.returncode == 1
    assert "was written by etcd 3" in lines(ended.stderr)[-1]
    assert {path: path.stat().st_mtime_ns for path in one.data_dir.rglob("*.wal")} == before


def test_too_few_descriptors(one: Member) -> None:
    ended = run(
        *one.arguments()[len(KVRAFT) :],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150)),
    )
    assert ended.returncode == 1
    assert lines(ended.stderr)[-1] == (
        "C | etcdmain: file descriptor limit[150] of etcd process is too low, and should be set "
        "higher than 150 to ensure internal usage"
    )


def test_check(one: Member) -> None:
    words = [*one.arguments()[len(KVRAFT) :], "--check"]
    ended = run(*words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "It could start" in ended.stdout.splitlines()[-1]
    assert not one.data_dir.exists()
    started(one)
    ended = run(*words)
    assert ended.returncode == 1
    assert "Another process works on" in ended.stdout
    assert "\x1b" not in ended.stdout


# --- start-up ---------------------------------------------------------------------------


def in_order(found: Sequence[str], wanted: Sequence[str]) -> None:
    """Each of these beginnings of a line occurs, behind the one before."""
    rest = iter(found)
    for beginning in wanted:
        assert any(line.startswith(beginning) for line in rest), f"{beginning} not in {found}"


def test_the_lines_of_a_start(one: Member) -> None:
    started(one)
    expected = [
        "I | etcdmain: etcd Version: 2.3.8",
        "I | etcdmain: kvraft Version: ",
        f"I | etcdmain: listening for peers on {one.peer_url}",
        f"I | etcdmain: listening for client requests on {one.client_url}",
        f"I | etcdserver: name = {one.name}",
        f"I | etcdserver: data dir = {one.data_dir}",
        f"I | etcdserver: member dir = {one.data_dir}/member",
        "I | etcdserver: heartbeat = 100ms",
        "I | etcdserver: election = 1000ms",
        "I | etcdserver: snapshot count = 10000",
        f"I | etcdserver: advertise client URLs = {one.client_url}",
        f"I | etcdserver: initial advertise peer URLs = {one.peer_url}",
        f"I | etcdserver: initial cluster = {one.name}={one.peer_url}",
        "I | etcdserver: starting member ",
        "I | etcdserver: starting server... [version: 2.3.8, cluster version: to_be_decided]",
    ]
    in_order(log(one), expected)
    in_order(log(one), [*expected, "I | raft: "])
    later = {"set the initial cluster version to 2.3", "published {Name:"}
    wait_until("it is said", lambda: all(part in one.log_file.read_text() for part in later))
    one.terminate()
    one.log_file.unlink()
    started(one)
    member = "the server is already initialized as member before, starting as etcd member..."
    in_order(
        log(one),
        [
            f"N | etcdmain: {member}",
            "I | etcdmain: listening for peers on",
            "I | etcdserver: name = ",
            "I | etcdserver: restarting member ",
            "I | etcdserver: starting server... ",
        ],
    )
    assert not any("initial cluster =" in line for line in log(one))


def test_a_log_of_json_objects(one: Member) -> None:
    one.extra_flags = ("--log-format", "json", "--log-package-levels", "raft=ERROR")
    started(one).terminate()
    found = [json.loads(line) for line in one.log_file.read_text().splitlines()]
    assert all(set(line) == {"ts", "level", "package", "msg"} for line in found)
    assert found[-1]["msg"] == "received terminated signal, shutting down..."
    assert not any(line["package"] == "raft" for line in found)


# --- signals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt")]
)
def test_a_process_ends_by_its_signal(one: Member, number: int, name: str) -> None:
    started(one)
    assert one.signal(number) == -number
    assert log(one)[-1] == f"N | osutil: received {name} signal, shutting down..."


def test_an_interrupt_that_was_ignored_at_the_start_ends_it_all_the_same(one: Member) -> None:
    """As with a command that a script has put into the background."""
    one.command = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", *KVRAFT)
    started(one)
    assert one.signal(signal.SIGINT) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_signals_that_end_nothing(one: Member, number: int) -> None:
    started(one)
    os.kill(one.pid, number)
    assert call(one.client_url, "PUT", "/v2/keys/a", {"value": "b"}).status == 201
    assert one.running


def test_quit_shows_what_every_thread_does(one: Member) -> None:
    started(one)
    assert one.signal(signal.SIGQUIT) == 2
    assert "most recent call first" in one.log_file.read_text()


def test_the_leader_hands_over_before_it_ends(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    leader = cluster.leader()
    begin_s = time.monotonic()
    assert leader.terminate() == -signal.SIGTERM
    assert cluster.leader() is not leader
    assert time.monotonic() - begin_s < 10  # says that it ends; how fast is for the benchmarks


# --- systemd ----------------------------------------------------------------------------


class Manager:
    """A service manager's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(READY_TIMEOUT_S)
        self.heard: list[str] = []

    def wait(self, wanted: Callable[[str], bool]) -> str:
        """The next message of this kind; what comes before is kept in `heard`."""
        while True:
            text = self._socket.recv(4096).decode()
            self.heard.append(text)
            if wanted(text):
                return text

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield made
    made.close()


def test_systemd_hears_of_a_members_life(one: Member, manager: Manager) -> None:
    one.start()
    manager.wait(lambda text: text == "READY=1")
    assert one.ready()
    for _time in range(3):
        manager.wait(lambda text: text == "WATCHDOG=1")
    status = next(text for text in manager.heard if text.startswith("STATUS=member"))
    assert "of cluster" in status
    os.kill(one.pid, signal.SIGHUP)
    manager.wait(lambda text: text.startswith("RELOADING=1"))
    manager.wait(lambda text: text == "READY=1")
    one.terminate()
    manager.wait(lambda text: text == "STOPPING=1")


def test_a_member_without_a_majority_is_not_ready_and_asks_for_time(
    tmp_path: Path, manager: Manager
) -> None:
    cluster = Cluster(KVRAFT, 3, tmp_path)
    try:
        cluster.members[0].start()
        manager.wait(lambda text: text.startswith("EXTEND_TIMEOUT_USEC="))
        manager.wait(lambda text: text.endswith("without a leader"))
        assert "READY=1" not in manager.heard
    finally:
        cluster.kill()


# --- discovery --------------------------------------------------------------------------


def test_members_find_each_other_and_the_third_becomes_a_proxy(tmp_path: Path) -> None:
    store, *found = Cluster(KVRAFT, 4, tmp_path).members
    store.initial_cluster = f"{store.name}={store.peer_url}"
    try:
        started(store)
        call(store.client_url, "PUT", "/v2/keys/token/_config/size", {"value": "2"})
        url = f"{store.client_url}/v2/keys/token"
        for member in found:
            member.initial_cluster = ""
            member.extra_flags = ("--discovery", url)
        first, second, third = found
        first.start()
        wait_until("it waits", lambda: any("waiting for 1 more" in line for line in log(first)))
        assert first.terminate() == -signal.SIGTERM  # in the middle of waiting
        first.data_dir.rename(first.data_dir.with_name("gone"))
        call(store.client_url, "DELETE", "/v2/keys/token?recursive=true")
        call(store.client_url, "PUT", "/v2/keys/token/_config/size", {"value": "2"})
        for member in (first, second):
            member.start()
        for member in (first, second):
            member.wait_ready()
        assert call(first.client_url, "PUT", "/v2/keys/a", {"value": "b"}).status == 201
        third.start()
        answer = wait_until(
            "the proxy serves", lambda: call(third.client_url, "GET", "/v2/keys/a?quorum=true")
        )
        assert answer.body["node"]["value"] == "b"
        text = "N | etcdmain: discovery cluster full, falling back to proxy"
        assert text in log(third)
        third.terminate()
        third.extra_flags = ()  # the data directory says that it is a proxy
        third.start()
        wait_until(
            "it is a proxy again", lambda: call(third.client_url, "GET", "/v2/keys/a").status == 200
        )
        assert any("starting as etcd proxy..." in line for line in log(third))
    finally:
        for member in (store, *found):
            print(member.log_tail())
            if member.process is not None:
                member.kill()
