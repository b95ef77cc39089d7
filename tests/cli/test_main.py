"""The process around the commands: bytes, signals, closed outputs, terminals. Real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.members import wait_until
from kvraft_cli.table import PROGRAM
from tests.cli.stub import Asked, Stub, answer
from tests.cli.test_session import closed_url

PROGRAM_WORDS = (sys.executable, "-m", "kvraft_cli.main")
NODE = {"key": "/k", "value": "é", "createdIndex": 3, "modifiedIndex": 4}
SET = answer(200, json.dumps({"action": "set", "node": NODE}, ensure_ascii=False))


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ETCDCTL_", "LC_", "LANG"))}
    return {**kept, **more}


def start(*words: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM_WORDS, *words],
        **{"stdin": subprocess.DEVNULL, "env": environment(), **options},
    )


def finished(*words: str | bytes, stdin: bytes = b"", **env: Any) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [*PROGRAM_WORDS, *words],
        input=stdin,
        capture_output=True,
        env=environment(**env),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_any_bytes_pass_through(locale: dict[str, Any]) -> None:
    with Stub(lambda _: SET) as stub:
        words = ("--no-sync", "--endpoints", stub.url, "set", b"/\xff\xc3\xa9")
        assert finished(*words, b"\xfe\xc3\xa9", **locale) == (0, b"\xc3\xa9\n", b"")
        assert finished(*words, stdin=b"\xfe\x00\n", **locale) == (0, b"\xc3\xa9\n", b"")
    first, second = stub.asked
    assert first.target == "/v2/keys/%FF%C3%A9"
    assert first.body == b"value=%FE%C3%A9"
    assert second.body == b"value=%FE%00%0A"
    told = finished(b"bo\xffgus\xc3\xa9", **locale)
    assert told == (0, b"No help topic for 'bo\xffgus\xc3\xa9'\n", b"")


def test_failures_go_to_stderr() -> None:
    dead = closed_url()
    code, out, err = finished("get", "/k", ETCDCTL_ENDPOINTS=dead)
    assert (code, out) == (2, b"")
    assert err.decode() == (
        "Error:  client: etcd cluster is unavailable or misconfigured\n"
        f"error #0: dial tcp {dead.removeprefix('http://')}: connect: connection refused\n\n"
    )


def test_a_reader_that_goes_away_ends_it_by_signal() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start("help", stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    _, err = process.communicate()
    assert (process.returncode, err) == (-signal.SIGPIPE, b"")


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("help", stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err == f"{PROGRAM}: cannot write: No space left on device\n".encode()


def test_closed_streams() -> None:
    words = [*PROGRAM_WORDS, "--version"]
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'exec "$@" {closed}'
        done = subprocess.run(["sh", "-c", script, "sh", *words], capture_output=True, check=False)
        assert done.returncode == 0, closed
        assert done.stderr == b""


def silent_stub(asked: threading.Event, gone: threading.Event) -> Stub:
    def wait(_: Asked) -> None:
        asked.set()
        gone.wait(30)

    return Stub(wait)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["watch", "/k"], 0),
        (["exec-watch", "/k", "--", "true"], 0),
        (["--timeout", "0", "get", "/k"], -signal.SIGINT),
    ],
)
def test_interrupts(words: Sequence[str], code: int) -> None:
    asked, gone = threading.Event(), threading.Event()
    with silent_stub(asked, gone) as stub:
        process = start(
            *("--no-sync", "--endpoints", stub.url, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        gone.set()
    assert (process.returncode, out, err) == (code, b"", b"")


def test_exec_watch_hands_its_streams_on(tmp_path: Path) -> None:
    node = {"key": "/k", "value": "a b", "modifiedIndex": 4}
    event = answer(200, json.dumps({"action": "set", "node": node}))
    first = [event]
    gone = threading.Event()

    def answering(_: Asked) -> bytes | None:
        if first:
            return first.pop()
        gone.wait(30)
        return None

    script = 'echo "$ETCD_WATCH_VALUE"; echo "$0" >&2; cat; : > done'
    with Stub(answering) as stub:
        process = start(
            *("--no-sync", "--endpoints", stub.url),
            *("exec-watch", "/k", "--", "sh", "-c", script, "me"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(Path(__file__).parent.parent.parent)),
        )
        wait_until("the command has run", (tmp_path / "done").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        gone.set()
    assert (process.returncode, out, err) == (0, b"a b\n", b"me\n")


def on_terminal(*words: str, stdin: bytes = b"", wait_for: bytes = b"") -> tuple[int, bytes]:
    """Run with a terminal as stdin, stdout and stderr; what it shows, line ends as sent."""
    master, slave = pty.openpty()
    settings = termios.tcgetattr(slave)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, settings)

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = start(*words, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
    os.close(slave)
    shown = b""
    sent = not stdin
    try:
        while True:
            if not sent and wait_for in shown:
                os.write(master, stdin)
                sent = True
            shown += os.read(master, 1 << 16)
    except OSError:  # the last user of the terminal has gone
        pass
    finally:
        os.close(master)
    return process.wait(30), shown


def test_hints_on_a_terminal() -> None:
    code, shown = on_terminal("gett", "/k")
    assert code == 0
    assert shown.decode() == f"No help topic for 'gett'\nhint: did you mean `{PROGRAM} get`?\n"
    code, shown = on_terminal("--endpoints", closed_url(), "get", "/k")
    assert code == 2
    assert b"connection refused\n\nhint: is a server running there?" in shown


def test_passwords_are_not_shown_while_typed() -> None:
    with Stub(lambda _: SET) as stub:
        code, shown = on_terminal(
            *("--no-sync", "--endpoints", stub.url, "-u", "al", "set", "/k", "v"),
            stdin=b"secret\n",
            wait_for=b"Password: ",
        )
    assert (code, shown.decode()) == (0, "Password: \né\n")
    assert stub.asked[0].headers["authorization"] == "Basic YWw6c2VjcmV0"


def test_a_get_loads_little() -> None:
    """The start has a budget of 60 ms; what is known to be expensive has to stay out of it."""
    with Stub(lambda _: SET) as stub:
        code, _, err = finished(
            *("--no-sync", "--endpoints", stub.url, "get", "/k"), PYTHONPROFILEIMPORTTIME="1"
        )
    assert code == 0
    loaded = {line.rpartition(b"|")[2].strip().decode() for line in err.splitlines()}
    assert "kvraft_cli.session" in loaded
    expensive = (
        "argparse asyncio aiohttp contextvars dataclasses email.message http.client logging"
        " random rich ssl stringprep subprocess threading kvraft.client.client"
    )
    assert not loaded.intersection(expensive.split())


@pytest.mark.parametrize(
    ("name", "shown"), [("etcdctl", "etcdctl"), ("kvraftctl", "kvraftctl"), ("v2", "kvraftctl")]
)
def test_help_names_the_command_that_was_typed(name: str, shown: str) -> None:
    program = f"import sys; sys.argv[0] = '/bin/{name}'; from kvraft_cli.main import main; main()"
    for words in (["set", "--help"], ["export", "--help"]):
        answer = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        assert f"{shown} {words[0]} " in answer.stdout
