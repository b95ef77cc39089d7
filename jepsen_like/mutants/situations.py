"""Scripts for the simulator: what is done to a cluster, and when, to bring a situation about.

Who leads is up to the seed, and a script fits some leaders only; hence the number of seeds.
"""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.base import MILLISECOND_NS, SECOND_NS
from jepsen_like.mutants.shapes import ROUGH
from jepsen_like.sim.action import Action
from jepsen_like.sim.clock import EPOCH_NS
from jepsen_like.sim.operator import NAMES
from kvraft.api.service import ChangeKind
from kvraft.server import ids


def at(time_ms: int, name: str, **details: Any) -> Action:
    """One action of a script."""
    return Action(time_ms * MILLISECOND_NS, name, details)


def cut(time_ms: int, side: list[int], others: list[int]) -> Action:
    """No frame passes between two sides from now on."""
    return at(time_ms, "partition", side=side, others=others, into=True, out=True)


def add(time_ms: int, url: str) -> Action:
    """Member 1 is asked to add one."""
    return at(time_ms, NAMES[ChangeKind.ADD], ask=1, urls=[url])


def remove(time_ms: int, member: int) -> Action:
    """Member 1 is asked to remove one."""
    return at(time_ms, NAMES[ChangeKind.REMOVE], ask=1, member=member)


CALM: Final = ROUGH._replace(faults=(), change_every_ms=1000, safety_ms=5_000)
"""For scripts with changes of the membership: in the end everybody is healed."""

_NEWCOMER_URL: Final = "http://m9:2380"
_ADDED_MS: Final = 1_500
NEWCOMER: Final = ids.member_id(
    (_NEWCOMER_URL,), "", (EPOCH_NS + _ADDED_MS * MILLISECOND_NS) // SECOND_NS
)

CUT_OFF_WITH_A_LEARNER: Final = (
    add(_ADDED_MS, _NEWCOMER_URL),
    cut(2_000, [1, NEWCOMER], [2, 3]),
    at(2_100, "start member", member=NEWCOMER),
)
"""Member 1, if it leads, has nobody but a new member that is no voter yet."""

CUT_OFF_WITH_A_REMOVED_MEMBER: Final = (
    remove(1_500, 4),
    cut(2_500, [1, 4], [2, 3]),
)
"""Member 1 of four, if it leads, has nobody but a member that it has removed."""

REMOVED_BEFORE_A_POWER_CUT: Final = (
    remove(2_000, 2),
    at(2_150, "power", member=1, calls=0, mode="nothing", chance=0, ms=100),
)
"""Of two members one is removed; then the other one's machine stops."""

FOLLOWER_RUNS_AHEAD: Final = (cut(1_500, [3], [1, 2]),)
"""Member 3, if it does not lead, campaigns alone for many terms."""
