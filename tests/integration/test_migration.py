"""Moving from a real etcd to kvraft while programs write: `make migrate` in short."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import pytest

from jepsen_like.procs.migrate import migrate, report


@pytest.mark.realetcd
def test_a_live_migration_ends_with_identical_trees(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    outcome = migrate(tmp_path, 6, members=1, seed=seed, rate=40)
    print(report(outcome))
    assert outcome.problems == []
    assert outcome.figures["events"] > 300
    assert outcome.figures["mended"] == 0
    assert statistics.median(outcome.differences) < 100, "it keeps up with the writers"


@pytest.mark.slow
@pytest.mark.realetcd
def test_it_survives_that_the_target_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    outcome = migrate(tmp_path, 15, members=1, seed=seed, rate=40, kills=2)
    print(report(outcome))
    assert outcome.problems == []
    assert outcome.figures["retries"] > 0
