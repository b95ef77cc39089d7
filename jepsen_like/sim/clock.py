"""The two clocks of one simulated machine.

The monotonic clock drifts by a small rate that may change; the wall clock has an offset that
the nemesis moves by up to hours. Ticks come from the monotonic clock with jitter. Safety may not
depend on any of it; only the promise about TTLs does, within the drift.
"""

from __future__ import annotations

import random
from typing import Final

from jepsen_like.sim.world import World

EPOCH_NS: Final = 1_795_000_000 * 1_000_000_000  # when every simulated run begins: late 2026
MAX_DRIFT_PPM: Final = 5_000  # 0.5 %: far worse than any crystal


class Clock:
    """What a member believes about time."""

    __slots__ = (
        "_drift_ppm", "_rng", "_since_ns", "_start_ns", "_tick_ns", "_world", "wall_offset_ns",
    )  # fmt: skip

    def __init__(self, world: World, rng: random.Random, tick_ns: int, drift: bool) -> None:
        self._world = world
        self._rng = rng
        self._tick_ns = tick_ns
        self._drift_ppm = rng.randint(-MAX_DRIFT_PPM, MAX_DRIFT_PPM) if drift else 0
        self._start_ns = rng.randrange(10**12)
        self._since_ns = 0
        self.wall_offset_ns = 0

    def monotonic_ns(self) -> int:
        """Nanoseconds since some unspecified moment; never goes back."""
        passed_ns = self._world.now_ns - self._since_ns
        return self._start_ns + passed_ns + passed_ns * self._drift_ppm // 1_000_000

    def set_drift(self, ppm: int) -> None:
        """From now on it gains so many millionths; what it shows at this moment stays."""
        self._start_ns = self.monotonic_ns()
        self._since_ns = self._world.now_ns
        self._drift_ppm = ppm

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as this machine believes."""
        return EPOCH_NS + self._world.now_ns + self.wall_offset_ns

    def next_tick_ns(self) -> int:
        """How long the next heartbeat interval really takes."""
        jitter = self._rng.uniform(0.9, 1.1)
        return int(self._tick_ns * jitter)
