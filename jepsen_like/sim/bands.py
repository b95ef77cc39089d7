"""Which action ends which: what lasts, from when until when.

Used twice: for the bands of a picture, and by shrinking, which takes a fault and its end away
together. The end of the fault `x` is the action `heal x`, for whom or what it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim import describe
from jepsen_like.sim.faults import ACTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jepsen_like.sim.action import Action

HEAL: Final = "heal "
LASTS_MS: Final = "ms"  # of what ends by itself: how long


class Band(NamedTuple):
    """A fault that lasts; `until_ns` equal to `at_ns`: a moment."""

    at_ns: int
    until_ns: int
    name: str
    details: str


def pairs(actions: Sequence[Action]) -> list[tuple[int, int | None]]:
    """The place of each action that ends nothing, and of its end; None if there is no end."""
    ends: dict[int, int | None] = {}
    open_: list[int] = []
    for place, action in enumerate(actions):
        ended = [one for one in open_ if _ends(action, actions[one])]
        for one in ended:
            open_.remove(one)
            ends[one] = place
        if not ended:
            ends[place] = None
        if not action.name.startswith(HEAL):
            open_.append(place)
    return sorted(ends.items())


def bands(actions: Sequence[Action], healed_ns: int) -> list[Band]:
    """What the pictures show, in order of time; at `healed_ns` all faults have ended."""
    found = []
    for begin, end in pairs(actions):
        action = actions[begin]
        if action.name.startswith(HEAL):
            continue
        if end is not None:
            until_ns = actions[end].at_ns
        elif HEAL + action.name in ACTS:
            until_ns = healed_ns
        else:
            until_ns = action.at_ns + action.details.get(LASTS_MS, 0) * MILLISECOND_NS
        until_ns = min(max(until_ns, action.at_ns), healed_ns)
        details = " ".join(f"{name} {value}" for name, value in action.details.items())
        found.append(Band(action.at_ns, until_ns, action.name, describe.shorten(details)))
    return sorted(found)


def _ends(end: Action, begun: Action) -> bool:
    """Whether `end` ends what has begun: details that both have are the same."""
    common = end.details.keys() & begun.details.keys()
    same = all(end.details[name] == begun.details[name] for name in common)
    return same and end.name == HEAL + begun.name
