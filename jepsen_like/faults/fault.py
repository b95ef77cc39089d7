"""A fault on real members, what it needs of the machine and of the cluster, and where it acts.

A fault is struck again and again in the course of a stage. Between strikes, and whatever became
of a strike, `heal` leaves the cluster as it was found: no rule, no paused process, no wrong clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import random

    from jepsen_like.procs.fleet import Fleet


class Wires(StrEnum):
    """How members reach each other."""

    LOOPBACK = "loopback"
    NAMESPACES = "namespaces"
    """Each member is a host of its own; packets can be dropped between any two, or a client."""
    PROXY = "proxy"
    """Peer connections pass a program that knows their frames."""


class Disk(StrEnum):
    """Where members keep their data."""

    PLAIN = "plain"
    SMALL = "small"
    """A file system of a few megabytes for each member."""


class Setting(NamedTuple):
    """What a fault needs of the cluster that it is struck in."""

    wires: Wires = Wires.LOOPBACK
    disk: Disk = Disk.PLAIN
    harnessed: bool = False
    """Members run under the harness: lossy files, failpoints, blocking on demand."""
    own_clocks: bool = False
    """The wall clock of each member can be set."""
    starts_under_them: bool = False
    """And a member may start, and lead at once, under one that has been set."""
    flags: tuple[str, ...] = ()
    """Further flags of the server."""


class Arena(Protocol):
    """What a fault acts on."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def rng(self) -> random.Random: ...

    @property
    def acknowledged(self) -> int:
        """How many writes have succeeded so far."""

    @property
    def pending(self) -> int:
        """How many writes are under way: sent, and not yet answered."""

    @property
    def left_s(self) -> float:
        """How much longer faults may go on in this stage; 0 when it is time to end."""

    def note(self, text: str) -> None:
        """Put a moment on the timeline of the report."""


class Fault(Protocol):
    """One row, or a part of one, of the fault matrix."""

    @property
    def name(self) -> str:
        """Unique, in plain words: `kill the leader`."""

    @property
    def row(self) -> int:
        """The row of the table of faults in the manual."""

    @property
    def setting(self) -> Setting: ...

    @property
    def smallest(self) -> int:
        """The smallest cluster in which it makes sense."""

    def missing(self) -> str:
        """Why this machine cannot do it; empty if it can. Asked once, before anything starts."""

    async def strike(self, arena: Arena) -> None:
        """Begin, hold for a while, end. Raises Violation if the cluster does not bear it."""

    async def heal(self, arena: Arena) -> None:
        """Undo whatever is still in force; may be called at any time, any number of times."""


class Anywhere:
    """Base of the faults that every machine allows."""

    def missing(self) -> str:
        """See `Fault.missing`."""
        return ""
