"""What a fault acts on, and what is noted about it: the arena of one stage."""

from __future__ import annotations

import random
import time
from typing import Final

from jepsen_like.check.history import Outcome
from jepsen_like.procs.clients import Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.report.result import Strike

RECENT: Final = 64  # more operations than are under way at any time


class Ground:
    """The arena, see `faults.fault.Arena`. Times are seconds since `begin`."""

    def __init__(self, fleet: Fleet, recorder: Recorder, rng: random.Random) -> None:
        self.fleet = fleet
        self.rng = rng
        self.strikes: list[Strike] = []
        self._recorder = recorder
        self._began_s = time.monotonic()
        self._until_s = 0.0

    def begin(self, seconds: float) -> None:
        """Faults may strike from now on, for so long."""
        self._began_s = time.monotonic()
        self._until_s = self._began_s + seconds

    @property
    def now_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    @property
    def left_s(self) -> float:
        """See `Arena.left_s`."""
        return max(0.0, self._until_s - time.monotonic())

    @property
    def acknowledged(self) -> int:
        """See `Arena.acknowledged`."""
        return self._recorder.acknowledged

    @property
    def pending(self) -> int:
        """See `Arena.pending`."""
        return sum(
            operation.outcome is Outcome.PENDING and operation.request is not None
            for operation in self._recorder.history.operations[-RECENT:]
        )

    def note(self, text: str) -> None:
        """See `Arena.note`."""
        now_s = self.now_s
        self.strikes.append(Strike(now_s, now_s, text))
