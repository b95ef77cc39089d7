"""Log time: the clock by which keys expire, agreed on through the log.

The leader stamps time into the log; every member expires keys when it applies a stamp, so all
expire the same keys at the same index. Between stamps a member estimates log time by its own
monotonic clock, which never jumps: a wall clock set forward expires nothing early. A new leader
continues from the stamps it has seen. Only a member that has seen none since it started (the
whole cluster was down) consults the wall clock, so that downtime counts against a TTL.

Invariant: `now_ns` never falls below a stamp that this member has applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvraft.clock import Clock


class LogTime:
    """One member's estimate of log time, in nanoseconds since 1970."""

    def __init__(self, clock: Clock, last_stamp_ns: int) -> None:
        self._clock = clock
        self._monotonic_ns = clock.monotonic_ns()
        self._log_ns = max(last_stamp_ns, clock.wall_ns())
        self._follows_log = False

    def now_ns(self) -> int:
        """The time to stamp into the log, and to compute remaining TTLs with."""
        return self._log_ns + self._clock.monotonic_ns() - self._monotonic_ns

    def stamp(self) -> int:
        """As `now_ns`, for a leader: from here on the wall clock has no more say."""
        self._follows_log = True
        return self.now_ns()

    def observe(self, stamp_ns: int, *, fresh: bool) -> None:
        """Follow a stamp that was applied now; `fresh` if it was made a moment ago as well.

        Network and commit delay make each stamp look a little old, so as a rule only those ahead
        of the estimate move it. The first fresh one replaces what the wall clock suggested. One
        from a backlog must not: it would set this member back by the age of the backlog, and
        keys written in its log time would die early under the next leader.
        """
        if stamp_ns > self.now_ns() or (fresh and not self._follows_log):
            self._monotonic_ns = self._clock.monotonic_ns()
            self._log_ns = stamp_ns
        self._follows_log = self._follows_log or fresh
