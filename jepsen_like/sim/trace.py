"""What an onlooker of a run is told, and a recorder that keeps all of it.

An observer only looks: it draws no chances, schedules nothing and changes nothing, so a run with
one is step for step the run without (same fingerprint). Without one nothing here is called.
Frames are kept as the objects that production made; they are immutable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from jepsen_like.sim.world import World


class Observer(Protocol):
    """What the simulator tells; all times are the world's present."""

    def sent(self, sender: int, to: int, frame: object) -> int:
        """A frame leaves `sender`. Returns a number, above 0, for what is told of it later."""

    def delivered(self, number: int) -> None:
        """A frame reaches the machine of its receiver; twice if it was doubled."""

    def dropped(self, number: int, why: str) -> None:
        """A frame is lost on the way."""

    def state(
        self, member: int, life: int, role: str, term: int, commit: int, applied: int, last: int,
        first: int,
    ) -> None:  # fmt: skip
        """A running member after a step; `first` is the oldest entry in its log."""

    def ended(self, member: int, why: str) -> None:
        """The process of a member is gone."""

    def paused(self, member: int, until_ns: int) -> None:
        """A member is not scheduled until then, or until told otherwise by a time of 0."""

    def fault(self, name: str, parts: tuple[object, ...]) -> None:
        """Something was broken on purpose, or broke in consequence."""

    def note(self, parts: tuple[object, ...]) -> None:
        """Anything else that is worth a line."""


class Frame:
    """One frame on its way, and what became of it."""

    __slots__ = ("arrived_ns", "at_ns", "content", "lost_ns", "number", "sender", "to", "why")

    def __init__(self, number: int, at_ns: int, sender: int, to: int, content: object) -> None:
        self.number = number
        self.at_ns = at_ns
        self.sender = sender
        self.to = to
        self.content = content
        self.arrived_ns: list[int] = []
        self.lost_ns = -1
        self.why = ""  # why it was lost


class State(NamedTuple):
    """A member from this moment on. Role `down`: its process does not run."""

    at_ns: int
    member: int
    life: int
    role: str
    term: int
    commit: int
    applied: int
    last: int
    first: int


class Event(NamedTuple):
    """A moment: `kind` is start, end, pause, resume, fault or note; member 0: of nobody alone."""

    at_ns: int
    kind: str
    member: int
    parts: tuple[object, ...]


DOWN = "down"


class Recorder:
    """Keeps what it is told, in order of time; a run is bounded, and so is this."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.frames: list[Frame] = []
        self.states: list[State] = []
        self.events: list[Event] = []
        self._latest: dict[int, State] = {}

    def sent(self, sender: int, to: int, frame: object) -> int:
        """See Observer."""
        number = len(self.frames) + 1
        self.frames.append(Frame(number, self._world.now_ns, sender, to, frame))
        return number

    def delivered(self, number: int) -> None:
        """See Observer. At a machine whose process is down a frame is lost."""
        frame = self.frames[number - 1]
        state = self._latest.get(frame.to)
        if state is None or state.role == DOWN:
            self.dropped(number, "receiver down")
        else:
            frame.arrived_ns.append(self._world.now_ns)

    def dropped(self, number: int, why: str) -> None:
        """See Observer."""
        frame = self.frames[number - 1]
        frame.lost_ns = self._world.now_ns
        frame.why = why

    def state(
        self, member: int, life: int, role: str, term: int, commit: int, applied: int, last: int,
        first: int,
    ) -> None:  # fmt: skip
        """See Observer; only changes are kept."""
        state = State(self._world.now_ns, member, life, role, term, commit, applied, last, first)
        latest = self._latest.get(member)
        if latest is None or latest.life != life:
            self._event("start", member, life)
        if latest is None or latest[1:] != state[1:]:
            self._latest[member] = state
            self.states.append(state)

    def ended(self, member: int, why: str) -> None:
        """See Observer."""
        self._event("end", member, why)
        latest = self._latest.get(member)
        if latest is not None:
            down = latest._replace(at_ns=self._world.now_ns, role=DOWN)
            self._latest[member] = down
            self.states.append(down)

    def paused(self, member: int, until_ns: int) -> None:
        """See Observer."""
        if until_ns:
            self._event("pause", member, until_ns)
        else:
            self._event("resume", member)

    def fault(self, name: str, parts: tuple[object, ...]) -> None:
        """See Observer."""
        self._event("fault", 0, name, *parts)

    def note(self, parts: tuple[object, ...]) -> None:
        """See Observer. That a frame was taken in is known from the frame itself."""
        if len(parts) != 3 or parts[1] != "<-":
            self._event("note", 0, *parts)

    def _event(self, kind: str, member: int, *parts: object) -> None:
        self.events.append(Event(self._world.now_ns, kind, member, parts))


def watched(observer: Observer, number: int, deliver: Callable[[], None]) -> Callable[[], None]:
    """`deliver`, told to the observer when it happens."""

    def arrive() -> None:
        observer.delivered(number)
        deliver()

    return arrive
