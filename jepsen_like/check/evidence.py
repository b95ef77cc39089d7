"""All that a verdict rests on: what clients, watchers and last readers saw, and the faults.

Times are nanoseconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jepsen_like.check.coverage import Session
    from jepsen_like.check.history import Operation, Watch


class LastLook(NamedTuple):
    """What one member showed below a directory after all faults had ended."""

    member: int
    root: bytes
    store_index: int
    """The store index in the header."""
    at_ns: int
    document: dict[str, Any]


class Moment(NamedTuple):
    """A fault while it lasted, or something else that explains what was seen."""

    from_ns: int
    until_ns: int
    what: str


@dataclass
class Evidence:
    """See the module's description."""

    server: str = "kvraft"
    """Which program was under test, for people."""
    command: str = ""
    """What made this history, for people."""
    operations: list[Operation] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    finals: list[LastLook] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    writes_expected: int = 1
    """Fewer acknowledged writes prove nothing."""
    skew_ns: int = 0
    """How far members' wall clocks were set apart on purpose."""
