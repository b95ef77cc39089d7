"""`kvraft dev` as a process: what it prints, serves, refuses, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from benchmarks.members import call, free_ports
from tests.integration import ctl

pytestmark = pytest.mark.timeout(120)

DEV: Final = (sys.executable, "-m", "kvraft", "dev")
# Runs a command on a terminal of its own, and copies between that and its own streams.
ON_A_TERMINAL: Final = (
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
)
READY: Final = "Ctrl-C stops the cluster."
URL: Final = re.compile(r"^  m\d+  (http://127\.0\.0\.1:\d+) ")


class Dev:
    """The process, and what it has printed so far."""

    def __init__(self, words: tuple[str, ...], *, stdin: int) -> None:
        self.process = subprocess.Popen(
            words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.text = ""

    def until(self, text: str) -> str:
        """Read until a line has this; returns what has been read since the start."""
        assert self.process.stdout is not None
        while text not in self.text:
            line = self.process.stdout.readline()
            assert line, f"it ended without {text!r}:\n{self.text}"
            self.text += line
        return self.text

    @property
    def urls(self) -> list[str]:
        lines = self.until(READY).splitlines()
        return [found[1] for line in lines if (found := URL.match(line))]

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, number: int | None = None) -> int:
        """The status, after a signal if one is named; what it printed is in `text`."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.text += self.process.stdout.read()
        return self.process.wait(20)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def dev(
    *words: str, command: tuple[str, ...] = DEV, stdin: int = subprocess.DEVNULL
) -> Iterator[Dev]:
    running = Dev((*command, *words), stdin=stdin)
    # A test that waits for a line that never comes had better fail than hang.
    watchdog = threading.Timer(60, running.process.kill)
    watchdog.start()
    try:
        yield running
    finally:
        watchdog.cancel()
        running.process.kill()
        running.process.wait()
        for stream in (running.process.stdin, running.process.stdout, running.process.stderr):
            if stream is not None:
                stream.close()


def refuses_calls(url: str) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_start_use_and_stop() -> None:
    (port,) = free_ports(1)
    with dev("--client-port", str(port)) as running:
        first, second, third = running.urls
        assert first == f"http://127.0.0.1:{port}"
        text = running.text
        assert text.startswith("kvraft dev: 3 members in memory (not for production)\n")
        assert "\x1b" not in text
        examples = dict(re.findall(r"^  (set|get|watch) +(.*)$", text, re.MULTILINE))
        done = subprocess.run(
            examples["set"], shell=True, capture_output=True, text=True, check=True, timeout=20
        )
        assert '"value":"hello"' in done.stdout
        assert examples["get"] == f"kvraftctl --endpoints {second} get /greeting"
        assert call(third, "GET", "/v2/keys/greeting?quorum=true").body["node"]["value"] == "hello"
        assert len(call(third, "GET", "/v2/members").body["members"]) == 3
        assert running.end(signal.SIGTERM) == -signal.SIGTERM
        assert all(refuses_calls(url) for url in (first, second, third))
        assert running.errors() == ""


@pytest.mark.etcdctl
def test_etcdctl() -> None:
    with dev("--nodes", "1", "--client-port", "0") as running:
        (url,) = running.urls
        assert running.text.startswith("kvraft dev: 1 member in memory (not for production)\n")
        assert ctl.etcdctl("--endpoints", url, "set", "/a", "1") == "1\n"
        assert ctl.etcdctl("--endpoints", url, "get", "/a") == "1\n"
        assert "is healthy" in ctl.etcdctl("--endpoints", url, "cluster-health")
        assert running.end(signal.SIGINT) == -signal.SIGINT


def test_two_at_once_and_a_port_that_is_taken() -> None:
    with dev("--nodes", "2") as one, dev("--nodes", "2") as other:
        urls = [*one.urls, *other.urls]
        assert len(set(urls)) == 4
        for number, url in enumerate(urls):
            call(url, "PUT", "/v2/keys/a", {"value": str(number)})
        assert [
            call(url, "GET", "/v2/keys/a?quorum=true").body["node"]["value"] for url in urls
        ] == [
            "1",
            "1",
            "3",
            "3",
        ]
        port = urls[0].rpartition(":")[2]
        with dev("--client-port", port) as refused:
            assert refused.end() == 1
            assert refused.errors() == (
                f"kvraft dev: cannot listen at 127.0.0.1:{port}: Address already in use\n"
            )
            assert refused.text == ""


@pytest.mark.parametrize("words", [["--nodes", "0"], ["--client-port", "many"], ["here"]])
def test_words_that_are_wrong(words: list[str]) -> None:
    with dev(*words) as refused:
        assert refused.end() == 2
        assert refused.text == ""
        assert words[0] in refused.errors()


def test_help() -> None:
    with dev("--help") as shown:
        assert shown.end() == 0
        assert "kvraft dev --data-dir ./cluster" in shown.text
        assert shown.errors() == ""


def test_data_are_kept_where_that_is_wanted(tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path / "cluster"), "--client-port", "0")
    with dev("--nodes", "2", *place) as running:
        assert f"2 members with their data in {tmp_path}/cluster" in running.until(READY)
        call(running.urls[0], "PUT", "/v2/keys/a", {"value": "1"})
        assert running.end(signal.SIGTERM) == -signal.SIGTERM
    with dev(*place) as running:
        assert len(running.urls) == 2
        got = call(running.urls[1], "GET", "/v2/keys/a?quorum=true")
        assert got.body["node"]["value"] == "1"
        with dev(*place) as second:
            assert second.end() == 1
            assert "another process uses" in second.errors()
    with dev("--nodes", "3", *place) as refused:
        assert refused.end() == 1
        assert "holds a cluster of 2: leave --nodes out" in refused.errors()


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
def test_with_closed_streams_and_without_readers(closed: str) -> None:
    words = ("sh", "-c", f'exec "$0" "$@" {closed}', *DEV, "--nodes", "1", "--client-port", "0")
    with dev(command=words) as running:
        (url,) = running.urls
        assert running.process.stdout is not None
        running.process.stdout.close()  # as `kvraft dev | head` does
        call(url, "PUT", "/v2/keys/a", {"value": "1"})
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == -signal.SIGTERM


def test_a_terminal_gets_a_prompt_and_gives_commands() -> None:
    words = (sys.executable, "-c", ON_A_TERMINAL, *DEV, "--client-port", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        with dev(command=words, stdin=subprocess.PIPE) as running:
            assert "\x1b[1mkvraft dev: 3 members in memory\x1b[0m" in running.until("Type")
            running.say("kill")
            dead = running.until("is dead, as after kill -9")
            (name,) = re.findall(r"(m\d) is dead", dead)
            running.until("leads in term")
            running.say("what")
            running.until('There is no command "what"')
            running.say(f"start {name}")
            running.until(f"{name} is back at")
            running.say("status")
            running.until(f"  {name}  http")
            running.say("quit")
            assert running.end() == 0


def test_a_job_in_the_background_is_not_stopped_by_its_terminal() -> None:
    # The shell has job control, so that its job is a group of its own and not in the foreground.
    script = (
        f"set -m; {' '.join(DEV)} --nodes 1 --client-port 0 & "
        "read go; jobs; kill %1; wait %1; echo status $?"
    )
    words = (sys.executable, "-c", ON_A_TERMINAL, "bash", "-c", script)
    with dev(command=words, stdin=subprocess.PIPE) as running:
        running.until(READY)
        running.say("go")
        text = running.until("status 143")
        assert re.search(r"\[1\]\+? +Running", text)
        assert "Type" not in text


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = subprocess.run(
        [*DEV, "--data-dir", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert str(file) in done.stderr
