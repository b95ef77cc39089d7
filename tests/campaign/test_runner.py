"""A campaign of stages that are made up: order, verdict, interruption, what is written down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like.campaign import runner
from jepsen_like.campaign.plan import Budget, Planned, UnknownNameError, chosen, stages
from jepsen_like.campaign.trial import Job
from jepsen_like.faults.matrix import ROWS
from jepsen_like.faults.mix import mixed, parts_of
from jepsen_like.faults.registry import BY_NAME, FAULTS
from jepsen_like.options import WRONG_USE
from jepsen_like.report.result import FAILED, PASSED, SKIPPED, UNKNOWN, Stage, load
from tests.campaign.faults import FakeFault


def made_up(verdict: str, seen: list[Job]) -> Callable[[Job, Path], Stage]:
    """A runner that gives this verdict."""

    def run(job: Job, place: Path) -> Stage:
        seen.append(job)
        counts = {"ok": 100, "unknown": 2, "strikes": 1}
        return Stage(
            job.fault.name, job.fault.row, job.members, job.seed, verdict, "because", 1.0,
            counts=counts, kept=str(place),
        )  # fmt: skip

    return run


def planned(*faults: FakeFault) -> list[Planned]:
    return [Planned(fault, 3, 1) for fault in faults]


@pytest.mark.parametrize(("verdict", "status"), [(PASSED, 0), (FAILED, 1), (UNKNOWN, 3)])
def test_the_worst_stage_counts(
    verdict: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Job] = []
    options = runner.Options(tmp_path / "out", 1, 60.0)
    campaign = runner.run_campaign(
        planned(FakeFault("one"), FakeFault("two", lacks="no such thing")), options,
        made_up(verdict, seen),
    )  # fmt: skip
    assert campaign.verdict() == verdict
    assert runner.STATUSES[campaign.verdict()] == status
    assert [job.fault.name for job in seen] == ["one"]
    assert {stage.fault: stage.verdict for stage in campaign.stages} == {
        "one": verdict,
        "two": SKIPPED,
    }
    text = capsys.readouterr().out
    assert "no such thing" in text
    assert ("because" in text) == (verdict != PASSED)
    assert load(tmp_path / "out" / runner.RESULT).verdict() == verdict


def test_an_interruption_ends_with_what_is_there(tmp_path: Path) -> None:
    seen: list[Job] = []
    good = made_up(PASSED, seen)

    def run(job: Job, place: Path) -> Stage:
        if len(seen) == 1:
            raise KeyboardInterrupt
        return good(job, place)

    options = runner.Options(tmp_path, 1, 60.0)
    faults = planned(FakeFault("one"), FakeFault("two"), FakeFault("three"))
    campaign = runner.run_campaign(faults, options, run)
    assert [stage.fault for stage in campaign.stages] == ["one"]
    assert len(load(tmp_path / runner.RESULT).stages) == 1
    assert runner.status(campaign, 3) == runner.INTERRUPTED
    campaign.stages[0].verdict = FAILED
    assert runner.status(campaign, 3) == 1


def test_a_campaign_without_any_stage_has_no_verdict(tmp_path: Path) -> None:
    def run(job: Job, place: Path) -> Stage:
        raise KeyboardInterrupt

    campaign = runner.run_campaign(
        planned(FakeFault("one")), runner.Options(tmp_path, 1, 60.0), run
    )
    assert runner.status(campaign, 0) == 3


def test_every_fault_meets_every_size_in_an_order_of_the_seed() -> None:
    faults = [FakeFault("a"), FakeFault("b", smallest=3)]
    found = stages(faults, (3, 5), 9, 100.0)
    assert len(found) == 4
    assert found == stages(faults, (3, 5), 9, 100.0)
    many = [FakeFault(str(number)) for number in range(20)]
    orders = {tuple(one.fault.name for one in stages(many, (3,), seed, 10.0)) for seed in (1, 2)}
    assert len(orders) == 2
    twice = stages(faults, (3,), 9, 240.0)
    assert sorted({one.seed for one in twice}) == [9, 10]


def test_a_cluster_of_one_only_where_it_can_lose_something() -> None:
    alone = {one.fault.row for one in stages(FAULTS, (1,), 1, 60.0)}
    assert 6 in alone
    assert 14 not in alone


def test_the_time_is_shared_out_anew() -> None:
    several = planned(*(FakeFault(str(number)) for number in range(10)))
    budget = Budget(100.0, several)
    assert 5.0 <= budget.next_s() <= 10.0
    for _ in range(9):
        budget.done(2.0, 2.0)  # that was quick
    assert budget.next_s() > 50.0
    assert Budget(0.0, several).next_s() == 5.0  # never so short that it proves nothing


def test_kinds_of_one_fault_share_a_stage() -> None:
    faults = [FakeFault("a"), FakeFault("b"), FakeFault("c", lacks="it"), FakeFault("d", row=2)]
    found = mixed(faults, 3)
    assert [[part.name for part in parts_of(fault)] for fault in found] == [
        ["c"],
        ["a", "b"],
        ["d"],
    ]
    apart = stages(faults, (3, 5), 1, 10.0)
    together = stages(faults, (3, 5), 1, 10.0, mix=True)
    assert (len(apart), len(together)) == (8, 6)
    for size in (3, 5):
        names = [fault.name for fault in mixed(FAULTS, size)]
        assert len(set(names)) == len(names)
        struck = {part for fault in mixed(FAULTS, size) for part in parts_of(fault)}
        assert len(struck) == sum(fault.smallest <= size for fault in FAULTS)


def test_names_are_looked_up_and_guessed() -> None:
    assert [fault.name for fault in chosen(["kill one"])] == ["kill one"]
    assert chosen([]) == list(FAULTS)
    with pytest.raises(UnknownNameError, match="did you mean 'kill the leader'"):
        chosen(["kill leader"])


def test_every_fault_has_a_name_and_a_row_of_its_own() -> None:
    assert len(BY_NAME) == len(FAULTS)
    assert {fault.row for fault in FAULTS} <= set(ROWS)
    assert [fault.row for fault in FAULTS] == sorted(fault.row for fault in FAULTS)


def test_a_wrong_name_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from jepsen_like.__main__ import main

    assert main(["run", "--fault", "kill the lader"]) == WRONG_USE
    assert "kill the leader" in capsys.readouterr().err
    assert main(["rum"]) == WRONG_USE
    assert "did you mean run" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "exit status: 0 passed" in capsys.readouterr().out
