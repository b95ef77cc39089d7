"""kvraft/server/check.py, checkdisk.py and findings.py: what is found before a start."""

from __future__ import annotations

import io
import os
import resource
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
import trustme

from benchmarks.members import free_ports
from kvraft.raft.entry import HardState
from kvraft.server import check, checkdisk, config, findings
from kvraft.server.bootstrap import found, initial_entries
from kvraft.server.config import ServerConfig
from kvraft.server.findings import Finding, Mark
from kvraft.server.modes import Mode
from kvraft.storage import PosixFiles, Storage


class Place:
    """A directory and addresses to examine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        client, peer = free_ports(2)
        self.client, self.peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"

    def config(self, *more: str) -> ServerConfig:
        words = [
            *("--data-dir", str(self.data), "--listen-client-urls", self.client),
            *("--advertise-client-urls", self.client, "--listen-peer-urls", self.peer),
            *("--initial-advertise-peer-urls", self.peer),
        ]
        if not {"--initial-cluster", "--discovery", "--discovery-srv"} & set(more):
            words += ("--initial-cluster", f"default={self.peer}")
        outcome = config.parse([*words, *more], {})
        assert isinstance(outcome, ServerConfig), outcome
        return outcome

    def found(self) -> None:
        """Leave a member in the directory."""
        founding = found({"default": [self.peer]}, "etcd-cluster", "default")
        entries, state = initial_entries(founding.members)
        storage = Storage.create(
            PosixFiles(), str(self.data), founding.identity, entries, HardState(*state)
        )
        storage.close()


@pytest.fixture(autouse=True)
def _quick_and_harmless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(checkdisk, "_SYNCS", 3)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _examine(place: Place, *more: str) -> list[Finding]:
    return list(check.examine(place.config(*more)))


def _of(mark: Mark, found: list[Finding]) -> list[str]:
    return [text for one, text in found if one is mark]


def _the(mark: Mark, found: list[Finding], part: str) -> str:
    """The only finding of this mark that says this."""
    (text,) = [text for text in _of(mark, found) if part in text]
    return text


def test_all_is_well_and_nothing_is_changed(place: Place) -> None:
    found = _examine(place)
    assert _of(Mark.ERROR, found) == []
    _the(Mark.OK, found, "This will be a member.")
    _the(Mark.OK, found, f"{place.client} can be listened at.")
    _the(Mark.OK, found, "founds cluster")
    _the(Mark.OK, found, "a start makes a new one")
    assert os.listdir(place.directory) == []


def test_the_report(place: Place) -> None:
    out = io.StringIO()
    assert check.run(place.config(), out) == 0
    *lines, last = out.getvalue().splitlines()
    assert all(line.startswith(("ok       ", "warning  ")) for line in lines)
    assert last.startswith("It could start: ")
    out = io.StringIO()
    assert check.run(place.config("--initial-cluster", "b=http://127.0.0.1:1"), out) == 1
    assert "error    couldn't find local name" in out.getvalue()
    assert out.getvalue().endswith("It would not start: 1 error.\n")


def test_colours_and_counts() -> None:
    out = io.StringIO()
    some = [findings.ok("a  b\nc"), findings.error("d"), findings.warning("e"), findings.error("f")]
    counts = findings.write(some, out, colour=True)
    assert counts == {Mark.OK: 1, Mark.WARNING: 1, Mark.ERROR: 2}
    assert out.getvalue().splitlines()[:2] == [
        "\x1b[32mok     \x1b[0m  a b c",
        "\x1b[31merror  \x1b[0m  d",
    ]


# --- addresses --------------------------------------------------------------------------


def test_an_address_that_is_taken(place: Place) -> None:
    with socket.create_server(("127.0.0.1", int(place.peer.rpartition(":")[2]))):
        text = _the(Mark.ERROR, _examine(place), "Cannot listen at")
    assert place.peer in text
    assert "choose another port in --listen-peer-urls" in text


def test_one_address_for_two_purposes(place: Place) -> None:
    found = _examine(place, "--listen-peer-urls", place.client)
    assert "another of these flags" in _the(Mark.ERROR, found, "Cannot listen at")


def test_an_address_of_another_machine(place: Place) -> None:
    found = _examine(place, "--listen-peer-urls", "http://192.0.2.7:1234")
    assert "this machine does not have that address" in _the(Mark.ERROR, found, "192.0.2.7")


def test_a_host_that_nobody_knows(place: Place) -> None:
    found = _examine(place, "--listen-client-urls", "http://no.such.host.invalid:1")
    assert "correct --listen-client-urls" in _the(Mark.ERROR, found, "no.such.host.invalid")
    found = _examine(place, "--advertise-client-urls", "http://no.such.host.invalid:1")
    assert "cannot be looked up" in _the(Mark.WARNING, found, "no.such.host.invalid")


def test_addresses_that_others_cannot_call(place: Place) -> None:
    found = _examine(place, "--advertise-client-urls", "http://0.0.0.0:2379")
    _the(Mark.WARNING, found, "http://0.0.0.0:2379 in --advertise-client-urls is no address")
    cluster = f"default={place.peer},b=http://192.0.2.7:2380"
    found = _examine(place, "--initial-cluster", cluster)
    _the(Mark.WARNING, found, f"{place.peer} in --initial-advertise-peer-urls leads every machine")


# --- certificates -----------------------------------------------------------------------


def _certificate(
    directory: Path, *names: str, expired: bool = False
) -> tuple[list[str], trustme.CA]:
    authority = trustme.CA()
    end = datetime(2024, 1, 1, tzinfo=UTC) if expired else None
    issued = authority.issue_cert(*names, not_after=end)
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "key.pem").chmod(0o600)
    return ["--cert-file", f"{directory}/cert.pem", "--key-file", f"{directory}/key.pem"], authority


def _https(place: Place) -> list[str]:
    url = place.client.replace("http:", "https:")
    return ["--listen-client-urls", url, "--advertise-client-urls", url]


def test_a_certificate_for_the_right_name(place: Place) -> None:
    words, _ = _certificate(place.directory, "127.0.0.1")
    found = _examine(place, *words, *_https(place))
    assert _of(Mark.ERROR, found) == []
    assert "days" in _the(Mark.OK, found, "cert.pem")


def test_a_certificate_for_another_name(place: Place) -> None:
    words, _ = _certificate(place.directory, "elsewhere.example")
    found = _examine(place, *words, *_https(place))
    assert "add the name or address" in _the(Mark.WARNING, found, "is not for https://127.0.0.1")


def test_a_certificate_that_is_over(place: Place) -> None:
    words, _ = _certificate(place.directory, "127.0.0.1", expired=True)
    found = _examine(place, *words, *_https(place))
    assert "others refuse it" in _the(Mark.WARNING, found, "expired on 2024-01-01")


def test_certificates_that_cannot_be_used(place: Place) -> None:
    text = _the(Mark.ERROR, _examine(place, *_https(place)), "TLS of the client side")
    assert "KeyFile and CertFile are not presented" in text
    words = ["--peer-cert-file", "/no/such", "--peer-key-file", "/no/such"]
    text = _the(Mark.ERROR, _examine(place, *words), "TLS of the peer side")
    assert "open /no/such: no such file or directory" in text


# --- the first members ------------------------------------------------------------------


def test_a_cluster_that_does_not_name_this_member(place: Place) -> None:
    found = _examine(place, "--name", "x")
    _the(Mark.ERROR, found, 'couldn\'t find local name "x"')


def test_own_urls_that_differ(place: Place) -> None:
    found = _examine(place, "--initial-cluster", "default=http://127.0.0.1:9")
    _the(Mark.ERROR, found, f"--initial-cluster must include default={place.peer}")


def test_an_even_cluster(place: Place) -> None:
    (port,) = free_ports(1)
    cluster = f"default={place.peer},b=http://127.0.0.1:{port}"
    found = _examine(place, "--initial-cluster", cluster)
    _the(Mark.WARNING, found, "A cluster of 2 survives no more failures than one of 1")


def test_a_cluster_to_join_that_does_not_answer(place: Place) -> None:
    (port,) = free_ports(1)
    cluster = f"default={place.peer},b=http://127.0.0.1:{port}"
    words = ["--initial-cluster", cluster, "--initial-cluster-state", "existing"]
    text = _the(Mark.ERROR, _examine(place, *words), "would not take this member")
    assert "cannot fetch cluster info from peer urls" in text


def test_discovery_is_not_asked(place: Place) -> None:
    found = _examine(place, "--discovery", "http://127.0.0.1:1/token")
    assert "registers" in _the(Mark.OK, found, "http://127.0.0.1:1/token")
    found = _examine(place, "--discovery", "http://no.such.host.invalid/token")
    _the(Mark.ERROR, found, "--discovery http://no.such.host.invalid/token cannot be looked up")


def test_a_proxy(place: Place) -> None:
    found = _examine(place, "--proxy", "on", "--initial-cluster", "b=http://127.0.0.1:2")
    assert _of(Mark.ERROR, found) == []
    _the(Mark.OK, found, "This will be a proxy.")
    _the(Mark.OK, found, "looks for members at http://127.0.0.1:2")
    assert not any(place.peer in text for text in _of(Mark.OK, found))


# --- the data directory -----------------------------------------------------------------


def test_a_member_that_was_here_before(place: Place) -> None:
    place.found()
    before = sorted(path for path in place.data.rglob("*"))
    found = _examine(place, "--initial-cluster", "other=http://127.0.0.1:9", "--proxy", "on")
    assert _of(Mark.ERROR, found) == []
    _the(Mark.OK, found, "belongs to member")
    _the(Mark.WARNING, found, "so --proxy has no effect")
    assert sorted(path for path in place.data.rglob("*")) == before


def test_a_directory_in_use(place: Place) -> None:
    place.found()
    lock = PosixFiles().lock(f"{place.data}/member/lock")
    try:
        _the(Mark.ERROR, _examine(place), "Another process works on")
    finally:
        os.close(lock)


def test_a_directory_that_others_may_read(place: Place) -> None:
    place.data.mkdir(mode=0o755)
    place.data.chmod(0o755)
    _the(Mark.ERROR, _examine(place), f"run: chmod 700 {place.data}")


def test_a_damaged_log(place: Place) -> None:
    place.found()
    (segment,) = (place.data / "member" / "wal").glob("*.wal")
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data + data)
    _the(Mark.ERROR, _examine(place), "The data directory cannot be used")


def test_both_kinds_of_data(place: Place) -> None:
    (place.data / "member").mkdir(parents=True, mode=0o700)
    (place.data / "proxy").mkdir(mode=0o700)
    _the(Mark.ERROR, _examine(place), "Both member and proxy directories exist")


def test_the_clock_is_behind_the_log(place: Place) -> None:
    place.found()
    (segment,) = (place.data / "member" / "wal").glob("*.wal")
    future_s = time.time() + 7200
    os.utime(segment, (future_s, future_s))
    _the(Mark.WARNING, _examine(place), "behind the newest file of the log")


@pytest.mark.parametrize(
    ("sync_ms", "mark", "part"),
    [
        (5, Mark.OK, "5.0 ms (99 % are faster): fine"),
        (50, Mark.WARNING, "slow, each write waits"),
        (150, Mark.WARNING, "too slow for a heartbeat every 100 ms"),
    ],
)
def test_the_speed_of_the_disk(place: Place, sync_ms: int, mark: Mark, part: str) -> None:
    ticks = count()
    timer = lambda: next(ticks) * sync_ms / 1000  # noqa: E731
    found = list(checkdisk.check_disk(place.config(), Mode.MEMBER, os.geteuid(), timer))
    _the(mark, found, part)


def test_a_log_on_a_disk_of_its_own(place: Place) -> None:
    found = _examine(place, "--wal-dir", f"{place.directory}/wal")
    assert sum("GiB are free" in text for _mark, text in found) == 2


def test_the_owner(place: Place) -> None:
    place.found()
    found = list(checkdisk.check_disk(place.config(), Mode.MEMBER, os.geteuid() + 1))
    assert any("belongs to user" in text for text in _of(Mark.WARNING, found))


class _Disk(PosixFiles):
    """A disk that says of itself what a test wants."""

    free = 1 << 40
    mounts = b""
    writable = True

    def free_bytes(self, path: str) -> int:
        return self.free

    def read(self, path: str) -> bytes:
        return self.mounts if path == "/proc/self/mountinfo" else super().read(path)

    def may_write(self, path: str) -> bool:
        return self.writable


def _on(place: Place, disk: _Disk, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    monkeypatch.setattr(checkdisk, "PosixFiles", lambda: disk)
    return list(checkdisk.check_disk(place.config(), Mode.MEMBER, os.geteuid()))


def test_little_space(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    disk.free = 100 << 20
    _the(Mark.ERROR, _on(place, disk, monkeypatch), "Only 0.1 GiB are free")
    disk.free = 1 << 30
    _the(Mark.WARNING, _on(place, disk, monkeypatch), "Only 1.0 GiB are free")


def test_a_directory_that_may_not_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    disk.writable = False
    _the(Mark.ERROR, _on(place, disk, monkeypatch), "This user may not create files in")


@pytest.mark.parametrize(
    ("kind", "mark", "part"),
    [
        ("ext4", Mark.OK, "is on ext4"),
        ("tmpfs", Mark.WARNING, "in memory"),
        ("nfs4", Mark.WARNING, "over a network"),
        ("fuse.sshfs", Mark.WARNING, "over a network"),
        ("overlay", Mark.WARNING, "mount a volume there"),
    ],
)
def test_the_file_system(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str, mark: Mark, part: str
) -> None:
    disk = _Disk()
    where = os.path.realpath(place.directory)
    disk.mounts = (
        "22 1 8:1 / / rw,relatime - xfs /dev/sda1 rw\n"
        f"23 22 8:2 / {where} rw,relatime shared:1 - {kind} /dev/sdb rw\n"
        f"24 22 8:2 / {where}x rw,relatime - btrfs /dev/sdc rw\n"
    ).encode()
    _the(mark, _on(place, disk, monkeypatch), part)


# --- the machine ------------------------------------------------------------------------


def test_a_clock_that_was_never_set() -> None:
    (found,) = check._clock(0.0)
    assert found.mark is Mark.WARNING
    assert "1970-01-01" in found.text


@pytest.mark.parametrize(
    ("limit", "mark", "part"),
    [
        (150, Mark.ERROR, "file descriptor limit[150] of etcd process is too low"),
        (500, Mark.WARNING, "leaves room for"),
        (20000, Mark.OK, "leaves room for"),
    ],
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, mark: Mark, part: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (limit, limit))
    (found,) = check._descriptors()
    assert found.mark is mark
    assert part in found.text
