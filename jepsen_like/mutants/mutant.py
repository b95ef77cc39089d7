"""What a planted bug consists of, and how it gets into the code and out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from jepsen_like.sim.action import Action
from jepsen_like.sim.shape import Shape

ROOT: Final = Path(__file__).parents[2]

Patch = tuple[Any, str, Any]
"""Owner (module or class), name of the attribute, and what takes its place."""


class Simulated(NamedTuple):
    """Runs of the simulator; one of the seeds has to end as expected."""

    shape: Shape
    expects: str
    """A pattern that the verdict must contain: the reason for which the run is to fail."""
    seeds: int = 40
    """How many are tried, from 1 on."""
    script: tuple[Action, ...] = ()
    """What is done to the cluster; without a script the seed draws it."""


class Case(NamedTuple):
    """A deterministic test of the suite: a scenario, a history of power cuts, a regression."""

    test: str
    """As pytest names it: path::function."""
    expects: str
    """A pattern that the message, or the failed line with its place, must contain."""
    arguments: tuple[Any, ...] = ()
    blind: bool = False
    """The core's own invariants are off: what catches the mistake is what it does to others."""


class Staged(NamedTuple):
    """A stage of the campaign on real processes."""

    fault: str
    members: int
    expects: str
    """A pattern that the reason of the stage's verdict must contain."""
    seconds: float = 10.0
    """Of load."""


NamedRun = Simulated | Case | Staged


class Mutant(NamedTuple):
    """One planted bug."""

    name: str
    mistake: str
    """One sentence."""
    origin: str
    """`section 5`, `section 7: <bug>` (both of the fault model), or `` for one of our own."""
    patches: Callable[[], list[Patch]]
    caught_by: tuple[NamedRun, ...]
    """Each of them catches it by itself."""


def plant(patches: Callable[[], list[Patch]]) -> list[Patch]:
    """Change the production code for good; returns the patches that would undo it."""
    made = patches()
    kept = [(owner, name, owner.__dict__[name]) for owner, name, _ in made]
    for owner, name, value in made:
        setattr(owner, name, value)
    return kept


@contextmanager
def planted(patches: Callable[[], list[Patch]]) -> Iterator[None]:
    """The production code with these patches."""
    kept = plant(patches)
    try:
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def scenario(file: str, expects: str, *, blind: bool = False) -> Case:
    """A written scenario of the consensus core, by the name of its file."""
    path = ROOT / "tests" / "scenarios" / f"{file}.txt"
    return Case("tests/raft/test_scenarios.py::test_scenario", expects, (path,), blind)


def power_cuts(history: str, expects: str) -> Case:
    """Power cuts at every disk call of a history of the storage."""
    test = "test_a_power_cut_at_any_call_loses_nothing_promised"
    return Case(f"tests/storage/test_crash.py::{test}", expects, (history,))
