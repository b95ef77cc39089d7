"""What a member counts about itself: plain numbers, fed where things happen.

Nothing here has a name or a label: `exposition` gives them both when somebody asks. The driver
tells what it does through the methods below, so that the figures, the explanations of slow
requests and the warnings about an overloaded member come from the same events.

Must not know: HTTP, text formats. Times are seconds of one monotonic clock, `now_s`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft import limits
from kvraft.histogram import Histogram, doubling
from kvraft.server.delays import Cause, Delays
from kvraft.server.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvraft.clock import Clock

DURATION_BOUNDS_S: Final = doubling(0.001, 14)
"""Of proposals, syncs and snapshots: what etcd 2.3 has."""
LAG_BOUNDS_S: Final = doubling(0.0005, 13)
BATCH_BOUNDS: Final = doubling(1, 11)


class Probe(NamedTuple):
    """What the last look at another member has shown."""

    round_trip_s: float
    ahead_s: float
    """Its clock against the own one."""


_log = logger("etcdserver")
_wal_log = logger("wal")


class Metrics:
    """The figures of one member."""

    def __init__(self, clock: Clock, tick_ms: int) -> None:
        self._clock = clock
        self._tick_s = tick_ms / 1000
        self._warned_s = self._warned_sync_s = float("-inf")
        self.delays = Delays()
        self.started_s = self.now_s()
        # The log.
        self.wal_syncs = Histogram(DURATION_BOUNDS_S)
        self.wal_last_index = 0
        self.batch_entries = Histogram(BATCH_BOUNDS)
        # Snapshots.
        self.snapshot_saves = Histogram(DURATION_BOUNDS_S)
        self.snapshot_encoding = Histogram(DURATION_BOUNDS_S)
        self.snapshots_failed = self.snapshots_received = 0
        # The process.
        self.loop_lag = Histogram(LAG_BOUNDS_S)
        self.loop_lag_max_s = 0.0
        self.gc_pauses = Histogram(LAG_BOUNDS_S)
        self.descriptors = 0
        # Other members.
        self.probes: dict[int, Probe] = {}
        self.received_bytes: dict[int, int] = {}
        # Consensus.
        self.leader_changes = 0
        self._leader = 0
        # The comparison of the members' data.
        self.checks = self.check_failures = 0
        self.check_index = 0

    def now_s(self) -> float:
        """The clock of everything here."""
        return self._clock.monotonic_ns() / 1e9

    # --- what the driver tells ------------------------------------------------------------

    def saving(self) -> None:
        """A batch is on its way to the disk."""
        self.delays.set(Cause.DISK, True, self.now_s())

    def saved(self, took_s: float, entries: int, last_index: int) -> None:
        """It has been written to the log and synced, which took so long itself."""
        self.wal_syncs.observe(took_s)
        if entries:
            self.batch_entries.observe(entries)
            self.wal_last_index = last_index
        now_s = self.now_s()
        self.delays.set(Cause.DISK, False, now_s)
        if took_s >= limits.SLOW_SYNC_S and now_s - self._warned_sync_s >= 1:
            self._warned_sync_s = now_s
            _wal_log.warning(
                "sync duration of %.3fs, expected less than %gs", took_s, limits.SLOW_SYNC_S
            )

    def disk_full(self, full: bool) -> None:
        """Writes cannot be made durable for want of space; or they can again."""
        self.delays.set(Cause.DISK_FULL, full, self.now_s())

    def applying(self, backlog: bool) -> None:
        """After a turn of work: whether committed entries are left over for the next one."""
        self.delays.set(Cause.APPLY, backlog, self.now_s())

    def leadership(self, leader: int) -> None:
        """Who leads, 0 for nobody; told again and again."""
        self.delays.set(Cause.LEADER, not leader, self.now_s())
        if leader and leader != self._leader:
            self._leader = leader
            self.leader_changes += 1

    def starting(self, lasts: bool) -> None:
        """Whether requests are still held back after a start; told again and again."""
        self.delays.set(Cause.START, lasts, self.now_s())

    def ticked(self, lag_s: float, heartbeats: bool) -> None:
        """A tick has come so late; `heartbeats`: others wait for what it sends."""
        self.loop_lag.observe(lag_s)
        self.loop_lag_max_s = max(self.loop_lag_max_s, lag_s)
        if lag_s < limits.DELAY_NOTED_S:
            return
        now_s = self.now_s()
        self.delays.note(Cause.LOOP, now_s - lag_s, now_s)
        if heartbeats and lag_s > self._tick_s and now_s - self._warned_s >= 1:
            self._warned_s = now_s
            exceeded_ms = (lag_s - self._tick_s) * 1000
            _log.warning(
                "failed to send out heartbeat on time (deadline exceeded for %dms)", exceeded_ms
            )
            _log.warning("server is likely overloaded")


class SnapshotTimer:
    """Measures one snapshot: how long it takes, and how much of that its encoding."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._began_s = metrics.now_s()
        self._encoding_s = 0.0

    def encoding(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks as they come; the time to make each is counted."""
        while True:
            began_s = self._metrics.now_s()
            chunk = next(chunks, None)
            self._encoding_s += self._metrics.now_s() - began_s
            if chunk is None:
                return
            yield chunk

    def finish(self) -> None:
        """The snapshot is durable."""
        self._metrics.snapshot_encoding.observe(self._encoding_s)
        self._metrics.snapshot_saves.observe(self._metrics.now_s() - self._began_s)
