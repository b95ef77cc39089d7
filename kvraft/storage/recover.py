"""From the files of a stopped member to the state it may vote with. Reads only.

The result is a `Plan`: what was found and what has to be put right; datadir.py carries it out.
So a refusal never changes anything on disk, and a crash during the repair finds the same files
again. This module must not write.

Order: the last segment is read first, because its head and its records name the snapshots that
count. The newest of those whose file is whole is the base; the log is then replayed from the
last segment that begins at or before the base, through all later ones.

Rules:
  - Only the very end of the last segment can be torn. It is cut only if the judgement of
    record.py allows it and nothing at or below the known commit goes with it.
  - A snapshot file that the log has not recorded does not count: the hard state and entries that
    belong to it may be missing.
  - A recorded snapshot that the log does not contain (its index and term) is a received one whose
    adoption was cut off by a crash: it replaces the log, as its arrival would have (Paper,
    section 7, "InstallSnapshot" step 7).
  - An older snapshot stands in for a bad one only if the log covers all from there.
  - Everything else that does not fit is Corrupt.

Ramnatthan Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018.
"""

from __future__ import annotations

from typing import NamedTuple

from kvraft.errors import Corrupt, ForeignData
from kvraft.limits import WAL_RECORD_BYTES
from kvraft.raft.entry import Entry, SnapshotMeta
from kvraft.storage import snapshots
from kvraft.storage.advice import DAMAGED, DATA_DIR, REPLACE
from kvraft.storage.files import Files
from kvraft.storage.record import MAGIC, Record, Scan, Tail, scan
from kvraft.storage.wal import (
    Head,
    Kind,
    SegmentName,
    adopted_state,
    decode_entries,
    decode_head,
    decode_snapshot,
    decode_state,
    segment_names,
    unpack,
)


class Segment(NamedTuple):
    """One segment as read."""

    name: SegmentName
    path: str
    data: bytes
    head: Head
    scan: Scan


class Plan(NamedTuple):
    """What a start has to begin with, and to put right before."""

    now: Head  # the log's end as it is now, in the form the writer continues from
    snapshot: SnapshotMeta | None
    entries: list[Entry]  # behind the snapshot
    last: Segment
    torn: bool  # the last segment has a tail to cut, of which a copy is kept
    bad_snapshots: list[SnapshotMeta]  # to set aside
    orphans: list[tuple[int, int]]  # (index, term) of snapshot files that never counted
    notes: list[str]


class _Replay:
    """The log as records are read, from the beginning of some segment on."""

    def __init__(self, head: Head) -> None:
        self.base = head.prior_index
        self.base_term = head.prior_term
        self.entries: list[Entry] = []
        self.state = head.state

    @property
    def last_index(self) -> int:
        return self.base + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    def append(self, batch: list[Entry]) -> str:
        """Returns what is wrong, or an empty string."""
        first = batch[0].index
        if first > self.last_index + 1:
            return f"entry {first} follows {self.last_index}"
        if first <= self.state.commit:
            return f"entry {first} replaces a committed one (commit {self.state.commit})"
        index = first
        term = batch[0].term
        for entry in batch:
            if entry.index != index or entry.term < term:
                return f"entry {entry.index} of term {entry.term} where {index} was due"
            index += 1
            term = entry.term
        if first > self.base:
            del self.entries[first - self.base - 1 :]
        else:
            # This segment was begun before the tail it continued was replaced.
            self.base = first - 1
            self.base_term = 0
            self.entries.clear()
        self.entries.extend(batch)
        return ""

    def contains(self, meta: SnapshotMeta) -> bool:
        """Whether the snapshot is a part of this log. Below the beginning of what is read it is:
        reading begins at or below any snapshot that could be otherwise."""
        if meta.index > self.last_index:
            return False
        if meta.index > self.base:
            return self.entries[meta.index - self.base - 1].term == meta.term
        return meta.index < self.base or self.base_term in (0, meta.term)

    def adopt(self, meta: SnapshotMeta) -> None:
        self.base = meta.index
        self.base_term = meta.term
        self.entries.clear()
        self.state = adopted_state(self.state, meta)


def recover(files: Files, wal_dir: str, snap_dir: str) -> Plan:
    """Read everything; raises Corrupt or ForeignData if it is not certain to be right."""
    names = consecutive(segment_names(files.list_dir(wal_dir)))
    last = read_segment(files, wal_dir, names[-1])
    marked = _marked_snapshots(last)
    found = snapshots.snapshot_names(files.list_dir(snap_dir))
    bad: list[SnapshotMeta] = []
    notes: list[str] = []
    base: SnapshotMeta | None = None
    for meta in reversed(marked):
        if (meta.index, meta.term) not in found:
            notes.append(f"snapshot {snapshots.snapshot_name(meta)} is missing")
            continue
        try:
            snapshots.verify(files, snap_dir, last.head.identity.cluster_id, meta)
        except Corrupt as error:
            bad.append(meta)
            notes.append(f"corrupted snapshot file {error.path}: {error.reason}; set aside")
            continue
        base = meta
        break
    replay = _replay(files, wal_dir, names, last, base, "; ".join(notes))
    newest = marked[-1].index if marked else 0
    orphans = [pair for pair in found if pair[0] > newest]
    _check_orphans(files, snap_dir, orphans, replay.last_index, last.head.identity.cluster_id)
    if base is not None:
        replay.state = replay.state._replace(commit=max(replay.state.commit, base.index))
    if last.scan.tail is Tail.TORN:
        notes.append(f"repaired {last.path}: {last.scan.reason}, cut at byte {last.scan.end}")
    now = Head(
        last.head.identity,
        last.name.sequence,
        last.scan.chain,
        replay.last_index,
        replay.last_term,
        replay.state,
        tuple(meta for meta in marked if meta not in bad and (meta.index, meta.term) in found),
    )
    return Plan(
        now=now,
        snapshot=base,
        entries=replay.entries,
        last=last,
        torn=last.scan.tail is Tail.TORN,
        bad_snapshots=bad,
        orphans=orphans,
        notes=notes,
    )


def needed_from(names: list[SegmentName], index: int) -> int:
    """Position of the last segment that begins at or before the entry after `index`: all
    later entries of the log as it stands were written there or behind. -1 if there is none."""
    for position in range(len(names) - 1, -1, -1):
        if names[position].first_index <= index + 1:
            return position
    return -1


def consecutive(names: list[SegmentName]) -> list[SegmentName]:
    """The unbroken run that ends with the newest segment. Older ones in front of a gap are
    what a removal left behind when it was cut off; if they are needed, the replay misses them."""
    first = len(names) - 1
    while first > 0 and names[first - 1].sequence == names[first].sequence - 1:
        first -= 1
    return names[first:]


def read_segment(files: Files, wal_dir: str, name: SegmentName) -> Segment:
    path = f"{wal_dir}/{name.file_name()}"
    try:
        data = files.read(path)
    except OSError as error:
        raise Corrupt(path, 0, error.strerror or str(error), DAMAGED) from error
    result = scan(data, WAL_RECORD_BYTES)
    if not result.records:
        if data and not data.startswith(MAGIC) and result.tail is Tail.TORN and data[0]:
            raise ForeignData(
                f"{path} is not a log of this program, nothing was changed; give another --data-dir"
                f" or move {DATA_DIR} away"
            )
        raise Corrupt(path, 0, result.reason or "empty segment", DAMAGED)
    if result.tail is Tail.DAMAGED:
        raise Corrupt(path, result.end, result.reason, DAMAGED)
    first = result.records[0]
    try:
        head = decode_head(first.payload)
    except (TypeError, ValueError) as error:
        raise ForeignData(
            f"{path} was written by another version of kvraft ({error}), nothing was changed; start"
            " the version that wrote it"
        ) from error
    begun_at = head.prior_index + 1 if name.sequence else 0
    if first.kind != Kind.HEAD or name != (head.sequence, begun_at):
        raise Corrupt(path, 0, "segment begins with another one's head", DAMAGED)
    return Segment(name, path, data, head, result)


def _marked_snapshots(last: Segment) -> list[SnapshotMeta]:
    """The snapshots that the log has recorded, oldest first."""
    metas = dict.fromkeys(last.head.snapshots)
    for record in last.scan.records:
        if record.kind == Kind.SNAPSHOT:
            try:
                metas[decode_snapshot(unpack(record.payload)).meta] = None
            except (TypeError, ValueError, IndexError) as error:
                raise _unreadable(last.path, record, error) from error
    return sorted(metas, key=lambda meta: meta.index)


def _replay(
    files: Files,
    wal_dir: str,
    names: list[SegmentName],
    last: Segment,
    base: SnapshotMeta | None,
    context: str,
) -> _Replay:
    index = base.index if base is not None else 0
    first = needed_from(names, index)
    if first < 0 or (base is None and names[0].first_index > 0):
        raise _uncovered(wal_dir, index, names[0].first_index, context)
    previous: Segment | None = None
    replay: _Replay | None = None
    for name in names[first:]:
        segment = last if name == last.name else read_segment(files, wal_dir, name)
        if replay is None or previous is None:
            replay = _Replay(segment.head)
        else:
            _check_joint(previous, segment, replay)
            replay.state = segment.head.state
        _replay_segment(segment, replay)
        previous = segment
    if replay is None:
        raise _uncovered(wal_dir, index, 0, context)
    _check_tail(last, replay)
    if replay.base > index or replay.last_index < index:
        raise _uncovered(wal_dir, index, replay.base + 1, context)
    if base is not None and not replay.contains(base):
        reason = f"entry {base.index} is not the one of the snapshot"
        raise Corrupt(last.path, 0, reason, DAMAGED)
    if replay.state.commit > replay.last_index:
        reason = f"entries up to {replay.state.commit} were committed, the log ends at"
        raise Corrupt(last.path, last.scan.end, f"{reason} {replay.last_index}", DAMAGED)
    del replay.entries[: index - replay.base]
    if base is not None:
        replay.base, replay.base_term = base.index, base.term
    return replay


def _check_orphans(
    files: Files, snap_dir: str, orphans: list[tuple[int, int]], last_index: int, cluster_id: int
) -> None:
    """A snapshot that the log does not know may stem from a crash just before it was recorded, or
    from a leader whose term was over before it was adopted. But one of this very log is not beyond
    it."""
    for index, term in orphans:
        own = snapshots.is_of_own_log(files, snap_dir, cluster_id, index, term)
        if own and index > last_index:
            reason = f"snapshot of entry {index}, but the log ends at {last_index}: it was set back"
            raise Corrupt(snap_dir, 0, reason, DAMAGED)


def _check_joint(previous: Segment, segment: Segment, replay: _Replay) -> None:
    """Nothing may be missing between two segments."""
    head = segment.head
    if previous.scan.tail is Tail.TORN:
        raise Corrupt(previous.path, previous.scan.end, previous.scan.reason, DAMAGED)
    if head.identity != previous.head.identity:
        raise ForeignData(
            f"{segment.path} belongs to another member or cluster than {previous.path}: files of"
            f" two data directories were mixed; nothing was changed. {REPLACE}"
        )
    if head.prior_chain != previous.scan.chain or head.prior_index != replay.last_index:
        reason = "records are missing before the next segment"
        raise Corrupt(previous.path, previous.scan.end, reason, DAMAGED)


def _replay_segment(segment: Segment, replay: _Replay) -> None:
    for record in segment.scan.records[1:]:
        try:
            problem = _replay_record(record, replay)
        except (TypeError, ValueError, IndexError) as error:
            raise _unreadable(segment.path, record, error) from error
        if problem:
            raise Corrupt(segment.path, record.offset, problem, DAMAGED)


def _replay_record(record: Record, replay: _Replay) -> str:
    """Returns what is wrong, or an empty string."""
    fields = unpack(record.payload)
    state = decode_state(fields)
    if state.term < replay.state.term or state.commit < replay.state.commit:
        return f"{state} after {replay.state}"
    if record.kind == Kind.ENTRIES:
        batch = decode_entries(fields)
        if not batch or batch[0].index != record.position:
            return "entries at another index than the record"
        problem = replay.append(batch)
        if problem:
            return problem
    elif record.kind == Kind.SNAPSHOT:
        meta, adopted = decode_snapshot(fields)
        if adopted:
            replay.adopt(meta)
            state = adopted_state(state, meta)
        elif not replay.contains(meta):
            return f"snapshot of entry {meta.index} of term {meta.term}, which is not in the log"
    elif record.kind != Kind.STATE:
        return f"record of unknown kind {record.kind}"
    replay.state = state
    return ""


def _check_tail(last: Segment, replay: _Replay) -> None:
    """A torn record is cut only if nothing in it can have been committed."""
    torn_position = last.scan.torn_position
    if torn_position is not None and torn_position <= replay.state.commit:
        reason = (
            f"{last.scan.reason}, at entry {torn_position}, below the commit {replay.state.commit}"
        )
        raise Corrupt(last.path, last.scan.end, reason, DAMAGED)


def _uncovered(wal_dir: str, index: int, first_index: int, context: str) -> Corrupt:
    reason = f"the log begins at entry {first_index}, the snapshot ends at {index}"
    if context:
        reason += f" ({context})"
    return Corrupt(wal_dir, 0, reason, DAMAGED)


def _unreadable(path: str, record: Record, error: Exception) -> Corrupt:
    return Corrupt(path, record.offset, f"record of unknown form: {error}", DAMAGED)
