"""The commands on keys: the requests they send, and what they do with the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from kvraft.limits import CTL_MAX_STDIN_BYTES
from kvraft_cli.main import run
from tests.cli.stub import Asked, Stub, answer
from tests.cli.test_app import stream, written

FILE = {"key": "/k", "value": "v", "createdIndex": 3, "modifiedIndex": 4}
DIRECTORY = {"key": "/d", "dir": True, "createdIndex": 3, "modifiedIndex": 4}


class Ran(NamedTuple):
    code: int
    stdout: str
    stderr: str
    asked: list[Asked]

    @property
    def sent(self) -> str:
        """The one request, as text."""
        (asked,) = self.asked
        return f"{asked.method} {asked.target} {asked.body.decode()}".strip()


def ran(
    *words: str, stdin: bytes = b"", node: object = FILE, action: str = "set", status: int = 200
) -> Ran:
    body = json.dumps({"action": action, "node": node})
    return ran_against([answer(status, body, X_Etcd_Index="9")], words, stdin)


def ran_against(replies: Sequence[bytes | None], words: Sequence[str], stdin: bytes = b"") -> Ran:
    waiting = list(replies)

    def answering(asked: Asked) -> bytes | None:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    stdout, stderr = stream(), stream()
    with Stub(answering) as stub, pytest.MonkeyPatch.context() as patch:
        for name in ("ETCDCTL_ENDPOINTS", "ETCDCTL_DISCOVERY_SRV"):
            patch.delenv(name, raising=False)
        words = ["--no-sync", "--endpoints", stub.url, *words]
        code = run(words, stream(stdin), stdout, stderr)
    return Ran(code, written(stdout), written(stderr).replace(stub.url, "URL"), stub.asked)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("get k", "GET /v2/keys/k?quorum=false&recursive=false&sorted=false"),
        ("get /k/ --quorum", "GET /v2/keys/k/?quorum=true&recursive=false&sorted=false"),
        ("get --sort ../x", "GET /v2/x?quorum=false&recursive=false&sorted=true"),
        ("set k v", "PUT /v2/keys/k value=v"),
        ("set k v more --ttl 5", "PUT /v2/keys/k ttl=5&value=v"),
        ("set k v --ttl 0", "PUT /v2/keys/k value=v"),
        ("set k v --ttl -5", "PUT /v2/keys/k value=v"),
        ("set k v --ttl 0x10", "PUT /v2/keys/k ttl=16&value=v"),
        ("set k v --swap-with-value o&p", "PUT /v2/keys/k?prevValue=o%26p value=v"),
        (
            "set k v --swap-with-value o --swap-with-index 7",
            "PUT /v2/keys/k?prevIndex=7&prevValue=o value=v",
        ),
        ("set k v --swap-with-index -1", "PUT /v2/keys/k?prevIndex=18446744073709551615 value=v"),
        ("mk k v --ttl 5", "PUT /v2/keys/k?prevExist=false ttl=5&value=v"),
        ("mk --in-order --ttl 5 k v", "POST /v2/keys/k ttl=5&value=v"),
        ("update k v", "PUT /v2/keys/k?prevExist=true value=v"),
        ("mkdir d", "PUT /v2/keys/d?dir=true&prevExist=false"),
        ("setdir d --ttl 5", "PUT /v2/keys/d?dir=true ttl=5"),
        ("updatedir d", "PUT /v2/keys/d?dir=true&prevExist=true"),
        ("rm k", "DELETE /v2/keys/k"),
        (
            "rm k --dir --recursive --with-index 5 --with-value a",
            "DELETE /v2/keys/k?dir=true&prevIndex=5&prevValue=a&recursive=true",
        ),
        ("rmdir d", "DELETE /v2/keys/d?dir=true"),
        ("ls", "GET /v2/keys/?quorum=false&recursive=false&sorted=false"),
        ("ls d --recursive --sort -p", "GET /v2/keys/d?quorum=false&recursive=true&sorted=true"),
    ],
)
def test_requests(line: str, sent: str) -> None:
    made = ran(*line.split())
    assert made.sent == sent
    assert (made.code, made.stderr) == (0, "")


def test_an_empty_key_and_value() -> None:
    assert ran("set", "", "").sent == "PUT /v2/keys value="
    assert ran("set", "/", "").sent == "PUT /v2/keys/ value="


def test_the_value_may_come_from_stdin() -> None:
    made = ran("set", "k", stdin=b"a\xff\x00b \n")
    assert made.asked[0].body == b"value=a%FF%00b+%0A"
    assert made.asked[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert ran("set", "k", "arg", stdin=b"ignored").sent.endswith("value=arg")


@pytest.mark.parametrize("command", ["set", "mk", "update"])
def test_no_value(command: str) -> None:
    made = ran_against([None], [command, "k"])
    assert (made.code, made.stdout, made.stderr) == (1, "", "Error:  value required\n")
    assert made.asked == []


def test_a_value_that_never_ends() -> None:
    made = ran_against([None], ["set", "k"], b"x" * (CTL_MAX_STDIN_BYTES + 1))
    assert (made.code, made.stderr) == (1, "Error:  the value on stdin is too large\n")


@pytest.mark.parametrize("command", "get set mk update mkdir setdir updatedir rm rmdir".split())
def test_no_key(command: str) -> None:
    made = ran_against([None], [command])
    assert (made.code, made.stdout, made.stderr) == (1, "", "Error:  key required\n")
    assert made.asked == []


@pytest.mark.parametrize("line", ["mkdir d", "setdir d", "updatedir d", "rm d", "rmdir d"])
def test_directories_are_silent(line: str) -> None:
    assert ran("-o", "json", *line.split(), node=DIRECTORY)[:3] == (0, "", "")


@pytest.mark.parametrize("format_", ["simple", "json", "bogus"])
def test_get_refuses_directories(format_: str) -> None:
    made = ran("-o", format_, "get", "d", node=DIRECTORY)
    assert made[:3] == (1, "", "/d: is a directory\n")


def test_ls_ignores_the_format() -> None:
    node = {**DIRECTORY, "nodes": [DIRECTORY, FILE]}
    assert ran("-o", "bogus", "ls", "-p", node=node)[:3] == (0, "/d/\n/k\n", "")


def test_outputs() -> None:
    assert ran("rm", "k", action="compareAndDelete").stdout == "v\n"
    assert ran("-o", "extended", "get", "k").stdout.endswith("TTL: 0\nIndex: 9\n\nv\n")
    assert ran("-o", "yaml", "set", "k", "v")[:3] == (0, "", "Unsupported output format: yaml\n")


def test_refusals() -> None:
    body = '{"errorCode":105,"message":"Key already exists","cause":"/k","index":8}'
    made = ran_against([answer(412, body)], ["mk", "k", "v"])
    assert made[:3] == (4, "", "Error:  105: Key already exists (/k) [8]\n")
    made = ran_against([answer(200, "<html>")], ["get", "k"])
    assert made.code == 4
    assert made.stderr.startswith("Error:  client: response is invalid json. ")
    assert (
        ran_against([answer(200, "")], ["ls"]).stderr == "Error:  client: response body is empty\n"
    )
    made = ran_against([answer(503)], ["mkdir", "k"])
    assert made.stderr == (
        "Error:  client: etcd cluster is unavailable or misconfigured\n"
        "error #0: client: etcd member URL has no leader\n\n"
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--cert-file", "c"], "KeyFile and CertFile must both be present[key: , cert: c]"),
        (["--ca-file", "/no/ne"], "open /no/ne: no such file or directory"),
        (["--ca-file", "/"], "read /: is a directory"),
        (["--endpoints", "127.0.0.1:x"], 'parse "127.0.0.1:x": first path segment in URL'),
    ],
)
def test_bad_settings_come_before_bad_arguments(words: list[str], reason: str) -> None:
    made = ran_against([None], [*words, "get"])
    assert made.code == 1
    assert made.stderr.startswith(reason)
    assert made.asked == []
