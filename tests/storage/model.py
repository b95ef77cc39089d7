"""What a member's storage must hold after each step of a history, on plain Python values.

A step is run against a real `Storage` and against the model. After a power cut in the middle of
a step the storage must hold what the model held before it or what it holds after it, and at
least the state that was promised to be durable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from kvraft.raft.entry import Entry, HardState, Membership, SnapshotMeta
from kvraft.storage import Files, Identity, Recovered, Storage

DATA = "/data"
WAL = DATA + "/member/wal"
SNAP = DATA + "/member/snap"
IDENTITY = Identity(0xA1, 0xC1)
MEMBERS = Membership((0xA1, 0xA2, 0xA3), ())
SEGMENT_BYTES = 1500


@dataclass(frozen=True)
class Model:
    """The contents of one storage."""

    state: HardState = HardState(1, 0, 1)
    durable_commit: int = 1
    snapshot: SnapshotMeta | None = None
    entries: tuple[Entry, ...] = (Entry(1, 1, 1, b"first"),)  # behind the snapshot

    @property
    def base(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def last(self) -> int:
        return self.base + len(self.entries)

    def admits(self, found: Recovered) -> bool:
        """Whether a member that restarts as `found` has kept what this model holds."""
        return (
            found.identity == IDENTITY
            and found.snapshot == self.snapshot
            and tuple(found.entries) == self.entries
            and found.hard_state[:2] == self.state[:2]
            and self.durable_commit <= found.hard_state.commit <= max(self.state.commit, self.base)
        )


class Save(NamedTuple):
    """Entries from `back` before the end on, of the given sizes; then a commit advance."""

    sizes: tuple[int, ...]
    back: int = 0
    new_term: bool = False
    advance: int = 0

    def after(self, model: Model) -> Model:
        term = model.state.term + self.new_term
        first = max(model.last + 1 - self.back, model.state.commit + 1)
        added = tuple(
            Entry(term, first + i, 0, bytes([65 + (first + i) % 26]) * size)
            for i, size in enumerate(self.sizes)
        )
        kept = model.entries[: first - model.base - 1] + added if added else model.entries
        commit = min(model.state.commit + self.advance, model.base + len(kept))
        state = HardState(term, 0xA1 if self.new_term else model.state.vote, commit)
        return replace(model, state=state, durable_commit=commit, entries=kept)

    def run(self, storage: Storage, model: Model) -> None:
        after = self.after(model)
        entries = list(after.entries[len(after.entries) - len(self.sizes) :]) if self.sizes else []
        storage.save(after.state, entries, True)


class Commit(NamedTuple):
    """The commit moves on, without a sync."""

    advance: int

    def after(self, model: Model) -> Model:
        commit = min(model.state.commit + self.advance, model.last)
        return replace(model, state=model.state._replace(commit=commit))

    def run(self, storage: Storage, model: Model) -> None:
        storage.save(self.after(model).state, [], False)


class Snapshot(NamedTuple):
    """A local snapshot of all that is committed."""

    chunks: tuple[int, ...] = (10, 700)

    def meta(self, model: Model) -> SnapshotMeta | None:
        index = model.state.commit
        if index <= model.base:
            return None
        return SnapshotMeta(index, model.entries[index - model.base - 1].term, MEMBERS)

    def after(self, model: Model) -> Model:
        meta = self.meta(model)
        if meta is None:
            return model
        kept = model.entries[meta.index - model.base :]
        return replace(model, snapshot=meta, entries=kept, durable_commit=model.state.commit)

    def run(self, storage: Storage, model: Model) -> None:
        meta = self.meta(model)
        if meta is not None:
            write_snapshot(storage, meta, self.chunks)


class Receive(NamedTuple):
    """A snapshot from a leader of the next term, `ahead` of the commit; the log is dropped."""

    ahead: int

    def meta(self, model: Model) -> SnapshotMeta:
        return SnapshotMeta(model.state.commit + self.ahead, model.state.term + 1, MEMBERS)

    def after(self, model: Model) -> Model:
        meta = self.meta(model)
        state = HardState(meta.term, 0, meta.index)
        return Model(state, meta.index, meta, ())

    def run(self, storage: Storage, model: Model) -> None:
        meta = self.meta(model)
        write_snapshot(storage, meta, (300,), received=True)
        storage.adopt_received(meta)


class Purge(NamedTuple):
    """Old files go."""

    snapshots: int = 1
    wals: int = 1

    def after(self, model: Model) -> Model:
        return model

    def run(self, storage: Storage, model: Model) -> None:
        storage.purge(self.snapshots, self.wals)


class Restart(NamedTuple):
    """A clean stop; the runner opens the storage again."""

    def after(self, model: Model) -> Model:
        return replace(model, durable_commit=model.state.commit)

    def run(self, storage: Storage, model: Model) -> None:
        storage.close()


Step = Save | Commit | Snapshot | Receive | Purge | Restart


def chunk(meta: SnapshotMeta, number: int, size: int) -> bytes:
    return bytes([97 + (meta.index + number) % 26]) * size


def write_snapshot(
    storage: Storage, meta: SnapshotMeta, sizes: tuple[int, ...], *, received: bool = False
) -> None:
    writer = storage.snapshot_writer(meta)
    for number, size in enumerate(sizes):
        writer.write(chunk(meta, number, size))
    if received:
        writer.seal()
    else:
        writer.commit()


def create(files: Files) -> Storage:
    model = Model()
    return Storage.create(
        files, DATA, IDENTITY, list(model.entries), model.state, segment_bytes=SEGMENT_BYTES
    )


def reopen(files: Files) -> tuple[Storage, Recovered]:
    return Storage.open(files, DATA, segment_bytes=SEGMENT_BYTES)


def run(files: Files, steps: list[Step]) -> tuple[Storage, Model]:
    """All steps, none of which is expected to fail."""
    storage = create(files)
    model = Model()
    for step in steps:
        step.run(storage, model)
        model = step.after(model)
        if isinstance(step, Restart):
            storage, found = reopen(files)
            assert model.admits(found), (model, found)
    return storage, model
