"""From a failing run to a short one that fails in the same way.

Delta debugging: leave out actions (a fault together with its end), then everything about the
shape that need not be so, again and again until nothing more can go. A candidate is kept
only if it fails with the same kind of failure: the same text but for numbers and names.
Deterministic but for the bound in seconds: candidates come in a fixed order, and a run is a
function of its scenario.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim.action import Action
from jepsen_like.sim.bands import pairs
from jepsen_like.sim.run import Run
from jepsen_like.sim.scenario import DEFAULTS, Scenario
from jepsen_like.sim.shape import Shape

MAX_ROUNDS: Final = 5  # of actions, then shape; two or three are usual
SPARED: Final = (
    "members",
    "clients",
    "safety_ms",
    "check_core",
)  # have steps of their own, or none
NUMBERED: Final = ("member", "sender", "ask")
LISTED: Final = ("side", "others", "members")
LINK: Final = "link"


class NoFailure(Exception):
    """There is nothing to shrink: the run passes, or its repetition does."""


class Bounds(NamedTuple):
    """When to stop, whatever is left."""

    runs: int = 600
    seconds: float = 600.0


BOUNDS: Final = Bounds()


class Progress(NamedTuple):
    """Where a search stands, for whoever watches it."""

    runs: int
    actions: int
    what: str


def kind_of(failure: str) -> str:
    """A failure without what differs from run to run: numbers, values, who and where."""
    if not failure:
        return ""
    lines = failure.strip().splitlines()
    text = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    text = re.sub(r"b?'[^']*'|b?\"[^\"]*\"", "*", text)
    text = _without_nested(text)
    text = re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b(\.\d+)?", "#", text)
    return ": ".join(text.split(": ")[:2])


def _without_nested(text: str) -> str:
    """Without what stands in brackets, from the inside out."""
    while True:
        shorter = re.sub(r"\w*\([^()\[\]{}]*\)|\[[^()\[\]{}]*\]|\{[^()\[\]{}]*\}", "*", text)
        if shorter == text:
            return text
        text = shorter


def of_seed(run: Run) -> Scenario:
    """The scenario of a run that has not begun yet, as it is drawn. Raises NoFailure."""
    verdict = run.execute()
    if not verdict.failure:
        raise NoFailure(f"seed {verdict.seed} passes")
    kind = kind_of(verdict.failure)
    return Scenario(verdict.seed, verdict.shape, tuple(run.actions), kind)


def shrink(
    scenario: Scenario, bounds: Bounds = BOUNDS, tell: Callable[[Progress], None] | None = None
) -> Scenario:
    """The shortest scenario found. Raises NoFailure if this one does not fail as it says."""
    search = _Search(scenario, bounds, tell or (lambda progress: None))
    if not search.fails(scenario):
        raise NoFailure("repeated from its actions, the run does not fail in the same way")
    for _ in range(MAX_ROUNDS):
        before = search.best
        search.simplify_shape()
        search.leave_out_actions()
        search.round_times()
        if search.best == before:
            break
    return search.best


class _Search:
    """The best so far, and the means to better it."""

    def __init__(
        self, scenario: Scenario, bounds: Bounds, tell: Callable[[Progress], None]
    ) -> None:
        self.best = scenario
        self._bounds = bounds
        self._tell = tell
        self._until = time.monotonic() + bounds.seconds
        self._runs = 0
        self._what = "repeating"
        self._known: dict[str, bool] = {}

    def fails(self, candidate: Scenario) -> bool:
        """Whether it fails in the same way; at the bounds nothing does any more."""
        key = repr(candidate)
        if key in self._known:
            return self._known[key]
        if self._runs >= self._bounds.runs or time.monotonic() > self._until:
            return False
        self._runs += 1
        self._tell(Progress(self._runs, len(self.best.actions), self._what))
        verdict = Run(candidate.seed, candidate.shape, candidate.actions).execute()
        found = self._known[key] = kind_of(verdict.failure) == candidate.fails
        return found

    def _keep_if_fails(self, candidate: Scenario) -> bool:
        if candidate == self.best or not self.fails(candidate):
            return False
        self.best = candidate
        return True

    # --- actions ------------------------------------------------------------------------

    def leave_out_actions(self) -> None:
        """Fewer of them, halves first, down to every single one (ddmin)."""
        self._what = "leaving out actions"
        units = pairs(self.best.actions)
        parts = 2
        while units:
            size = -(-len(units) // parts)
            for start in range(0, len(units), size):
                kept = units[:start] + units[start + size :]
                if self._keep_if_fails(self._with_units(kept)):
                    units = pairs(self.best.actions)
                    parts = max(2, parts - 1)
                    break
            else:
                if size == 1:
                    return
                parts = min(len(units), parts * 2)

    def _with_units(self, units: Sequence[tuple[int, int | None]]) -> Scenario:
        places = {place for unit in units for place in unit if place is not None}
        actions = self.best.actions
        return self.best._replace(actions=tuple(actions[place] for place in sorted(places)))

    def round_times(self) -> None:
        """To whole ms, each action by itself, since no other moment is as easy to read."""
        self._what = "rounding times"
        for place, action in enumerate(self.best.actions):
            for unit_ns in (100 * MILLISECOND_NS, MILLISECOND_NS):
                at_ns = round(action.at_ns / unit_ns) * unit_ns
                actions = list(self.best.actions)
                actions[place] = action._replace(at_ns=at_ns)
                ordered = all(
                    one.at_ns <= other.at_ns
                    for one, other in zip(actions, actions[1:], strict=False)
                )
                if action.at_ns == at_ns or (
                    ordered and self._keep_if_fails(self.best._replace(actions=tuple(actions)))
                ):
                    break

    # --- shape --------------------------------------------------------------------------

    def simplify_shape(self) -> None:
        """Shorter, then with fewer clients and members, then with usual settings."""
        self._what = "shortening"
        self._first_that_fails(_shorter(self.best))
        self._first_that_fails(_earlier(self.best))
        self._what = "fewer clients"
        self._first_that_fails(_with_fewer_clients(self.best))
        self._what = "fewer members"
        self._first_that_fails(_with_fewer_members(self.best))
        self._what = "simpler shape"
        for name in Shape._fields:
            if name not in SPARED:
                shape = self.best.shape._replace(**{name: getattr(DEFAULTS, name)})
                self._keep_if_fails(self.best._replace(shape=shape))

    def _first_that_fails(self, candidates: Iterator[Scenario]) -> None:
        for candidate in candidates:
            if self._keep_if_fails(candidate):
                return


def _shorter(scenario: Scenario) -> Iterator[Scenario]:
    """Ending soon after the last action, or at a part of the present length."""
    shape = scenario.shape
    last_ms = max((action.at_ns for action in scenario.actions), default=0) // MILLISECOND_NS
    lengths = [last_ms + more for more in (1, 100, 500, 2000)]
    lengths += [shape.safety_ms * part // 8 for part in (1, 2, 4, 6)]
    for length_ms in sorted(lengths):
        if length_ms < shape.safety_ms:
            actions = tuple(
                action for action in scenario.actions if action.at_ns <= length_ms * MILLISECOND_NS
            )
            yield scenario._replace(shape=shape._replace(safety_ms=length_ms), actions=actions)


def _earlier(scenario: Scenario) -> Iterator[Scenario]:
    """With everything moved towards the beginning, by as much as possible."""
    first_ns = min((action.at_ns for action in scenario.actions), default=0)
    for start_ms in (200, 500, 1000, 2000, 4000):
        by_ns = first_ns - start_ms * MILLISECOND_NS
        if by_ns > 0:
            actions = tuple(
                action._replace(at_ns=action.at_ns - by_ns) for action in scenario.actions
            )
            safety_ms = scenario.shape.safety_ms - by_ns // MILLISECOND_NS
            shape = scenario.shape._replace(safety_ms=safety_ms)
            yield scenario._replace(shape=shape, actions=actions)


def _with_fewer_clients(scenario: Scenario) -> Iterator[Scenario]:
    for clients in range(1, scenario.shape.clients):
        yield scenario._replace(shape=scenario.shape._replace(clients=clients))


def _with_fewer_members(scenario: Scenario) -> Iterator[Scenario]:
    for members in (1, 2, 3, 4):
        if members < scenario.shape.members:
            gone = set(range(members + 1, scenario.shape.members + 1))
            actions = tuple(
                kept for action in scenario.actions if (kept := _without(action, gone)) is not None
            )
            shape = scenario.shape._replace(members=members)
            yield scenario._replace(shape=shape, actions=actions)


def _without(action: Action, gone: set[int]) -> Action | None:
    """The action on the members that are left; None if it was only about others."""
    details = dict(action.details)
    if any(details.get(name) in gone for name in NUMBERED):
        return None
    if not gone.isdisjoint(details.get(LINK, ())):
        return None
    for name in LISTED:
        if isinstance(details.get(name), list):
            details[name] = [number for number in details[name] if number not in gone]
            if not details[name]:
                return None
    return action._replace(details=details)
