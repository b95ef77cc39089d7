"""What a terminal is told after an error."""

from __future__ import annotations

import pytest

from kvraft_cli.errors import (
    ClusterUnavailable,
    ConfigError,
    Failure,
    RequestError,
    ServerRefused,
    TransportError,
    command_failure,
    missing,
)
from kvraft_cli.hints import for_failure, for_usage


@pytest.mark.parametrize(
    ("name", "meant"),
    [("gett", "get"), ("exec_watch", "exec-watch"), ("lss", "ls"), ("members", "member")],
)
def test_commands_that_were_meant(name: str, meant: str) -> None:
    assert for_usage(name) == f"hint: did you mean `kvraftctl {meant}`?\n"


def test_the_overview_names_our_own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvraft_cli.hints.OWN", {"own": "x:y", "other": "x:y"})
    text = "further commands, see `kvraftctl NAME --help`: own, other\n"
    assert for_usage(None, overview=True) == text
    monkeypatch.setattr("kvraft_cli.hints.OWN", {})
    assert for_usage(None, overview=True) == ""


def test_nothing_to_say() -> None:
    assert for_usage(None) == ""
    assert for_usage("zzzzzz") == ""
    assert for_failure(ConfigError("x")) == ""
    assert for_failure(missing("key")) == ""
    assert for_failure(Failure("x", 1)) == ""
    assert for_failure(command_failure(ServerRefused(999, "", "", 0))) == ""
    assert for_failure(command_failure(ClusterUnavailable([TransportError("EOF")]))) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (ServerRefused(100, "", "", 0), "ls"),
        (ServerRefused(110, "", "", 0), "--username"),
        (ServerRefused(401, "", "", 0), "history"),
        (ClusterUnavailable([TransportError("x", dialing=True)]), "kvraft dev"),
        (ClusterUnavailable([TransportError("x exceeded header timeout")]), "--timeout"),
        (ClusterUnavailable([TransportError("x has no leader")]), "cluster-health"),
    ],
)
def test_hints(reason: RequestError, words: str) -> None:
    hint = for_failure(command_failure(reason))
    assert hint.startswith("hint: ")
    assert hint.endswith("\n")
    assert words in hint
