"""Every damage and every power cut on a small log, in the size for every day."""

from __future__ import annotations

from itertools import chain

import pytest

from jepsen_like.fuzz import command
from jepsen_like.fuzz.judge import Outcome
from jepsen_like.sim.disk import DiskFiles
from kvraft.storage import record
from kvraft.storage.record import Tail

KINDS = {
    "untouched",
    "bit flipped",
    "file cut off",
    "file gone",
    "power cut, blocks of 512",
    "power cut, of 4096",
}


def test_nothing_acknowledged_is_cut_and_nothing_wrong_is_served() -> None:
    tally = command.Tally()
    for case in chain(command.damages(bits=1, seed=1), command.power_cuts(most=12, seed=1)):
        tally.add(case)
    assert tally.wrong == []
    assert {kind for kind, _ in tally.counts} == KINDS
    outcomes = {outcome for _, outcome in tally.counts}
    assert outcomes == set(Outcome) - {Outcome.WRONG}


def _cut_at_the_first_bad_record(*_: object) -> tuple[Tail, str, None]:
    return Tail.TORN, "bad record", None


def _no_sync(files: DiskFiles, what: int | str) -> None:
    files._disk.call()


def test_cutting_at_the_first_bad_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_judge", _cut_at_the_first_bad_record)
    found = (case.verdict.outcome for case in command.damages(bits=1, seed=1))
    assert Outcome.WRONG in found  # and looks no further


@pytest.mark.parametrize("name", ["sync", "sync_dir"])
def test_a_missing_sync_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(DiskFiles, name, _no_sync)
    found = (case.verdict.outcome for case in command.power_cuts(most=12, seed=1))
    assert Outcome.WRONG in found
