"""Settings that cannot work are refused."""

from __future__ import annotations

import pytest

from kvraft.raft.config import RaftConfig


def test_the_defaults_work() -> None:
    RaftConfig(1).validate()


@pytest.mark.parametrize(
    "config",
    [
        RaftConfig(0),
        RaftConfig(1 << 64),
        RaftConfig(1, heartbeat_ticks=0),
        RaftConfig(1, election_ticks=1),
        RaftConfig(1, max_append_bytes=0),
        RaftConfig(1, max_inflight_appends=0),
        RaftConfig(1, max_inflight_bytes=0),
        RaftConfig(1, max_uncommitted_bytes=0),
    ],
)
def test_impossible_settings(config: RaftConfig) -> None:
    with pytest.raises(ValueError, match="must be"):
        config.validate()
