"""What the service's process makes of its settings."""

from __future__ import annotations

import re

import pytest

from kvraft.discovery.main import main, member_config, own_url
from kvraft.discovery.settings import Settings, parse


def settings(*words: str) -> Settings:
    outcome = parse(words, {})
    assert isinstance(outcome, Settings)
    return outcome


def test_the_embedded_member_is_alone_and_quiet() -> None:
    config = member_config(settings("--embedded", "d"))
    assert (config.data_dir, config.listen_peer_urls, config.listen_client_urls) == ("d", (), ())
    assert list(config.initial_cluster) == [config.name]
    again = member_config(settings("--embedded", "d", "--client-url", "http://127.0.0.1:1"))
    assert again.initial_cluster == config.initial_cluster, "its id must not depend on its port"
    assert again.listen_client_urls == again.advertise_client_urls == ("http://127.0.0.1:1",)


def test_the_own_address() -> None:
    assert own_url("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert own_url("::1", 80) == "http://[::1]:80"
    for host in ("", "0.0.0.0", "::"):
        assert re.fullmatch(r"http://[0-9.]+:8087", own_url(host, 8087))


@pytest.mark.parametrize(
    ("words", "status", "stream", "text"),
    [
        (["--help"], 0, "out", "curl -w"),
        (["--version"], 0, "out", "kvraft-discovery "),
        (["--nope"], 2, "err", "unknown flag: --nope\nUsage of kvraft-discovery:\n"),
    ],
)
def test_what_needs_no_service(
    words: list[str], status: int, stream: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == status
    assert text in getattr(capsys.readouterr(), stream)
