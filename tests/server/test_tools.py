"""The commands of operators: what they print, how they end, and that they touch nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kvraft.api.port import ClientPort
from kvraft.errors import Corrupt, ForeignData
from kvraft.server import backup, restoring, tools
from kvraft.server.replay import census_of
from kvraft.storage import PosixFiles, Storage, survey
from kvraft.store.codec import Restorer
from kvraft.store.store import Store
from tests.server import directories
from tests.server.inprocess import Running, running

THREE = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3"
URLS = dict(part.split("=") for part in THREE.split(","))


class Outcome:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


class Run:
    """Runs a command as main would."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Outcome:
        name, *rest = map(str, words)
        try:
            code = tools.COMMANDS[name](rest)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = self._capsys.readouterr()
        return Outcome(code, out, err)


def store_of(path: Path) -> Store:
    """The store in the snapshot that a directory begins with."""
    files = PosixFiles()
    found = survey.read(files, str(path))
    assert found.snapshot is not None
    restorer = Restorer()
    for chunk in survey.read_snapshot(files, str(path), found.identity, found.snapshot):
        restorer.feed(chunk)
    return restorer.finish()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


# --- the command lines ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(tools.COMMANDS))
def test_help_has_examples(run: Run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.code == 0
    assert shown.out.count(f"kvraft {name}") > 2
    assert all(len(line) <= 100 for line in shown.out.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ("backup",),
        ("backup", "--out", "x", "--backup-dir", "y"),
        ("backup", "--endpoint", "http://a:1", "--data-dir", "d", "--out", "x"),
        ("backup", "--backup-dir", "x"),
        ("backup", "--outt", "x"),
        ("verify",),
        ("restore", "x"),
        ("restore", "--data-dir", "x"),
    ],
)
def test_bad_command_lines(run: Run, words: tuple[str, ...]) -> None:
    refused = run(*words)
    assert refused.code == 2
    assert refused.err.startswith(f"kvraft {words[0]}: ")
    assert f"see kvraft {words[0]} --help" in refused.err


# --- verify ---------------------------------------------------------------------------------


def test_verify_shows_a_directory_and_leaves_it_alone(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=30, snapshots_at=(12, 20))
    before = directories.contents(tmp_path)
    shown = run("verify", tmp_path / "d")
    assert (shown.code, shown.err) == (0, "")
    rows = dict(line.split(None, 1) for line in shown.out.splitlines()[1:-1])
    assert rows["keys"] == "31"
    assert rows["directories"] == "2"
    assert rows["snapshots"] == "2, in use: 20"
    assert rows["log"] == "ends at 36, 1 segments"
    assert rows["members"] == "1"
    assert shown.out.splitlines()[-1] == "whole and readable"
    digest = rows["digest"]
    found = backup.open_directory(PosixFiles(), str(tmp_path / "d"), None)
    assert (
        digest == found.replica.store.digest().hex() == census_of(found.replica.store).digest.hex()
    )
    assert directories.contents(tmp_path) == before


def test_verify_finds_every_kind_of_damage(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=30, snapshots_at=(12, 20), segment_bytes=900)
    files = [p for p in (tmp_path / "d").rglob("*") if p.suffix in (".wal", ".snap")]
    assert len(files) > 4
    for file in files:
        whole = file.read_bytes()
        for place in (3, len(whole) // 2, len(whole) - 2):
            file.write_bytes(flipped(whole, place))
            found = run("verify", tmp_path / "d")
            assert found.code == 1, (file, place)
            assert str(file) in found.err
            assert "etcdctl member remove" in found.err
        file.write_bytes(whole)
    assert run("verify", tmp_path / "d").code == 0


def test_verify_tells_what_is_not_certain(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", founders=3, keys=10, commit=12)
    shown = run("verify", tmp_path / "d")
    assert shown.code == 0
    assert "not counted are the last 6 of the log's entries" in shown.out
    assert "committed       up to 12 of term 2" in shown.out


def test_verify_of_what_is_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for name, text in (("none", "No such file"), ("empty", "no log"), ("text", "neither a backup")):
        found = run("verify", tmp_path / name)
        assert found.code == 1
        assert text in found.err


# --- backup out of files --------------------------------------------------------------------


def test_a_backup_out_of_files_is_whole_and_nothing_else_changes(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=30, snapshots_at=(12,))
    before = directories.contents(tmp_path / "d")
    out = tmp_path / "x.backup"
    saved = run("backup", "--data-dir", tmp_path / "d", "--out", out)
    assert (saved.code, saved.err) == (0, "")
    assert saved.out == f"saved {out}: etcd index 34, raft index 36\n"
    assert directories.contents(tmp_path / "d") == before
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "x.backup"]
    shown = run("verify", out)
    assert shown.code == 0
    assert "keys            31" in shown.out
    of_directory = run("verify", tmp_path / "d").out
    assert [line for line in shown.out.splitlines() if "digest" in line] == [
        line for line in of_directory.splitlines() if "digest" in line
    ]


def test_uncertain_entries_are_left_out_of_a_backup(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", founders=3, keys=10, commit=12)
    saved = run("backup", "--data-dir", tmp_path / "d", "--out", tmp_path / "x")
    assert "left out the last 6" in saved.out
    assert restoring.prove(PosixFiles(), str(tmp_path / "x")).info.meta.index == 12


def test_every_cut_and_many_changes_of_a_backup_are_noticed(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", keys=3)
    out = tmp_path / "x.backup"
    run("backup", "--data-dir", tmp_path / "d", "--out", out)
    whole = out.read_bytes()
    bad = tmp_path / "bad"
    for size in range(0, len(whole), 3):
        bad.write_bytes(whole[:size])
        with pytest.raises((Corrupt, ForeignData)):
            restoring.prove(PosixFiles(), str(bad))
    for place in range(0, len(whole), 5):
        bad.write_bytes(flipped(whole, place))
        with pytest.raises((Corrupt, ForeignData)):
            restoring.prove(PosixFiles(), str(bad))
    refused = run("restore", bad, "--data-dir", tmp_path / "r")
    assert refused.code == 1
    assert not (tmp_path / "r").exists()


def test_a_backup_directory_has_other_ids_and_the_same_data(run: Run, tmp_path: Path) -> None:
    log = directories.make(tmp_path / "d", founders=3, keys=30, snapshots_at=(12, 20))
    directories.make(tmp_path / "small", keys=3)
    for name in ("d", "small"):
        words = ("--data-dir", tmp_path / name, "--backup-dir", tmp_path / f"{name}.copy")
        assert run("backup", *words).code == 0
        again = run("backup", *words)
        assert (again.code, "already exists" in again.err) == (1, True)
    source = survey.read(PosixFiles(), str(tmp_path / "d"))
    storage, found = Storage.open(PosixFiles(), str(tmp_path / "d.copy"))
    storage.close()
    assert found.identity.member_id not in (1, 2, 3)
    assert found.identity.cluster_id != log.identity.cluster_id
    assert found._replace(identity=source.identity) == source
    assert run("verify", tmp_path / "d.copy").code == 0
    assert run("verify", tmp_path / "small.copy").code == 0


# --- restore --------------------------------------------------------------------------------


def restore_words(file: Path, name: str, data_dir: Path, *more: str) -> list[object]:
    return [
        *("restore", file, "--data-dir", data_dir, "--name", name, "--initial-cluster", THREE),
        *("--initial-advertise-peer-urls", URLS[name], *more),
    ]


@pytest.fixture
def saved(run: Run, tmp_path: Path) -> Path:
    directories.make(tmp_path / "d", founders=3, keys=30, snapshots_at=(20,))
    out = tmp_path / "x.backup"
    assert run("backup", "--data-dir", tmp_path / "d", "--out", out).code == 0
    return out


def test_all_founders_restore_one_new_cluster(run: Run, tmp_path: Path, saved: Path) -> None:
    for name in "abc":
        done = run(*restore_words(saved, name, tmp_path / name))
        assert (done.code, done.err) == (0, "")
        assert "restore the same file" in done.out
    found = [survey.read(PosixFiles(), str(tmp_path / name)) for name in "abc"]
    ids = {one.identity.member_id for one in found}
    assert len(ids) == 3
    assert ids.isdisjoint((1, 2, 3))
    assert len({one.identity.cluster_id for one in found} - {directories.CLUSTER_ID}) == 1
    assert len({one.snapshot for one in found}) == 1
    assert found[0].snapshot is not None
    assert found[0].snapshot.membership.voters == tuple(sorted(ids))
    assert all(one.entries == [] for one in found)
    stores = [store_of(tmp_path / name) for name in "abc"]
    assert len({store.digest() for store in stores}) == 1
    assert run("verify", tmp_path / "a").code == 0


def test_keys_indices_and_ttls_are_kept(run: Run, tmp_path: Path, saved: Path) -> None:
    run(*restore_words(saved, "a", tmp_path / "a"))
    before = backup.open_directory(PosixFiles(), str(tmp_path / "d"), None).replica.store
    after = store_of(tmp_path / "a")
    assert (after.index, after.now_ns) == (before.index, before.now_ns)
    whole = [store.get_body(b"/", True, True, before.now_ns) for store in (before, after)]
    assert whole[0] == whole[1]
    assert after.has_ttls()
    assert after.get_record(b"/2/users/root") == b'{"user":"root"}'
    members = [name for name in after.records() if name.startswith(b"/0/members/")]
    assert len(members) == 3
    assert not set(members) & set(before.records())


def test_another_token_or_file_makes_another_cluster(run: Run, tmp_path: Path, saved: Path) -> None:
    run(*restore_words(saved, "a", tmp_path / "a"))
    run(*restore_words(saved, "a", tmp_path / "b", "--initial-cluster-token", "other"))
    directories.make(tmp_path / "d2", founders=3, keys=31)
    other = tmp_path / "y.backup"
    run("backup", "--data-dir", tmp_path / "d2", "--out", other)
    run(*restore_words(other, "a", tmp_path / "c"))
    found = {survey.read(PosixFiles(), str(tmp_path / name)).identity for name in "abc"}
    assert len({identity.cluster_id for identity in found}) == 3


def test_a_snapshot_file_can_be_restored(run: Run, tmp_path: Path) -> None:
    directories.make(tmp_path / "d", founders=3, keys=30, snapshots_at=(20,))
    (snapshot,) = (tmp_path / "d" / "member" / "snap").glob("*.snap")
    moved = tmp_path / "elsewhere"
    moved.write_bytes(snapshot.read_bytes())
    assert run("verify", moved).code == 0
    assert run(*restore_words(moved, "a", tmp_path / "a")).code == 0
    assert store_of(tmp_path / "a").index == 18


def test_nothing_is_restored_over_a_member_or_by_bad_flags(
    run: Run, tmp_path: Path, saved: Path
) -> None:
    before = directories.contents(tmp_path / "d")
    over = run(*restore_words(saved, "a", tmp_path / "d"))
    assert (over.code, "holds a member already" in over.err) == (1, True)
    assert directories.contents(tmp_path / "d") == before
    words = restore_words(saved, "a", tmp_path / "r")
    unknown = run(*[("z" if word == "a" else word) for word in words])
    assert unknown.code == 1
    assert 'couldn\'t find local name "z"' in unknown.err
    moved = run(*words[:-1], "http://127.0.0.1:9")
    assert moved.code == 1
    assert "--initial-cluster must include" in moved.err
    assert not (tmp_path / "r").exists()


# --- over the network -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Running, str]]:
    """A member with a client port."""
    async with running(1, path) as cluster:
        loop = asyncio.get_running_loop()
        port = ClientPort(cluster.members[0].member, loop)
        server = await loop.create_server(port.connection, "127.0.0.1", 0)
        port.start()
        await cluster.leader()
        try:
            yield cluster.members[0], f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await port.drain(1)


@pytest.mark.asyncio
async def test_a_backup_of_a_running_member(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path) as (member, url):
        await asyncio.gather(*(member.put(f"k{number}", b"v" * 500) for number in range(3000)))
        index = member.replica.store.index
        out = tmp_path / "x.backup"
        words = ["--endpoint", f"http://127.0.0.1:1,{url}/", "--out", str(out)]
        saving = asyncio.create_task(asyncio.to_thread(tools.backup, words))
        late = 0
        while not saving.done():
            late += 1
            await member.put("late", b"x")
        assert await saving == 0
        shown, err = capsys.readouterr()
        assert err == ""  # no progress where nobody looks
        proved = restoring.prove(PosixFiles(), str(out))
        assert proved.census.keys in (3000, 3001)
        assert index <= proved.etcd_index <= index + late
        assert f"etcd index {proved.etcd_index}" in shown
        assert proved.info.cluster_id == member.member.cluster_id
        local = [*words, "--local"]
        assert await asyncio.to_thread(tools.backup, local) == 0


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers as its server says."""

    def do_GET(self) -> None:
        status, body, cut = self.server.script  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + cut))
        self.end_headers()
        self.wfile.write(body)
        self.server.seen.append(  # type: ignore[attr-defined]
            (self.path, self.headers.get("Authorization"))
        )

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server:
    """A server that is no member."""

    def __init__(self) -> None:
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
        self.seen: list[tuple[str, str | None]] = []
        self.http.seen = self.seen  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, status: int, body: bytes, cut: int = 0) -> None:
        self.http.script = (status, body, cut)  # type: ignore[attr-defined]


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.http.shutdown()
    thread.join()
    found.http.server_close()


def test_a_broken_download_leaves_what_was_there(
    run: Run, tmp_path: Path, saved: Path, server: Server
) -> None:
    whole = saved.read_bytes()
    out = tmp_path / "y.backup"
    out.write_bytes(b"the one of yesterday")
    words = ("backup", "--endpoint", server.url, "--out", out)
    for body, cut, text in (
        (whole[:-100], 100, "cut off"),
        (whole[:-100], 0, "cut off"),
        (flipped(whole, 500), 0, "checksum"),
        (b"<html>", 0, "neither a backup"),
        (b"", 0, "empty"),
    ):
        server.answer(200, body, cut)
        failed = run(*words)
        assert failed.code == 1
        assert text in failed.err
        assert out.read_bytes() == b"the one of yesterday"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "x.backup", "y.backup"]
    server.answer(200, whole)
    assert run(*words).code == 0
    assert out.read_bytes() == whole


def test_what_members_refuse_is_explained(run: Run, tmp_path: Path, server: Server) -> None:
    words = ("backup", "--endpoint", server.url, "--out", tmp_path / "x")
    for status, body, text in (
        (401, b'{"message":"Insufficient credentials"}', "auth is on: give --user root"),
        (404, b"404 page not found\n", "is it a kvraft member?"),
        (503, b'{"message":"2 backups are being sent already"}', "2 backups are being sent"),
    ):
        server.answer(status, body)
        refused = run(*words, "--user", "root:secret")
        assert refused.code == 1
        assert text in refused.err
        assert "secret" not in refused.err
    assert server.seen[0] == ("/v2/admin/backup?quorum=true", "Basic cm9vdDpzZWNyZXQ=")
    assert "no URL" in run("backup", "--endpoint", "10.0.0.1:2379", "--out", "x").err
    assert "refused" in run("backup", "--endpoint", "http://127.0.0.1:1", "--out", "x").err


def test_progress_is_for_terminals(
    run: Run, tmp_path: Path, saved: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer(200, saved.read_bytes())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = run("backup", "--endpoint", server.url, "--out", tmp_path / "y")
    assert "\rreceived 0.0 MiB" in shown.err


# --- reading what changes meanwhile ---------------------------------------------------------


def test_damage_counts_only_if_it_is_found_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_PAUSE_S", 0.0)
    outcomes: list[Corrupt | int] = [Corrupt("/a", 1, "moved", ""), 7]

    def attempt() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Corrupt):
            raise outcome
        return outcome

    assert backup.patiently(attempt) == 7
    outcomes += [Corrupt("/a", 1, "bad", ""), Corrupt("/a", 1, "bad", ""), 7]
    with pytest.raises(Corrupt, match="bad"):
        backup.patiently(attempt)
    assert outcomes == [7]
    outcomes[:0] = [Corrupt("/a", number, "moves on", "") for number in range(1, 9)]
    with pytest.raises(Corrupt, match="moves on"):
        backup.patiently(attempt)
