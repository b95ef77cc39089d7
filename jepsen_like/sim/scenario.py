"""A run written down: seed, shape and all that is done to the cluster, as a short JSON file.

    {
     "format": 1,
     "fails": "Violation: members # and # both lead term #",
     "seed": 17,
     "shape": {"members": 3, "safety_ms": 1200},
     "actions": [
      {"at_ms": 431.5, "do": "kill", "member": 2, "ms": 100},
      {"at_ms": 800, "do": "heal loss"}
     ]
    }

Of the shape only what differs from the defaults is written. Times of actions are in ms of virtual
time with up to six decimals. Everything read is checked before anything is run.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim.action import Action
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape

FORMAT: Final = 1
FIELDS: Final = {"format", "fails", "seed", "shape", "actions"}
MAX_ACTIONS: Final = 100_000  # far more than any run does
MAX_AT_MS: Final = 1e9
DEFAULTS: Final = Shape()


class Malformed(ValueError):
    """A file is no scenario; the text says where and why."""


class Scenario(NamedTuple):
    """What makes a run, and the kind of failure it is known for (empty: none)."""

    seed: int
    shape: Shape
    actions: tuple[Action, ...]
    fails: str = ""

    def prepare(self) -> Run:
        """A run that has not begun. Raises Malformed if an action cannot be carried out."""
        run = Run(self.seed, self.shape, self.actions)
        for place, action in enumerate(self.actions, 1):
            try:
                run.actor.check(action.name, action.details)
            except KeyError:
                raise Malformed(f"action {place}: nobody can {action.name!r}") from None
            except TypeError as error:
                raise Malformed(f"action {place}, {action.name!r}: {error}") from None
        return run


def replay_command(path: Path) -> str:
    """What to type to see a scenario again."""
    return f"python -m jepsen_like replay {shlex.quote(str(path))}"


# --- writing ---------------------------------------------------------------------------


def save(scenario: Scenario, path: Path) -> None:
    """Write it down, one action a line."""
    path.write_text(dump(scenario), "utf-8")


def dump(scenario: Scenario) -> str:
    """The text of the file."""
    shape = {
        name: value
        for name, value in scenario.shape._asdict().items()
        if value != getattr(DEFAULTS, name)
    }
    head = [
        f' "format": {FORMAT}',
        f' "fails": {json.dumps(scenario.fails)}',
        f' "seed": {scenario.seed}',
        f' "shape": {json.dumps(shape)}',
    ]
    actions = ",\n".join("  " + json.dumps(_record(action)) for action in scenario.actions)
    listed = f"[\n{actions}\n ]" if actions else "[]"
    return "{\n" + ",\n".join([*head, f' "actions": {listed}']) + "\n}\n"


def _record(action: Action) -> dict[str, Any]:
    at_ms = action.at_ns / MILLISECOND_NS
    whole = int(at_ms) if at_ms.is_integer() else at_ms
    return {"at_ms": whole, "do": action.name, **action.details}


# --- reading ---------------------------------------------------------------------------


def load(path: Path) -> Scenario:
    """Raises Malformed, with the name of the file, or OSError."""
    try:
        return parse(path.read_text("utf-8"))
    except (Malformed, UnicodeDecodeError) as error:
        raise Malformed(f"{path} is no scenario: {error}") from None


def parse(text: str) -> Scenario:
    """A scenario from the text of its file. Raises Malformed."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Malformed(f'an object with "format": {FORMAT} is wanted')
    unknown = document.keys() - FIELDS
    if unknown:
        raise Malformed(f"unknown: {', '.join(sorted(unknown))}")
    seed, fails = document.get("seed"), document.get("fails", "")
    if type(seed) is not int:
        raise Malformed("seed has to be a whole number")
    if not isinstance(fails, str):
        raise Malformed("fails has to be a text")
    scenario = Scenario(
        seed, _shape(document.get("shape", {})), _actions(document.get("actions", [])), fails
    )
    scenario.prepare()
    return scenario


def _shape(record: object) -> Shape:
    if not isinstance(record, dict):
        raise Malformed("shape has to be an object")
    values: dict[str, Any] = {}
    for name, value in record.items():
        if name not in Shape._fields:
            raise Malformed(f"shape: there is no {name}")
        default = getattr(DEFAULTS, name)
        values[name] = _like(default, value, f"shape: {name}")
    shape = DEFAULTS._replace(**values)
    for name in ("members", "clients", "tick_ms", "election_ticks"):
        if getattr(shape, name) < 1:
            raise Malformed(f"shape: {name} has to be at least 1")
    return shape


def _like(default: object, value: object, what: str) -> object:
    """`value` in the type of the default: lists are tuples, whole numbers may be shares."""
    if isinstance(default, tuple) and isinstance(value, list):
        return _tuples(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(default) is not type(value):
        raise Malformed(f"{what} has to be like {default!r}, not {value!r}")
    if isinstance(value, int | float) and value < 0:
        raise Malformed(f"{what} is negative")
    return value


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _actions(records: object) -> tuple[Action, ...]:
    if not isinstance(records, list) or len(records) > MAX_ACTIONS:
        raise Malformed(f"actions has to be a list of at most {MAX_ACTIONS}")
    return tuple(_action(record, place) for place, record in enumerate(records, 1))


def _action(record: object, place: int) -> Action:
    if not isinstance(record, dict):
        raise Malformed(f"action {place} has to be an object")
    details = dict(record)
    at_ms, name = details.pop("at_ms", None), details.pop("do", None)
    if not isinstance(at_ms, int | float) or isinstance(at_ms, bool) or not 0 <= at_ms <= MAX_AT_MS:
        raise Malformed(f"action {place}: at_ms has to be a time in ms, not {at_ms!r}")
    if not isinstance(name, str):
        raise Malformed(f'action {place}: "do" has to name what is done')
    return Action(round(at_ms * MILLISECOND_NS), name, details)
