"""A recorded run as a sequence of lines, and what both of its pictures (text, page) show.

record(run)              execute it and keep everything
lines(timeline, wanted)  as text: time, who, what; filtered
"""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from jepsen_like.base import MILLISECOND_NS, SECOND_NS
from jepsen_like.sim import describe
from jepsen_like.sim.bands import Band, bands
from jepsen_like.sim.trace import DOWN, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jepsen_like.check.history import Operation
    from jepsen_like.sim.run import Run, Verdict
    from jepsen_like.sim.shape import Shape
    from jepsen_like.sim.trace import Event, Frame, State

KINDS: Final = ("frame", "state", "member", "fault", "client", "note")
LONG_ID: Final = re.compile(r"\b\d{10,20}\b")
CLIENT_NOTES: Final = ("client", "member")  # told better by operations and by states


class Timeline(NamedTuple):
    """All that is known of one run. Members are named by their numbers."""

    seed: int
    shape: Shape
    failure: str
    healed_ns: int
    """When the phase in which things break ends."""
    end_ns: int
    names: dict[int, str]
    frames: list[Frame]
    states: list[State]
    events: list[Event]
    operations: list[Operation]
    bands: list[Band]


class Wanted(NamedTuple):
    """Which lines: all that match every part; empty sets ask for everything."""

    members: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    from_ns: int = 0
    until_ns: int = 1 << 62

    def takes(self, line: Line) -> bool:
        """Whether this line is shown."""
        return (
            self.from_ns <= line.at_ns <= self.until_ns
            and (not self.kinds or line.kind in self.kinds)
            and (not self.members or not self.members.isdisjoint(line.members))
        )


class Line(NamedTuple):
    """One line of the text."""

    at_ns: int
    kind: str
    members: tuple[int, ...]
    who: str
    what: str


def record(run: Run) -> Timeline:
    """Execute a run that has not begun yet, and keep what happens."""
    recorder = run.world.observer = Recorder(run.world)
    return collect(run, recorder, run.execute())


def collect(run: Run, recorder: Recorder, verdict: Verdict) -> Timeline:
    """What a finished run and its recorder know."""
    names = {number: member.name for number, member in run.cluster.members.items()}
    for frame in recorder.frames:
        names.setdefault(frame.to, f"{frame.to:x}")
    healed_ns = min(verdict.shape.safety_ms * MILLISECOND_NS, verdict.virtual_ns)
    return Timeline(
        verdict.seed, verdict.shape, verdict.failure,
        healed_ns, verdict.virtual_ns, names, recorder.frames, recorder.states, recorder.events,
        run.history.operations, bands(run.actions, healed_ns),
    )  # fmt: skip


# --- text ------------------------------------------------------------------------------


def lines(timeline: Timeline, wanted: Wanted) -> Iterator[Line]:
    """The run in order of time."""
    sources = (
        _event_lines(timeline),
        _state_lines(timeline),
        _frame_lines(timeline),
        iter(sorted(_client_lines(timeline))),
    )
    return (line for line in heapq.merge(*sources, key=_time) if wanted.takes(line))


def _time(line: Line) -> int:
    return line.at_ns


def _frame_lines(timeline: Timeline) -> Iterator[Line]:
    names = timeline.names
    for frame in timeline.frames:
        fate = "still under way"
        if frame.arrived_ns:
            delays = (f"{(at - frame.at_ns) / MILLISECOND_NS:.1f}" for at in frame.arrived_ns)
            fate = "after " + " and ".join(delays) + " ms"
        if frame.why:
            fate = "LOST: " + frame.why
        content = describe.frame_kind(frame.content), describe.frame_fields(frame.content)
        who = f"{names[frame.sender]} -> {names[frame.to]}"
        what = f"{content[0]} {content[1]} ({fate})"
        yield Line(frame.at_ns, "frame", (frame.sender, frame.to), who, what)


def _state_lines(timeline: Timeline) -> Iterator[Line]:
    before: dict[int, State] = {}
    for state in timeline.states:
        old = before.get(state.member)
        before[state.member] = state
        if state.role == DOWN:
            continue
        if old is None or (old.role, old.term) != (state.role, state.term):
            what = f"{state.role.upper()} in term {state.term}, "
        else:
            what = ""
        what += f"commit {state.commit} applied {state.applied} log {state.first}..{state.last}"
        yield Line(state.at_ns, "state", (state.member,), timeline.names[state.member], what)


def _event_lines(timeline: Timeline) -> Iterator[Line]:
    for event in timeline.events:
        who = timeline.names.get(event.member, "")
        words = _named(" ".join(describe.text(part) for part in event.parts), timeline.names)
        if event.kind == "note":
            if event.parts[0] not in CLIENT_NOTES:
                yield Line(event.at_ns, "note", (), "", describe.shorten(words))
        elif event.kind == "fault":
            numbers = _struck(event.parts[1] if len(event.parts) > 1 else None)
            yield Line(event.at_ns, "fault", numbers, "FAULT", describe.shorten(words))
        else:
            what = {
                "start": f"starts, life {words}", "end": f"ENDS: {words}",
                "pause": "is paused", "resume": "goes on",
            }[event.kind]  # fmt: skip
            yield Line(event.at_ns, "member", (event.member,), who, what)


def _named(words: str, names: dict[int, str]) -> str:
    """With names in place of the long ids of members that joined later."""
    return LONG_ID.sub(lambda found: names.get(int(found[0]), found[0]), words)


def _struck(part: object) -> tuple[int, ...]:
    """Whom a fault is about: its first part names it, alone or in its details."""
    if isinstance(part, dict):
        part = part.get("member", part.get("sender", part.get("side")))
    if isinstance(part, list):
        return tuple(part)
    return (part,) if isinstance(part, int) else ()


def _client_lines(timeline: Timeline) -> Iterable[Line]:
    for one in timeline.operations:
        member = member_of(one)
        name = timeline.names.get(member, str(member))
        who = f"client {one.client}"
        what = f"asks {name}: {describe.operation(one)} (op {one.number})"
        yield Line(one.invoked_ns, "client", (member,), who, what)
        if one.ended_ns >= 0:
            what = f"is told: {describe.answer(one)} (op {one.number})"
            yield Line(one.ended_ns, "client", (member,), who, what)


def member_of(one: Operation) -> int:
    """The member an operation was sent to; the history also counts the member's lives."""
    return one.member // 1_000_000


def render(line: Line) -> str:
    """A line for the terminal; seconds of virtual time first."""
    return f"{line.at_ns / SECOND_NS:11.6f}  {line.who:<10} {line.what}"
