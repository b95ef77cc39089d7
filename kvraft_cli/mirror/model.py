"""What the source holds below one key, kept up to date by its events.

A tree as of one index, and every event behind it applied: the same as a later read would show,
apart from TTLs that were refreshed, since no watcher hears of a refresh. Each change says what
has to be done at the target. Invariant: the directories between the root and an entry are entries.

Pure: no clock, no I/O. (keys-api, sections 4, 8 and 10.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from kvraft.client.model import WatchEvent
from kvraft_cli.mirror.tree import (
    Entry,
    Kind,
    Tree,
    compare,
    entry_of,
    is_hidden,
    is_within,
    parent_of,
    tops,
)

REMOVING: Final = frozenset(("delete", "compareAndDelete", "expire"))


class Write(NamedTuple):
    """The target has to get what the source holds under this key."""

    key: str


class Retime(NamedTuple):
    """Value and kind are right at the target, but it would expire at another time."""

    key: str


class Remove(NamedTuple):
    """The target has to lose this key with all below it; `gone` is what the source lost there."""

    key: str
    gone: tuple[str, ...] = ()


Step: TypeAlias = Write | Retime | Remove


class Model:
    """The entries at or below `root`; hidden ones below it do not count."""

    def __init__(self, root: str, tree: Mapping[str, Entry] | None = None) -> None:
        self.root: Final = root
        self._entries: Tree = {}
        self._children: dict[str, dict[str, None]] = {}
        for key, entry in (tree or {}).items():
            self.put(key, entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All entries, in no particular order."""
        return self._entries

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        return self._entries.get(key)

    def below(self, key: str) -> Iterator[str]:
        """The key itself, if it is an entry, and all below it; directories before their content."""
        waiting = [key] if key in self._entries else list(self._children.get(key, ()))
        while waiting:
            found = waiting.pop()
            yield found
            waiting.extend(self._children.get(found, ()))

    def shows(self, key: str) -> bool:
        """Whether a listing of the root shows the key."""
        return is_within(key, self.root) and not is_hidden(key, self.root)

    def put(self, key: str, entry: Entry) -> list[str]:
        """Set one entry, and make permanent directories up to the root where there are none.

        Returns what was set, directories before their content.
        """
        made: list[str] = []
        while key != "/":
            self._entries[key] = entry
            made.append(key)
            parent = parent_of(key)
            self._children.setdefault(parent, {})[key] = None
            if key == self.root or parent in self._entries:
                break
            key, entry = parent, Entry(None, None, entry.modified)
        return made[::-1]

    def remove(self, key: str) -> tuple[str, ...]:
        """Forget the key and all below it; returns what was there."""
        gone = tuple(self.below(key))
        for each in gone:
            del self._entries[each]
            self._children.pop(each, None)
        if gone and key != "/":
            self._children[parent_of(key)].pop(key, None)
        return gone

    def apply(self, event: WatchEvent, now: float) -> list[Step]:
        """Follow one event that arrived at `now`; returns what the target needs."""
        key = event.key
        if event.action in REMOVING:
            if is_within(self.root, key):  # a directory above the root goes, and takes it along
                key = self.root
            gone = self.remove(key) if self.shows(key) else ()
            return [Remove(key, gone)] if gone else []
        if not self.shows(key):
            return []  # from the history of a server, which does not know about hiding
        entry = entry_of(event.node, now)._replace(modified=event.index)
        steps: list[Step] = []
        before = self._entries.get(key)
        if before is not None and before.is_dir and not entry.is_dir:
            # No request turns a directory into a file: it was removed, and its content with it.
            steps.append(Remove(key, self.remove(key)))
        # Directories that came along have a step of their own: they stay when the key is removed
        # before it has been written.
        return [*steps, *map(Write, self.put(key, entry))]

    def become(self, newer: Model, tolerance_s: float) -> list[Step]:
        """Take over all of a newer model; returns what the target needs because of it."""
        steps = list(steps_between(self._entries, newer._entries, tolerance_s))
        self._entries, self._children = newer._entries, newer._children
        return steps


def steps_between(
    before: Mapping[str, Entry], wanted: Mapping[str, Entry], tolerance_s: float
) -> Iterator[Step]:
    """What makes `wanted` out of `before`: removals first, directories before their content."""
    writes: list[Step] = []
    gone: dict[str, None] = {}
    for difference in compare(wanted, before, tolerance_s):
        key = difference.key
        if difference.kind is Kind.EXTRA:
            gone[key] = None
        elif difference.kind is Kind.TTL:
            writes.append(Retime(key))
        else:
            if difference.kind is Kind.TYPE and before[key].is_dir:
                gone[key] = None
            writes.append(Write(key))
    removed = tops(gone)
    below: dict[str, list[str]] = {top: [] for top in removed}
    for key in gone:
        place = key
        while place not in below:
            place = parent_of(place)
        below[place].append(key)
    for top in removed:
        yield Remove(top, tuple(below[top]))
    yield from writes
