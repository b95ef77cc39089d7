"""The last changes of the key space, for watchers that ask about the past.

Every store index has its place here: internal records (kept as None) and refreshes take room
though they are never returned. So the index of a place follows from its position alone
(keys API, section 10).

Must not know: what a watcher wants. Invariant: the places are those of the indices
oldest..last without a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from kvraft.limits import HISTORY_EVENTS
from kvraft.store.event import Event

__all__ = ["History"]


class History:
    """A bounded queue of events."""

    __slots__ = ("append", "places")

    def __init__(self) -> None:
        self.places: deque[Event | None] = deque(maxlen=HISTORY_EVENTS)
        self.append = self.places.append  # bound once: it is called for every write

    def oldest(self, last_index: int) -> int:
        """The index of the first place; one beyond the last index if there is none."""
        return last_index - len(self.places) + 1

    def since(self, index: int, last_index: int) -> Iterator[Event]:
        """The events with this index or a later one that watchers may see."""
        skipped = max(0, index - self.oldest(last_index))
        for event in islice(self.places, skipped, None):
            if event is not None and not event.refresh:
                yield event
