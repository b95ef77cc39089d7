"""Watches: which index is asked for next, what ends them, and commands that are run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from kvraft_cli.answers import read_answer
from kvraft_cli.commands import watch
from kvraft_cli.commands.watch import cannot_start, event_environment, key_and_command, wait_index
from kvraft_cli.errors import Failure
from tests.cli.stub import answer
from tests.cli.test_keys import Ran, ran_against

END = answer(400, '{"errorCode":401,"message":"cleared","cause":"c","index":9}')
CLEARED = "Error:  401: cleared (c) [9]\n"


@pytest.fixture(autouse=True)
def keeps_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "end_on_interrupt", lambda: None)


def event(index: int, action: str = "set", **fields: object) -> bytes:
    node = {"key": "/k", "value": f"v{index}", "modifiedIndex": index, **fields}
    return answer(200, json.dumps({"action": action, "node": node}), X_Etcd_Index="7")


def indices(made: Ran) -> list[int]:
    return [int(asked.target.rpartition("waitIndex=")[2]) for asked in made.asked]


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("k", "/v2/keys/k?recursive=false&wait=true&waitIndex=0"),
        ("/k/ --recursive", "/v2/keys/k/?recursive=true&wait=true&waitIndex=0"),
        ("k --after-index 5", "/v2/keys/k?recursive=false&wait=true&waitIndex=6"),
        ("k --after-index -1", "/v2/keys/k?recursive=false&wait=true&waitIndex=0"),
        (
            "k --after-index -5",
            "/v2/keys/k?recursive=false&wait=true&waitIndex=18446744073709551612",
        ),
        ("k --forever", "/v2/keys/k?recursive=false&wait=true&waitIndex=0"),
    ],
)
def test_the_first_request(words: str, target: str) -> None:
    made = ran_against([END], ["watch", *words.split()])
    assert [asked.target for asked in made.asked] == [target]
    assert made[:3] == (4, "", CLEARED)


def test_one_event_and_the_end() -> None:
    made = ran_against([event(5), END], ["watch", "k"])
    assert made[:3] == (0, "v5\n", "")
    assert indices(made) == [0]


def test_on_and_on() -> None:
    replies = [answer(200), event(5), event(9, "expire", value=""), answer(200), END]
    made = ran_against(replies, ["watch", "--forever", "--recursive", "k"])
    assert made[:3] == (4, "[set] /k\nv5\n[expire] /k\n\n", CLEARED)
    assert indices(made) == [0, 0, 6, 10, 10]


def test_directories_are_passed_over() -> None:
    made = ran_against([event(5, dir=True), event(6)], ["watch", "--recursive", "k"])
    assert made[:3] == (0, "[set] /k\nv6\n", "")
    assert indices(made) == [0, 6]


def test_formats() -> None:
    made = ran_against([event(5), END], ["-o", "bogus", "watch", "--recursive", "k"])
    assert made[:3] == (0, "[set] /k\n", "Unsupported output format: bogus\n")
    made = ran_against([event(5), END], ["-o", "extended", "watch", "k"])
    assert "Index: 7\n" in made.stdout


def test_arguments() -> None:
    assert ran_against([None], ["watch"])[:3] == (1, "", "Error:  key required\n")
    for line in ("", "k", "-- k"):
        made = ran_against([None], ["exec-watch", *line.split()])
        assert made[:3] == (1, "", "Error:  key and command to exec required\n")


@pytest.mark.parametrize(
    ("arguments", "key", "command"),
    [
        ("k -- c a", "k", "c a"),
        ("k x -- c", "k", "-- c"),
        ("c a k", "k", "c a"),
        ("c k", "k", "c"),
        ("-- c k", "k", "-- c"),
    ],
)
def test_key_and_command(arguments: str, key: str, command: str) -> None:
    assert key_and_command(arguments.split()) == (key, command.split())


@pytest.mark.parametrize("arguments", ["", "k", "k --"])
def test_no_command(arguments: str) -> None:
    with pytest.raises(Failure):
        key_and_command(arguments.split())


def test_wait_index() -> None:
    assert [wait_index(after) for after in (0, 1, 7, -1, -2)] == [0, 2, 8, 0, (1 << 64) - 1]


def test_exec_watch_starts_two_later() -> None:
    for after, index in ((0, 0), (5, 7), (-1, 0), (-2, 0)):
        words = ["exec-watch", "--after-index", str(after), "k", "--", "true"]
        assert indices(ran_against([END], words)) == [index]


def test_exec_watch_runs_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[bytes], dict[bytes, bytes]]] = []

    class Process:
        def __init__(self, words: list[bytes], stdin: int, env: dict[bytes, bytes]) -> None:
            started.append((words, env))

        def wait(self) -> int:
            return 3

    monkeypatch.setattr("subprocess.Popen", Process)
    monkeypatch.setenv("KEEP", "me")
    replies = [event(5, value="a\x00b"), event(6, dir=True), event(7, "delete", value=""), END]
    made = ran_against(replies, ["exec-watch", "--recursive", "k", "--", "c\udcff", "-a"])
    assert made[:3] == (4, "", f"Ignored dir /k change{CLEARED}")
    first, second = started
    assert first[0] == [b"c\xff", b"-a"]
    environment = first[1]
    assert environment[b"KEEP"] == b"me"
    assert environment[b"ETCD_WATCH_ACTION"] == b"set"
    assert environment[b"ETCD_WATCH_KEY"] == b"/k"
    assert environment[b"ETCD_WATCH_MODIFIED_INDEX"] == b"5"
    assert environment[b"ETCD_WATCH_VALUE"] == b"a"
    assert second[1][b"ETCD_WATCH_ACTION"] == b"delete"
    assert second[1][b"ETCD_WATCH_VALUE"] == b""


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("/no/such/command", "fork/exec /no/such/command: no such file or directory"),
        (
            "no-such-command-anywhere",
            'exec: "no-such-command-anywhere": executable file not found in $PATH',
        ),
        ("/", "fork/exec /: permission denied"),
    ],
)
def test_commands_that_cannot_start(program: str, text: str) -> None:
    made = ran_against([event(5), END], ["exec-watch", "k", "--", program])
    assert made[:3] == (1, "", text)


def test_why_a_command_does_not_start() -> None:
    assert cannot_start("x", OSError(7, "")) == "fork/exec x: argument list too long"


def test_the_variables_of_an_event() -> None:
    found = read_answer(
        200, "", b'{"action":"set","node":{"key":"/k","value":"v","modifiedIndex":3}}'
    )
    assert event_environment(found) == {
        "ETCD_WATCH_ACTION": "set",
        "ETCD_WATCH_MODIFIED_INDEX": "3",
        "ETCD_WATCH_KEY": "/k",
        "ETCD_WATCH_VALUE": "v",
    }


def test_an_interrupt_ends_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    handlers: list[Callable[..., Any]] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(handler))
    watch.end_on_interrupt()
    handlers[0](signal.SIGINT, None)
    assert codes == [0]
