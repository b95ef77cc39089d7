"""Every single damage to the files of a member that stopped in order.

Flipped bits and lost or shortened files must be refused, or make no difference: everything that
was saved had been acknowledged. One thing cannot be told apart from a write that never arrived: the
end of the log being missing. What is found then must be the state after an earlier record.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

from jepsen_like.fuzz.history import LIVES, Author, State
from jepsen_like.fuzz.judge import Outcome, Verdict, judge
from kvraft.errors import Corrupt
from kvraft.storage.files import parent
from kvraft.storage.memory import MemoryFiles

SEGMENT_BYTES: Final = 420
_DIRECTORIES: Final = ("/data", "/data/member", "/data/member/wal", "/data/member/snap")
_BITS: Final = 8


class Stored(NamedTuple):
    """The files of a stopped member, and what they must be found to hold."""

    life: str
    files: dict[str, bytes]
    states: list[State]

    def newest_segment(self) -> str:
        """The one that was being written."""
        return max(path for path in self.files if path.endswith(".wal"))


class Case(NamedTuple):
    """One damage."""

    kind: str
    name: str
    files: dict[str, bytes]
    earlier: int
    """How many states before the last one may be found as well."""


def lives() -> Iterator[Stored]:
    """The stopped members to be damaged."""
    for name, live in LIVES.items():
        files = MemoryFiles()
        for directory in _DIRECTORIES:
            files.make_dir(directory)
        author = Author(files, SEGMENT_BYTES)
        live(author)
        author.close()
        names = [(d, n) for d in _DIRECTORIES for n in files.list_dir(d)]
        paths = [f"{d}/{n}" for d, n in names if n.endswith((".wal", ".snap"))]
        yield Stored(name, {path: files.read(path) for path in paths}, author.states)


def cases(stored: Stored, bits: int, rng: random.Random) -> Iterator[Case]:
    """All damages of the files of one life; `bits` of each byte are flipped, 8 are all."""
    yield Case("untouched", "", stored.files, 0)
    for path, data in stored.files.items():
        for offset in range(len(data)):
            for bit in range(_BITS) if bits == _BITS else rng.sample(range(_BITS), bits):
                changed = bytearray(data)
                changed[offset] ^= 1 << bit
                name = f"{path} byte {offset} bit {bit}"
                yield Case("bit flipped", name, {**stored.files, path: bytes(changed)}, 0)
    newest = stored.newest_segment()
    for path, data in stored.files.items():
        earlier = len(stored.states) - 1 if path == newest else 0
        for size in range(len(data)):
            name = f"{path} cut at {size}"
            yield Case("file cut off", name, {**stored.files, path: data[:size]}, earlier)
        rest = {other: kept for other, kept in stored.files.items() if other != path}
        yield Case("file gone", path, rest, earlier)


def expected(stored: Stored, case: Case) -> tuple[Outcome, ...]:
    """What may come of it."""
    if case.kind == "untouched":
        return (Outcome.WHOLE,)
    if case.earlier:
        return (Outcome.WHOLE, Outcome.SHORTER, Outcome.REFUSED)
    return (Outcome.WHOLE, Outcome.REFUSED)


def verdict(stored: Stored, case: Case) -> Verdict:
    """Start a member on the damaged files. A refusal must not have changed them."""
    files = _written(case.files)
    try:
        found = judge(files, SEGMENT_BYTES, stored.states, case.earlier)
    except Corrupt as error:
        return Verdict(Outcome.REFUSED, str(error))
    if found.outcome is Outcome.REFUSED:
        for path, data in case.files.items():
            if not files.exists(path) or files.read(path) != data:
                return Verdict(Outcome.WRONG, f"refused, but {path} was changed")
    if found.outcome not in expected(stored, case):
        return Verdict(Outcome.WRONG, found.reason or found.outcome)
    return found


def _written(contents: dict[str, bytes]) -> MemoryFiles:
    files = MemoryFiles()
    for directory in _DIRECTORIES:
        files.make_dir(directory)
    for path, data in contents.items():
        assert files.exists(parent(path))
        handle = files.create(path)
        files.write(handle, data)
        files.close(handle)
    return files
