"""Which action ends which: what lasts, from when until when.

Used twice: for the bands of a picture, and by shrinking, which takes a fault and its end away
together. What lasts is ended by the action "heal ..." of its name, for whom that one names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim import describe
from jepsen_like.sim.faults import ACTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jepsen_like.sim.action import Action

HEAL: Final = "heal "  # an end is named after its beginning
WHOM: Final = "member", "members", "link", "side", "others", "into", "out"  # equal in both
LASTING: Final = frozenset(name.removeprefix(HEAL) for name in ACTS if name.startswith(HEAL))
AWAY: Final = "kill", "power", "crash in recovery", "bit flip", "empty disk", "old disk"
"""These tell in `ms` how long the process stays down."""


class Band(NamedTuple):
    """A fault that lasts; `until_ns` equal to `at_ns`: a moment."""

    at_ns: int
    until_ns: int
    name: str
    details: str


def pairs(actions: Sequence[Action]) -> list[tuple[int, int | None]]:
    """The place of each beginning, and of its end; None where it has none or needs none."""
    ends: dict[int, int] = {}
    is_end: set[int] = set()
    open_: list[int] = []
    for place, action in enumerate(actions):
        ended = [one for one in open_ if _ends(action, actions[one])]
        for one in ended:
            open_.remove(one)
            ends[one] = place
        if _is_end(action):
            is_end.add(place)
        else:
            open_.append(place)
    found = {place: ends.get(place) for place in range(len(actions)) if place not in is_end}
    orphans = is_end - set(ends.values())
    return sorted([*found.items(), *((place, None) for place in orphans)])


def bands(actions: Sequence[Action], end_ns: int) -> list[Band]:
    """What the pictures show, in order of time."""
    found = []
    for begin, end in pairs(actions):
        action = actions[begin]
        if _is_end(action):
            continue
        until_ns = action.at_ns + _away_ns(action)
        if end is not None:
            until_ns = actions[end].at_ns
        elif _lasts(action):
            until_ns = end_ns
        details = " ".join(f"{name} {value}" for name, value in action.details.items())
        until_ns = min(max(until_ns, action.at_ns), end_ns)
        found.append(Band(action.at_ns, until_ns, action.name, describe.shorten(details)))
    return sorted(found)


def _away_ns(action: Action) -> int:
    away: int = action.details.get("ms", 0) if action.name in AWAY else 0
    return away * MILLISECOND_NS


def _lasts(action: Action) -> bool:
    return action.name in LASTING


def _is_end(action: Action) -> bool:
    return action.name.startswith(HEAL)


def _ends(end: Action, begun: Action) -> bool:
    """Whether `end` ends what has begun: of the fitting name, and for nobody else."""
    common = [name for name in WHOM if name in end.details and name in begun.details]
    fits = end.name == HEAL + begun.name
    return fits and all(end.details[name] == begun.details[name] for name in common)
