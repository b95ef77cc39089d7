"""What members that applied the same entries must have in common, at every index.

Three nets of different mesh. Every event: whoever applies a change shows its rendered event, and
the first to do so fixes it for all. Every batch: log time, counters and machine at its end.
And every so many entries, at a CHECK in the log, and after a restore: the digest of everything.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from kvraft.store.stats import LOGGED_COUNTERS

if TYPE_CHECKING:
    from jepsen_like.check.agreed import AgreedLog
    from jepsen_like.check.commands import Tally
    from kvraft.server.checks import CheckFrame
    from kvraft.store.store import Store

_counters = attrgetter(*LOGGED_COUNTERS)
Summary = tuple[object, ...]


class Known:
    """What the members of one run have shown so far."""

    def __init__(self) -> None:
        self.events: dict[int, tuple[int, bytes]] = {}  # store index -> who showed it, what
        self.summaries: dict[int, tuple[int, Summary]] = {}  # log index -> the same


class Comparing:
    """One member's part of it; the listener of its replica's checks."""

    def __init__(self, number: int, known: Known, agreed: AgreedLog) -> None:
        self._number = number
        self._known = known
        self._agreed = agreed

    def received(self, frame: CheckFrame) -> None:
        """Nobody here sends reports: each digest is compared where it was taken."""

    def leader_changed(self) -> None:
        """Nobody here waits for reports either."""

    def reached(self, number: int, at: int, store: Store) -> None:
        """A CHECK is applied at this very moment."""
        self.everything(at, store)

    def everything(self, applied: int, store: Store) -> None:
        """Compare the whole store at this log index."""
        self._agreed.digest(self._number, applied, store.digest())

    def batch(self, before: int, applied: int, store: Store, tally: Tally) -> None:
        """Compare what was changed since store index `before`, and where that has led to."""
        events = self._known.events
        new = store.index - before
        places = store._history.places
        for index, event in enumerate(islice(places, max(0, len(places) - new), None), before + 1):
            if event is None:
                continue
            body = event.body()
            who, known = events.setdefault(index, (self._number, body))
            if known != body:
                raise Violation(
                    f"at store index {index} members {who} and {self._number} saw different "
                    f"events: {known!r} and {body!r}"
                )
        summary = (store.index, store.now_ns, _counters(store.stats), tally.state)
        who, other = self._known.summaries.setdefault(applied, (self._number, summary))
        if other != summary:
            raise Violation(
                f"at log index {applied} members {who} and {self._number} differ: {other} and "
                f"{summary}"
            )
