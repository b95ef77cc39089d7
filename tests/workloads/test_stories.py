"""The stories: that each of them ends well, and what the command says of names."""

from __future__ import annotations

import argparse

import pytest

from jepsen_like.report.result import Stage, Strike, Verdict
from jepsen_like.workloads import stories
from jepsen_like.workloads.stories import STORIES, shown


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    stories.add_arguments(parser)
    return stories.run(parser.parse_args(words))


def test_an_unknown_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a happy end") == 2
    assert "dead member" in capsys.readouterr().err


def test_a_story_is_told_with_its_moments() -> None:
    stage = Stage("power cycle", 0, 3, 7, "failed", "one order: lost", kept="/tmp/x")
    stage.strikes = [Strike(0.0, 2.0, "power cycle"), Strike(0.5, 0.5, "all are gone")]
    stage.verdicts = [Verdict("one order", "failed", "lost")]
    text = "\n".join(shown(STORIES[-1], stage))
    assert "seed 7" in text
    assert "0.5 s  all are gone" in text
    assert "failed: one order: lost" in text
    assert "kept: /tmp/x" in text


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [story.name for story in STORIES])
def test_it_ends_well(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = run(name)
    text = capsys.readouterr().out
    assert status == 0, text
    assert "passed: all as promised" in text
