"""The network between the members: every frame may be lost, late, doubled or overtaken.

Links are directed, so a cut may be one-way. A clogged link keeps its frames and lets them go
in one burst. It knows nothing of what a frame says: it carries calls to be made at the
receiver. Bounded: a link that is clogged keeps at most `CLOG_FRAMES`, the rest is lost, as a
real sender's queue would do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim.trace import watched
from jepsen_like.sim.world import World

CLOG_FRAMES: Final = 512


class Network:
    """All directed links of one cluster and their present faults."""

    __slots__ = (
        "_clogged", "_latest", "_rng", "_world", "cut", "duplicate", "loss", "max_delay_ns",
        "min_delay_ns", "reorder", "slow",
    )  # fmt: skip

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng("net")
        self.loss = 0.0
        self.duplicate = 0.0
        self.reorder = 0.0
        self.min_delay_ns = MILLISECOND_NS // 5
        self.max_delay_ns = 2 * MILLISECOND_NS
        self.cut: set[tuple[int, int]] = set()
        self.slow: dict[int, tuple[int, int]] = {}  # member -> delay, give or take
        self._clogged: dict[tuple[int, int], list[Callable[[], None]]] = {}
        self._latest: dict[tuple[int, int], int] = {}

    def send(self, sender: int, to: int, deliver: Callable[[], None], frame: object = None) -> None:
        """Carry one frame; `deliver` runs at the receiver, never, once or twice."""
        rng = self._rng
        link = (sender, to)
        observer = self._world.observer
        number = 0
        if observer is not None:
            number = observer.sent(sender, to, frame)
            deliver = watched(observer, number, deliver)
        if link in self.cut:
            self._world.faults["frame cut off"] += 1
            self._dropped(number, "cut off")
            return
        clogged = self._clogged.get(link)
        if clogged is not None:
            if len(clogged) < CLOG_FRAMES:
                clogged.append(deliver)
            else:
                self._dropped(number, "too many held back")
            return
        if self.loss and rng.random() < self.loss:
            self._world.faults["frame lost"] += 1
            self._dropped(number, "lost")
            return
        self._world.after(self._delay_ns(link), deliver)
        if self.duplicate and rng.random() < self.duplicate:
            self._world.faults["frame doubled"] += 1
            self._world.after(self._delay_ns(link) * 3, deliver)

    def _dropped(self, number: int, why: str) -> None:
        if self._world.observer is not None:
            self._world.observer.dropped(number, why)

    def _delay_ns(self, link: tuple[int, int]) -> int:
        """When a frame sent now arrives: in order on its link, unless reordering strikes."""
        rng = self._rng
        spread_ns = self.max_delay_ns - self.min_delay_ns
        delay_ns = self.min_delay_ns + int(spread_ns * rng.random())  # randint costs five times it
        if self.slow:
            delay_ns += self.lag_ns(link)
        if self.reorder and rng.random() < self.reorder:
            self._world.faults["frame overtaken"] += 1
            return delay_ns + rng.randint(0, 10) * self.max_delay_ns
        now_ns = self._world.now_ns
        arrives_ns = max(self._latest.get(link, 0), now_ns + delay_ns)
        self._latest[link] = arrives_ns
        return arrives_ns - now_ns

    def lag_ns(self, link: tuple[int, int]) -> int:
        """How much longer than usual a frame takes that is sent now."""
        ends = [self.slow[end] for end in link if end in self.slow]
        delay_ns, jitter_ns = max(ends, default=(0, 0))
        return delay_ns + int(jitter_ns * self._rng.uniform(-1, 1))

    def connected(self, sender: int, to: int) -> bool:
        """Whether frames pass at all at this moment."""
        return (sender, to) not in self.cut

    def partition(self, side: set[int], others: set[int], *, into: bool, out: bool) -> None:
        """Cut between `side` and `others`: frames `into` the side, `out` of it, or both."""
        self.cut |= _between(side, others, into, out)

    def mend(self, side: set[int], others: set[int], *, into: bool, out: bool) -> None:
        """The contrary of `partition`."""
        self.cut -= _between(side, others, into, out)

    def clog(self, link: tuple[int, int]) -> None:
        """Hold the frames of a link back."""
        self._clogged.setdefault(link, [])

    def unclog(self, link: tuple[int, int]) -> None:
        """Let all held frames of a link go at once."""
        for deliver in self._clogged.pop(link, ()):
            self._world.after(self._delay_ns(link), deliver)

    def heal(self) -> None:
        """No more faults; what is under way still arrives."""
        self.cut.clear()
        self.slow.clear()
        self.loss = self.duplicate = self.reorder = 0.0
        self._latest.clear()  # new connections: nothing waits behind what is under way
        for link in sorted(self._clogged):
            self.unclog(link)


def _between(
    side: set[int], others: set[int], into: bool, out: bool
) -> set[tuple[int, int]]:  # fmt: skip
    inward = {(outer, inner) for outer in others for inner in side} if into else set()
    outward = {(inner, outer) for outer in others for inner in side} if out else set()
    return inward | outward
