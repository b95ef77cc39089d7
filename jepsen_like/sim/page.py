"""A recorded run as one HTML page with a time slider; nothing in it comes from elsewhere.

`page.html`, `page.css` and `page.js` beside this module are put together with the data, which
the script reads from a block of JSON. Times in it are whole microseconds; members are places in
the list of members. Whatever came out of the run is shown as text, never as markup.
"""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jepsen_like.sim import describe
from jepsen_like.sim.timeline import Timeline, Wanted, lines, member_of

if TYPE_CHECKING:
    from jepsen_like.sim.trace import Frame, State

HERE: Final = Path(__file__).parent
MICROSECOND_NS: Final = 1000
NOT_YET: Final = -1
LISTED: Final = frozenset(("member", "fault", "note"))  # lines in the list of events
EMBEDDED: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
MARK: Final = re.compile(r"\{\{(\w+)\}\}")


def render(timeline: Timeline, command: str = "") -> str:
    """The whole page; `command` repeats the run and is shown."""
    outcome = (timeline.failure or "passed").partition("\n")[0]
    title = f"seed {timeline.seed}: {outcome}"
    parts = {
        "title": html.escape(describe.shorten(title)),
        "style": (HERE / "page.css").read_text("utf-8"),
        "script": (HERE / "page.js").read_text("utf-8"),
        "data": embed(document(timeline, command)),
    }
    return MARK.sub(lambda mark: parts[mark[1]], (HERE / "page.html").read_text("utf-8"))


def embed(data: object) -> str:
    """JSON that no HTML parser takes for the end of the block it stands in."""
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).translate(EMBEDDED)


def document(timeline: Timeline, command: str) -> dict[str, Any]:
    """What the script draws."""
    numbers = sorted(
        timeline.names, key=lambda number: (len(timeline.names[number]), timeline.names[number])
    )
    places = {number: place for place, number in enumerate(numbers)}
    kinds: dict[str, int] = {}
    return {
        "seed": timeline.seed,
        "failure": timeline.failure,
        "command": command,
        "shape": timeline.shape._asdict(),
        "healed": _us(timeline.healed_ns),
        "end": _us(timeline.end_ns),
        "members": [timeline.names[number] for number in numbers],
        "frames": [_frame(frame, places, kinds) for frame in timeline.frames],
        "kinds": list(kinds),
        "states": [_states(timeline.states, number) for number in numbers],
        "pauses": [_pauses(timeline, number) for number in numbers],
        "bands": [
            [_us(band.at_ns), _us(band.until_ns), band.name, band.details]
            for band in timeline.bands
        ],
        "events": [
            [_us(line.at_ns), line.kind, f"{line.who} {line.what}".strip()]
            for line in lines(timeline, Wanted(kinds=LISTED))
        ],
        "operations": [
            [
                _us(one.invoked_ns), _us(one.ended_ns), one.client,
                places.get(member_of(one), NOT_YET), one.outcome.value, one.number,
                describe.operation(one), describe.answer(one),
            ]
            for one in timeline.operations
        ],
    }  # fmt: skip


def _us(time_ns: int) -> int:
    return time_ns // MICROSECOND_NS if time_ns >= 0 else NOT_YET


def _frame(frame: Frame, places: dict[int, int], kinds: dict[str, int]) -> list[Any]:
    """Sent, from, to, kind, arrived (or lost, or not yet), why lost, what it says."""
    kind = kinds.setdefault(describe.frame_kind(frame.content), len(kinds))
    ends_ns = frame.lost_ns if frame.why else min(frame.arrived_ns, default=NOT_YET)
    return [
        _us(frame.at_ns), places[frame.sender], places[frame.to], kind, _us(ends_ns),
        frame.why, describe.frame_fields(frame.content),
    ]  # fmt: skip


def _states(states: list[State], member: int) -> list[list[Any]]:
    """Time, life, role, term, commit, applied, last, first."""
    return [[_us(state.at_ns), *_position(state)] for state in states if state.member == member]


def _position(state: State) -> tuple[Any, ...]:
    return (
        state.life,
        state.role,
        state.term,
        state.commit,
        state.applied,
        state.last,
        state.first,
    )


def _pauses(timeline: Timeline, member: int) -> list[list[int]]:
    """From, until: while a member is not scheduled; its end ends that, too."""
    own = [event for event in timeline.events if event.member == member]
    starts = [event.at_ns for event in own if event.kind == "pause"]
    ends = [event.at_ns for event in own if event.kind in ("resume", "end")] + [timeline.end_ns]
    return [[_us(start), _us(ends[bisect_left(ends, start)])] for start in starts]
