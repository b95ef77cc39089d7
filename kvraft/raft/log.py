"""The replicated log as this member holds it in memory.

Knows entries, their sizes and how far they are durable; does not know roles, peers or commit
rules, and reads no disk: its owner tells it what became durable.

Invariants:
- entries are contiguous: `entries[i].index == first + i`, `last == first + len(entries) - 1`,
  and their terms never decrease;
- `durable <= handed <= last`: entries up to `durable` are on disk, those up to `handed` are
  there or on their way;
- `sizes[i]` is the running total of bytes before `entries[i]`, with one more item than
  entries, so that the size of any slice is one subtraction;
- `configs` holds the indexes of the CONFIG entries not yet applied, ascending.

Paper: 5.3 (log matching), section 7 (compaction).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Final

from kvraft.limits import ENTRY_OVERHEAD_BYTES
from kvraft.raft.entry import Entry, EntryKind
from kvraft.raft.message import make_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL: Final = int(EntryKind.NORMAL)
UNKNOWN_TERM: Final = -1


def _term_of(entry: Entry) -> int:
    return entry[0]


class RaftLog:
    """Entries after a snapshot, with marks for what is durable."""

    __slots__ = ("base_term", "configs", "durable", "entries", "first", "handed", "last", "sizes")

    def __init__(self, base_index: int, base_term: int, entries: list[Entry]) -> None:
        """A log that starts after (base_index, base_term) and whose entries are durable."""
        self.first = base_index + 1
        self.base_term = base_term
        self.entries: list[Entry] = []
        self.sizes = [0]
        self.last = base_index
        self.configs: deque[int] = deque()
        self.append(entries)
        self.durable = self.handed = self.last

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`; UNKNOWN_TERM if it is compacted or not there."""
        first = self.first
        if first <= index <= self.last:
            return self.entries[index - first].term
        return self.base_term if index == first - 1 else UNKNOWN_TERM

    def last_term(self) -> int:
        """The term of the last entry."""
        return self.entries[-1].term if self.entries else self.base_term

    def is_as_good(self, last_index: int, last_term: int) -> bool:
        """Whether a log with such an end is at least as up to date as this one (Paper 5.4.1)."""
        own_term = self.last_term()
        return last_term > own_term or (last_term == own_term and last_index >= self.last)

    def slice(self, first: int, last: int) -> list[Entry]:
        """The entries from `first` to `last`, both included."""
        offset = self.first
        return self.entries[first - offset : last - offset + 1]

    def size_between(self, after: int, last: int) -> int:
        """The bytes of the entries behind `after` up to `last`."""
        offset = self.first - 1
        return self.sizes[last - offset] - self.sizes[after - offset]

    def fit(self, first: int, last: int, max_bytes: int) -> int:
        """The last index up to `last` so that the entries from `first` on fit in `max_bytes`.

        At least `first`, however large it is.
        """
        offset = self.first - 1
        sizes = self.sizes
        start = first - 1 - offset
        limit = sizes[start] + max_bytes
        end = last - offset
        if sizes[end] <= limit:
            return last
        return offset + max(bisect_right(sizes, limit, start + 1, end) - 1, start + 1)

    def append_payloads(self, term: int, payloads: Sequence[bytes]) -> None:
        """Append one NORMAL entry of `term` per payload."""
        count = len(payloads)
        index = self.last + 1
        self.last += count
        sizes = self.sizes
        if count == 1:
            data = payloads[0]
            self.entries.append(make_entry((term, index, _NORMAL, data)))
            sizes.append(sizes[-1] + len(data) + ENTRY_OVERHEAD_BYTES)
            return
        self.entries.extend(
            map(
                make_entry,
                zip(repeat(term), range(index, index + count), repeat(_NORMAL), payloads),
            )
        )
        total = sizes.pop()
        sizes.extend(
            accumulate([len(data) + ENTRY_OVERHEAD_BYTES for data in payloads], initial=total)
        )

    def append(self, entries: list[Entry]) -> None:
        """Append entries that follow the last one."""
        if not entries:
            return
        assert entries[0].index == self.last + 1, "a gap in the log"
        self.entries.extend(entries)
        self.last += len(entries)
        sizes = self.sizes
        total = sizes.pop()
        sizes.extend(
            accumulate([len(entry[3]) + ENTRY_OVERHEAD_BYTES for entry in entries], initial=total)
        )
        configs = [entry[1] for entry in entries if entry[2]]
        if configs:
            self.configs.extend(configs)

    def merge(self, prev_index: int, entries: list[Entry], commit: int) -> None:
        """Make the log hold `entries` behind `prev_index`, which is known to match.

        What is there already stays; from the first difference on the new entries replace
        the old (Paper 5.3). A difference at or below `commit` breaks Raft itself.
        """
        have = self.last - prev_index
        if have > 0 and entries:
            own = self.entries
            offset = prev_index + 1 - self.first
            overlap = min(have, len(entries))
            same = 0
            while same < overlap and own[offset + same][0] == entries[same][0]:
                same += 1
            if same < overlap:
                assert prev_index + same >= commit, "a committed entry would be overwritten"
                self.truncate(prev_index + same)
            entries = entries[same:]
        self.append(entries)

    def truncate(self, last: int) -> None:
        """Drop everything behind `last`."""
        count = last - self.first + 1
        del self.entries[count:]
        del self.sizes[count + 1 :]
        self.last = last
        self.handed = min(self.handed, last)
        self.durable = min(self.durable, last)
        while self.configs and self.configs[-1] > last:
            self.configs.pop()

    def reset(self, base_index: int, base_term: int) -> None:
        """Start anew behind a snapshot."""
        self.first = base_index + 1
        self.base_term = base_term
        self.entries = []
        self.sizes = [0]
        self.last = self.durable = self.handed = base_index
        self.configs.clear()

    def compact(self, index: int) -> None:
        """Drop everything up to and including `index`."""
        if index < self.first:
            return
        assert index <= self.durable, "compaction of entries that are not durable"
        self.base_term = self.term_at(index)
        count = index - self.first + 1
        del self.entries[:count]
        del self.sizes[:count]
        self.first = index + 1

    def applied(self, index: int) -> None:
        """Everything up to `index` is applied."""
        configs = self.configs
        while configs and configs[0] <= index:
            configs.popleft()

    def last_not_after_term(self, index: int, term: int) -> int:
        """The last position up to `index` whose term is at most `term` (Paper 5.3, end).

        What lies before the first entry counts as a match: it is committed.
        """
        end = min(index, self.last)
        if end < self.first:
            return end
        position = bisect_right(self.entries, term, 0, end - self.first + 1, key=_term_of)
        return self.first - 1 + position
