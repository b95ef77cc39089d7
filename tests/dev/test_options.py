"""What may stand behind `kvraft dev`."""

from __future__ import annotations

import pytest

from kvraft.dev.options import Options, parse


def test_nothing_and_everything() -> None:
    assert parse([]) == Options(None, None, None)
    words = ["--nodes", "5", "--client-port=4001", "--data-dir", "here"]
    assert parse(words) == Options(5, 4001, "here")
    assert parse(["--client-port", "0"]).client_port == 0


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["--nodes", "0"], "--nodes"),
        (["--nodes", "10"], "--nodes"),
        (["--nodes", "three"], "--nodes"),
        (["--client-port", "65536"], "--client-port"),
        (["--client-port", "-1"], "--client-port"),
        (["--client-port", "x"], "--client-port"),
        (["--data-dir", ""], "--data-dir"),
        (["--node", "3"], "--node"),
        (["start"], "start"),
    ],
)
def test_wrong_words_are_named(
    words: list[str], argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="^2$"):
        parse(words)
    told = capsys.readouterr()
    assert not told.out
    assert argument in told.err


def test_help_has_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="^0$"):
        parse(["--help"])
    shown = capsys.readouterr().out
    assert "kvraft dev --nodes 1" in shown
    assert "Not for production" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
