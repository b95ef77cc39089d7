"""A run as text and as a page: complete, filtered as asked for, and nothing but data in it."""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path

import pytest

from jepsen_like.base import MILLISECOND_NS, SECOND_NS
from jepsen_like.sim import page, replay
from jepsen_like.sim.action import Action
from jepsen_like.sim.bands import bands, pairs
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape
from jepsen_like.sim.timeline import Timeline, Wanted, lines, record, render
from tests.pages import check_page

CUT = {"side": [1], "others": [2, 3], "into": True, "out": True}
CUT = {"side": [1], "others": [2, 3], "into": True, "out": True}
SCRIPT = (
    Action(SECOND_NS, "partition", CUT),
    Action(1200 * MILLISECOND_NS, "kill", {"member": 2, "ms": 100}),
    Action(1500 * MILLISECOND_NS, "heal partition", CUT),
    Action(1600 * MILLISECOND_NS, "pause", {"member": 3}),
    Action(1800 * MILLISECOND_NS, "slow disk", {"member": 1, "ms": 50}),
)


@cache
def recorded() -> Timeline:
    return record(Run(1, Shape(members=3, tick_ms=20, safety_ms=2000), SCRIPT))


def texts(wanted: Wanted) -> list[str]:
    return [render(line) for line in lines(recorded(), wanted)]


def test_lines_are_in_order_and_tell_everything() -> None:
    found = list(lines(recorded(), Wanted()))
    assert [line.at_ns for line in found] == sorted(line.at_ns for line in found)
    text = "\n".join(map(render, found))
    for words in (
        "LEADER in term 2", "starts, life 2", "ENDS: killed", "is paused", "goes on",
        "FAULT      partition side [1]", "LOST: cut off", "LOST: receiver down", "quorum get /r/k",
        "is told: ok", "Append term", "healed:",
    ):  # fmt: skip
        assert words in text, words


def test_lines_can_be_chosen() -> None:
    assert len(texts(Wanted())) > len(texts(Wanted(members=frozenset((2,))))) > 100
    for line in lines(recorded(), Wanted(frozenset((2,)), frozenset(("frame",)), 10**9, 2 * 10**9)):
        assert 2 in line.members
        assert line.kind == "frame"
        assert SECOND_NS <= line.at_ns <= 2 * SECOND_NS
    assert not texts(Wanted(from_ns=10**12))


def test_bands_end_where_the_fault_does() -> None:
    end_ns = 2 * SECOND_NS
    found = {band.name: band for band in bands(SCRIPT, end_ns)}
    assert found.keys() == {"partition", "kill", "pause", "slow disk"}
    assert found["partition"].until_ns == 1500 * MILLISECOND_NS
    assert found["kill"].until_ns == 1300 * MILLISECOND_NS
    assert found["pause"].until_ns == found["slow disk"].until_ns == end_ns


def test_an_end_belongs_to_the_fault_of_the_same_member() -> None:
    def slow(member: int) -> Action:
        return Action(0, "slow disk", {"member": member, "ms": 50})

    def heal(member: int) -> Action:
        return Action(0, "heal slow disk", {"member": member})

    assert pairs([slow(1), slow(2), heal(2), heal(1), heal(3)]) == [(0, 3), (1, 2), (4, None)]


def test_the_page_is_sound_and_holds_the_run() -> None:
    blocks = check_page(page.render(recorded(), "again"))
    data = json.loads(blocks["data"])
    assert data["members"] == ["m1", "m2", "m3"]
    assert data["command"] == "again"
    assert len(data["frames"]) == len(recorded().frames)
    assert len(data["operations"]) == len(recorded().operations)
    assert data["pauses"][2] == [[1600000, 2000000]]
    assert data["states"][1][0][2] == "follower"
    assert {band[2] for band in data["bands"]} == {"partition", "kill", "pause", "slow disk"}


def test_what_the_run_says_stays_text() -> None:
    nasty = "</script><img src=x onerror=alert(1)><!-- {{script}} & \u2028"
    text = page.render(recorded()._replace(failure=nasty), nasty)
    data = json.loads(check_page(text)["data"])
    assert data["failure"] == data["command"] == nasty
    assert "<img" not in text
    assert text.count("use strict") == 1, "what looks like a mark is none"


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return parser.parse_args(arguments)


def test_replay_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "run.html"
    arguments = ("--seed", "4", "--html", str(target), "--text", "--until-ms", "100")
    assert replay.run(options(*arguments)) == 0
    printed = capsys.readouterr().out
    assert "starts, life 1" in printed
    assert printed.endswith("seed 4: passed\n")
    check_page(target.read_text("utf-8"))


def test_replay_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.run(options()) == 2
    assert replay.run(options("--seed", "1", "x.json")) == 2
    assert replay.run(options(str(tmp_path / "none.json"))) == 2
    (tmp_path / "bad.json").write_text("[]", "utf-8")
    assert replay.run(options(str(tmp_path / "bad.json"))) == 2
    assert replay.run(options("--seed", "4", "--text", "--member", "m9")) == 2
    printed = capsys.readouterr().err
    assert printed.count("say either") == 2
    assert "is no scenario" in printed
    assert "no member is called 'm9'" in printed
