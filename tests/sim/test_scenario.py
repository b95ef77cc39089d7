"""Scenario files: what is written is read back, and nonsense is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen_like.sim.action import Action
from jepsen_like.sim.run import Run
from jepsen_like.sim.scenario import Malformed, Scenario, dump, load, parse, save
from jepsen_like.sim.shape import Shape

GOOD: dict[str, Any] = {"format": 1, "seed": 3, "shape": {"members": 5, "drift": False}}


def test_a_drawn_run_can_be_written_down(tmp_path: Path) -> None:
    run = Run(4)
    verdict = run.execute()
    scenario = Scenario(4, run.shape, tuple(run.actions), "something")
    path = tmp_path / "scenario.json"
    save(scenario, path)
    assert load(path) == scenario
    again = load(path).prepare()
    assert again.execute().fingerprint == verdict.fingerprint
    assert [one.describe() for one in again.history.operations] == [
        one.describe() for one in run.history.operations
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**14), max_size=4), st.integers(0, 2**40), st.text(max_size=20))
def test_times_are_kept_to_the_nanosecond(times: list[int], seed: int, fails: str) -> None:
    actions = tuple(Action(at_ns, "kill", {"member": 1, "ms": 1}) for at_ns in times)
    scenario = Scenario(seed, Shape(members=5), actions, fails)
    assert parse(dump(scenario)) == scenario


def test_the_file_is_short() -> None:
    kill = Action(1_500_000, "kill", {"member": 1, "ms": 1})
    assert dump(Scenario(7, Shape(members=1), (kill,), "dead")) == (
        '{\n "format": 1,\n "fails": "dead",\n "seed": 7,\n "shape": {"members": 1},\n'
        ' "actions": [\n  {"at_ms": 1.5, "do": "kill", "member": 1, "ms": 1}\n ]\n}\n'
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, '"format": 1 is wanted'),
        ({"sead": 2}, "unknown: sead"),
        ({"seed": "3"}, "seed has to be a whole number"),
        ({"seed": True}, "seed has to be a whole number"),
        ({"fails": 1}, "fails has to be a text"),
        ({"shape": []}, "shape has to be an object"),
        ({"shape": {"member": 3}}, "shape: there is no member"),
        ({"shape": {"members": "3"}}, "shape: members has to be like 3, not '3'"),
        ({"shape": {"members": True}}, "shape: members has to be like 3, not True"),
        ({"shape": {"members": 0}}, "shape: members has to be at least 1"),
        ({"shape": {"safety_ms": -1}}, "shape: safety_ms is negative"),
        ({"actions": {}}, "actions has to be a list"),
        ({"actions": [1]}, "action 1 has to be an object"),
        ({"actions": [{"do": "kill"}]}, "action 1: at_ms has to be a time in ms, not None"),
        ({"actions": [{"at_ms": -1, "do": "kill"}]}, "action 1: at_ms has to be"),
        ({"actions": [{"at_ms": float("nan"), "do": "kill"}]}, "action 1: at_ms has to be"),
        ({"actions": [{"at_ms": 1}]}, '"do" has to name what is done'),
        ({"actions": [{"at_ms": 1, "do": "dance"}]}, "action 1: nobody can 'dance'"),
        ({"actions": [{"at_ms": 1, "do": "kill", "membre": 1}]}, "action 1, 'kill': "),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed, match="."):
        parse("{")
    with pytest.raises(Malformed) as refused:
        parse(json.dumps({**GOOD, **change}))
    assert reason in str(refused.value)


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(b"\xff")
    with pytest.raises(Malformed, match=r"broken\.json is no scenario"):
        load(path)
