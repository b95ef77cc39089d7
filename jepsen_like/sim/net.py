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
        "min_delay_ns", "reorder", "slow", "slow_ns",
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
        self.slow: set[int] = set()
        self.slow_ns = 0
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
        delay_ns = rng.randint(self.min_delay_ns, self.max_delay_ns)
        lag_ns = self.lag_ns(link)
        if lag_ns:
            delay_ns += rng.randint(lag_ns // 2, lag_ns)
        if self.reorder and rng.random() < self.reorder:
            self._world.faults["frame overtaken"] += 1
            return delay_ns + rng.randint(0, 10) * self.max_delay_ns
        now_ns = self._world.now_ns
        arrives_ns = max(self._latest.get(link, 0), now_ns + delay_ns)
        self._latest[link] = arrives_ns
        return arrives_ns - now_ns

    def lag_ns(self, link: tuple[int, int]) -> int:
        """How much slower than usual this link is at most."""
        slow = self.slow and (link[0] in self.slow or link[1] in self.slow)
        return self.slow_ns if slow else 0

    def connected(self, sender: int, to: int) -> bool:
        """Whether frames pass at all at this moment."""
        return (sender, to) not in self.cut

    def partition(self, side: set[int], others: set[int], *, into: bool, out: bool) -> None:
        """Cut between `side` and `others`: frames `into` the side, `out` of it, or both."""
        for inner in sorted(side):
            for outer in sorted(others):
                if into:
                    self.cut.add((outer, inner))
                if out:
                    self.cut.add((inner, outer))

    def clog(self, link: tuple[int, int]) -> None:
        """Hold the frames of a link back."""
        self._clogged.setdefault(link, [])

    def unclog(self) -> None:
        """Let all held frames go at once, in a random order."""
        for link in sorted(self._clogged):
            for deliver in self._clogged[link]:
                self._world.after(self._delay_ns(link), deliver)
        self._clogged.clear()

    def heal(self) -> None:
        """No more faults; what is under way still arrives."""
        self.cut.clear()
        self.slow.clear()
        self.loss = self.duplicate = self.reorder = 0.0
        self.unclog()
