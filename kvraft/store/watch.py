"""Who is told of which event (keys API, sections 9, 10 and 15).

A watcher holds the events its client has not been sent yet; the hub finds the watchers of an
event and keeps a list of those that have something new. It calls nobody: whoever applies requests
takes that list and wakes the owners.

Must not know: connections, JSON, the log. Invariants: a registered watcher is in exactly the
group of its path and is not closed; a watcher gets the events in the order of their indices,
each at most once; the events not taken yet that came after the registration never exceed
WATCH_QUEUE.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kvraft.limits import WATCH_QUEUE
from kvraft.store.event import Event
from kvraft.store.node import Node
from kvraft.store.path import hidden_child, is_below

__all__ = ["Hub", "Watcher"]


class Owner(Protocol):
    """Whoever serves the client of a watcher."""

    def watch_ready(self, watcher: Watcher) -> None:
        """Events have come, or the watcher was closed."""


class Watcher:
    """One client's interest in a key, or in all that lies below it."""

    __slots__ = (
        "closed",
        "events",
        "hub",
        "overflowed",
        "owner",
        "path",
        "recursive",
        "since_index",
        "start_index",
        "stream",
        "woken",
    )

    def __init__(
        self, path: bytes, recursive: bool, stream: bool, since_index: int, start_index: int
    ) -> None:
        self.path = path
        self.recursive = recursive
        self.stream = stream
        self.since_index = since_index  # events before it are not wanted
        self.start_index = start_index  # of the store at the registration
        self.events: deque[Event] = deque()  # the owner takes them from the left
        self.closed = False  # nothing will come after what is in the queue
        self.overflowed = False  # closed because the queue was full: events were lost
        self.hub: Hub | None = None  # where it is registered
        self.owner: Owner | None = None  # set by whoever serves the client
        self.woken = False  # already in the hub's list

    def wants_past(self, event: Event) -> bool:
        """Whether an event of the history is for this watcher.

        Differs from the live case in two things. Whether the key existed when a directory above
        it was removed is no longer known, so that event counts in any case. And of the hidden
        keys only the children of the watched directory are passed over: those hidden further
        down are shown, as the recorded answers of etcd 2.3 demand.
        """
        path = event.path
        if path == self.path:
            return True
        if self.recursive and is_below(path, self.path):
            return not hidden_child(path, self.path)
        return event.removed_directory and is_below(self.path, path)


class Hub:
    """All registered watchers of one store."""

    __slots__ = ("_groups", "_woken", "count")

    def __init__(self) -> None:
        self.count = 0  # registered watchers; while it is 0, events need not be published
        self._groups: dict[bytes, dict[Watcher, None]] = {}
        self._woken: list[Watcher] = []

    def add(self, watcher: Watcher) -> None:
        """Register a watcher."""
        self._groups.setdefault(watcher.path, {})[watcher] = None
        watcher.hub = self
        self.count += 1

    def remove(self, watcher: Watcher) -> None:
        """Close a registered watcher."""
        watcher.closed = True
        watcher.hub = None
        group = self._groups[watcher.path]
        del group[watcher]
        if not group:
            del self._groups[watcher.path]
        self.count -= 1

    def watchers(self) -> list[Watcher]:
        """All registered watchers."""
        return [watcher for group in self._groups.values() for watcher in group]

    def take_woken(self) -> list[Watcher]:
        """Those that got events or lost their place since the last call."""
        woken = self._woken
        if woken:
            self._woken = []
            for watcher in woken:
                watcher.woken = False
        return woken

    def wake(self, watcher: Watcher) -> None:
        """Enter a watcher in the list of those that have something new."""
        if not watcher.woken:
            watcher.woken = True
            self._woken.append(watcher)

    def publish(self, event: Event, removed: Node | None) -> None:
        """Give an event to those it concerns; `removed` is the node that has left the tree."""
        groups = self._groups
        path = event.path
        if path in groups:
            for watcher in list(groups[path]):
                self._deliver(watcher, event)
        end = len(path)
        while end:
            cut = path.rfind(b"/", 0, end)
            if path[cut + 1 : cut + 2] == b"_":
                break  # hidden from here on upwards
            group = groups.get(path[:cut] or b"/")
            if group is not None:
                for watcher in list(group):
                    if watcher.recursive:
                        self._deliver(watcher, event)
            end = cut
        if removed is not None and removed.children:
            self._publish_below(event, removed)

    def _publish_below(self, event: Event, removed: Node) -> None:
        """Tell those who watch an existing node below a directory that has been removed."""
        below = event.path + b"/"
        skipped = len(below)
        for path in [path for path in self._groups if path.startswith(below)]:
            if _exists(removed, path[skipped:].split(b"/")):
                for watcher in list(self._groups[path]):
                    self._deliver(watcher, event)

    def _deliver(self, watcher: Watcher, event: Event) -> None:
        if event.index < watcher.since_index:
            return
        events = watcher.events
        # What was found in the history at the registration does not count against the queue:
        # it is over-full only if its last WATCH_QUEUE events are all newer than that.
        if len(events) >= WATCH_QUEUE and events[-WATCH_QUEUE].index > watcher.start_index:
            watcher.overflowed = True
            self.remove(watcher)
        else:
            events.append(event)
            if not watcher.stream:
                self.remove(watcher)
        self.wake(watcher)


def _exists(node: Node, names: list[bytes]) -> bool:
    """Whether the names lead from a node to another one."""
    for name in names:
        child = node.children.get(name)
        if child is None:
            return False
        node = child
    return True
