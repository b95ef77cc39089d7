"""Runs that once found a bug in production code.

Their shapes are written out, so that they do not change with what seeds draw. A change of what
happens inside makes other runs of them; the test of the part concerned keeps the bug itself out.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from jepsen_like.sim.run import run_seed
from jepsen_like.sim.shape import Shape


class Found(NamedTuple):
    """A run and what it found."""

    seed: int
    bug: str
    shape: Shape


FOUND = (
    Found(
        1110,
        "a received snapshot that consensus had dropped was replayed as adopted",
        Shape(
            members=5, segment_bytes=4096, max_append_bytes=300, max_inflight_appends=2, clients=7,
            faults=(
                "kill", "power", "partition", "bridge", "reorder", "clog", "slow link",
                "slow disk", "full disk", "long absence",
            ),
            fault_every_ms=300, safety_ms=15_000,
        ),
    ),
    Found(
        2009,
        "two receptions of one snapshot wrote to the same temporary file",
        Shape(
            tick_ms=101, election_ticks=5, snapshot_count=100, snapshot_keep_entries=5,
            segment_bytes=4096, max_inflight_appends=16, clients=7, think_ms=20,
            request_timeout_ms=6010,
            faults=(
                "power at a disk call", "power everywhere", "partition", "one way", "slow link",
                "full disk",
            ),
            safety_ms=15_000,
        ),
    ),
    Found(
        5231,
        "time stamps that a leader cut off had made long ago were taken for fresh ones",
        Shape(
            tick_ms=29, election_ticks=9, snapshot_keep_entries=50, segment_bytes=4096,
            check_quorum=False, max_append_bytes=4096, drift=False, clients=5, think_ms=150,
            client_timeout_ms=200, request_timeout_ms=5522,
            faults=(
                "kill", "power", "power everywhere", "isolate leader", "clog", "slow link",
                "slow disk", "full disk", "wall jump", "kill leader",
            ),
            fault_every_ms=300, safety_ms=8000,
        ),
    ),
    Found(
        1030,
        "with every restart log time fell behind by as long as a stamp took to be committed",
        Shape(
            tick_ms=29, election_ticks=9, snapshot_count=100, segment_bytes=4096,
            settings=((False, False),), max_append_bytes=300, max_inflight_appends=2, clients=4,
            think_ms=20, request_timeout_ms=5542,
            faults=(
                "partition", "isolate leader", "bridge", "reorder", "slow link", "slow disk",
                "failed sync", "wall jump", "long absence", "kill majority", "crash in recovery",
                "empty disk", "stranger",
            ),
            rates=(5, 1, 5, 1, 5, 5, 5, 2, 1, 5, 2, 2, 2),
            safety_ms=30_000, slow_watch_share=0.0, repeat_share=0.0,
        ),
    ),
    Found(
        1643,
        "the first heartbeat over a slow network set a right wall clock back by its delay",
        Shape(
            tick_ms=29, election_ticks=9, snapshot_count=100, segment_bytes=4096,
            max_append_bytes=4096, max_inflight_appends=16, clients=7, think_ms=20,
            client_timeout_ms=200, request_timeout_ms=5542,
            faults=(
                "pause", "one way", "bridge", "clog", "slow link", "kill majority",
                "crash in recovery",
            ),
            rates=(1, 1, 1, 5, 2, 2, 1),
            fault_every_ms=300, safety_ms=8000, repeat_share=0.5, change_every_ms=1500,
            strict_reconfig=False,
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize("found", FOUND, ids=lambda found: str(found.seed))
def test_a_run_that_once_failed(found: Found) -> None:
    verdict = run_seed(found.seed, found.shape)
    assert not verdict.failure, f"seed {found.seed}, once because {found.bug}: {verdict.failure}"
