"""`kvraftctl cluster-health`: what members say, what they do not, and when to stop asking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kvraft_cli.commands.health import judge
from tests.cli.conftest import Ran, kvraftctl
from tests.cli.stub import Asked, Stub, answer


class Members:
    """One server that is the client URL of all members, under a path for each."""

    def __init__(self, *says: str) -> None:
        self.says = says
        self.stub = Stub(self._answer)

    def urls(self) -> list[str]:
        return [f"{self.stub.url}/{number}" for number in range(len(self.says))]

    def _answer(self, asked: Asked) -> bytes | None:
        if asked.target == "/v2/members":
            listed = ",".join(
                f'{{"id":"{number}","clientURLs":["{url}"]}}'
                for number, url in enumerate(self.urls())
            )
            return answer(200, f'{{"members":[{listed}]}}')
        said = self.says[int(asked.target.split("/")[1])]
        return None if said == "hang up" else answer(503, said)


def health(*says: str) -> tuple[Ran, list[str]]:
    members = Members(*says)
    with members.stub as stub:
        ran = kvraftctl("--endpoints", stub.url, "-u", "al:pw", "cluster-health")
        own = [asked for asked in stub.asked if asked.target.endswith("/health")]
        assert all("authorization" not in asked.headers for asked in own)
        return ran, members.urls()


@pytest.mark.parametrize(
    ("body", "healthy"),
    [
        (b'{"health": "true"}', True),
        (b'{"health":true}', True),
        (b'{"health": "false", "reason": ""}', False),
        (b'{"health":1}', False),
        (b"{}", False),
        (b"[]", False),
        (b"true", False),
    ],
)
def test_what_counts_as_healthy(body: bytes, healthy: bool) -> None:
    assert judge(body) is healthy


def test_one_healthy_member_is_enough() -> None:
    ran, (first, second) = health('{"health":false}', '{"health":"true"}')
    assert ran == Ran(
        0,
        f"member 0 is unhealthy: got unhealthy result from {first}\n"
        f"member 1 is healthy: got healthy result from {second}\ncluster is healthy\n",
        "",
    )


def test_an_answer_that_is_none() -> None:
    ran, (first, second) = health("hang up", "OK")
    assert ran == Ran(
        5,
        f"failed to check the health of member 0 on {first}: Get {first}/health: EOF\n"
        f"member 0 is unreachable: [{first}] are all unreachable\n"
        f"failed to check the health of member 1 on {second}:"
        " invalid character 'O' looking for beginning of value\n"
        f"member 1 is unreachable: [{second}] are all unreachable\ncluster is unhealthy\n",
        "",
    )


def test_no_members_are_not_healthy() -> None:
    ran, _ = health()
    assert ran == Ran(5, "cluster is unhealthy\n", "")


def test_bad_files_end_in_the_words_of_this_command() -> None:
    ran = kvraftctl("--ca-file", "/none/ca", "cluster-health")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "Error:  open /none/ca: no such file or directory\n"


def test_an_interrupt_ends_the_rounds_quietly() -> None:
    members = Members('{"health":true}')
    with members.stub as stub:
        process = subprocess.Popen(
            [sys.executable, "-m", "kvraft_cli.main", "cluster-health", "--forever"],
            env={**os.environ, "ETCDCTL_ENDPOINTS": stub.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    assert (process.returncode, rest.strip(), err) == (0, "", "")
    assert "".join(lines) == (
        f"member 0 is healthy: got healthy result from {members.urls()[0]}\n"
        "cluster is healthy\n\nnext check after 10 second...\n"
    )
