"""The campaign as text, its file, and the command that reads it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from jepsen_like.report import command, text, words
from jepsen_like.report.result import FAILED, PASSED, SKIPPED, UNKNOWN, load, save
from tests.pages import check_page
from tests.report.campaigns import ALL, campaign, skipped, stage


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_a_table_and_what_went_wrong() -> None:
    found = text.render(ALL).splitlines()
    assert found[0].split()[:3] == ["fault", "members", "verdict"]
    assert found[1].split() == (
        "kill one 3 passed 4,550 300 100 50 91.2% 1.25 s 0.31 s 9.9".split()
    )
    assert "FAILED: pause one, 3 members: somebody is wrong" in found
    assert "    again: python -m jepsen_like run --fault 'pause one'" in found
    assert "skipped, iptables is not there: cut the leader off" in found
    assert "6 stages in 5.4 min: 1 failed, 1 unknown, 3 passed, 1 skipped" in found
    assert found[-1] == "verdict: failed"


def test_nothing_run() -> None:
    assert text.render(campaign()).startswith("no stage was run\n")
    assert "skipped, because" in text.render(campaign(skipped("because")))


def test_long_reasons_are_cut() -> None:
    one = stage(verdict=FAILED)
    one.reason = "x" * 10_000
    assert len(text.render(campaign(one))) < 2_000


def test_the_file_round_trips(tmp_path: Path) -> None:
    save(ALL, tmp_path / "campaign.json")
    assert load(tmp_path / "campaign.json") == ALL


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, page = tmp_path / "campaign.json", tmp_path / "report.html"
    save(ALL, target)
    assert command.run(options(str(target), "-o", str(page))) == 1
    assert "verdict: failed" in capsys.readouterr().out
    check_page(page.read_text("utf-8"))
    save(campaign(stage(), skipped()), target)
    assert command.run(options(str(target))) == 0
    save(campaign(stage(verdict=UNKNOWN)), target)
    assert command.run(options(str(target))) == 3


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"format": 9}', '{"format": 1}', '{"format": 1, "stages": [1]}',
        '{"format": 1, "stages": [], "colour": 1}', '{"format": 1, "stages": [{}]}',
    ],
)  # fmt: skip
def test_what_is_no_result(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "campaign.json"
    target.write_text(content, "utf-8")
    assert command.run(options(str(target))) == 2
    assert command.run(options(str(tmp_path / "none.json"))) == 2
    assert "campaign.json" in capsys.readouterr().err


def test_words() -> None:
    assert words.percent(1.0) == "100.0%"
    assert words.percent(0.99999) == "99.9%"
    assert words.seconds(0.314) == "0.31 s"
    assert words.duration(1800.0) == "30.0 min"
    assert words.worst([stage(), skipped()]) == PASSED
    assert words.worst([skipped()]) == SKIPPED
    assert words.worst([]) == ""
