"""The two clocks a member reads, behind one protocol: tests and the simulator bring their own.

The consensus core never sees a clock: real time reaches it as ticks, and the key space as
time stamps in the log. Safety depends on neither.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the driver and the replica know about time."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment; never jumps."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as this machine believes; may jump either way."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return time.time_ns()


class ShiftedClock:
    """The clocks of this machine, set forward by as much as they have been told.

    Only log time may follow one (see `server/logtime.py`): whoever measures how long
    something took would be misled.
    """

    def __init__(self) -> None:
        self._ahead_ns = 0

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        return time.monotonic_ns() + self._ahead_ns

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return time.time_ns() + self._ahead_ns

    def advance(self, nanoseconds: int) -> None:
        """Set both clocks forward."""
        assert nanoseconds >= 0
        self._ahead_ns += nanoseconds


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, wall_ns: int = 1_800_000_000 * 10**9) -> None:
        self._monotonic_ns = 0
        self._wall_ns = wall_ns

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        return self._monotonic_ns

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return self._wall_ns

    def advance(self, nanoseconds: int) -> None:
        """Let time pass on both clocks."""
        assert nanoseconds >= 0
        self._monotonic_ns += nanoseconds
        self._wall_ns += nanoseconds

    def jump(self, nanoseconds: int) -> None:
        """Set the wall clock forward or back, as an operator or a time server may."""
        self._wall_ns += nanoseconds
