"""Every moment at which the power can go in a short life, with everything that may survive it.

At each disk call the power goes. Of the changes of names that were not certain each subset may have
happened, of the blocks that were not synced each subset may have arrived; blocks of 512 bytes, and
of 4096. Where these are too many a seeded sample of them is taken, and the largest and the
smallest subset. A start must then find what was acknowledged before the cut, with or without the
step that it struck; it may not refuse.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from jepsen_like.fuzz.history import LIVES, Author, State, torn_life
from jepsen_like.fuzz.judge import Outcome, Verdict, exists, judge
from jepsen_like.sim.disk import BLOCK, Disk, DiskFiles, Inode, PowerCut
from kvraft.errors import Corrupt

SEGMENT_BYTES: Final = 420
LARGE_SEGMENT_BYTES: Final = 1 << 20
_LARGE_BLOCK: Final = 4096 // BLOCK

T = TypeVar("T")


class Cut(NamedTuple):
    """A disk after a power cut, and what may be found on it."""

    kind: str
    name: str
    disk: Disk
    segment_bytes: int
    states: list[State]
    earlier: int


def cuts(most: int, rng: random.Random) -> Iterator[Cut]:
    """All of them; at one moment at most about `most`."""
    for name, live in LIVES.items():
        yield from _of_life(name, live, SEGMENT_BYTES, most, rng)
    yield from _of_life("torn", torn_life, LARGE_SEGMENT_BYTES, most, rng)


def _of_life(
    name: str, live: Callable[[Author], None], segment_bytes: int, most: int, rng: random.Random
) -> Iterator[Cut]:
    for call in itertools.count(1):
        disk = Disk(random.Random(call))
        disk.make_data_dir("/data")
        author = Author(DiskFiles(disk), segment_bytes)
        disk.cut_after_calls = call
        try:
            live(author)
        except PowerCut:
            states = author.states + ([author.pending] if author.pending is not None else [])
            earlier = 1 if author.pending is not None and author.states else 0
            for kind, left in _left(disk, most, rng):
                where = f"{name}, call {call}"
                yield Cut(kind, where, left, segment_bytes, states, earlier)
        else:
            return


def _left(disk: Disk, most: int, rng: random.Random) -> Iterator[tuple[str, Disk]]:
    """Disks that may be left of this one."""
    for kind, group in (("power cut, blocks of 512", 1), ("power cut, of 4096", _LARGE_BLOCK)):
        inodes = _dirty(disk)
        choices: list[tuple[int, int]] = []  # (which inode, which group of blocks)
        for number, inode in enumerate(inodes):
            groups = sorted({block // group for block in inode.dirty})
            choices += [(number, which) for which in groups]
        if group > 1 and len(choices) == sum(len(inode.dirty) for inode in inodes):
            return  # the same once more
        names = range(len(disk.pending))
        for kept_names, kept in _subsets_of_both(list(names), choices, most, rng):
            left = copy.deepcopy(disk)
            blocks: dict[int, set[int]] = {}
            for number, which in kept:
                blocks.setdefault(number, set()).update(range(which * group, (which + 1) * group))
            for number, inode in enumerate(_dirty(left)):
                inode.settle(blocks.get(number, set()))
            settle_names(left, kept_names)
            yield kind, left


def settle_names(disk: Disk, kept: set[int]) -> None:
    """Of the changes of names only these have happened; content is certain already."""
    for number, change in enumerate(disk.pending):
        if number in kept:
            disk._settle_name(change)
    disk.pending = []
    disk.names = dict(disk.stable_names)
    for inode in disk.names.values():
        inode.cached = bytearray(inode.stable)
    disk.cut_after_calls = 0


def _dirty(disk: Disk) -> list[Inode]:
    seen = [*disk.stable_names.values(), *disk.names.values()]
    seen += [change.inode for change in disk.pending if change.inode is not None]
    return [inode for inode in dict.fromkeys(seen) if inode.dirty]


def _subsets_of_both(
    names: Sequence[int], blocks: Sequence[T], most: int, rng: random.Random
) -> Iterator[tuple[set[int], set[T]]]:
    total = len(names) + len(blocks)
    if 1 << total <= most:
        numbers: Iterator[int] | list[int] = iter(range(1 << total))
    else:
        numbers = [0, (1 << total) - 1, *(rng.getrandbits(total) for _ in range(most - 2))]
    for number in numbers:
        yield (
            {name for bit, name in enumerate(names) if number >> bit & 1},
            {block for bit, block in enumerate(blocks, len(names)) if number >> bit & 1},
        )


def verdict(cut: Cut) -> Verdict:
    """Start a member on what is left."""
    files = DiskFiles(cut.disk)
    created = len(cut.states) > 1 or cut.earlier > 0
    try:
        there = exists(files)
    except Corrupt as error:
        return Verdict(Outcome.WRONG, f"neither a member nor none: {error}")
    if not there:
        return Verdict(Outcome.WRONG, "the member is gone") if created else Verdict(Outcome.NONE)
    found = judge(files, cut.segment_bytes, cut.states, cut.earlier)
    if found.outcome is Outcome.REFUSED:
        return Verdict(Outcome.WRONG, f"refused: {found.reason}")
    return found
