"""Log time: the clock by which keys expire, agreed on through the log.

The leader stamps time into the log; every member expires keys when it applies a stamp, so all
expire the same keys at the same index. Between stamps a member estimates log time by its own
monotonic clock, which never jumps: a wall clock set forward expires nothing early. The leader's
heartbeats tell its estimate, and a new leader continues from what it has heard. Only a member
that has heard none since it started (the whole cluster was down) consults the wall clock, so that
downtime counts against a TTL.

Invariant: `now_ns` never falls below a stamp that this member has applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft import limits

if TYPE_CHECKING:
    from kvraft.clock import Clock

_PLAUSIBLE_NS = int(limits.CLOCK_DIFFERENCE_S * 1_000_000_000)


class LogTime:
    """One member's estimate of log time, in nanoseconds since 1970."""

    def __init__(self, clock: Clock, last_stamp_ns: int) -> None:
        self._clock = clock
        self._monotonic_ns = clock.monotonic_ns()
        self._stamp_ns = last_stamp_ns
        self._log_ns = max(last_stamp_ns, clock.wall_ns())
        self._in_step = False

    def now_ns(self) -> int:
        """The time to stamp into the log, and to compute remaining TTLs with."""
        return self._log_ns + self._clock.monotonic_ns() - self._monotonic_ns

    def stamp(self) -> int:
        """As `now_ns`, for a leader: from here on the wall clock has no more say."""
        self._in_step = True
        return self.now_ns()

    def observe(self, stamp_ns: int) -> None:
        """Note a stamp that was applied now. It may be any age, so it moves time forward only."""
        self._stamp_ns = max(stamp_ns, self._stamp_ns)
        if stamp_ns > self.now_ns():
            self._set(stamp_ns)

    def follow(self, leader_ns: int) -> None:
        """Note the leader's estimate, as a heartbeat brought it.

        Each is late by its time in the network, so as a rule only those ahead of the own estimate
        move it. The first one replaces what the wall clock suggested, if that is further ahead
        than a slow network explains: else log time would lag by its delay from then on.
        """
        ahead_ns = self.now_ns() - leader_ns
        if ahead_ns < 0 or (not self._in_step and ahead_ns > _PLAUSIBLE_NS):
            self._set(max(leader_ns, self._stamp_ns))
        self._in_step = True

    def _set(self, log_ns: int) -> None:
        self._monotonic_ns = self._clock.monotonic_ns()
        self._log_ns = log_ns
