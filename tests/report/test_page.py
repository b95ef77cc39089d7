"""The page of a campaign: sound, complete, and nothing in it but what belongs there."""

from __future__ import annotations

import re

import pytest

from jepsen_like.report.page import render
from jepsen_like.report.plot import COLUMNS, merged, stage_plot
from jepsen_like.report.result import FAILED, Campaign, Slice, Strike, Verdict
from tests.pages import check_page
from tests.report.campaigns import ALL, NASTY, campaign, skipped, stage


@pytest.mark.parametrize(
    "one", [ALL, campaign(), campaign(skipped()), campaign(stage(verdict=FAILED))]
)
def test_the_page_is_sound(one: Campaign) -> None:
    text = render(one)
    assert check_page(text) == {}, "no script is needed"
    for number in range(1, 29):
        assert f"<td>{number}</td>" in text, "a row of the fault matrix"
    assert one.command in text


def test_everything_is_there() -> None:
    text = render(ALL)
    for words in (
        "4,550", "91.2%", "1.25 s", "1,234", "somebody is wrong", "1234 changes explained",
        "skipped: iptables is not there", "build/kept", "seed 7", "CPython 3.11", "5.4 min",
        "--fault &#x27;pause one&#x27;", "kills m2, 2.0 to 3.1 s",
    ):  # fmt: skip
        assert words in text, words
    assert text.count("<svg") == 4
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links == set(re.findall(r'id="(stage-\d+)"', text))


def test_what_failed_is_open_and_what_passed_is_folded() -> None:
    text = render(ALL)
    assert re.findall(r'id="(stage-\d)" open', text) == ["stage-3", "stage-4"]


def test_all_that_came_from_outside_is_escaped() -> None:
    one = stage(NASTY, FAILED)
    one.reason = one.kept = one.again = NASTY
    one.strikes = [Strike(1.0, 2.0, NASTY)]
    one.verdicts = [Verdict(NASTY, NASTY, NASTY)]
    one.latencies_ms = {NASTY: [1.0, 2.0, 3.0, 4.0]}
    one.counts[NASTY] = 1
    whole = campaign(one, skipped(NASTY))
    whole.command = whole.began = NASTY
    whole.environment = {NASTY: NASTY}
    text = render(whole)
    check_page(text)
    assert "<script" not in text
    assert "<b>" not in text.replace("<li><b>", "").replace("<span><b>&lt;", "")


def test_long_stages_are_merged() -> None:
    slices = [Slice(n / 10, n % 3, 0, 0, 1, 1.0, 2.0, float(n)) for n in range(COLUMNS * 7 + 1)]
    found = merged(slices)
    assert len(found) <= COLUMNS
    assert sum(one.ok for one in found) == sum(one.ok for one in slices)
    assert max(one.longest_ms for one in found) == slices[-1].longest_ms


def test_plots_of_little() -> None:
    one = stage()
    one.slices = []
    assert stage_plot(one) == ""
    one.slices = [Slice(0.0, 0, 0, 0, 0, 0.0, 0.0, 0.0)]
    one.strikes = []
    assert "NaN" not in stage_plot(one)
    assert stage_plot(one).startswith("<svg")
