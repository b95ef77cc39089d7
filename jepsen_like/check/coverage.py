"""What watchers were shown, put together: every change in sight, and where nothing was missed.

Each connection of a watcher is a session of its own with the range of indexes that it vouches
for, so that an event which one session shows and another one leaves out is found.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jepsen_like.base import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EVERYTHING: Final = b"/"


class Seen(NamedTuple):
    """One event as a watcher was told it."""

    place: int
    """The index of the change."""
    text: bytes
    document: dict[str, Any]
    at_ns: int = -1
    """When it arrived, by the clock of the operations; -1 if nobody noted it."""

    @property
    def key(self) -> bytes:
        """The key that was changed."""
        key: str = self.document["node"]["key"]
        return key.encode()


class Session:
    """What one connection that watches all below a directory has delivered."""

    __slots__ = ("events", "first_index", "member", "root")

    def __init__(self, member: int, first_index: int, root: bytes = EVERYTHING) -> None:
        self.member = member
        self.first_index = first_index
        self.root = root
        self.events: list[Seen] = []

    @property
    def last_index(self) -> int:
        """Up to here the session vouches for having shown everything."""
        return self.events[-1].place if self.events else self.first_index - 1


class Coverage(NamedTuple):
    """All that was seen by anybody."""

    events: dict[int, Seen]
    ranges: list[tuple[int, int]]
    """Disjoint and ascending: within them nothing was missed, below any of the roots."""
    roots: tuple[bytes, ...] = ()

    def shows(self, path: bytes) -> bool:
        """Whether an event of this key would reach some watcher."""
        return any(
            below(root, path) and b"/_" not in path[len(root.rstrip(EVERYTHING)) :]
            for root in self.roots
        )

    def covers(self, index: int) -> bool:
        """Whether a change with this index would have been seen."""
        place = bisect_right(self.ranges, index, key=lambda pair: pair[0])
        return place > 0 and index <= self.ranges[place - 1][1]


def merge(sessions: Sequence[Session]) -> Coverage:
    """Put the sessions together. Raises Violation where two of them disagree."""
    events: dict[int, Seen] = {}
    roots: dict[bytes, list[Session]] = defaultdict(list)
    for session in sessions:
        roots[session.root].append(session)
        _check_ascending(session)
        for seen in session.events:
            known = events.setdefault(seen.place, seen)
            if known.text != seen.text and not _same(known.document, seen.document):
                raise Violation(f"two events at one index: {known.text!r} and {seen.text!r}")
            if 0 <= seen.at_ns < known.at_ns:
                events[seen.place] = seen
    for root, under in roots.items():
        _check_complete(under, sorted(i for i, seen in events.items() if below(root, seen.key)))
    joined = [join((s.first_index, s.last_index) for s in under) for under in roots.values()]
    return Coverage(events, intersect(joined), tuple(sorted(roots)))


def _check_ascending(session: Session) -> None:
    last = session.first_index - 1
    for seen in session.events:
        if seen.place <= last:
            raise Violation(
                f"a watch at member {session.member} from {session.first_index} was shown index "
                f"{seen.place} after {last}"
            )
        if not (below(session.root, seen.key) or below(seen.key, session.root)):
            raise Violation(f"a watch of {session.root!r} was shown {seen.text!r}")
        last = seen.place


def _check_complete(sessions: Iterable[Session], order: Sequence[int]) -> None:
    for session in sessions:
        delivered = {seen.place for seen in session.events}
        start = bisect_left(order, session.first_index)
        stop = bisect_right(order, session.last_index)
        missing = [index for index in order[start:stop] if index not in delivered]
        if missing:
            raise Violation(
                f"a watch at member {session.member} from {session.first_index} to "
                f"{session.last_index} left out {missing[:10]}"
            )


def below(root: bytes, path: bytes) -> bool:
    """Whether a path is `root` or lies under it."""
    return root == EVERYTHING or path == root or path.startswith(root + b"/")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two documents tell the same; the time that is left depends on when they tell it."""
    return _timeless(one) == _timeless(other)


def _timeless(document: dict[str, Any]) -> str:
    def plain(node: Any) -> Any:
        return {name: value for name, value in node.items() if name != "ttl"}

    nodes = {name: plain(document[name]) for name in ("node", "prevNode") if name in document}
    return json.dumps(document | nodes, sort_keys=True)


def join(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of ranges; disjoint and ascending."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def intersect(unions: Sequence[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """What lies in all of these unions."""
    if not unions:
        return []
    common = unions[0]
    for union in unions[1:]:
        common = join(
            (max(one[0], other[0]), min(one[1], other[1])) for one in common for other in union
        )
    return common
