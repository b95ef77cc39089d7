"""Data directories made without running a member, as a stopped one would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvraft import limits
from kvraft.raft.entry import Entry, EntryKind, HardState, SnapshotMeta
from kvraft.server import bootstrap
from kvraft.server.replay import replay
from kvraft.storage import Identity, PosixFiles, Recovered, Storage
from kvraft.store.request import Op, Request, encode_request
from kvraft.store.store import Store
from tests.server.replicas import infos

CLUSTER_ID = 0xC1
START_NS = 1_800_000_000 * 10**9


def requests(count: int) -> list[Request]:
    """Something of everything: time, keys, a key with a TTL, directories, a secret record."""
    keys = [Request(Op.SET, b"/dir/%d" % number, b"value %d" % number) for number in range(count)]
    return [
        Request(Op.SYNC, b"", time_ns=START_NS),
        Request(Op.SET, b"/ttl", b"soon", ttl_seconds=1000),
        Request(Op.SET, b"/empty", directory=True),
        Request(Op.PUT_RECORD, b"/2/users/root", b'{"user":"root"}', directory=True),
        *keys,
    ]


def log_of(founders: int, written: Sequence[Request], commit: int | None = None) -> Recovered:
    """The log of member 1, which led in term 2."""
    entries, _ = bootstrap.initial_entries(infos(founders))
    entries.append(Entry(2, len(entries) + 1, EntryKind.NORMAL, b""))
    for request in written:
        index = len(entries) + 1
        entries.append(Entry(2, index, EntryKind.NORMAL, encode_request(index, request)))
    state = HardState(2, 1, len(entries) if commit is None else commit)
    return Recovered(Identity(1, CLUSTER_ID), state, None, entries, [])


def make(
    path: Path,
    *,
    founders: int = 1,
    keys: int = 20,
    commit: int | None = None,
    snapshots_at: Sequence[int] = (),
    segment_bytes: int = limits.WAL_SEGMENT_BYTES,
) -> Recovered:
    """Write such a directory; snapshots cover the log up to the given indices."""
    files = PosixFiles()
    log = log_of(founders, requests(keys), commit)
    first = founders + 1
    state = log.hard_state._replace(commit=0)
    storage = Storage.create(
        files, str(path), log.identity, log.entries[:first], state, segment_bytes=segment_bytes
    )
    for entry in log.entries[first:]:
        commit_now = min(entry.index - 1, log.hard_state.commit)
        storage.save(log.hard_state._replace(commit=commit_now), [entry], True)
        if entry.index in snapshots_at:
            storage.save(log.hard_state._replace(commit=entry.index), [], True)
            _snapshot(storage, log, entry.index)
    storage.save(log.hard_state, [], True)
    storage.close()
    return log


def _snapshot(storage: Storage, log: Recovered, index: int) -> None:
    replica = replay(log, Store(), index)
    meta = SnapshotMeta(index, replica.applied_term, replica.core.membership)
    writer = storage.snapshot_writer(meta)
    for chunk in replica.store.snapshot().chunks(limits.SNAPSHOT_CHUNK_NODES):
        writer.write(chunk)
    writer.commit()


def contents(path: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}
