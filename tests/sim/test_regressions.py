"""Seeds that once found a bug in production code.

A change of the draws makes other runs of them; the test of the part concerned keeps the bug itself
out. They stay because they cost little.
"""

from __future__ import annotations

import pytest

from jepsen_like.sim.run import run_seed

SEEDS = {
    1110: "a received snapshot that consensus had dropped was replayed as adopted",
    2009: "two receptions of one snapshot wrote to the same temporary file",
    3480: "the commit index moved on between the record of a snapshot and its adoption",
}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_failed(seed: int) -> None:
    verdict = run_seed(seed)
    assert not verdict.failure, f"seed {seed}, once because {SEEDS[seed]}: {verdict.failure}"
