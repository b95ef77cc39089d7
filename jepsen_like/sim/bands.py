"""Which action ends which: what lasts, from when until when.

Used twice: for the bands of a picture, and by shrinking, which takes a fault and its end away
together. An action begins something that lasts if a later one ends it: one of `ENDED_BY`, or one
of its own name that switches it off (a share of 0, a delay of 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jepsen_like.sim.action import Action

CUTS: Final = "partition", "isolate leader", "one way", "bridge", "long absence"
ENDED_BY: Final = {
    **dict.fromkeys(CUTS, "heal cuts"),
    "clog": "unclog",
    "slow link": "fast links",
    "pause": "resume",
}
SWITCHES: Final = "share", "delay_ms", "full"  # details that are 0 or false at the end
WHOM: Final = "member", "members", "sender", "to"  # an end is for the one that it names
LASTS_MS: Final = "down_ms"


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
        until_ns = action.at_ns + action.details.get(LASTS_MS, 0) * MILLISECOND_NS
        if end is not None:
            until_ns = actions[end].at_ns
        elif _lasts(action):
            until_ns = end_ns
        details = " ".join(f"{name} {value}" for name, value in action.details.items())
        until_ns = min(max(until_ns, action.at_ns), end_ns)
        found.append(Band(action.at_ns, until_ns, action.name, describe.shorten(details)))
    return sorted(found)


def _lasts(action: Action) -> bool:
    return action.name in ENDED_BY or any(name in action.details for name in SWITCHES)


def _is_end(action: Action) -> bool:
    return action.name in ENDED_BY.values() or _is_off(action.details)


def _is_off(details: dict[str, Any]) -> bool:
    return any(name in details and not details[name] for name in SWITCHES)


def _ends(end: Action, begun: Action) -> bool:
    """Whether `end` ends what has begun: of the fitting name, and for nobody else."""
    fits = end.name == ENDED_BY.get(begun.name) or (end.name == begun.name and _is_off(end.details))
    common = [name for name in WHOM if name in end.details and name in begun.details]
    return fits and all(end.details[name] == begun.details[name] for name in common)
