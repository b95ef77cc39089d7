"""kvraft_cli/local.py: which members, how they are started and stopped, and what the user sees."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kvraft.server.config import ServerConfig, check_new_cluster, parse
from kvraft_cli import local
from kvraft_cli.local import Cluster, LocalError, Member, Ports, Screen

FAKE = (sys.executable, "-m", "tests.cli.fakeserver")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _ports(taken: set[int]) -> Ports:
    found = count(50000)
    return Ports(lambda port: port not in taken, lambda: next(found))


def _urls(members: list[Member]) -> list[tuple[int, int]]:
    return [
        (int(m.client_url.rpartition(":")[2]), int(m.peer_url.rpartition(":")[2])) for m in members
    ]


# --- which members, and where ---


def test_the_usual_ports(tmp_path: Path) -> None:
    members = local.plan(3, tmp_path, 2379, _ports(set()))
    assert _urls(members) == [(2379, 2380), (22379, 22380), (32379, 32380)]
    assert [m.name for m in members] == ["m1", "m2", "m3"]
    assert members[1].log == tmp_path / "m2.log"


def test_taken_ports_are_replaced(tmp_path: Path) -> None:
    members = local.plan(3, tmp_path, 2379, _ports({2380, 32379}))
    assert _urls(members) == [(50000, 50001), (22379, 22380), (50002, 50003)]


def test_no_port_is_given_out_twice(tmp_path: Path) -> None:
    found = iter([2379, 2380, 2379, 40000, 40001])
    ports = Ports(lambda _port: True, lambda: next(found))
    assert ports.pair(2379) == (2379, 2380)
    assert ports.pair(2380) == (40000, 40001)


def test_ports_beyond_the_last_are_replaced(tmp_path: Path) -> None:
    members = local.plan(9, tmp_path, 2379, _ports(set()))
    assert all(port <= local.MAX_PORT for pair in _urls(members) for port in pair)
    assert len({port for pair in _urls(members) for port in pair}) == 18


def test_the_server_takes_the_flags(tmp_path: Path) -> None:
    members = local.plan(3, tmp_path, 2379, _ports(set()))
    for member in members:
        config = parse(local.command(member, members), {})
        assert isinstance(config, ServerConfig), config
        assert check_new_cluster(config) is None
        assert config.data_dir == str(tmp_path / member.name)
        assert list(config.initial_cluster) == ["m1", "m2", "m3"]
        assert config.lines == ()


def test_a_directory_remembers_its_cluster(tmp_path: Path) -> None:
    members = local.choose_members(tmp_path, 2, 4000, _ports({4000}))
    assert _urls(members) == [(50000, 50001), (24000, 24001)]
    assert local.choose_members(tmp_path, None, None, _ports(set())) == members
    assert local.choose_members(tmp_path, 2, 50000, _ports(set())) == members
    with pytest.raises(LocalError, match="holds a cluster of 2"):
        local.choose_members(tmp_path, 3, None, _ports(set()))
    with pytest.raises(LocalError, match="leave --client-port out"):
        local.choose_members(tmp_path, None, 4000, _ports(set()))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"members": [1]}', '{"members": [["a"]]}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(LocalError, match="cannot read"):
        local.recall(tmp_path)


def test_a_port_in_use_is_not_free() -> None:
    with closing(socket.socket()) as taken:
        taken.bind((local.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not local.port_is_free(port)
        assert not local.is_healthy(f"http://{local.HOST}:{local.find_port()}")
    assert local.port_is_free(local.find_port())


# --- what the user sees ---


def test_a_terminal_gets_colour_and_progress() -> None:
    out = Terminal()
    screen = Screen(out, {})
    screen.progress("1")
    screen.progress("2")
    screen.line(screen.bold("done"))
    assert out.getvalue() == "1\r\x1b[K2\r\x1b[K\x1b[1mdone\x1b[0m\n"


def test_a_file_gets_neither() -> None:
    out = io.StringIO()
    screen = Screen(out, {})
    screen.progress("1")
    screen.line(screen.red("done"))
    assert out.getvalue() == "done\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_declined(environ: dict[str, str]) -> None:
    assert Screen(Terminal(), environ).dim("x") == "x"


# --- the running cluster, with stand-ins for the members ---


class Run:
    """A cluster of stand-ins, run until something calls for its end."""

    def __init__(self, directory: Path, size: int) -> None:
        ports = Ports(local.port_is_free, local.find_port)
        self.members = local.plan(size, directory, local.find_port(), ports)
        self.out = io.StringIO()
        self.cluster = Cluster(self.members, Screen(self.out, {}), FAKE)

    @property
    def text(self) -> str:
        return self.out.getvalue()

    def pid(self, name: str) -> int:
        (line,) = (line for line in self.text.splitlines() if line.startswith(f"  {name} "))
        words = line.split()
        return int(words[words.index("pid") + 1])

    def until_ended(self, act: Callable[[Run], Coroutine[Any, Any, None]] | None = None) -> str:
        async def run() -> None:
            running = asyncio.create_task(self.cluster.run("a note."))
            if act:
                await act(self)
            await running

        asyncio.run(run())
        return self.text

    async def shown(self, text: str) -> None:
        """Wait until the user has been shown something."""
        while text not in self.text:  # noqa: ASYNC110 - the stream has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_start_and_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("ETCD_DISCOVERY", "http://for.another")

    async def act(run: Run) -> None:
        await run.shown("Ctrl-C")
        os.kill(os.getpid(), number)

    run = Run(tmp_path, 2)
    text = run.until_ended(act)
    first, second = run.members
    assert text.startswith("2 members are up\n")
    assert f"curl {first.client_url}/v2/keys/greeting -XPUT -d value=hello" in text
    assert f"curl {second.client_url}/v2/keys/greeting\n" in text
    assert str(second.log) in text
    assert text.endswith("a note. Ctrl-C stops the cluster.\nstopping m1, m2\n")
    assert not run.cluster.failed
    assert second.log.read_text().startswith("m2 starts []\n")
    for name in ("m1", "m2"):
        with pytest.raises(ProcessLookupError):
            os.kill(run.pid(name), 0)


def test_a_member_that_dies_at_the_start_ends_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "m2=die")
    run = Run(tmp_path, 2)
    text = run.until_ended()
    assert run.cluster.failed
    assert "ended with status 3\n" in text
    assert "  disk on fire\n" in text
    assert str(run.members[1].log) in text
    assert "Ctrl-C" not in text
    assert text.endswith("stopping m1\n")


def test_a_member_that_dies_later_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    async def act(run: Run) -> None:
        await run.shown("Ctrl-C")
        os.kill(run.pid("m2"), signal.SIGKILL)
        await run.shown("start it again with")
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path, 2)
    text = run.until_ended(act)
    assert "was ended by SIGKILL\n" in text
    assert "--name m2" in text
    assert text.endswith("stopping m1\n")
    assert not run.cluster.failed


def test_the_last_member_ends_the_command(tmp_path: Path) -> None:
    async def act(run: Run) -> None:
        await run.shown("Ctrl-C")
        os.kill(run.pid("m1"), signal.SIGTERM)

    run = Run(tmp_path, 1)
    text = run.until_ended(act)
    assert "1 member is up\n" in text
    assert text.endswith("no member is left\n")
    assert run.cluster.failed


def test_a_second_ctrl_c_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "m1=deaf")

    async def act(run: Run) -> None:
        await run.shown("Ctrl-C")
        os.kill(os.getpid(), signal.SIGINT)
        await run.shown("stopping m1")
        os.kill(os.getpid(), signal.SIGINT)

    assert Run(tmp_path, 1).until_ended(act).endswith("stopping m1\nkilling m1\n")


def test_members_that_do_not_get_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "m1=sick")
    monkeypatch.setattr(local, "READY_TIMEOUT_S", 0.5)
    run = Run(tmp_path, 1)
    text = run.until_ended()
    assert run.cluster.failed
    assert text.startswith("not all members were ready within 0 s\n")


def test_ctrl_c_while_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "m1=sick")

    async def act(run: Run) -> None:
        while not run.members[0].log.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path, 1)
    assert run.until_ended(act) == "stopping m1\n"
    assert not run.cluster.failed


# --- the command ---


@pytest.mark.parametrize("argv", [["--members", "0"], ["--members", "10"], ["--client-port", "0"]])
def test_numbers_have_limits(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^2$"):
        local.main(argv)
    assert argv[0] in capsys.readouterr().err


def test_a_cluster_that_runs_already_is_not_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.socket()) as taken:
        taken.bind((local.HOST, 0))
        taken.listen()
        url = f"http://{local.HOST}:{taken.getsockname()[1]}"
        local.remember([Member("m1", url, url, tmp_path)], tmp_path)
        assert local.main(["--base-dir", str(tmp_path)]) == 1
    assert "is in use: is the cluster running?" in capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_a_temporary_directory_stays_only_after_a_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: bool,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def run(self: Cluster, note: str) -> None:
        assert "goes away" in note
        self.failed = fails

    monkeypatch.setattr(Cluster, "run", run)
    assert local.main([]) == int(fails)
    assert len(list(tmp_path.iterdir())) == int(fails)
    assert ("kept for a look" in capsys.readouterr().out) is fails
