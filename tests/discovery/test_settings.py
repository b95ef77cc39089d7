"""The command line and the environment of the service."""

from __future__ import annotations

import pytest

from kvraft.discovery.settings import Exit, Settings, parse


def settings(*words: str, **environ: str) -> Settings:
    outcome = parse(words, environ)
    assert isinstance(outcome, Settings), outcome
    return outcome


def test_the_defaults() -> None:
    assert settings() == Settings(
        listen_host="",
        listen_port=8087,
        etcd="http://127.0.0.1:2379",
        host="https://discovery.etcd.io",
        embedded_dir="",
        client_url="",
        token_ttl_s=0,
        new_per_minute=600,
        max_connections=4096,
    )


def test_letters_long_names_and_the_environment() -> None:
    assert settings("-a", ":1", "-e", "http://a:2", "-h", "http://b") == settings(
        "--addr=:1", "--etcd=http://a:2/", "--host", "http://b/"
    )
    assert settings(DISC_ADDR=":1", DISC_ETCD="http://a:2", DISC_HOST="http://b") == settings(
        "-a:1", "-ehttp://a:2", "-hhttp://b"
    )
    assert settings("-a", ":1", DISC_ADDR=":2", DISC_TOKEN_TTL="5") == settings(
        "-a", ":1", "--token-ttl", "5"
    )
    assert settings(DISC_ADDR="") == settings()


def test_a_member_of_its_own() -> None:
    given = settings("--embedded", "d", "--client-url", "http://127.0.0.1:1", "-a", "[::1]:5")
    assert (given.etcd, given.host, given.embedded_dir) == ("", "", "d")
    assert (given.client_url, given.listen_host) == ("http://127.0.0.1:1", "::1")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--etcd %zz", 'Invalid url given: parse "%zz": invalid URL escape "%zz"'),
        ("--etcd http://a/x", "Expected url without path (/x)"),
        ("--etcd http://a?b=c", "Expected url without query (?b=c)"),
        ("--etcd http://a#f", "Expected url without fragment (f)"),
        ("--etcd http://", "Expected hostname (none given)"),
        ("--host http://a/x", "Expected url without path (/x)"),
        ("--host ftp://a", "Invalid url given: the scheme must be http or https: ftp://a"),
        ("--nope", "unknown flag: --nope"),
        ("x", "unexpected argument: x"),
        ("--addr", "argument -a/--addr: expected one argument"),
        ("--addr 1.2.3.4", "address 1.2.3.4: missing port in address"),
        ("--addr :x", "address :x: invalid port"),
        ("--addr :65536", "address :65536: invalid port"),
        ("--embedded d --etcd http://a", "set only one of --etcd and --embedded"),
        ("--client-url http://a:1", "--client-url needs --embedded"),
        (
            "--embedded d --client-url https://a:1",
            "--client-url: an embedded member serves http only",
        ),
        ("--token-ttl -1", 'invalid argument "-1" for "--token-ttl": a number from 0 on'),
        ("--max-connections 0", 'invalid argument "0" for "--max-connections": a number from 1 on'),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_options(words: str, problem: str) -> None:
    outcome = parse(words.split(), {})
    assert isinstance(outcome, Exit)
    assert outcome.code == 2
    first, _, rest = outcome.stderr.partition("\n")
    assert first == problem
    assert "--etcd string" in rest


def test_a_bad_variable_is_refused_too() -> None:
    outcome = parse([], {"DISC_ETCD": "foo"})
    assert isinstance(outcome, Exit)
    assert outcome.stderr.startswith("Expected hostname (none given)\n")


def test_help_and_version() -> None:
    outcome = parse(["--help"], {})
    assert isinstance(outcome, Exit)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert "--embedded" in outcome.stdout
    assert "/new?size=3" in outcome.stdout
    outcome = parse(["--version"], {})
    assert isinstance(outcome, Exit)
    assert outcome.stdout.startswith("kvraft-discovery ")
