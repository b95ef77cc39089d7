"""A short life of a member's storage, and what must be found after each of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from kvraft.raft.entry import Entry, EntryKind, HardState, Membership, SnapshotMeta
from kvraft.storage import Files, Identity, Recovered, Storage

DATA: Final = "/data"
IDENTITY: Final = Identity(0xA1, 0xC1)
MEMBERS: Final = Membership((0xA1, 0xA2, 0xA3), ())
CHUNKS: Final = 3


class State(NamedTuple):
    """What a storage holds durably after a step."""

    entries: dict[int, Entry]
    """The log as it stands, from its first entry on, also what a snapshot covers."""
    last: int
    hard: HardState
    snapshots: tuple[SnapshotMeta, ...] = ()
    """Those recorded, oldest first."""
    floor: int = 0
    """A snapshot was received here: nothing before it is known."""


class Author:
    """Runs the steps of a life against a storage, and keeps account of what it holds."""

    def __init__(self, files: Files, segment_bytes: int) -> None:
        self._files = files
        self._segment_bytes = segment_bytes
        self._storage: Storage | None = None
        self.states: list[State] = []
        """After each finished step."""
        self.pending: State | None = None
        """What the step that is being made leads to."""

    def create(self) -> None:
        """The member's first moment, with its members in the log."""
        entries = {i: Entry(1, i, int(EntryKind.CONFIG), b"member %d" % i) for i in (1, 2, 3)}
        state = State(entries, 3, HardState(1, 0, 3))
        with self._step(state):
            self._storage = Storage.create(
                self._files,
                DATA,
                IDENTITY,
                list(entries.values()),
                state.hard,
                segment_bytes=self._segment_bytes,
            )

    def save(self, *sizes: int, back: int = 0, new_term: bool = False, commit: int = 0) -> None:
        """Append entries of these sizes from `back` before the end on; commit so many more."""
        old = self.states[-1]
        term = old.hard.term + new_term
        first = max(old.last + 1 - back, old.hard.commit + 1)
        added = [
            Entry(term, first + i, 0, bytes([65 + (first + i) % 26]) * size)
            for i, size in enumerate(sizes)
        ]
        entries = {i: entry for i, entry in old.entries.items() if i < first or not sizes}
        entries |= {entry.index: entry for entry in added}
        last = first + len(added) - 1 if added else old.last
        vote = IDENTITY.member_id if new_term else old.hard.vote
        hard = HardState(term, vote, min(old.hard.commit + commit, last))
        with self._step(old._replace(entries=entries, last=last, hard=hard)):
            self._open().save(hard, added, True)

    def snapshot(self) -> None:
        """A snapshot of what is committed."""
        old = self.states[-1]
        index = old.hard.commit
        meta = SnapshotMeta(index, old.entries[index].term, MEMBERS)
        with self._step(old._replace(snapshots=(*old.snapshots, meta))):
            self._write(meta, received=False)

    def receive(self, ahead: int) -> None:
        """A snapshot of a leader of the next term replaces the log."""
        old = self.states[-1]
        meta = SnapshotMeta(old.hard.commit + ahead, old.hard.term + 1, MEMBERS)
        hard = HardState(meta.term, 0, meta.index)
        snapshots = (*old.snapshots, meta)
        with self._step(State({}, meta.index, hard, snapshots, floor=meta.index)):
            self._write(meta, received=True)
            self._open().adopt_received(meta)

    def purge(self) -> None:
        """What is not needed any more is removed."""
        with self._step(self.states[-1]):
            self._open().purge(1, 1)

    def restart(self) -> None:
        """Stop in order and start again."""
        with self._step(self.states[-1]):
            self._open().close()
            self._storage, _ = open_storage(self._files, self._segment_bytes)

    def close(self) -> None:
        """Stop in order."""
        self._open().close()

    def _open(self) -> Storage:
        assert self._storage is not None, "not created yet"
        return self._storage

    def _write(self, meta: SnapshotMeta, *, received: bool) -> None:
        writer = self._open().snapshot_writer(meta)
        for chunk in chunks(meta):
            writer.write(chunk)
        if received:
            writer.seal()
        else:
            writer.commit()

    def _step(self, state: State) -> _Step:
        return _Step(self, state)


class _Step:
    """A step is pending until it ends without an error."""

    def __init__(self, author: Author, state: State) -> None:
        self._author = author
        self._state = state

    def __enter__(self) -> None:
        self._author.pending = self._state

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._author.states.append(self._state)
            self._author.pending = None


def chunks(meta: SnapshotMeta) -> Iterator[bytes]:
    """The content of a snapshot."""
    for number in range(CHUNKS):
        yield b"chunk %d of the snapshot at %d " % (number, meta.index) * (number + 1)


def open_storage(files: Files, segment_bytes: int) -> tuple[Storage, Recovered]:
    """What a start does."""
    return Storage.open(files, DATA, segment_bytes=segment_bytes)


def whole_life(author: Author) -> None:
    """Several segments, members in the log, two snapshots, a replaced tail; nothing purged."""
    author.create()
    author.save(30, commit=1)
    author.save(200, 40, commit=1)
    author.save(50, back=1, new_term=True, commit=1)
    author.snapshot()
    author.save(150, 10, commit=2)
    author.save(20, commit=1)
    author.snapshot()
    author.save(90, commit=1)
    author.save(5, 5, new_term=True)


def plain_life(author: Author) -> None:
    """Several segments and no snapshot: all of it is needed."""
    author.create()
    author.save(120, 60, commit=1)
    author.save(180, commit=1)
    author.save(60, 40, back=1, new_term=True, commit=1)
    author.save(200, commit=1)
    author.save(12, commit=1)
    author.save(12, new_term=True)


def purged_life(author: Author) -> None:
    """Old segments and snapshots are gone; what is left begins with a snapshot."""
    author.create()
    for _ in range(3):
        author.save(200, 120, commit=2)
        author.snapshot()
    author.purge()
    author.save(40, commit=1)


def adopted_life(author: Author) -> None:
    """A received snapshot has replaced the log."""
    author.create()
    author.save(60, 60, commit=1)
    author.receive(40)
    author.save(30, 30, commit=1)
    author.snapshot()
    author.save(8)


def torn_life(author: Author) -> None:
    """The last write spans many blocks."""
    author.create()
    author.save(100, commit=1)
    author.save(3000, 11000, commit=1)


LIVES: Final[dict[str, Callable[[Author], None]]] = {
    "plain": plain_life,
    "whole": whole_life,
    "purged": purged_life,
    "adopted": adopted_life,
}
