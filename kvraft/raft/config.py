"""The settings of one member's consensus core, checked once.

Times are counted in ticks: the core has no clock, and what a tick lasts is its driver's affair.
Thesis: 9.3 (election timeout), 9.6 (pre-vote), 6.2 (check-quorum), 10.2.1 (pipelining).
"""

from __future__ import annotations

from dataclasses import dataclass

from kvraft import limits
from kvraft.raft.entry import MAX_ID


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Settings of a RaftCore. All members of a cluster should use the same."""

    member_id: int
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    max_append_bytes: int = limits.MAX_APPEND_BYTES
    max_inflight_appends: int = limits.MAX_INFLIGHT_APPENDS
    max_inflight_bytes: int = limits.MAX_INFLIGHT_BYTES
    max_uncommitted_bytes: int = limits.MAX_UNCOMMITTED_BYTES
    pre_vote: bool = True
    check_quorum: bool = True

    def validate(self) -> None:
        """Raise ValueError if these settings cannot work."""
        if not 0 < self.member_id <= MAX_ID:
            raise ValueError("member_id must be a 64-bit number above 0")
        if self.heartbeat_ticks < 1:
            raise ValueError("heartbeat_ticks must be at least 1")
        if self.election_ticks <= self.heartbeat_ticks:
            raise ValueError("election_ticks must be more than heartbeat_ticks")
        for name in (
            "max_append_bytes",
            "max_inflight_appends",
            "max_inflight_bytes",
            "max_uncommitted_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
