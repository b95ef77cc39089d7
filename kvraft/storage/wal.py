"""The write-ahead log: what its records say, and the one writer at its end.

Segments are named `<sequence>-<first index>.wal`, 16 hexadecimal digits each; the first index is
the one the next entry would have had when the segment was begun. Each segment is one chain of
frames (record.py). This module must not know what entries mean, who the peers are, or which
snapshot files exist; it does not read (recover.py does).

Every payload is one msgpack array. Records:

    HEAD      first of each segment: format, member, cluster, sequence, chain value at the end of
              the segment before, last index and term there, hard state, newest snapshots
    STATE     term, vote, commit
    ENTRIES   term, vote, commit, entries: the whole batch; a lower first index drops the tail
    SNAPSHOT  term, vote, commit, snapshot (index, term, voters, learners), adopted: a snapshot
              file is durable; if adopted, the log before it is dropped and continues behind it

Invariants:
  - A sync window holds exactly one record, in one write. A hard state that need not be durable
    is therefore not written but goes along with the next record: two unsynced writes could
    reach the disk in either order, and a whole record behind a hole reads as corruption.
  - The position in the header of a record is the log index it stands at (of its first entry, or
    of the next one to come), so a torn record with a whole header still tells whether it could
    have been committed.
  - After DiskFull the file ends at the last good record, durably, and the call may be repeated.
    After DiskFailed nothing is written any more.

Diego Ongaro, "Consensus: Bridging Theory and Practice", 2014, sections 3.8 and 10.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, cast

import msgpack

from kvraft.errors import DiskFailed, DiskFull
from kvraft.limits import (
    ENTRY_OVERHEAD_BYTES,
    MAX_FRAME_BYTES,
    SNAPSHOTS_KEPT,
    WAL_RECORD_BYTES,
    WAL_SEGMENT_BYTES,
)
from kvraft.raft.entry import Entry, HardState, Membership, SnapshotMeta
from kvraft.storage.files import Files, disk_error, publish, write_all
from kvraft.storage.record import Framer

FORMAT: Final = 1
SUFFIX: Final = ".wal"
_HEX_DIGITS: Final = 16


class Kind(IntEnum):
    """What a record of the log is."""

    HEAD = 1
    STATE = 2
    ENTRIES = 3
    SNAPSHOT = 4


class Identity(NamedTuple):
    """Whose data this is."""

    member_id: int
    cluster_id: int


class Head(NamedTuple):
    """The first record of a segment: all that is needed to begin reading there."""

    identity: Identity
    sequence: int
    prior_chain: int
    prior_index: int
    prior_term: int
    state: HardState
    snapshots: tuple[SnapshotMeta, ...]  # oldest first


class SnapshotRecord(NamedTuple):
    """What a SNAPSHOT record says."""

    meta: SnapshotMeta
    adopted: bool


class SegmentName(NamedTuple):
    """A segment as its file name tells."""

    sequence: int
    first_index: int

    def file_name(self) -> str:
        return f"{self.sequence:016x}-{self.first_index:016x}{SUFFIX}"


def parse_hex_pair(name: str, suffix: str) -> tuple[int, int] | None:
    """The two numbers of `<16 hex>-<16 hex><suffix>`, or None for any other name."""
    if not name.endswith(suffix):
        return None
    left, dash, right = name[: -len(suffix)].partition("-")
    if not dash or len(left) != _HEX_DIGITS or len(right) != _HEX_DIGITS:
        return None
    if not set(left + right) <= set("0123456789abcdef"):
        return None
    return int(left, 16), int(right, 16)


def segment_names(names: Iterable[str]) -> list[SegmentName]:
    """The segments among the names of a directory, in their order."""
    pairs = (parse_hex_pair(name, SUFFIX) for name in names)
    return sorted(SegmentName(*pair) for pair in pairs if pair is not None)


# --- payloads --------------------------------------------------------------------------


def encode_meta(meta: SnapshotMeta) -> tuple[object, ...]:
    """A snapshot's meta data as msgpack takes it."""
    return (meta.index, meta.term, meta.membership.voters, meta.membership.learners)


def decode_meta(fields: object) -> SnapshotMeta:
    """Raises ValueError or TypeError for anything that `encode_meta` has not made."""
    index, term, voters, learners = cast("list[object]", fields)
    membership = Membership(_numbers(voters), _numbers(learners))
    return SnapshotMeta(_number(index), _number(term), membership)


def encode_head(head: Head) -> bytes:
    """The payload of a HEAD record."""
    fields = (
        FORMAT,
        *head.identity,
        head.sequence,
        head.prior_chain,
        head.prior_index,
        head.prior_term,
        *head.state,
        [encode_meta(meta) for meta in head.snapshots],
    )
    return cast(bytes, msgpack.packb(fields))


def decode_head(payload: bytes) -> Head:
    """Raises ValueError or TypeError for what `encode_head` has not made in this format."""
    fields = unpack(payload)
    if not fields or fields[0] != FORMAT:
        raise ValueError(f"format {fields[:1]}, this program knows {FORMAT}")
    *numbers, snapshots = fields
    _, member, cluster, sequence, chain, index, log_term, *state = map(_number, numbers)
    term, vote, commit = state
    metas = tuple(decode_meta(meta) for meta in cast("list[object]", snapshots))
    identity = Identity(member, cluster)
    return Head(identity, sequence, chain, index, log_term, HardState(term, vote, commit), metas)


def decode_state(fields: list[object]) -> HardState:
    """The hard state at the head of any other record."""
    return HardState(_number(fields[0]), _number(fields[1]), _number(fields[2]))


def decode_entries(fields: list[object]) -> list[Entry]:
    """The entries of an ENTRIES record; their checksum vouches for the types within."""
    rows = cast("list[tuple[int, int, int, bytes]]", fields[3])
    return [Entry(*row) for row in rows]


def decode_snapshot(fields: list[object]) -> SnapshotRecord:
    """The rest of a SNAPSHOT record."""
    return SnapshotRecord(decode_meta(fields[3]), fields[4] is True)


def unpack(payload: bytes) -> list[object]:
    """A payload as a list; raises ValueError or TypeError if it is none."""
    fields = msgpack.unpackb(payload, strict_map_key=True)
    if not isinstance(fields, list):
        raise TypeError("payload is no array")
    return fields


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} where a number was written")
    return value


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(_number(item) for item in cast("list[object]", value))


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries in groups that fit into a record each, in order."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(entry.data) + ENTRY_OVERHEAD_BYTES
        if size >= MAX_FRAME_BYTES:
            yield batch
            batch = []
            size = 0
    if batch:
        yield batch


# --- the writer ------------------------------------------------------------------------


class Wal:
    """The end of the log, open for appending. One thread at a time."""

    __slots__ = (
        "_cut_at_bytes",
        "_directory",
        "_failed",
        "_files",
        "_framer",
        "_handle",
        "_name",
        "_pack",
        "_segment_bytes",
        "_unwritten",
        "identity",
        "last_index",
        "last_term",
        "snapshots",
        "state",
    )

    def __init__(
        self,
        files: Files,
        directory: str,
        head: Head,
        *,
        name: SegmentName,
        handle: int,
        framer: Framer,
        segment_bytes: int = WAL_SEGMENT_BYTES,
    ) -> None:
        """Continue a segment; `head` describes the log as it is now, not as the segment began."""
        self.identity = head.identity
        self.last_index = head.prior_index
        self.last_term = head.prior_term
        self.state = head.state
        self.snapshots = list(head.snapshots)
        self._files = files
        self._directory = directory
        self._name = name
        self._handle = handle
        self._framer = framer
        self._segment_bytes = segment_bytes
        self._cut_at_bytes = segment_bytes
        self._unwritten = False  # a hard state that waits for the next record
        self._failed = ""
        self._pack = cast("Callable[[object], bytes]", msgpack.Packer().pack)

    @classmethod
    def begin(
        cls,
        files: Files,
        directory: str,
        identity: Identity,
        state: HardState,
        entries: Sequence[Entry],
        segment_bytes: int = WAL_SEGMENT_BYTES,
        *,
        behind: SnapshotMeta | None = None,
    ) -> Wal:
        """The first segment of a new log, with what it starts from, in one durable step.

        A log that begins `behind` a snapshot, whose file is durable already, takes the place it
        would have had if an earlier segment had been purged.
        """
        head = Head(identity, 0, 0, 0, 0, HardState(0, 0, 0), ())
        name = SegmentName(0, 0)  # as etcd names it, though the first entry has index 1
        if behind is not None:
            known = HardState(behind.term, 0, behind.index)
            head = Head(identity, 1, 0, behind.index, behind.term, known, (behind,))
            name = SegmentName(1, behind.index + 1)
        framer = Framer()
        content = [framer.frame(Kind.HEAD, head.prior_index + 1, encode_head(head))]
        for batch in _batches(entries):
            # A commit beyond the end of a record would make a file that ends there unreadable.
            commit = min(state.commit, batch[-1].index)
            payload = msgpack.packb((state.term, state.vote, commit, batch))
            content.append(framer.frame(Kind.ENTRIES, batch[0].index, payload))
        if not entries:
            payload = msgpack.packb(tuple(state))
            content.append(framer.frame(Kind.STATE, head.prior_index + 1, payload))
        handle = publish(files, directory, name.file_name(), b"".join(content))
        now = head._replace(state=state)
        if entries:
            now = now._replace(prior_index=entries[-1].index, prior_term=entries[-1].term)
        return cls(
            files,
            directory,
            now,
            name=name,
            handle=handle,
            framer=framer,
            segment_bytes=segment_bytes,
        )

    @property
    def segment(self) -> SegmentName:
        """The segment being written."""
        return self._name

    @property
    def path(self) -> str:
        return f"{self._directory}/{self._name.file_name()}"

    def save(self, state: HardState | None, entries: Sequence[Entry], sync: bool) -> None:
        """Append a batch; durable on return, unless it is a mere state with `sync` False.

        Raises DiskFull (nothing has changed) or DiskFailed (nothing may be done any more).
        """
        if state is None:
            state = self.state
        if not entries:
            if not sync:
                if state != self.state:
                    self.state = state
                    self._unwritten = True
                return
            self._put_state(state)
            return
        first = entries[0][1]
        last = entries[-1][1]
        if last - first + 1 != len(entries) or not self.state[2] < first <= self.last_index + 1:
            raise ValueError(
                f"entries {first}..{last} ({len(entries)}) do not follow log end"
                f" {self.last_index}, commit {self.state[2]}"
            )
        # A commit beyond the log would make it unreadable; it is then a snapshot's, which the
        # adoption of that snapshot brings along.
        commit = state[2] if state[2] <= last else last
        payload = self._pack((state[0], state[1], commit, entries))
        if len(payload) > WAL_RECORD_BYTES:
            self._save_in_halves(state, entries)
            return
        self._append(Kind.ENTRIES, first, payload)
        self.last_index = last
        self.last_term = entries[-1][0]
        self.state = state
        self._unwritten = False
        if self._framer.offset >= self._cut_at_bytes:
            self._cut_if_possible()

    def record_snapshot(self, meta: SnapshotMeta, adopted: bool) -> None:
        """Note durably that the file of this snapshot is durable; if adopted, drop the log."""
        state = self.state
        if adopted:
            state = adopted_state(state, meta)
        commit = min(state.commit, meta.index if adopted else self.last_index)
        payload = self._pack((state.term, state.vote, commit, encode_meta(meta), adopted))
        self._append(Kind.SNAPSHOT, self.last_index + 1, payload)
        self.state = state
        self._unwritten = False
        if adopted:
            self.last_index = meta.index
            self.last_term = meta.term
        if meta not in self.snapshots:
            self.snapshots = [*self.snapshots, meta][-SNAPSHOTS_KEPT:]

    def cut(self) -> None:
        """Go on in a new segment. DiskFull leaves everything as it was."""
        name = SegmentName(self._name.sequence + 1, self.last_index + 1)
        state = self.state._replace(commit=min(self.state.commit, self.last_index))
        head = Head(
            self.identity,
            name.sequence,
            self._framer.chain,
            self.last_index,
            self.last_term,
            state,
            tuple(self.snapshots),
        )
        framer = Framer()
        content = framer.frame(Kind.HEAD, name.first_index, encode_head(head))
        try:
            handle = publish(self._files, self._directory, name.file_name(), content)
        except DiskFailed as error:
            self._failed = str(error)
            raise
        old = self._handle
        self._name, self._handle, self._framer = name, handle, framer
        self._cut_at_bytes = self._segment_bytes
        self._unwritten = False
        try:
            self._files.close(old)
        except OSError as error:
            raise self._fail(error) from error

    def close(self) -> None:
        """Write what was waiting, as far as that is possible, and let go of the file."""
        if self._handle < 0:
            return
        try:
            if self._unwritten and not self._failed:
                self._put_state(self.state)
        except DiskFull:
            pass  # what was waiting was never promised to be durable
        finally:
            handle, self._handle = self._handle, -1
            self._failed = self._failed or f"{self.path}: closed"
            self._files.close(handle)

    def _put_state(self, state: HardState) -> None:
        commit = min(state.commit, self.last_index)
        payload = self._pack((state.term, state.vote, commit))
        self._append(Kind.STATE, self.last_index + 1, payload)
        self.state = state
        self._unwritten = False

    def _save_in_halves(self, state: HardState, entries: Sequence[Entry]) -> None:
        """A batch above the record bound, each part durable before the next is written."""
        if len(entries) == 1:
            raise ValueError(f"entry {entries[0].index} is larger than a record may be")
        half = len(entries) // 2
        self.save(state._replace(commit=self.state.commit), entries[:half], True)
        self.save(state, entries[half:], True)

    def _append(self, kind: int, index: int, payload: bytes) -> None:
        """One record, one write, one sync."""
        if self._failed:
            raise DiskFailed(self._failed)
        framer = self._framer
        chain = framer.chain
        offset = framer.offset
        data = framer.frame(kind, index, payload)
        try:
            written = self._files.write(self._handle, data)
            if written != len(data):
                write_all(self._files, self._handle, data[written:])
        except OSError as error:
            framer.chain = chain
            framer.offset = offset
            self._take_back(offset, error)
        try:
            self._files.sync(self._handle)
        except OSError as error:
            raise self._fail(error) from error

    def _take_back(self, offset: int, error: OSError) -> None:
        """Remove a part of a record durably, so that the next one stands alone in its window."""
        failure = disk_error(self.path, error)
        if not isinstance(failure, DiskFull):
            raise self._fail(error) from error
        try:
            self._files.truncate(self._handle, offset)
            self._files.sync(self._handle)
        except OSError as second:
            raise self._fail(second) from second
        raise failure from error

    def _cut_if_possible(self) -> None:
        """The record before is durable, so a full disk here is not an error of its caller:
        the segment grows beyond its size until there is space again."""
        try:
            self.cut()
        except DiskFull:
            self._cut_at_bytes = self._framer.offset + self._segment_bytes // 64

    def _fail(self, error: OSError) -> DiskFailed:
        self._failed = f"{self.path}: {error.strerror or error}"
        return DiskFailed(self._failed)


def adopted_state(state: HardState, meta: SnapshotMeta) -> HardState:
    """The hard state once a snapshot has replaced the log: never behind the snapshot. In a term
    this member had not reached it cannot have voted."""
    if meta.term > state.term:
        state = HardState(meta.term, 0, state.commit)
    return state._replace(commit=max(state.commit, meta.index))
