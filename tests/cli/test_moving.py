"""export, import-json, diff and sync: what they do, say and refuse, on servers in memory."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvraft.client.errors import DidNotHappen, KeyNotFound, OutcomeUnknown
from kvraft.client.sync import SyncClient
from kvraft_cli.commands import export
from kvraft_cli.mirror.dump import Head, Record, decode, encode
from kvraft_cli.mirror.loading import Loader, moved, select
from kvraft_cli.mirror.tree import Entry
from tests.cli.conftest import Member, Ran, StartMember, kvraftctl
from tests.cli.mirror.server import Server


def fill(member: Member) -> None:
    client = member.client
    client.set("/app/name", "web")
    client.set("/app/text", 'ü "<&>" \n\u2028')
    client.make_dir("/empty")
    client.set("/lock", "owner", ttl=300)
    client.make_dir("/session", ttl=300)
    client.set("/session/user", "bob")
    client.set("/_hidden/key", "x")
    client.create_in_order("/queue", "job")


@pytest.fixture
def source(start_member: StartMember) -> Member:
    member = start_member()
    fill(member)
    return member


def shown(ran: Ran) -> None:
    print(ran.out, ran.err)


# --- export -----------------------------------------------------------------------------


def test_an_export_goes_to_stdout_or_a_file_of_its_owner(source: Member, tmp_path: Path) -> None:
    ran = source.ctl("export", "--hidden", "/_hidden")
    assert ran.code == 0
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert documents[0]["kvraft_export"] == 1
    assert documents[-1]["count"] == 11
    assert {d["key"] for d in documents[1:-1]} >= {"/app/name", "/_hidden/key", "/empty"}
    place = tmp_path / "all.json"
    ran = source.ctl("export", "-o", str(place), "--hidden", "/_hidden")
    assert (ran.code, ran.out) == (0, "")
    assert "exported 11 keys at index" in ran.err
    assert place.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["all.json"]


def test_a_part_and_a_single_key_are_exported(source: Member) -> None:
    keys = [json.loads(line).get("key") for line in source.ctl("export", "/app").out.splitlines()]
    assert keys == ["/app", "/app", "/app/name", "/app/text", None]
    keys = [json.loads(line).get("key") for line in source.ctl("export", "/lock").out.splitlines()]
    assert keys == ["/lock", "/lock", None]


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(
    source: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "all.json"
    place.write_text("the export of yesterday")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_all", full)
    ran = source.ctl("export", "-o", str(place))
    assert ran.code == 2
    assert ran.err == (
        f"kvraftctl export: --output: cannot write {place}: no space left on device\n"
    )
    assert os.listdir(tmp_path) == ["all.json"]
    assert place.read_text() == "the export of yesterday"


def test_export_replaces_files_only(source: Member, tmp_path: Path) -> None:
    pipe, link, behind = tmp_path / "pipe", tmp_path / "link", tmp_path / "behind"
    os.mkfifo(pipe)
    link.symlink_to(behind)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_bytes)
        assert source.ctl("export", "-q", "-o", str(pipe)).code == 0
        assert reading.result().count(b"\n") == 11
    assert source.ctl("export", "-q", "-o", str(link)).code == 0
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert behind.read_bytes().count(b"\n") == 11
    ran = source.ctl("export", "-o", "/dev/full")
    assert (ran.code, ran.err) == (
        2,
        "kvraftctl export: --output: cannot write /dev/full: no space left on device\n",
    )
    assert Path("/dev/full").is_char_device()


def test_export_names_the_argument_that_is_wrong(source: Member) -> None:
    for words, text in (
        (["/nope"], "kvraftctl export: KEY: there is no key /nope; "),
        (["--hidden", "/_no"], "kvraftctl export: --hidden: there is no key /_no; "),
        (["-o", ""], "kvraftctl export: --output: '' is a directory or nothing; name a file in it"),
        (["-o", "/no/such/place"], "kvraftctl export: --output: cannot write to /no/such: no such"),
        (["/a/../b"], "argument key: '/a/../b' has to be a key without `..`\nsee: "),
        (["--outputt"], "unrecognized arguments: --outputt\nsee: kvraftctl export --help\n"),
    ):
        ran = source.ctl("export", *words)
        assert (ran.code, ran.out) == (2, ""), words
        assert text in ran.err


def test_nobody_there_is_code_2() -> None:
    ran = kvraftctl("--endpoints", "http://127.0.0.1:1", "export")
    assert ran.code == 2
    assert "connection refused" in ran.err


def test_on_a_terminal_there_is_a_bar(source: Member, tmp_path: Path) -> None:
    ran = source.ctl("export", "-o", str(tmp_path / "x"), terminal=True)
    assert ran.code == 0
    assert "\x1b[" in ran.err
    assert "\x1b[" not in source.ctl("export", "-o", str(tmp_path / "x")).err


def test_what_is_no_utf8_is_told(source: Member) -> None:
    source.client.set("/bytes", b"\xff")
    ran = source.ctl("export")
    assert "warning: 1 key with bytes that are no UTF-8" in ran.err
    assert "/bytes is the first" in ran.err


# --- import-json ------------------------------------------------------------------------


@pytest.fixture
def dump(source: Member, tmp_path: Path) -> str:
    place = tmp_path / "all.json"
    assert source.ctl("export", "-o", str(place), "--hidden", "/_hidden").code == 0
    return str(place)


def test_all_keys_arrive_and_a_second_import_writes_nothing(
    source: Member, dump: str, start_member: StartMember
) -> None:
    target = start_member()
    ran = target.ctl("import-json", dump)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "imported: 11 keys written\n"
    assert target.keys() == source.keys()
    assert target.keys("/_hidden") == source.keys("/_hidden")
    assert target.client.get("/lock").node.ttl in range(295, 301)
    assert target.client.get("/session").node.ttl in range(295, 301)
    before = target.client.get("/").etcd_index
    assert target.ctl("import-json", dump).err == "imported: 0 keys written, 11 there already\n"
    assert target.client.get("/").etcd_index == before


def test_an_import_goes_on_where_it_was_broken_off(dump: str, start_member: StartMember) -> None:
    target = start_member()
    target.client.set("/app/name", "web")
    ran = target.ctl("import-json", dump)
    assert ran.err == "imported: 9 keys written, 2 there already\n"


def test_an_interrupted_import_says_how_to_go_on(tmp_path: Path, start_member: StartMember) -> None:
    records = [Record(f"/k/{number}", "v") for number in range(1500)]
    place = tmp_path / "many.json"
    place.write_bytes(b"".join(encode(Head("/", (), 1, time.time(), "", ""), records)))
    target = start_member()
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    ran = target.ctl("import-json", "-c", "1", str(place))
    assert ran.code == 130
    assert " of 1500 keys written; to go on, give the same command again\n" in ran.err
    written = len(target.keys("/k")) - 1
    assert 0 < written < 1500
    ran = target.ctl("import-json", str(place))
    assert ran.code == 0
    assert ran.err == f"imported: {1500 - written} keys written, {written} there already\n"


def test_it_can_be_read_from_stdin_and_shown_without_writing(
    dump: str, start_member: StartMember
) -> None:
    target = start_member()
    ran = target.ctl("import-json", "--dry-run", "-", typed=Path(dump).read_bytes())
    assert ran.code == 0
    assert 'create /app/name "web"\n' in ran.out
    assert "dry run: 11 keys would be written" in ran.out
    assert target.keys() == {}


def test_what_holds_something_else_is_refused_kept_or_replaced(
    dump: str, start_member: StartMember
) -> None:
    target = start_member()
    target.client.set("/app/name", "mine")
    target.client.set("/session", "a file")
    ran = target.ctl("import-json", dump)
    assert ran.code == 2
    assert "--overwrite to replace, or --if-absent to keep" in ran.err
    assert target.keys() == {"/app": None, "/app/name": "mine", "/session": "a file"}
    ran = target.ctl("import-json", "--if-absent", dump)
    assert ran.code == 0
    assert "2 left alone" in ran.err
    assert target.keys()["/app/name"] == "mine"
    assert target.keys()["/session"] == "a file"
    ran = target.ctl("import-json", "--overwrite", dump)
    assert ran.code == 0, ran.err
    assert target.keys()["/app/name"] == "web"
    assert target.keys()["/session/user"] == "bob"
    assert target.client.get("/session").node.ttl


def test_a_directory_with_content_is_never_replaced(dump: str, start_member: StartMember) -> None:
    target = start_member()
    target.client.set("/app/name/below", "x")
    ran = target.ctl("import-json", "--overwrite", dump)
    assert ran.code == 2
    assert "remove it first: kvraftctl rm --recursive /app/name" in ran.err
    assert set(target.keys()) == {"/app", "/app/name", "/app/name/below"}


def test_a_part_can_be_taken_and_put_elsewhere(dump: str, start_member: StartMember) -> None:
    target = start_member()
    assert target.ctl("import-json", "--prefix", "/app", "--to", "/copy/of", dump).code == 0
    assert set(target.keys()) == {
        "/copy", "/copy/of", "/copy/of/app", "/copy/of/app/name", "/copy/of/app/text",
    }  # fmt: skip
    ran = target.ctl("import-json", "--prefix", "/nope", dump)
    assert ran.code == 2
    assert "--prefix: the file has nothing at or below /nope" in ran.err


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_truncated_file_is_refused_before_anything_is_written(
    dump: str, cut: int, start_member: StartMember
) -> None:
    target = start_member()
    broken = Path(dump).read_bytes()[:-cut]
    Path(dump).write_bytes(broken)
    ran = target.ctl("import-json", dump)
    assert ran.code == 2
    assert f"{dump}: line " in ran.err
    assert "truncated" in ran.err
    assert target.keys() == {}


def test_import_names_the_argument_that_is_wrong(dump: str, source: Member) -> None:
    for words, text in (
        ([], "the following arguments are required: file"),
        (["/no/such"], "kvraftctl import-json: /no/such: no such file"),
        (["-c", "0", dump], "argument -c/--concurrency: '0' has to be a number of requests"),
        (["--if-absent", "--overwrite", dump], "not allowed with"),
        (["--ttl", "half", dump], "argument --ttl: invalid choice"),
    ):
        ran = source.ctl("import-json", *words)
        assert ran.code == 2, words
        assert text in ran.err


def test_ttls_are_what_is_left() -> None:
    records = decode(
        list(
            encode(
                Head("/", (), 1, 0.0, "", ""),
                [
                    Record("/a", "1", 100, "then"),
                    Record("/b", None, 10, "then"),
                    Record("/b/c", "1"),
                    Record("/d", "1"),
                ],
            )
        )
    ).records

    def tree(ttl: str) -> tuple[dict[str, float | None], int]:
        chosen = select(
            records, prefix="/", old_root="/", new_root=None, now=1000.0, age_s=60.0, ttl=ttl
        )
        return {key: entry.expires_at for key, entry in chosen.tree.items()}, chosen.expired

    assert tree("left") == ({"/a": 1040.0, "/d": None}, 2)
    assert tree("restart") == ({"/a": 1100.0, "/b": 1010.0, "/b/c": None, "/d": None}, 0)
    assert tree("drop")[0] == dict.fromkeys(("/a", "/b", "/b/c", "/d"))


def test_keys_move_with_their_root() -> None:
    assert moved("/a/b", "/a", "/x") == "/x/b"
    assert moved("/a", "/a", "/x") == "/x"
    assert moved("/a/b", "/", "/x") == "/x/a/b"
    assert moved("/_h/b", "/a", "/x") == "/x/_h/b"
    assert moved("/a/b", "/a", "/") == "/b"
    assert moved("/a/b", "/a", None) == "/a/b"


@pytest.mark.asyncio
async def test_unknown_outcomes_are_looked_at_and_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kvraft_cli.mirror.loading.FIRST_BACKOFF_S", 0.0)
    server = Server()
    calls = 0

    def before(request: object) -> None:
        nonlocal calls
        calls += 1
        if calls % 5 == 1:
            raise DidNotHappen("not now")
        if calls % 5 == 2:
            raise OutcomeUnknown("lost on the way there")

    def after(request: object) -> None:
        if calls % 5 == 3:
            raise OutcomeUnknown("lost on the way back")

    server.before, server.after = before, after
    wanted = {"/d": Entry(None), **{f"/d/{number}": Entry(str(number)) for number in range(40)}}
    loader = Loader(server, wanted, frozenset(), time.monotonic)
    await loader.run(list(wanted), 4, lambda left: None)
    assert loader.loaded.written == 41
    assert loader.loaded.there == 0
    assert loader.loaded.retries > 0
    assert len((await server.get("/d")).node.nodes) == 40


# --- diff -------------------------------------------------------------------------------


def test_equal_servers_and_the_ways_to_differ(source: Member, start_member: StartMember) -> None:
    target = start_member()
    fill(target)
    ran = kvraftctl("diff", source.url, target.url)
    # names in order come from indices, which differ between servers
    assert [line[:8] for line in ran.out.splitlines()] in ([], ["- /queue", "+ /queue"])
    target.client.delete("/queue", recursive=True)
    source.client.delete("/queue", recursive=True)
    assert kvraftctl("diff", source.url, target.url).code == 0
    target.client.set("/app/name", "x" * 50)
    target.client.refresh("/lock", 100)
    target.client.delete("/empty", recursive=True)
    target.client.set("/new", "")
    ran = kvraftctl("diff", source.url, target.url)
    assert ran.code == 1
    assert f'~ /app/name "web" -> "{"x" * 40}"... (50 characters)\n' in ran.out
    assert "- /empty directory\n" in ran.out
    assert '+ /new ""\n' in ran.out
    assert "\nt /lock " in ran.out
    assert "4 differences; 7 keys at the source\n" in ran.err
    assert kvraftctl("diff", "-q", source.url, target.url) == Ran(1, "", "")
    assert kvraftctl("diff", "-q", "--prefix", "/session", source.url, target.url).code == 0
    ran = kvraftctl("diff", "--json", "--ignore-ttl", source.url, target.url)
    found = {document["key"]: document for document in map(json.loads, ran.out.splitlines())}
    assert set(found) == {"/app/name", "/empty", "/new"}
    assert found["/empty"] == {"key": "/empty", "difference": "missing", "source": {"dir": True}}


def test_diff_names_the_side_that_fails(source: Member) -> None:
    ran = kvraftctl("diff", source.url, "http://127.0.0.1:1")
    assert ran.code == 2
    assert ran.err.startswith("kvraftctl diff: TARGET: ")
    ran = kvraftctl("diff", "nonsense://x", source.url)
    assert ran.code == 2
    assert ran.err.startswith("kvraftctl diff: SOURCE: ")


# --- sync -------------------------------------------------------------------------------


def test_a_copy_is_planned_made_and_verified(source: Member, start_member: StartMember) -> None:
    target = start_member()
    ran = kvraftctl("sync", "--dry-run", source.url, target.url)
    assert ran.code == 0
    assert 'create  /app/name "web"\n' in ran.out
    assert ran.out.endswith("dry run: 9 changes, nothing was written\n")
    assert target.keys() == {}
    ran = kvraftctl("sync", "--once", "--hidden", "/_hidden", source.url, target.url)
    assert ran.code == 0, ran
    assert "IDENTICAL: 11 keys at the source's index" in ran.out
    assert "it is safe to switch\n" in ran.out
    assert target.keys() == source.keys()
    assert target.keys("/_hidden") == source.keys("/_hidden")
    assert target.client.get("/lock").node.ttl in range(290, 302)
    again = kvraftctl("sync", "--once", source.url, target.url)
    assert "writes 0, removals 0" in again.out


def test_a_target_with_a_life_of_its_own_is_refused(
    source: Member, start_member: StartMember
) -> None:
    target = start_member()
    target.client.set("/app/name", "other")
    target.client.set("/mine", "1")
    ran = kvraftctl("sync", "--once", source.url, target.url)
    assert ran.code == 2
    assert "TARGET: it is not empty: 2 keys below / are not as at the source" in ran.err
    assert set(target.keys()) == {"/app", "/app/name", "/mine"}
    ran = kvraftctl("sync", "--once", "--merge", source.url, target.url)
    assert ran.code == 0
    assert "1 more keys only at the target" in ran.out
    assert target.keys() == source.keys() | {"/mine": "1"}
    ran = kvraftctl("sync", "--once", "--force", "--delete", source.url, target.url)
    assert ran.code == 0
    assert target.keys() == source.keys()


def test_a_loop_is_refused(source: Member) -> None:
    ran = kvraftctl("sync", "--once", source.url, source.url)
    assert ran.code == 2
    assert "in common with SOURCE" in ran.err
    assert "--same-ids" in ran.err


def test_sync_names_the_argument_that_is_wrong(source: Member) -> None:
    for words, text in (
        ([source.url], "the following arguments are required: TARGET"),
        ([source.url, "http://127.0.0.1:1"], "kvraftctl sync: TARGET: "),
        (["--grace", "3", source.url, source.url], "--grace: 3 s is too short"),
        (["--check", "x", source.url, source.url], "argument --check: 'x' has to be seconds"),
        (["--once", "--live", source.url, source.url], "not allowed with"),
    ):
        ran = kvraftctl("sync", *words)
        assert ran.code == 2, words
        assert text in ran.err


def test_the_side_that_wants_a_user_is_named(source: Member, start_member: StartMember) -> None:
    target = start_member()
    auth = target.client.auth
    auth.add_user("root", "secret")
    auth.enable()
    with SyncClient(target.url, username="root", password="secret") as root:
        root.auth.revoke("guest", read=["/*"], write=["/*"])
        words = ("sync", "--once", source.url, target.url)
        ran = kvraftctl(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("kvraftctl sync: TARGET: 110: ")
        assert ran.err.endswith("; give a user that may: --target-user NAME[:PASSWORD]\n")
        ran = kvraftctl(*words, "--target-user", "root:secret")
        assert ran.code == 0, ran
        assert root.get("/app/name").value == "web"


def test_changes_are_followed_until_the_source_is_idle(
    source: Member, start_member: StartMember
) -> None:
    target = start_member()

    def write() -> None:
        for number in range(40):
            source.client.set(f"/live/{number % 10}", str(number))
        source.client.delete("/app", recursive=True)

    writer = threading.Timer(0.1, write)
    writer.start()
    ran = kvraftctl("sync", "--until-idle", "1.5", "--interval", "0.2", source.url, target.url)
    writer.join()
    shown(ran)
    assert ran.code == 0
    assert " following: difference 0" in ran.out
    assert target.keys() == source.keys()
    with pytest.raises(KeyNotFound):
        target.client.get("/app")


@pytest.mark.parametrize("terminal", [False, True])
def test_an_interrupt_ends_with_the_verdict(
    source: Member, start_member: StartMember, terminal: bool
) -> None:
    target = start_member()
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    ran = kvraftctl("sync", source.url, target.url, terminal=terminal)
    assert ran.code == 0, ran
    assert "it is safe to switch" in ran.out
    assert target.keys() == source.keys()
    if terminal:
        assert "difference" in ran.out
        assert "Ctrl-C: verify and end" in ran.out


def test_every_command_has_help_with_examples_and_codes() -> None:
    for name in ("export", "import-json", "diff", "sync"):
        ran = kvraftctl(name, "--help")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"usage: kvraftctl {name} ")
        assert "examples:\n" in ran.out
        assert "exit codes: " in ran.out
        assert max(map(len, ran.out.splitlines())) <= 100
