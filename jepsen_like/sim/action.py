"""All that is done to a simulated cluster, as data: drawn once, repeatable and removable.

A run without a script draws its actions as it goes and notes each; a run with one carries out
just those. All other chances (clients, network, clocks, disks) have streams of their own, so
leaving one action out does not change what the others find.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Action(NamedTuple):
    """One thing done at one moment of virtual time."""

    at_ns: int
    name: str
    """A fault (`power`, `partition`, `heal partition`) or a change of the membership."""
    details: dict[str, Any]
    """Plain JSON values: numbers of members, durations in ms, sides of a partition."""
